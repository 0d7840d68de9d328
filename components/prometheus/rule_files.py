"""Which server evaluates which rule, where one Prometheus is not enough.

A rule that reads what sidecars expose is a sum. Shards record it, each of its own sidecars, and
so does every cluster; where they meet, what was federated is added up under the same name, by
rules made from the rule itself. All other rules read records, or what the meeting server scrapes,
and stay as they are: so a ratio or a quantile is taken where every shard is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from components.attribution.stats import SCRAPED_METRICS
from components.prometheus.promql import metric_names
from components.texts import yaml_text
from settings.loading import SettingsError

Json = dict[str, Any]

FEDERATED = "federated_"
"""Prefix that a federated record has until it is added up: without it shard 0's requests and the
sum of all shards' would be two series of one name, and whoever asks would count both."""

LEVELS = (
    *(
        "proxy_vendor",
        "proxy_vendor_outcome",
        "proxy_vendor_le",
        "workload_proxy_vendor",
        "cluster",
    ),
    # Beyond the architecture document's: boards and ProxyVendorBanned ask for the first two,
    # TargetsMissing for `job`, which tells how many sidecars a shard has.
    *("proxy_vendor_visibility", "proxy_vendor_target", "job"),
)
"""What is federated. A record of another level is a step on the way to one of these, with more
labels than anybody asks for, and stays where it is recorded."""

OF_EVERY_TARGET = ("up", "scrape_samples_post_metric_relabeling")  # shards' and others' alike
_MESH = re.compile(r'job="istiod"')  # IstiodDown would fire for ever where no mesh is
# Of sidecars, or of who knows whom: their job, which only shards have, and names that are matched.
_ANYBODY = re.compile(r'job="sidecars"|__name__|\{\s*"[^"]*"')
OWN_FILES = "own-"  # what the stack brings itself (own_rules.py)


@dataclass(frozen=True, kw_only=True)
class ServerRules:
    """Rule files by name, of the server that boards and people ask and of each shard."""

    asked: dict[str, str]
    shard: dict[str, str] = field(default_factory=dict)
    federated: tuple[str, ...] = ()
    """The records that the first one takes from others, to add them up."""


def rules_by_server(
    files: Mapping[str, str], *, shards: int, federates: bool, crawlers_here: bool = True
) -> ServerRules:
    """Return who evaluates what; one server alone has the files as they are.

    Args:
        files: the text of every rule file of the stack by its name.
        federates: whether other clusters' records are taken.
        crawlers_here: whether this cluster has any; else rules on them and their mesh go.

    Raises:
        SettingsError: a rule file of the stack reads sidecars, which no server has all of.
    """
    if shards == 1 and not federates:
        return ServerRules(asked=dict(files))
    return ServerRules(
        asked=where_all_meet(
            files, scrapes_sidecars=shards == 1 and crawlers_here, crawlers_here=crawlers_here
        ),
        shard=for_shard(files) if shards > 1 else {},
        federated=federated_records(files),
    )


def for_shard(files: Mapping[str, str]) -> dict[str, str]:
    """Return what a shard records of its sidecars: sums alone, and the limits they need."""
    of_sidecars = _of_sidecars(files)
    kept = [
        rule
        for rule in _rules(_ours(files))
        if rule.get("record") in of_sidecars
        or ("record" in rule and not metric_names(rule["expr"]).isdisjoint(OF_EVERY_TARGET))
    ]
    read = {name for rule in kept for name in metric_names(rule["expr"])}
    limits = [rule for rule in _rules(files) if _is_limit(rule) and rule.get("record") in read]
    groups = {"limits": limits, "sums": kept}
    return {"sums.yml": _text({name: rules for name, rules in groups.items() if rules})}


def where_all_meet(
    files: Mapping[str, str], *, scrapes_sidecars: bool, crawlers_here: bool = True
) -> dict[str, str]:
    """Return the rules of the server that federates from shards or from other clusters."""

    of_sidecars = _of_sidecars(files)

    def elsewhere(rule: Json) -> bool:
        of_a_mesh = _MESH.search(rule["expr"]) is not None
        return rule.get("record") in of_sidecars or (of_a_mesh and not crawlers_here)

    kept = dict(files)
    if not scrapes_sidecars:
        refuse_own_rules_on_sidecars(files)
        for name, text in _ours(files).items():
            if any(elsewhere(rule) for rule in _rules({name: text})):
                kept[name] = _without(text, elsewhere)
                if not any(_rules({name: kept[name]})):
                    del kept[name]
    return {"federated.yml": _text({"federated": added_up(files)}), **kept}


def federated_records(files: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names that a server takes from others to add them up, sorted."""

    def at_the_source(name: str) -> bool:
        return ":" not in name

    made = _recorded_from(files, at_the_source)
    return tuple(sorted(name for name in made if is_federated(name)))


def added_up(files: Mapping[str, str]) -> list[Json]:
    """Return the rules that add up federated records under their own names.

    `shard` goes: what has none, another cluster's record, passes through, with its `cluster`.
    """
    return [
        {"record": name, "expr": f"sum without (shard) ({FEDERATED}{name})"}
        for name in federated_records(files)
    ]


def refuse_own_rules_on_sidecars(files: Mapping[str, str]) -> None:
    of_a_part = {*SCRAPED_METRICS, *(n for n in _of_sidecars(files) if not is_federated(n))}
    findings = []
    for name, text in files.items():
        for rule in _rules({name: text}) if name.startswith(OWN_FILES) else ():
            read = metric_names(rule["expr"]) & of_a_part
            read |= set(_ANYBODY.findall(rule["expr"]))
            if read:
                findings.append(
                    f"alerts.ruleFiles[{name.split('-')[1]}]: "
                    f"{rule.get('alert') or rule['record']!r} reads {', '.join(sorted(read))}, "
                    "which this server does not have (prometheus.shards or role); "
                    "read a record of rules/recording.yml instead"
                )
    if findings:
        raise SettingsError(findings)


def _of_sidecars(files: Mapping[str, str]) -> set[str]:
    """Return the records that are made where sidecars are scraped.

    By name: where set-up times are native histograms, their buckets' record is read off another
    record (native_histograms.py), and is still the shard's.
    """
    return _recorded_from(files, SCRAPED_METRICS.__contains__)


def _recorded_from(files: Mapping[str, str], wanted: Callable[[str], bool]) -> set[str]:
    """Return the records that read a wanted metric, at once or by a step that stays there."""
    records = [rule for rule in _rules(_ours(files)) if "record" in rule]
    found: set[str] = set()
    while True:
        more = {
            rule["record"]
            for rule in records
            for name in metric_names(rule["expr"])
            if wanted(name) or (name in found and not is_federated(name))
        }
        if more <= found:
            return found
        found |= more


def is_federated(name: str) -> bool:
    return name.split(":")[0] in LEVELS


def _is_limit(rule: Json) -> bool:
    """Whether it is the program's record of a setting (thresholds.py)."""
    return str(rule["expr"]).startswith("vector(")


def _ours(files: Mapping[str, str]) -> dict[str, str]:
    """Without the stack's own: nobody federates their names."""
    return {name: text for name, text in files.items() if not name.startswith(OWN_FILES)}


def _rules(files: Mapping[str, str]) -> Iterator[Json]:
    for text in files.values():
        for group in yaml.safe_load(text)["groups"]:
            yield from group["rules"]


def _without(text: str, leave_out: Callable[[Json], bool]) -> str:
    groups = yaml.safe_load(text)["groups"]
    kept = {
        group["name"]: [rule for rule in group["rules"] if not leave_out(rule)] for group in groups
    }
    return _text({name: rules for name, rules in kept.items() if rules})


def _text(groups: Mapping[str, Sequence[Json]]) -> str:
    return yaml_text({"groups": [{"name": name, "rules": [*r]} for name, r in groups.items()]})
