"""The rule files, and which Prometheus evaluates which.

A shard records sums over its sidecars. The server that people query has all other rules, and adds
up the sums of its shards. The Prometheus operator's Prometheus has the same rules but for those
about the stack's own Prometheus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from components.attribution.stats import SCRAPED_METRICS
from components.file_text import yaml_text
from components.labels import PROJECT
from components.prometheus.burn_rates import burn_rate_rules
from components.prometheus.native_histograms import native_histogram_rules
from components.prometheus.thresholds import threshold_rules
from settings.loading import SettingsError
from settings.stack import StackSettings

Json = dict[str, Any]
Files = dict[str, Json]
"""Rule files as plain values, by name."""

RULES = Path(__file__).parents[2] / "rules"
PRODUCT = {"product": PROJECT}
"""A label of every alert; Alertmanager delivers no alert without it (alertmanager/config.py)."""

THRESHOLDS = "thresholds.yml"
SERVER, OPERATOR, SHARD = "server", "operator", "shard"
EVALUATED_BY: dict[str, tuple[str, ...]] = {
    THRESHOLDS: (SERVER, OPERATOR, SHARD),
    "sums.yml": (SERVER, OPERATOR, SHARD),
    "native_histograms.yml": (SERVER, OPERATOR, SHARD),
    "ledger_records.yml": (SERVER, OPERATOR, SHARD),  # where hours are kept
    "vendor_records.yml": (SERVER, OPERATOR),
    "burn_rates.yml": (SERVER, OPERATOR),
    "pipeline_records.yml": (SERVER, OPERATOR),
    "vendor_alerts.yml": (SERVER, OPERATOR),
    "pipeline_alerts.yml": (SERVER, OPERATOR),
    "grafana_alerts.yml": (SERVER, OPERATOR),  # where Grafana is the stack's
    "mesh_alerts.yml": (SERVER, OPERATOR),  # not in a cluster without crawlers, ...
    "istiod_alerts.yml": (SERVER, OPERATOR),  # ... nor this, nor where istiod is not scraped
    "alertmanager_alerts.yml": (SERVER, OPERATOR),  # where Alertmanager is the stack's
    "prometheus_records.yml": (SERVER,),
    "prometheus_health_records.yml": (SERVER,),
    "prometheus_alerts.yml": (SERVER,),
    "backup_alerts.yml": (SERVER,),  # where there are backups
    "money_records.yml": (SERVER, OPERATOR),  # both where there is a ledger
    "money_alerts.yml": (SERVER, OPERATOR),
    "ledger_alerts.yml": (SERVER,),  # where this program runs the ledger
    "operator_records.yml": (OPERATOR,),
}
MADE = (THRESHOLDS, "native_histograms.yml", "burn_rates.yml")
"""Files that Python makes; the others lie in rules/."""

SHARD_PREFIX = "shard_"
"""Prefix of a shard's record where it is federated. Without it shard 0's requests and the sum of
all shards' would be two series of one name, and a query would count both."""

# No board or alert needs so many labels at once: other sums are made of them where they are
# recorded.
_PARTS = "workload_team_proxy_vendor_pool_visibility"
_NOT_FEDERATED = frozenset(
    {
        f"{_PARTS}_outcome_target:istio_requests:rate5m",
        f"{_PARTS}_result_target:istio_proxy_request_bytes:rate5m",
        f"{_PARTS}_result_target:istio_proxy_response_bytes:rate5m",
    }
)


def server_rules(settings: StackSettings, own: Mapping[str, Json] | None = None) -> dict[str, str]:
    """Return the text of each rule file, by name, for the Prometheus that people query.

    Args:
        own: the files of `alerts.ruleFiles`, read and checked (own_rules.py).

    Raises:
        SettingsError: a file in rules/ is not shipped, or a rule of `own` selects sidecars where
            no server has all of them.
    """
    shards, role = settings.prometheus.shards, settings.prometheus.role
    if shards > 1 or role == "global":
        refuse_rules_on_sidecars(own or {})
    files = _chosen(settings, SERVER)
    if shards > 1:
        # The shards record their parts of an hour; together with the whole it would be kept twice.
        files.pop("ledger_records.yml", None)
        files = {"shards.yml": sums_of_shards(), **files}
    return _texts({**files, **(own or {})})


def operator_rules(
    settings: StackSettings, own: Mapping[str, Json] | None = None
) -> dict[str, str]:
    """Return the same for a Prometheus that is not the stack's: it has other jobs and rules too."""
    return _texts({**_chosen(settings, OPERATOR), **(own or {})})


def shard_rules(settings: StackSettings) -> dict[str, str]:
    """Return the same for a shard."""
    return _texts(_chosen(settings, SHARD))


def _chosen(settings: StackSettings, server: str) -> Files:
    left_out = {
        *(() if settings.has_crawlers else ("mesh_alerts.yml", "istiod_alerts.yml")),
        *(() if settings.scrapes_istiod else ("istiod_alerts.yml",)),
        *(() if settings.runs_alertmanager else ("alertmanager_alerts.yml",)),
        *(() if settings.runs_grafana else ("grafana_alerts.yml",)),
        *(() if settings.prometheus.backup else ("backup_alerts.yml",)),
        *(() if settings.records_hours else ("money_records.yml", "money_alerts.yml")),
        *(() if settings.records_hours else ("ledger_records.yml",)),
        *(() if settings.runs_ledger else ("ledger_alerts.yml",)),
    }
    return {
        name: file
        for name, file in shipped_rules(settings).items()
        if server in EVALUATED_BY[name] and name not in left_out
    }


def shipped_rules(settings: StackSettings) -> Files:
    """Return every rule file of a stack but its own ones, in the order of EVALUATED_BY.

    Raises:
        SettingsError: there is a file in rules/ that is not named in EVALUATED_BY.
    """
    made = {THRESHOLDS: threshold_rules(settings), "burn_rates.yml": burn_rate_rules()}
    if settings.telemetry.native_histograms:
        buckets = settings.telemetry.buckets
        made["native_histograms.yml"] = native_histogram_rules(buckets)
    files = {**read_rules(), **made}
    base = settings.alerts.runbook_url
    return {
        name: with_product(files[name], runbook_url=base) for name in EVALUATED_BY if name in files
    }


def with_product(file: Json, *, runbook_url: str | None = None) -> Json:
    """Return a rule file whose alerts have the label `product` and their runbook's address."""

    def completed(rule: Json) -> Json:
        if "alert" not in rule:
            return rule
        notes = dict(rule.get("annotations") or {})
        if runbook_url is not None:
            notes["runbook_url"] = f"{runbook_url}{rule['alert']}.md"
        labels = {**(rule.get("labels") or {}), **PRODUCT}
        return {**rule, "labels": labels, **({"annotations": notes} if notes else {})}

    groups = [
        {**group, "rules": [completed(rule) for rule in group["rules"]]} for group in file["groups"]
    ]
    return {**file, "groups": groups}


def federated_sums() -> tuple[str, ...]:
    """Return the records that one Prometheus takes from another: from a shard, to add them up."""
    names = {rule["record"] for rule in rules_of(read_rules()["sums.yml"])}
    return tuple(sorted(names - _NOT_FEDERATED))


def federated_from_clusters() -> tuple[str, ...]:
    """Return the records that are taken from another cluster, its limits among them."""
    samples = {rule["record"] for rule in rules_of(read_rules()["prometheus_records.yml"])}
    return (
        *sorted({*federated_sums(), *samples}),
        ".+:threshold",
        ".+:slo:ratio",
        ".+:info",
    )


def sums_of_shards() -> Json:
    """Return the rule file that adds up the shards' records under their own names."""
    rules = [
        {"record": name, "expr": f"sum without (shard) ({SHARD_PREFIX}{name})"}
        for name in federated_sums()
    ]
    return {"groups": [{"name": "shards", "rules": rules}]}


def refuse_rules_on_sidecars(own: Mapping[str, Json]) -> None:
    """Refuse rules of `alerts.ruleFiles` that select series which only shards or leaves have."""
    names = {*SCRAPED_METRICS, *_NOT_FEDERATED}
    findings = []
    for file, document in own.items():
        for rule in rules_of(document):
            selected = names & set(re.findall(r"[\w:]+", rule["expr"]))
            # However it is quoted, and with `=~` too.
            if re.search(r"""\bjob\s*=~?\s*["'`][^"'`]*sidecars""", rule["expr"]):
                selected.add('job="sidecars"')
            if "__name__" in rule["expr"]:
                selected.add("__name__")
            if selected:
                findings.append(
                    f"alerts.ruleFiles[{file.split('-')[1]}]: "
                    f"{rule.get('alert') or rule['record']!r} selects "
                    f"{', '.join(sorted(selected))}, and this Prometheus has no series of sidecars "
                    "(prometheus.shards or prometheus.role); select a record of rules/sums.yml"
                )
    if findings:
        raise SettingsError(findings)


def rules_of(file: Json) -> Iterator[Json]:
    """Yield the rules of a file, in its order."""
    for group in file["groups"]:
        yield from group["rules"]


@cache
def read_rules() -> Files:
    """Read the files in rules/."""
    paths = {path.name: path for path in sorted(RULES.glob("*.y*ml"))}
    if strange := paths.keys() - EVALUATED_BY.keys():
        raise SettingsError(
            [
                f"rules/{name}: is no file of this project; put it in another folder and name it "
                "under alerts.ruleFiles"
                for name in sorted(strange)
            ]
        )
    return {
        name: yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        for name, path in paths.items()
    }


def _texts(files: Mapping[str, Json]) -> dict[str, str]:
    return {name: yaml_text(file, compact=name == THRESHOLDS) for name, file in files.items()}
