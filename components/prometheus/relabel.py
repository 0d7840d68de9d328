"""What Prometheus keeps of a sidecar's series, and whose they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from components.attribution.groups import CLUSTER_PREFIX, DESTINATION_PREFIX
from components.attribution.stats import (
    BLACK_HOLE,
    BLACK_HOLED,
    OUTSIDE_CLUSTERS,
    SCRAPED_METRICS,
    SETUP_METRIC,
    TCP_BYTES,
)
from components.prometheus.workloads import WORKLOAD, pod_label, workload_relabel
from settings.catalogue import OUTSIDE
from settings.crawlers import Crawlers
from settings.destinations import listed_names
from settings.stack import StackSettings

Json = dict[str, Any]

OTHER_TEAM = "other"
"""Of pods without `crawlers.teamLabel`, or with a value that `crawlers.teams` has not."""
HOST_LABEL = "proxy_host"
"""Of connections outside every range alone: the name by which the crawler reached its vendor."""


def host_names(settings: StackSettings) -> list[str]:
    """Return every name of the stack that has a listener of Istio's own in the sidecars."""
    return [host.name for host, _ in listed_names(settings.vendors, settings.destinations)]


def sidecar_metric_relabel(histogram_sampling: int = 1, names: Sequence[str] = ()) -> list[Json]:
    """Return the relabelling that leaves the product's series of a sidecar.

    Args:
        histogram_sampling: of so many sidecars one's set-up times are left.
        names: gateways that crawlers reach by name. Istio's own cluster of one carries what our
            chains do not take (docs/runbooks/ProxyNameUnattributed.md).

    One label of Envoy's is dropped, which all series of a sidecar have alike. Of series that
    differ only in a dropped one, Prometheus would keep one.
    """
    outside = any_of(OUTSIDE_CLUSTERS)
    black_holed = f"envoy_cluster_{BLACK_HOLED};{BLACK_HOLE}"
    cluster_metrics = any_of(name for name in SCRAPED_METRICS if name.startswith("envoy_cluster_"))
    own_names = (name for name in SCRAPED_METRICS if not name.startswith("envoy_cluster_"))
    others = any_of((*own_names, *TCP_BYTES))
    own = f"({CLUSTER_PREFIX}|{DESTINATION_PREFIX})"
    unattributed = r"outbound\|[0-9]+\|\|" + any_of(name.replace(".", r"\.") for name in names)
    kept = [
        f"{cluster_metrics};({own}.+|{outside})",
        black_holed,
        *([f"envoy_cluster_upstream_cx_total;{unattributed}"] if names else ()),
        f"{others};.*",
    ]
    return [
        # Where a target has the label too, Prometheus renames the series' own.
        {"action": "labeldrop", "regex": f"exported_{WORKLOAD}"},
        # The name alone would also keep Envoy's own cluster for istiod, xds-grpc.
        {
            "action": "keep",
            "source_labels": ["__name__", "cluster_name"],
            "regex": "|".join(kept),
        },
        # So rules count what Envoy closed there among the connections outside every range.
        {
            "source_labels": ["__name__", "cluster_name"],
            "regex": black_holed,
            "target_label": "__name__",
            "replacement": "envoy_cluster_upstream_cx_total",
        },
        # Bytes have one name, whatever could be read of them.
        *(
            {
                "source_labels": ["__name__"],
                "regex": name,
                "target_label": "__name__",
                "replacement": stored,
            }
            for name, stored in TCP_BYTES.items()
        ),
        {
            "source_labels": ["cluster_name"],
            "regex": f"{own}(.+)",
            "target_label": "proxy_vendor",
            "replacement": "$2",
        },
        *(
            [{"source_labels": ["cluster_name"], "regex": unattributed, "target_label": HOST_LABEL}]
            if names
            else ()
        ),
        {
            "source_labels": ["cluster_name"],
            "regex": "|".join([outside, BLACK_HOLE, *([unattributed] if names else ())]),
            "target_label": "proxy_vendor",
            "replacement": OUTSIDE,
        },
        # Istio's standard metrics of the pod's other traffic, with a label for each site it
        # called; and set-up times of unanswered requests, which are recorded as 0.
        {
            "action": "drop",
            "source_labels": ["__name__", "proxy_vendor"],
            "regex": "istio_.+;",
        },
        *(_sampled(histogram_sampling) if histogram_sampling > 1 else ()),
    ]


def _sampled(one_in: int) -> list[Json]:
    """Return the relabelling that leaves the set-up times of one sidecar in so many.

    Metrics are relabelled, not targets, since a target's own `__` labels do not reach its metrics.
    The hash is of the pod's name, so that every scrape and every replica chooses the same pods.
    """
    part = "__tmp_part"
    return [
        {
            "action": "hashmod",
            "source_labels": ["namespace", "pod"],
            "modulus": one_in,
            "target_label": part,
        },
        {
            "action": "drop",
            "source_labels": ["__name__", part],
            "regex": f"istio_{SETUP_METRIC}(_bucket)?;[1-9][0-9]*",
        },
        # Without it, Prometheus would store this label with every series.
        {"action": "labeldrop", "regex": part},
    ]


def crawler_relabel(crawlers: Crawlers) -> list[Json]:
    """Return the relabelling of targets that names the team and the workload of each pod."""
    return [*_team(crawlers), *workload_relabel(crawlers.workload_label, WORKLOAD)]


def _team(crawlers: Crawlers) -> list[Json]:
    if not crawlers.team_label:
        return [{"source_labels": ["__meta_kubernetes_namespace"], "target_label": "team"}]
    named = any_of(map(re.escape, crawlers.teams)) if crawlers.teams else "(.+)"
    return [
        {"target_label": "team", "replacement": OTHER_TEAM},
        {
            "source_labels": [pod_label(crawlers.team_label)],
            "regex": named,
            "target_label": "team",
        },
    ]


def keep(label: str, regex: str) -> Json:
    return {"action": "keep", "source_labels": [label], "regex": regex}


def any_of(names: Iterable[str]) -> str:
    """Return the regular expression that matches any of the names, sorted."""
    return f"({'|'.join(sorted(names))})"
