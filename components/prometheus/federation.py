"""Several servers of one cluster, or of several clusters: which of them scrapes what.

A *shard* scrapes its part of the sidecars and records sums. The server that people query scrapes
everything else, and asks each shard and each other cluster for its sums (`/federate`). The
configuration of either is made from that of a single server (config.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from components.prometheus.config import BasicAuth, http_config
from components.prometheus.relabel import any_of, keep
from components.prometheus.rules import SHARD_PREFIX, federated_from_clusters, federated_sums
from components.tls import Tls

Json = dict[str, Any]

JOB = "federation"
SIDECARS = "sidecars"
CRAWLER_JOBS = (
    *(SIDECARS, "istiod", "load-generator", "simulated-vendors", "cadvisor"),
    "crawlers-unseen",
)
"""Jobs that a cluster without crawlers has no targets for."""
TMP_LABEL = "__tmp_shard"

LEVELS = (
    *(
        "proxy_vendor",
        "proxy_vendor_outcome",
        "proxy_vendor_le",
        "workload_proxy_vendor",
        "cluster",
    ),
    # Beyond the architecture document's: boards, ProxyVendorBanned and ProxyNameUnattributed read
    # them, and TargetsMissing `job`, which tells how many sidecars a shard has.
    *("proxy_vendor_visibility", "proxy_vendor_pool", "proxy_vendor_target", "proxy_host", "job"),
    *("team_proxy_vendor", "proxy_vendor_pool_outcome", "workload_proxy_vendor_outcome"),
    "proxy_vendor_result",
    # What costs are computed from.
    *("team_proxy_vendor_pool_outcome_target", "team_proxy_vendor_pool_result_target"),
)
MATCH = f'{{__name__=~"({"|".join(LEVELS)}):.*"}}'


@dataclass(frozen=True, kw_only=True)
class Source:
    """A server whose records are taken: a shard by its number, or another cluster by its name.

    `url` is what `/federate` is added to.
    """

    url: str
    auth: BasicAuth | None
    tls: Tls | None = None
    """None for plain HTTP, and where the machine's CAs know the server."""
    shard: int | None = None
    cluster: str | None = None


def shard_config(config: Json, shard: int, shards: int) -> Json:
    """Return the configuration of a shard, counted from 0.

    It scrapes its sidecars and has no Alertmanager.
    """
    external = config["global"]["external_labels"]
    return {
        "global": {
            **config["global"],
            "external_labels": {**external, "shard": str(shard)},
        },
        **{key: value for key, value in config.items() if key not in ("global", "alerting")},
        "scrape_configs": [
            _part(job, shard, shards)
            for job in config["scrape_configs"]
            if job["job_name"] == SIDECARS
        ],
    }


def server_config(config: Json, sources: Sequence[Source], *, crawlers_here: bool = True) -> Json:
    """Return the configuration of the server that takes records from these sources.

    Args:
        sources: if there are shards among them, it scrapes no sidecar itself.
        crawlers_here: whether this cluster has crawlers; else only monitoring is scraped.
    """
    sharded = any(source.shard is not None for source in sources)
    left_out = (() if crawlers_here else CRAWLER_JOBS) + ((SIDECARS,) if sharded else ())
    kept = [job for job in config["scrape_configs"] if job["job_name"] not in left_out]
    if sharded:
        # The shards send their parts of an hour; together with the whole it would be there twice.
        config = {key: value for key, value in config.items() if key != "remote_write"}
    cluster = config["global"]["external_labels"]["cluster"]
    return {
        **config,
        "scrape_configs": [*kept, *(_federation(source, cluster) for source in sources)],
    }


def _part(job: Json, shard: int, shards: int) -> Json:
    # A pod's uid: its address may be another pod's in a minute. The name of a StatefulSet's pod
    # stays, but would hash to one shard for good.
    label = "__address__" if "static_configs" in job else "__meta_kubernetes_pod_uid"
    return {
        **job,
        "relabel_configs": [
            *job.get("relabel_configs", ()),
            {
                "action": "hashmod",
                "source_labels": [label],
                "modulus": shards,
                "target_label": TMP_LABEL,
            },
            {"action": "keep", "source_labels": [TMP_LABEL], "regex": str(shard)},
        ],
    }


def _federation(source: Source, own_cluster: str) -> Json:
    url = urlsplit(source.url)
    labels = {"job": JOB, "cluster": source.cluster or own_cluster}
    if source.cluster is None:
        name, labels = f"{JOB}-shard-{source.shard}", {**labels, "shard": str(source.shard)}
        records = federated_sums()
        prefixed = {
            "source_labels": ["__name__"],
            "regex": any_of(records),
            "target_label": "__name__",
            "replacement": f"{SHARD_PREFIX}$1",
        }
        renamed = [prefixed]
    else:
        name, records, renamed = f"{JOB}-cluster-{source.cluster}", federated_from_clusters(), []
    return {
        "job_name": name,
        "scheme": url.scheme,
        "metrics_path": f"{url.path.rstrip('/')}/federate",
        "params": {"match[]": [MATCH]},
        # Labels are the record's own, not those of this scrape.
        "honor_labels": True,
        # A record has the time of its evaluation, and a sample with a time of its own stays for 5
        # minutes after the source stops recording it. A shard's must end at the next scrape, or it
        # would be added up as long; a cluster's must not, or one failed scrape would end all of
        # its alerts.
        "honor_timestamps": True,
        "track_timestamps_staleness": source.cluster is None,
        # The same `job` for every source; `job_name` must be unique.
        "static_configs": [{"targets": [url.netloc], "labels": labels}],
        "metric_relabel_configs": [
            # A server that is not the one its address was given for, and what that one federates.
            keep("cluster", re.escape(labels["cluster"])),
            keep("__name__", any_of(records)),
            # One of two replicas answers, now this one, now that: both are one series.
            {"action": "labeldrop", "regex": "prometheus_replica"},
            # The scrape's own `job`, which no record has but those of level `job`.
            {
                "source_labels": ["__name__", "job"],
                "regex": f"(?:proxy_host|(?:workload_|team_)?proxy_vendor|cluster).*;{JOB}",
                "target_label": "job",
                "replacement": "",
            },
            *renamed,
        ],
        **http_config(source.auth, source.tls),
    }
