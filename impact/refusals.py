"""What must not change hands in one step, and the steps to take instead; pure.

`pulumi up` writes a new EnvoyFilter first and deletes the old one last. Until then two filter
chains have the same range, and Envoy refuses the listener: sidecars that start get none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from impact.connections import Moved
from impact.owners import NameMove
from settings.stack import StackSettings


def refusals(
    old: StackSettings,
    new: StackSettings,
    between_filters: Iterable[Moved],
    named: Iterable[NameMove],
) -> tuple[str, ...]:
    pairs: dict[tuple[str, str], set[str]] = {}
    for one in between_filters:
        pair = owner_of(one.before), owner_of(one.after)
        if changes_hands(one):
            pairs.setdefault(pair, set()).update(one.ranges)
    gone = {vendor.name for vendor in old.vendors} - {vendor.name for vendor in new.vendors}
    come = {vendor.name for vendor in new.vendors} - {vendor.name for vendor in old.vendors}
    renamed = {(before, after) for before, after in pairs if before in gone and after in come}
    virtual = _virtual_addresses(old) | _virtual_addresses(new)
    findings = [_renamed(before, after, old) for before, after in sorted(renamed)]
    findings += [
        _moved(before, after, sorted(ranges - virtual))
        for (before, after), ranges in sorted(pairs.items())
        if (before, after) not in renamed and ranges - virtual
    ]
    findings += [
        _name_moved(one)
        for one in named
        if one.before and one.after and one.before != one.after
        if (one.before, one.after) not in renamed
    ]
    return tuple(findings)


def owner_of(filter_name: str) -> str:
    """Return whose EnvoyFilter it is; nothing for one that vendors share."""
    name = filter_name.partition(".chain-")[0]
    for prefix in ("proxy-vendor-", "proxy-destination-"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return ""


def changes_hands(moved: Moved) -> bool:
    before, after = owner_of(moved.before), owner_of(moved.after)
    return bool(before and after and before != after)


def first_of(texts: Sequence[str]) -> str:
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} more" if len(texts) > 4 else "")


def _virtual_addresses(settings: StackSettings) -> set[str]:
    """Return the addresses of names, which have findings of their own."""
    hosts = [host for vendor in settings.vendors for host in vendor.hosts]
    hosts += [host for destination in settings.destinations for host in destination.hosts]
    return {f"{host.address}/{host.address.max_prefixlen}" for host in hosts}


def _renamed(before: str, after: str, old: StackSettings) -> str:
    has_names = any(vendor.hosts for vendor in old.vendors if vendor.name == before)
    return (
        f"vendors: {before} is renamed {after} in one step, and while pulumi up runs Envoy refuses "
        f"two chains for its ranges; {'retire its names (docs/rollout.md), ' if has_names else ''}"
        f"remove {before} and run pulumi up, then add {after} (in between its traffic counts as "
        "outside)"
    )


def _moved(before: str, after: str, ranges: Sequence[str]) -> str:
    return (
        f"vendors: {first_of(ranges)} changes hands from {before} to {after} in one step, and "
        f"while pulumi up runs Envoy refuses two chains for it; first remove it from {before} and "
        f"run pulumi up (it counts as outside), then add it to {after}"
    )


def _name_moved(move: NameMove) -> str:
    return (
        f"vendors: the name {move.name} changes hands from {move.before} to {move.after} in one "
        "step, and crawlers that hold its address would be cut; write retired: true in "
        f"{move.before}, a day later remove it there and run pulumi up, then add it to {move.after}"
    )
