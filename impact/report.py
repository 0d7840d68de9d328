"""What an edit does, part by part, and what is refused; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from impact.connections import CATCH_ALL, Connections, connections
from impact.owners import ALL_PORTS, Move, NameMove, Owner, moves, name_moves
from impact.reach import reach_changes
from impact.refusals import changes_hands, first_of, refusals
from impact.restarts import bootstrap_changes, own_restarts, secrets_touched
from impact.sizes import GIB, SIDECARS, Sizes, sizes
from impact.text import Part
from settings.catalogue import OUTSIDE
from settings.loading import StackFile
from settings.section import Section
from settings.stack import StackSettings

NOTHING = "nothing of what runs changes"
DRAIN = "45 s after the change, unless drainDuration says otherwise"


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Of a month, in the reader's own currency; None for none given."""

    core: float | None = None
    gib: float | None = None


@dataclass(frozen=True, kw_only=True)
class Impact:
    """The whole answer."""

    parts: tuple[Part, ...]
    """Those that have something to say."""
    findings: tuple[str, ...]
    """Why the edit is refused; each names the way in two steps."""
    numbers: dict[str, Any]

    @property
    def summary(self) -> str:
        if self.findings:
            return "Refused: this must be done in steps, each with its own `pulumi up`."
        if not self.parts:
            return f"No effect: {NOTHING}."
        return "; ".join(part.title for part in self.parts) + "."


def impact(before: StackFile, after: StackFile, prices: Prices | None = None) -> Impact:
    """Compare two stack files."""
    old, new = before.settings, after.settings
    moved, named = moves(old, new), name_moves(old, new)
    ended = connections(old, new)
    old_sizes, new_sizes = sizes(old), sizes(new)
    findings = refusals(old, new, ended.moved, named)
    parts = [
        Part(title="Refused", lines=findings),
        Part(title="Addresses change owner", lines=tuple(map(_move, moved))),
        Part(title="Names change owner", lines=tuple(map(_name_move, named))),
        Part(title="What counts", lines=(*_mode(old, new), *_labels(old, new))),
        Part(title="Whom crawlers reach", lines=tuple(reach_changes(old, new))),
        Part(title="Open connections", lines=(*_selector(old, new), *_connections(moved, ended))),
        Part(title="Pods", lines=tuple(_pods(old, new))),
        Part(title="Volumes", lines=(*_claims(old_sizes, new_sizes), *_storage_class(old, new))),
        Part(title="Series and samples", lines=tuple(_numbers(old_sizes, new_sizes))),
        Part(title="Requested", lines=tuple(_requested(old_sizes, new_sizes, prices))),
        Part(title="Secrets", lines=secrets_touched(before, after)),
    ]
    if not any(part.lines for part in parts):
        other = tuple(f"{key}: pulumi preview shows the objects" for key in changed_keys(old, new))
        parts = [Part(title="Changes that are not counted here", lines=other)]
    return Impact(
        parts=tuple(part for part in parts if part.lines),
        findings=findings,
        numbers={
            "addresses": [_move_numbers(move) for move in moved],
            "names": [_name_numbers(one) for one in named],
            "chainsDrained": [*ended.drained],
            "chainsAdded": [*ended.added],
            "chainsKept": ended.kept,
            "listenersDrained": [*ended.whole],
            "before": _figures(old_sizes),
            "after": _figures(new_sizes),
        },
    )


def changed_keys(old: Section, new: Section, path: str = "") -> Iterator[str]:
    """Yield the keys of settings that differ; a list or a mapping is one key."""
    for name in type(new).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        at = f"{path}{to_camel(name)}"
        if isinstance(after, Section) and type(before) is type(after):
            yield from changed_keys(before, after, f"{at}.")
        else:
            yield at


def _owner(owner: Owner) -> str:
    name, pool = owner
    return f"{name} (pool {pool})" if pool else name


def _counted(number: int, what: str, plural: str = "") -> str:
    return f"{number:,} {what if number == 1 else plural or f'{what}s'}"


def _move(move: Move) -> str:
    ports = "" if move.ports == ALL_PORTS else f", ports {move.ports}"
    shown = ", ".join(str(network) for network in move.networks[:4])
    more = f" and {len(move.networks) - 4} more ranges" if len(move.networks) > 4 else ""
    addresses = _counted(move.addresses, "address", "addresses")
    return f"{_owner(move.before)} → {_owner(move.after)}: {addresses}{ports} ({shown}{more})"


def _move_numbers(move: Move) -> dict[str, Any]:
    return {
        "from": move.before[0],
        "fromPool": move.before[1] or None,
        "to": move.after[0],
        "toPool": move.after[1] or None,
        "ports": None if move.ports == ALL_PORTS else str(move.ports),
        "addresses": move.addresses,
        "ranges": [str(network) for network in move.networks],
    }


def _name_move(move: NameMove) -> str:
    if move.before == move.after:
        if not move.is_retired:
            return f"{move.name}: in use again ({move.after})"
        return (
            f"{move.name}: retired, DNS gives its real addresses again and the tunnels of its "
            f"listed ports end ({move.after})"
        )
    if not move.before:
        return f"{move.name}: new, {move.after}"
    if not move.after:
        held = "" if move.was_retired else "; connections to a held address are reset"
        return f"{move.name}: {move.before} → outside{held}"
    return f"{move.name}: {move.before} → {move.after}"


def _name_numbers(move: NameMove) -> dict[str, Any]:
    return {
        "name": move.name,
        "from": move.before or None,
        "to": move.after or None,
        "retired": move.is_retired,
    }


MODES = {
    "full": "requests, outcomes and bytes count again, for connections that begin from now on",
    "observe": "no request and no outcome counts; connections and their bytes do",
    "off": "requests, outcomes and the bytes that money needs do not count; bytes on the wire and "
    "connections of each vendor do; the switch itself ends no connection",
}


def _mode(old: StackSettings, new: StackSettings) -> Iterator[str]:
    before, after = old.crawlers.mode, new.crawlers.mode
    if before != after:
        yield f"crawlers.mode {before} → {after}: {MODES[after]}"


def _labels(old: StackSettings, new: StackSettings) -> Iterator[str]:
    """Yield a line for each label of the metrics that pods get by another rule."""
    was, will = old.crawlers, new.crawlers
    for key, label, changed in (
        ("teamLabel", "team", (was.team_label, was.teams) != (will.team_label, will.teams)),
        ("workloadLabel", "source_workload", was.workload_label != will.workload_label),
    ):
        if changed:
            yield (
                f"crawlers.{key}: the label `{label}` may have other values from the next scrape "
                "on, and its records then go on under these; history keeps the old ones"
            )


def _selector(old: StackSettings, new: StackSettings) -> Iterator[str]:
    if old.crawlers.selector == new.crawlers.selector:
        return
    were, will = (
        ", ".join(f"{key}={value}" for key, value in one.crawlers.selector.items()) or "all pods"
        for one in (old, new)
    )
    yield (
        f"crawlers.selector {were} → {will}: in running pods with a sidecar that it newly selects, "
        f"or leaves, every open outbound connection ends ({DRAIN}); in those that it leaves a few "
        "requests may fail"
    )


def _connections(moved: Sequence[Move], ended: Connections) -> Iterator[str]:
    for listener in ended.whole:
        what = "every outbound connection of the crawlers ends"
        if listener != "virtualOutbound":
            what = f"every connection through {listener} ends"
        yield f"{what} ({DRAIN})"
    drained = {name: ranges for name, ranges in ended.drained.items() if name != CATCH_ALL}
    if drained and "virtualOutbound" not in ended.whole:
        of_all = len(drained) + ended.kept
        yield (
            f"{len(drained)} of {_counted(of_all, 'filter chain')} "
            f"{'is' if len(drained) == 1 else 'are'} drained, and the open tunnels to these "
            f"ranges end ({DRAIN})"
        )
        for name, ranges in drained.items():
            yield f"drained: {name} ({_counted(len(ranges), 'range')}: {first_of(ranges)})"
    if CATCH_ALL in ended.drained and "virtualOutbound" not in ended.whole:
        yield f"connections to nobody's address end ({DRAIN})"
    taken = any(OUTSIDE not in (move.before[0], move.after[0]) for move in moved)
    if taken and not drained and not ended.whole:
        yield "tunnels that are open there stay, and count for the old owner until they end"
    if ended.added:
        yield f"added, which ends nothing: {first_of(ended.added)}"
    if ended.clusters_removed:
        yield (
            f"a few requests fail as {', '.join(ended.clusters_removed)} goes; to lose none, see "
            "docs/rollout.md#removing-it-all"
        )
    for name in ended.clusters_changed:
        yield f"the cluster {name} changes for new connections (by name, open tunnels end too)"
    if ended.sent_apart:
        yield f"scripts and labels change and end nothing: {', '.join(ended.sent_apart)}"
    for one in ended.moved:
        if not changes_hands(one):
            yield (
                f"EnvoyFilter {one.after} takes {_counted(len(one.ranges), 'range')} from "
                f"{one.before}: until pulumi up has written both, starting pods wait"
            )


def _pods(old: StackSettings, new: StackSettings) -> Iterator[str]:
    pods = _counted(new.crawlers.expected_pods, "crawler pod")
    for reason in bootstrap_changes(old, new):
        yield f"up to {pods} must restart before this takes effect: {reason}"
    namespaces = [set(settings.crawlers.namespaces) for settings in (old, new)]
    for name in sorted(namespaces[1] - namespaces[0]):
        yield (
            f"namespace {name} is new: its pods get a sidecar as they restart; of those that have "
            f"one every open outbound connection ends ({DRAIN})"
        )
    for name in sorted(namespaces[0] - namespaces[1]):
        yield (
            f"namespace {name} is left: its open outbound connections end ({DRAIN}), and a few "
            "requests may fail"
        )
    yield from own_restarts(old, new)


def _storage_class(old: StackSettings, new: StackSettings) -> Iterator[str]:
    if old.scheduling.storage_class != new.scheduling.storage_class:
        yield "scheduling.storageClass: for volumes that come; those that exist keep theirs"


def _claims(old: Sizes, new: Sizes) -> Iterator[str]:
    for claim in sorted(old.volumes.keys() | new.volumes.keys()):
        before, after = old.volumes.get(claim), new.volumes.get(claim)
        if before is None and after is not None:
            yield f"{claim}: new, {after / GIB:.1f} GiB"
        elif after is None and before is not None:
            yield f"{claim}: stays behind with {before / GIB:.1f} GiB; delete it by hand"
        elif before != after and before is not None and after is not None:
            yield (
                f"{claim}: {before / GIB:.1f} → {after / GIB:.1f} GiB in the stack; the volume "
                "itself keeps its size (docs/runbooks/PrometheusDown.md)"
            )


def _numbers(old: Sizes, new: Sizes) -> Iterator[str]:
    for name in dict.fromkeys((*old.numbers, *new.numbers)):
        before, after = old.numbers.get(name), new.numbers.get(name)
        if before != after:
            yield f"{name}: {_amount(before)} → {_amount(after)}"


def _amount(number: float | None) -> str:
    if number is None:
        return "none"
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:,.2f}"


def _requested(old: Sizes, new: Sizes, prices: Prices | None) -> Iterator[str]:
    if (old.cores, old.memory) == (new.cores, new.memory):
        return
    yield f"cores: {old.cores:,.2f} → {new.cores:,.2f}"
    yield f"GiB of memory: {old.memory / GIB:,.2f} → {new.memory / GIB:,.2f}"
    sidecars = [size.workloads.get(SIDECARS) for size in (old, new)]
    if sidecars[0] != sidecars[1] and sidecars[1] is not None:
        one = sidecars[1]
        yield f"of them {one.pods:,} sidecars with {one.pods * one.cores:,.2f} cores"
    costs = [_cost(size, prices) for size in (old, new)]
    if costs[0] is None or costs[1] is None:
        yield "cost: no price given; CORE= and GIB= are prices of a month"
    else:
        yield f"cost of a month: {costs[0]:,.2f} → {costs[1]:,.2f}, volumes left out"


def _cost(size: Sizes, prices: Prices | None) -> float | None:
    if prices is None or prices.core is None or prices.gib is None:
        return None
    return size.cores * prices.core + size.memory / GIB * prices.gib


def _figures(size: Sizes) -> dict[str, Any]:
    return {
        **size.numbers,
        "cores": size.cores,
        "memoryBytes": size.memory,
        "volumes": size.volumes,
    }
