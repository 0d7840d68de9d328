"""Several servers of one cluster, or of several clusters: who scrapes what, and where they meet.

A *shard* scrapes its part of the sidecars and records sums. The server where all meet scrapes
everything else, asks each shard and each other cluster for its records (`/federate`), and has the
rules, alerts and boards. Prometheus' configuration for either is made from the one of a single
server (config.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from components.prometheus.config import BasicAuth, any_of, http_config
from components.prometheus.rule_files import FEDERATED, LEVELS

Json = dict[str, Any]

JOB = "federation"
SIDECARS = "sidecars"
OF_CRAWLERS = (SIDECARS, "istiod", "load-generator", "simulated-vendors", "cadvisor")
"""Jobs that a cluster without crawlers has no targets for."""
TMP_LABEL = "__tmp_shard"

MATCH = f'{{__name__=~"({"|".join(LEVELS)}):.*"}}'


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of the servers that share a cluster's sidecars; numbers begin at 0."""

    number: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """A server whose records are taken.

    A shard has the label `shard` and this server's cluster; another cluster's has `cluster`.
    `url` is what `/federate` is added to.
    """

    url: str
    auth: BasicAuth | None
    shard: int | None = None
    cluster: str | None = None


def as_shard(config: Json, shard: Shard) -> Json:
    """Return a single server's configuration as a shard's: its sidecars, and nobody to tell."""
    external = config["global"]["external_labels"]
    return {
        "global": {
            **config["global"],
            "external_labels": {**external, "shard": str(shard.number)},
        },
        **{key: value for key, value in config.items() if key not in ("global", "alerting")},
        "scrape_configs": [
            _part_of(job, shard) for job in config["scrape_configs"] if job["job_name"] == SIDECARS
        ],
    }


def as_meeting(
    config: Json, sources: Sequence[Source], records: Sequence[str], *, crawlers_here: bool = True
) -> Json:
    """Return a single server's configuration as that of the server where its sources meet.

    Args:
        sources: with shards among them, it scrapes no sidecar itself.
        records: the names that are added up here (rule_files.py).
        crawlers_here: whether this cluster has any; else the machinery alone is scraped.
    """
    sharded = any(source.shard is not None for source in sources)
    left_out = (() if crawlers_here else OF_CRAWLERS) + ((SIDECARS,) if sharded else ())
    kept = [job for job in config["scrape_configs"] if job["job_name"] not in left_out]
    return {
        **config,
        "scrape_configs": [*kept, *(_federation(source, records) for source in sources)],
    }


def _part_of(job: Json, shard: Shard) -> Json:
    # A pod's uid: its address may be another pod's in a minute, and the name of a StatefulSet's pod
    # stays, but then both hash alike.
    label = "__address__" if "static_configs" in job else "__meta_kubernetes_pod_uid"
    return {
        **job,
        "relabel_configs": [
            *job.get("relabel_configs", ()),
            {
                "action": "hashmod",
                "source_labels": [label],
                "modulus": shard.of,
                "target_label": TMP_LABEL,
            },
            {"action": "keep", "source_labels": [TMP_LABEL], "regex": str(shard.number)},
        ],
    }


def _federation(source: Source, records: Sequence[str]) -> Json:
    url = urlsplit(source.url)
    own = source.cluster is None
    labels = {"shard": str(source.shard)} if own else {"cluster": source.cluster}
    return {
        "job_name": f"{JOB}-shard-{source.shard}" if own else f"{JOB}-cluster-{source.cluster}",
        "scheme": url.scheme,
        "metrics_path": f"{url.path.rstrip('/')}/federate",
        "params": {"match[]": [MATCH]},
        # The labels are what the source says of its records, not what it is scraped as.
        "honor_labels": True,
        # A record has the time of its evaluation, and what has a time of its own stays for 5
        # minutes once the source no longer records it. Of a shard it ends at the next scrape, or
        # it would be added up as long; of a cluster not, or one scrape in vain would end all of
        # its alerts.
        "honor_timestamps": True,
        "track_timestamps_staleness": own,
        # One job, whoever is asked; its name must be the only one of its kind.
        "static_configs": [{"targets": [url.netloc], "labels": {"job": JOB, **labels}}],
        "metric_relabel_configs": _taken(source, records),
        **http_config(source.auth),
    }


def _taken(source: Source, records: Sequence[str]) -> list[Json]:
    """Keep what is added up here, under its passing name."""
    if source.cluster is None:
        # The own cluster: its records have no `cluster` here, as without shards; limits are here.
        own_labels = "prometheus_replica|cluster"
        kept = [
            {"action": "keep", "source_labels": ["__name__"], "regex": any_of(records)},
        ]
    else:
        own_labels = "prometheus_replica"
        kept = [
            # A server of another name than it is asked under, or what it has of third ones.
            {
                "action": "keep",
                "source_labels": ["cluster"],
                "regex": re.escape(source.cluster),
            },
            # Its limits too: they are its own stack file's, and are compared as they are.
            {
                "action": "keep",
                "source_labels": ["__name__"],
                "regex": any_of([*records, ".+:threshold", ".+:slo:ratio"]),
            },
        ]
    return [
        *kept,
        # Of the two replicas one is asked, now this one, now that: it is one series.
        {"action": "labeldrop", "regex": own_labels},
        # The scrape's own label, which a record does not have, except those of level `job`.
        {
            "source_labels": ["__name__", "job"],
            "regex": f"(?:proxy_vendor|workload_proxy_vendor|cluster).*;{JOB}",
            "target_label": "job",
            "replacement": "",
        },
        {
            "source_labels": ["__name__"],
            "regex": any_of(records),
            "target_label": "__name__",
            "replacement": f"{FEDERATED}$1",
        },
    ]
