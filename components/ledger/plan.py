"""The second, small Prometheus that keeps what each hour carried; pure.

It federates the records of rules/ledger_records.yml, and nothing else, from every replica of each
server that scrapes sidecars. Reading takes the larger of two replicas' sums, and adds up shards
(money/ledger.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.file_text import yaml_text
from components.labels import selector
from components.prometheus.config import (
    LEDGER_APP,
    PROMETHEUS_APP,
    PROMETHEUS_PORT,
    RULE_FILES,
    SHARD_APP,
    BasicAuth,
    client_config,
)
from components.prometheus.relabel import any_of, keep
from components.prometheus.servers import OWN_LOGIN, TLS, Server
from components.tls import server_name
from money.ledger import RECORDS, day_expression, day_record
from settings.prometheus import OwnPrometheus
from settings.stack import StackSettings
from settings.values.quantities import format_duration

Json = dict[str, Any]

SCRAPE_SECONDS = 15 * 60
"""An hour's sums can be had for an hour: four times. Scraped more often they would fill the volume,
and take longer to read, without being any newer."""

FLAGS = (
    # How long a sample is seen. The default of 5 minutes would hide it from Grafana and from the
    # alert LedgerStale until the next scrape.
    "--query.lookback-delta=20m",
)

FULL = 0.8
"""Of the volume: compaction needs room beside the blocks, and a full disk stops Prometheus."""


@dataclass(frozen=True, kw_only=True)
class LedgerPlan:
    """The server, and what it runs with."""

    server: Server
    settings: OwnPrometheus
    """Those of the stack's Prometheus, with the ledger's own volume and resources."""


def ledger_plan(settings: StackSettings) -> LedgerPlan | None:
    """Return the ledger of a stack; None where it has none, or a store of its own."""
    prometheus, ledger = settings.prometheus, settings.ledger
    if not settings.runs_ledger or not isinstance(prometheus, OwnPrometheus):
        return None
    config = ledger_config(
        settings,
        sources_of(prometheus),
        auth=OWN_LOGIN,
        tls_folder=TLS if settings.monitoring.tls else None,
    )
    own: Json = {
        "replicas": 1,
        "storage": ledger.storage,
        "resources": ledger.resources,
        "backup": None,
        "restore_from": None,
        "thanos": None,
    }
    server = Server(
        name=LEDGER_APP,
        app=selector(LEDGER_APP),
        config=yaml_text(config),
        rules={"days.yml": yaml_text(day_rules())},
    )
    return LedgerPlan(server=server, settings=prometheus.model_copy(update=own))


def sources_of(prometheus: OwnPrometheus) -> tuple[str, ...]:
    """Return the address of each replica of each server that scrapes sidecars.

    Not of the Service: behind it answers now this replica, now that.
    """
    shards = [f"{SHARD_APP}-{number}" for number in prometheus.shard_numbers]
    return tuple(
        f"{server}-{replica}.{server_name(f'{server}-pods')}:{PROMETHEUS_PORT}"
        for server in shards or [PROMETHEUS_APP]
        for replica in range(prometheus.replicas)
    )


def ledger_config(
    settings: StackSettings,
    sources: Sequence[str],
    *,
    auth: BasicAuth | None = None,
    tls_folder: str | None = None,
    scrape_interval: str = format_duration(SCRAPE_SECONDS),
) -> Json:
    """Return prometheus.yml of the ledger as plain values.

    Args:
        sources: "host:port" of each Prometheus that records hours.
        auth: their login.
        tls_folder: where the CA of the servers in `monitoring` is; None if they speak plain HTTP.
        scrape_interval: a test's own.
    """
    size = int(FULL * settings.ledger.storage)
    return {
        "global": {
            "scrape_interval": scrape_interval,
            "external_labels": {"cluster": settings.cluster},
        },
        "rule_files": [*RULE_FILES],
        "scrape_configs": [
            {
                "job_name": "hours",
                "metrics_path": "/federate",
                "params": {"match[]": [f'{{__name__=~"{any_of(RECORDS)}"}}']},
                # Labels are the record's own. Its time is that of its evaluation.
                "honor_labels": True,
                "static_configs": [{"targets": [*sources]}],
                "metric_relabel_configs": [
                    keep("__name__", any_of(RECORDS)),
                    # Of this scrape: no record has one, and reading would add up what they part.
                    {"action": "labeldrop", "regex": "job|instance"},
                ],
                **client_config(auth, PROMETHEUS_APP, tls_folder),
            }
        ],
        "storage": {
            "tsdb": {
                "retention": {
                    "time": format_duration(settings.ledger.retention),
                    "size": f"{size}B",
                }
            }
        },
    }


def day_rules() -> Json:
    """Return the rule file with which the ledger adds up its days.

    A day's sum can be had for a day: four times. Evaluated more often it would be no newer.
    """
    rules = [{"record": day_record(name), "expr": day_expression(name)} for name in RECORDS]
    return {"groups": [{"name": "days", "interval": "6h", "rules": rules}]}
