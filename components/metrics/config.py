"""prometheus.yml, the same for the cluster and for one machine.

`sidecars` carries the product's numbers: everything else a sidecar exposes is dropped before it is
stored. The other jobs watch the machinery: `prometheus` (each replica scrapes all), `istiod`,
`load-generator` with the ground truth of synthetic traffic, and, where vendors are simulated,
`simulated-vendors` with their books.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.attribution.groups import CLUSTER_PREFIX
from components.attribution.stats import SCRAPED_METRICS
from components.labels import COMPONENT, selector
from settings.values import format_duration

Json = dict[str, Any]

RULE_FILES = ("/etc/prometheus/rules/*.yml",)
SIDECAR_PORT = 15090  # istio-proxy's own, outside the mesh's interception
ISTIOD_PORT = 15014
PROMETHEUS_PORT = 9090
LOAD_GENERATOR_PORT = 9464
SIMULATED_VENDOR_PORT = 9465

PROMETHEUS_APP = "prometheus"
LOAD_GENERATOR_APP = "load-generator"
SIMULATED_VENDOR_APP = "simulated-vendor"

# istiod exposes some 200 names of its runtime; these tell whether configuration arrives.
ISTIOD_METRICS = r"(pilot|sidecar_injection|galley_validation|process|istio_build).*"
SIMULATED_VENDOR_METRICS = "vendor_.+|process_start_time_seconds"

_PASSTHROUGH = "PassthroughCluster"


@dataclass(frozen=True, kw_only=True)
class StaticTargets:
    """Addresses ("127.0.0.1:15090") to scrape where there is no Kubernetes to ask."""

    sidecars: tuple[str, ...]
    prometheus: tuple[str, ...]
    istiod: tuple[str, ...] = ()
    load_generator: tuple[str, ...] = ()
    simulated_vendors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How much history is kept: whichever bound is reached first."""

    seconds: int
    size_bytes: int


def prometheus_config(
    *,
    cluster: str,
    scrape_interval_seconds: int,
    crawler_namespaces: Sequence[str],
    monitoring_namespace: str,
    istio_namespace: str,
    simulated_vendors_namespace: str | None = None,
    targets: StaticTargets | None = None,
    rule_files: Sequence[str] = RULE_FILES,
    retention: Retention | None = None,
) -> Json:
    """Return prometheus.yml as plain values.

    Args:
        simulated_vendors_namespace: None where no vendor is simulated.
        targets: scrape these instead of asking Kubernetes; nothing else differs.
        retention: None keeps Prometheus's default of 15 days.
    """
    interval = format_duration(scrape_interval_seconds)

    def job(
        name: str,
        namespaces: Sequence[str],
        addresses: Sequence[str] | None,
        keep: list[Json],
        **more: Any,
    ) -> Json:
        if addresses is None:
            found: Json = {
                "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [*namespaces]}}],
                "relabel_configs": [*keep, *_pod_labels()],
            }
        else:
            found = {
                "static_configs": [
                    {"targets": [address], "labels": {"namespace": namespaces[0], "pod": address}}
                    for address in addresses
                ]
            }
        return {
            "job_name": name,
            # Envoy's answer once had no version in its type, which Prometheus 3 refuses.
            "fallback_scrape_protocol": "PrometheusText0.0.4",
            **found,
            **more,
        }

    return {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": format_duration(min(10, scrape_interval_seconds)),
            "evaluation_interval": interval,
            "external_labels": {"cluster": cluster, "prometheus_replica": "${POD_NAME}"},
        },
        "rule_files": [*rule_files],
        "scrape_configs": [
            job(
                "sidecars",
                crawler_namespaces,
                targets.sidecars if targets else None,
                _keep_container("istio-proxy", SIDECAR_PORT),
                metrics_path="/stats/prometheus",
                metric_relabel_configs=sidecar_metric_relabel(),
            ),
            job(
                "prometheus",
                [monitoring_namespace],
                targets.prometheus if targets else None,
                _keep_labelled(selector(PROMETHEUS_APP), PROMETHEUS_PORT),
            ),
            job(
                "istiod",
                [istio_namespace],
                targets.istiod if targets else None,
                _keep_container("discovery", ISTIOD_PORT),
                metric_relabel_configs=[
                    {"action": "keep", "source_labels": ["__name__"], "regex": ISTIOD_METRICS}
                ],
            ),
            job(
                "load-generator",
                crawler_namespaces,
                targets.load_generator if targets else None,
                _keep_labelled({COMPONENT: LOAD_GENERATOR_APP}, LOAD_GENERATOR_PORT),
            ),
            *(
                [
                    job(
                        "simulated-vendors",
                        [simulated_vendors_namespace],
                        targets.simulated_vendors if targets else None,
                        _keep_labelled(selector(SIMULATED_VENDOR_APP), SIMULATED_VENDOR_PORT),
                        metric_relabel_configs=[_keep("__name__", SIMULATED_VENDOR_METRICS)],
                    )
                ]
                if simulated_vendors_namespace
                else []
            ),
        ],
        **({"storage": _storage(retention)} if retention else {}),
    }


def sidecar_metric_relabel() -> list[Json]:
    """Return the relabelling that leaves the product's series of a sidecar.

    No label is dropped: two series that differ only in it would collide, and Prometheus would
    keep one of them.
    """
    ours = rf"{CLUSTER_PREFIX}(.+)"
    cluster_metrics = _any_of(name for name in SCRAPED_METRICS if name.startswith("envoy_cluster_"))
    others = _any_of(name for name in SCRAPED_METRICS if not name.startswith("envoy_cluster_"))
    return [
        # The name alone would also keep Envoy's own cluster for istiod, xds-grpc.
        {
            "action": "keep",
            "source_labels": ["__name__", "cluster_name"],
            "regex": f"{cluster_metrics};({CLUSTER_PREFIX}.+|{_PASSTHROUGH})|{others};.*",
        },
        {
            "source_labels": ["cluster_name"],
            "regex": ours,
            "target_label": "proxy_vendor",
            "replacement": "$1",
        },
        # Istio's standard metrics of the pod's other traffic, with a label for each site it
        # called; and set-up times of unanswered requests, which are recorded as 0.
        {
            "action": "drop",
            "source_labels": ["__name__", "proxy_vendor"],
            "regex": "istio_.+;",
        },
    ]


def _any_of(names: Any) -> str:
    return f"({'|'.join(sorted(names))})"


def _storage(retention: Retention) -> Json:
    # Bytes spelt out: Prometheus's GB is 2^30, the stack file's 10^9.
    return {
        "tsdb": {
            "retention": {
                "time": format_duration(retention.seconds),
                "size": f"{retention.size_bytes}B",
            }
        }
    }


def _keep_container(container: str, port: int) -> list[Json]:
    """Keep one port of one container; native sidecars are init containers, and found alike."""
    return [_keep("__meta_kubernetes_pod_container_name", container), *_keep_running(port)]


def _keep_labelled(labels: Mapping[str, str], port: int) -> list[Json]:
    """Keep one port of the pods with these labels."""
    keep = [
        _keep(f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}", value)
        for key, value in labels.items()
    ]
    return [*keep, *_keep_running(port)]


def _keep_running(port: int) -> list[Json]:
    return [
        _keep("__meta_kubernetes_pod_container_port_number", str(port)),
        # A finished pod's address may already be another's.
        {
            "action": "drop",
            "source_labels": ["__meta_kubernetes_pod_phase"],
            "regex": "Failed|Succeeded",
        },
    ]


def _keep(label: str, value: str) -> Json:
    return {"action": "keep", "source_labels": [label], "regex": value}


def _pod_labels() -> list[Json]:
    return [
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]
