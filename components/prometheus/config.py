"""prometheus.yml, the same for the cluster and for one machine.

`sidecars` carries the product's numbers: everything else a sidecar exposes is dropped before it is
stored. The other jobs watch the machinery: `prometheus` (each replica scrapes all), `istiod`,
`alertmanager`, `grafana`, the nodes' `kubelet` (volumes) and `cadvisor` (what sidecars use),
`load-generator` with the ground truth of synthetic traffic, and, where vendors are simulated,
`simulated-vendors` with their books.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.attribution.groups import CLUSTER_PREFIX
from components.attribution.stats import SCRAPED_METRICS, SETUP_METRIC
from components.labels import COMPONENT, pods_of, selector
from settings.values import format_duration

Json = dict[str, Any]

RULE_FILES = ("/etc/prometheus/rules/*.yml",)
SIDECAR_PORT = 15090  # istio-proxy's own, outside the mesh's interception
ISTIOD_PORT = 15014
PROMETHEUS_PORT = 9090
LOAD_GENERATOR_PORT = 9464
SIMULATED_VENDOR_PORT = 9465

ALERTMANAGER_PORT = 9093
GRAFANA_PORT = 3000

PROMETHEUS_APP = "prometheus"
SHARD_APP = "prometheus-shard"  # federation.py
ALERTMANAGER_APP = "alertmanager"
GRAFANA_APP = "grafana"
LOAD_GENERATOR_APP = "load-generator"
SIMULATED_VENDOR_APP = "simulated-vendor"

SIMULATED_VENDOR_METRICS = "vendor_.+|process_start_time_seconds"

# Of the others, what rules, boards, runbooks and the audit read, and no more
# (tests/rules/test_scraped.py). Prometheus alone has 170 names.
PROMETHEUS_METRICS = (
    "prometheus_config_last_reload_successful",
    "prometheus_http_request_duration_seconds_bucket",
    "prometheus_notifications_alertmanagers_discovered",
    "prometheus_notifications_errors_total",
    "prometheus_rule_evaluation_failures_total",
    "prometheus_rule_group_interval_seconds",
    "prometheus_rule_group_last_duration_seconds",
    "prometheus_tsdb_head_samples_appended_total",
    "prometheus_tsdb_head_series",
    "prometheus_tsdb_retention_limit_bytes",
    "prometheus_tsdb_storage_blocks_bytes",
    "prometheus_tsdb_wal_storage_size_bytes",
)
ALERTMANAGER_METRICS = (
    "alertmanager_config_last_reload_successful",
    "alertmanager_notifications_failed_total",
    "alertmanager_notifications_total",
)
ISTIOD_METRICS = ("pilot_total_xds_rejects",)
# Sources of the names, where no binary was at hand to ask:
# grafana/grafana, pkg/infra/httpclient/httpclientprovider/datasource_metrics_middleware.go
GRAFANA_METRICS = ("grafana_datasource_request_total",)
# google/cadvisor, docs/storage/prometheus.md
CADVISOR_METRICS = (
    "container_cpu_usage_seconds_total",
    "container_memory_working_set_bytes",
    "container_spec_cpu_period",
    "container_spec_cpu_quota",
    "container_spec_memory_limit_bytes",
)
# kubernetes/kubernetes, pkg/kubelet/metrics/metrics.go
KUBELET_METRICS = (
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
)

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

_PASSTHROUGH = "PassthroughCluster"


@dataclass(frozen=True, kw_only=True)
class StaticTargets:
    """Addresses ("127.0.0.1:15090") to scrape where there is no Kubernetes to ask."""

    sidecars: tuple[str, ...]
    prometheus: tuple[str, ...]
    istiod: tuple[str, ...] = ()
    load_generator: tuple[str, ...] = ()
    simulated_vendors: tuple[str, ...] = ()
    alertmanager: tuple[str, ...] = ()
    grafana: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BasicAuth:
    """How a server is logged in at: the password is read from a file, anew for each request."""

    username: str
    password_file: str


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
    prometheus_auth: BasicAuth | None = None,
    alertmanager_auth: BasicAuth | None = None,
    node_metrics: bool = False,
    native_histograms: bool = False,
    histograms_from_one_in: int = 1,
) -> Json:
    """Return prometheus.yml as plain values.

    Args:
        simulated_vendors_namespace: None where no vendor is simulated.
        targets: scrape these instead of asking Kubernetes; nothing else differs.
        retention: None keeps Prometheus's default of 15 days.
        prometheus_auth: what this Prometheus itself, and its other replica, ask for.
        alertmanager_auth: what Alertmanager asks for.
        node_metrics: ask the kubelets too; only Kubernetes knows where they are.
        native_histograms: store the set-up times so.
        histograms_from_one_in: store them of one sidecar in so many.
    """
    interval = format_duration(scrape_interval_seconds)

    def job(
        name: str,
        namespaces: Sequence[str],
        addresses: Sequence[str] | None,
        keep: list[Json],
        **more: Any,
    ) -> Json:
        return {
            "job_name": name,
            # Envoy's answer once had no version in its type, which Prometheus 3 refuses.
            "fallback_scrape_protocol": "PrometheusText0.0.4",
            **_found(namespaces, addresses, keep),
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
        "alerting": {
            # Else both replicas' alerts would be two.
            "alert_relabel_configs": [{"action": "labeldrop", "regex": "prometheus_replica"}],
            "alertmanagers": [
                {
                    **_found(
                        [monitoring_namespace],
                        targets.alertmanager if targets else None,
                        _keep_labelled(pods_of(ALERTMANAGER_APP), ALERTMANAGER_PORT),
                    ),
                    **http_config(alertmanager_auth),
                }
            ],
        },
        "scrape_configs": [
            job(
                "sidecars",
                crawler_namespaces,
                targets.sidecars if targets else None,
                _keep_container("istio-proxy", SIDECAR_PORT),
                metrics_path="/stats/prometheus",
                metric_relabel_configs=sidecar_metric_relabel(histograms_from_one_in),
                **({"convert_classic_histograms_to_nhcb": True} if native_histograms else {}),
            ),
            job(
                "prometheus",
                [monitoring_namespace],
                targets.prometheus if targets else None,
                _keep_labelled(
                    {**pods_of(PROMETHEUS_APP), **selector(f"{PROMETHEUS_APP}|{SHARD_APP}")},
                    PROMETHEUS_PORT,
                ),
                metric_relabel_configs=[_keep("__name__", any_of(PROMETHEUS_METRICS))],
                **http_config(prometheus_auth),
            ),
            job(
                "istiod",
                [istio_namespace],
                targets.istiod if targets else None,
                _keep_container("discovery", ISTIOD_PORT),
                metric_relabel_configs=[_keep("__name__", any_of(ISTIOD_METRICS))],
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
            job(
                "alertmanager",
                [monitoring_namespace],
                targets.alertmanager if targets else None,
                _keep_labelled(pods_of(ALERTMANAGER_APP), ALERTMANAGER_PORT),
                metric_relabel_configs=[_keep("__name__", any_of(ALERTMANAGER_METRICS))],
                **http_config(alertmanager_auth),
            ),
            job(
                "grafana",
                [monitoring_namespace],
                targets.grafana if targets else None,
                _keep_labelled(pods_of(GRAFANA_APP), GRAFANA_PORT),
                metric_relabel_configs=[_keep("__name__", any_of(GRAFANA_METRICS))],
            ),
            *(_node_jobs(crawler_namespaces, monitoring_namespace) if node_metrics else ()),
        ],
        **({"storage": _storage(retention)} if retention else {}),
    }


def sidecar_metric_relabel(histograms_from_one_in: int = 1) -> list[Json]:
    """Return the relabelling that leaves the product's series of a sidecar.

    No label of Envoy's is dropped: two series that differ only in it would collide, and
    Prometheus would keep one of them.
    """
    ours = rf"{CLUSTER_PREFIX}(.+)"
    cluster_metrics = any_of(name for name in SCRAPED_METRICS if name.startswith("envoy_cluster_"))
    others = any_of(name for name in SCRAPED_METRICS if not name.startswith("envoy_cluster_"))
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
        *(_sampled(histograms_from_one_in) if histograms_from_one_in > 1 else ()),
    ]


def _sampled(one_in: int) -> list[Json]:
    """Return the relabelling that leaves the set-up times of one sidecar in so many.

    Where metrics are relabelled, not where targets are: a target's own `__` labels end there. By
    the pod's name, so that it is the same pods at every scrape and in every replica.
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
        # Else it would be stored with every series.
        {"action": "labeldrop", "regex": part},
    ]


def _found(namespaces: Sequence[str], addresses: Sequence[str] | None, keep: list[Json]) -> Json:
    """Return how targets are found: asked of Kubernetes, or as they are."""
    if addresses is None:
        return {
            "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [*namespaces]}}],
            "relabel_configs": [*keep, *_pod_labels()],
        }
    return {
        "static_configs": [
            {"targets": [address], "labels": {"namespace": namespaces[0], "pod": address}}
            for address in addresses
        ]
    }


def _node_jobs(crawler_namespaces: Sequence[str], monitoring_namespace: str) -> list[Json]:
    """Ask each node's kubelet; a node has hundreds of containers, and ours are a few of them."""

    def job(name: str, path: str, keep: list[Json]) -> Json:
        return {
            "job_name": name,
            "scheme": "https",
            "metrics_path": path,
            "authorization": {"credentials_file": f"{ACCOUNT}/token"},
            # A kubelet's certificate is its own, unless the cluster signs them
            # (serverTLSBootstrap): the token goes to whoever answers on the node's address.
            "tls_config": {"ca_file": f"{ACCOUNT}/ca.crt", "insecure_skip_verify": True},
            "kubernetes_sd_configs": [{"role": "node"}],
            "relabel_configs": [
                {"source_labels": ["__meta_kubernetes_node_name"], "target_label": "node"}
            ],
            "metric_relabel_configs": keep,
        }

    return [
        job(
            "kubelet",
            "/metrics",
            [
                _keep("__name__", any_of(KUBELET_METRICS)),
                _keep("namespace", re.escape(monitoring_namespace)),
            ],
        ),
        job(
            "cadvisor",
            "/metrics/cadvisor",
            [
                _keep("__name__", any_of(CADVISOR_METRICS)),
                _keep("namespace", any_of(crawler_namespaces)),
                _keep("container", "istio-proxy"),
            ],
        ),
    ]


def web_config(username: str, bcrypt_hash: str) -> Json:
    """Return the file of `--web.config.file`: who may ask, of Prometheus and Alertmanager alike."""
    return {"basic_auth_users": {username: bcrypt_hash}}


def http_config(auth: BasicAuth | None) -> Json:
    """Return how a client logs in: of a scrape job, and the file of promtool and amtool."""
    if auth is None:
        return {}
    return {"basic_auth": {"username": auth.username, "password_file": auth.password_file}}


def any_of(names: Iterable[str]) -> str:
    """Return the regular expression that is any of the names, sorted."""
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
