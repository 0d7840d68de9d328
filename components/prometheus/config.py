"""prometheus.yml, the same for the cluster and for one machine.

The job `sidecars` has the product's numbers: everything else that a sidecar exposes is dropped
before it is stored. The other jobs watch what the numbers depend on: `prometheus` (each replica
scrapes all), `istiod`, `alertmanager`, `grafana`, the nodes' `kubelet` (volumes) and `cadvisor`
(what sidecars use), `load-generator` with what the synthetic traffic counted itself, and
`simulated-vendors` with what those counted. `crawlers-unseen` has a target for each workload of
crawlers without a sidecar, and asks none of them (unseen.py). Every series has the label `cluster`,
so that records of this cluster and federated ones of another are told apart alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backups.report import METRIC as BACKUP_COMPLETED
from components.labels import COMPONENT, pods_of, selector
from components.prometheus.relabel import (
    any_of,
    crawler_relabel,
    host_names,
    keep,
    sidecar_metric_relabel,
)
from components.prometheus.unseen import asked_for_nothing, unseen_job
from components.prometheus.workloads import WORKLOAD, pod_label
from components.tls import Tls
from money.ledger import COVERAGE, RECORDS
from settings.namespaces import MONITORING_NAMESPACE, SIMULATED_NAMESPACE
from settings.prometheus import OwnPrometheus
from settings.stack import StackSettings
from settings.values.quantities import format_duration

Json = dict[str, Any]

RULE_FILES = ("/etc/prometheus/rules/*.yml",)
SIDECAR_PORT = 15090  # istio-proxy's own, outside the mesh's interception
ISTIOD_PORT = 15014
PROMETHEUS_PORT = 9090
LOAD_GENERATOR_PORT = 9464
SIMULATED_VENDOR_PORT = 9465
BACKUP_PORT = 9466
THANOS_GRPC_PORT = 10901
MONEY_PORT = 9467

ALERTMANAGER_PORT = 9093
GRAFANA_PORT = 3000

PROMETHEUS_APP = "prometheus"
SHARD_APP = "prometheus-shard"  # federation.py
ALERTMANAGER_APP = "alertmanager"
GRAFANA_APP = "grafana"
LOAD_GENERATOR_APP = "load-generator"
SIMULATED_VENDOR_APP = "simulated-vendor"
BACKUP_APP = "prometheus-backup"
MONEY_APP = "money-exporter"
LEDGER_APP = "ledger"

SIMULATED_VENDOR_METRICS = "vendor_.+|process_start_time_seconds"

# From the other jobs, what rules, boards, runbooks and the audit read, and no more
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
BACKUP_METRICS = (BACKUP_COMPLETED,)
ISTIOD_METRICS = ("pilot_proxy_convergence_time_bucket", "pilot_total_xds_rejects", "pilot_xds")
# A hundredth of what the exporter has in memory; all of it is read.
MONEY_METRICS = (
    "money_exporter_last_read_timestamp_seconds",
    "money_exporter_reads_total",
    "proxy_billed_bytes_last_day",
    "proxy_budget_exhaustion_timestamp_seconds",
    "proxy_budget_forecast",
    "proxy_budget_limit",
    "proxy_budget_used",
    "proxy_cost_last_day",
    "proxy_cost_month_to_date",
    "proxy_fixed_cost_per_second",
    "proxy_ledger_last_hour_timestamp_seconds",
    "proxy_metered_bytes_last_day",
    "proxy_unit_price",
)
# Sources of the names, where there was no binary to check them against:
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

LEDGER_METRICS = ("ledger_recorded_hour_ratio",)
"""What the ledger has of COVERAGE, under another name: this Prometheus records that one itself."""

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

LEDGER_LOGIN = "/etc/prometheus/ledger"
"""Where the Secret `ledger.loginSecret` is mounted."""

NOT_FOR_THE_OPERATOR = ("prometheus", "kubelet")
"""Jobs about the stack's own Prometheus and its volumes; kube-prometheus-stack has its own."""


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
    backup: tuple[str, ...] = ()
    money: tuple[str, ...] = ()
    ledger: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BasicAuth:
    """Credentials of a client. Prometheus reads the password file anew for each request."""

    username: str
    password_file: str


def prometheus_config(
    settings: StackSettings,
    *,
    targets: StaticTargets | None = None,
    rule_files: Sequence[str] = RULE_FILES,
    prometheus_auth: BasicAuth | None = None,
    alertmanager_auth: BasicAuth | None = None,
    tls_folder: str | None = None,
) -> Json:
    """Return prometheus.yml as plain values.

    Args:
        targets: scrape these instead of asking Kubernetes, which alone knows where kubelets are.
        prometheus_auth: the login of this Prometheus and its other replica.
        alertmanager_auth: the login of Alertmanager.
        tls_folder: where the CA of the servers in `monitoring` is; None if they speak plain HTTP.
    """
    prometheus, cluster = settings.prometheus, settings.cluster
    crawlers, monitoring = settings.crawlers.namespaces, [MONITORING_NAMESPACE]
    interval = format_duration(prometheus.scrape_interval)

    def job(
        name: str,
        namespaces: Sequence[str],
        chosen: list[Json],
        metrics: Iterable[str] = (),
        **more: Any,
    ) -> Json:
        addresses = None if targets is None else getattr(targets, name.replace("-", "_"))
        return {
            "job_name": name,
            # Envoy's answer once had no version in its type, which Prometheus 3 refuses.
            "fallback_scrape_protocol": "PrometheusText0.0.4",
            **_targets(
                namespaces,
                addresses,
                chosen,
                cluster,
                {"team": namespaces[0], WORKLOAD: LOAD_GENERATOR_APP} if name == "sidecars" else {},
            ),
            **({"metric_relabel_configs": [keep("__name__", any_of(metrics))]} if metrics else {}),
            **more,
        }

    native: Json = {"convert_classic_histograms_to_nhcb": True}
    prometheus_pods = {**pods_of(PROMETHEUS_APP), **selector(f"{PROMETHEUS_APP}|{SHARD_APP}")}
    jobs = [
        job(
            "sidecars",
            crawlers,
            [*_keep_container("istio-proxy", SIDECAR_PORT), *crawler_relabel(settings.crawlers)],
            metrics_path="/stats/prometheus",
            metric_relabel_configs=sidecar_metric_relabel(
                settings.telemetry.histogram_sampling, host_names(settings)
            ),
            **(native if settings.telemetry.native_histograms else {}),
        ),
        job(
            "prometheus",
            monitoring,
            _keep_labelled(prometheus_pods, PROMETHEUS_PORT),
            PROMETHEUS_METRICS,
            **client_config(prometheus_auth, PROMETHEUS_APP, tls_folder),
        ),
        *(
            [
                job(
                    "istiod",
                    [settings.istio.root_namespace],
                    _keep_container("discovery", ISTIOD_PORT),
                    ISTIOD_METRICS,
                )
            ]
            if settings.scrapes_istiod
            else ()
        ),
        job(
            "load-generator",
            crawlers,
            _keep_labelled({COMPONENT: LOAD_GENERATOR_APP}, LOAD_GENERATOR_PORT),
        ),
        job(
            "alertmanager",
            monitoring,
            _keep_labelled(pods_of(ALERTMANAGER_APP), ALERTMANAGER_PORT),
            ALERTMANAGER_METRICS,
            **client_config(alertmanager_auth, ALERTMANAGER_APP, tls_folder),
        ),
        *(
            [
                job(
                    "grafana",
                    monitoring,
                    _keep_labelled(pods_of(GRAFANA_APP), GRAFANA_PORT),
                    GRAFANA_METRICS,
                    **client_config(None, GRAFANA_APP, tls_folder),
                )
            ]
            if settings.runs_grafana
            else ()
        ),
        {
            **(
                unseen_job(settings.crawlers, cluster)
                if targets is None
                else {**asked_for_nothing(), "static_configs": []}
            ),
            # Without a login it is another team's Prometheus, which asks itself in clear.
            **client_config(
                prometheus_auth, PROMETHEUS_APP, tls_folder if prometheus_auth else None
            ),
        },
    ]
    if targets or settings.simulated_vendors.enabled:
        chosen = _keep_labelled(selector(SIMULATED_VENDOR_APP), SIMULATED_VENDOR_PORT)
        names = [keep("__name__", SIMULATED_VENDOR_METRICS)]
        vendors = [SIMULATED_NAMESPACE]
        jobs.append(job("simulated-vendors", vendors, chosen, metric_relabel_configs=names))
    if prometheus.backup and (targets is None or targets.backup):
        # A pod of some seconds each day; job:up:count leaves it out.
        backup = _keep_labelled(pods_of(BACKUP_APP), BACKUP_PORT)
        jobs.append(job("backup", monitoring, backup, BACKUP_METRICS))
    if settings.runs_ledger and (targets is None or targets.ledger):
        # Its newest sample, with the time that it has there: it is as old as the ledger.
        ledger = _keep_labelled(pods_of(LEDGER_APP), PROMETHEUS_PORT)
        renamed = {
            "source_labels": ["__name__"],
            "regex": COVERAGE,
            "target_label": "__name__",
            "replacement": LEDGER_METRICS[0],
        }
        asked = job(
            "ledger",
            monitoring,
            ledger,
            metrics_path="/federate",
            params={"match[]": [COVERAGE]},
            metric_relabel_configs=[renamed, keep("__name__", any_of(LEDGER_METRICS))],
            **client_config(prometheus_auth, LEDGER_APP, tls_folder),
        )
        jobs.append(asked)
    if settings.records_hours and (targets is None or targets.money):
        exporter = _keep_labelled(pods_of(MONEY_APP), MONEY_PORT)
        jobs.append(job("money", monitoring, exporter, MONEY_METRICS))
    if prometheus.node_metrics and targets is None:
        jobs += _node_jobs(cluster, crawlers)
    return {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": format_duration(min(10, prometheus.scrape_interval)),
            "evaluation_interval": interval,
            "external_labels": {"cluster": cluster, "prometheus_replica": "${POD_NAME}"},
        },
        "rule_files": [*rule_files],
        "alerting": alerting_config(
            alertmanager_auth, targets.alertmanager if targets else None, tls_folder
        ),
        "scrape_configs": jobs,
        **_remote_write(settings),
        **({"storage": _storage(prometheus)} if prometheus.mode == "server" else {}),
    }


def alerting_config(
    auth: BasicAuth | None,
    addresses: Sequence[str] | None = None,
    tls_folder: str | None = None,
) -> Json:
    """Return the `alerting` part of prometheus.yml: the stack's Alertmanagers."""
    found = _targets(
        [MONITORING_NAMESPACE],
        addresses,
        _keep_labelled(pods_of(ALERTMANAGER_APP), ALERTMANAGER_PORT),
    )
    return {
        # Without it, Alertmanager would take the two replicas' alerts for different ones.
        "alert_relabel_configs": [{"action": "labeldrop", "regex": "prometheus_replica"}],
        "alertmanagers": [{**found, **client_config(auth, ALERTMANAGER_APP, tls_folder)}],
    }


def operator_jobs(
    settings: StackSettings, alertmanager_auth: BasicAuth, tls_folder: str | None = None
) -> tuple[Json, ...]:
    """Return the scrape jobs for the Prometheus operator's Prometheus.

    As in prometheus.yml, each with its interval: that Prometheus has another one. Left out are
    jobs about a Prometheus or an Alertmanager that is not the stack's.
    """
    config = prometheus_config(settings, alertmanager_auth=alertmanager_auth, tls_folder=tls_folder)
    left_out = {*NOT_FOR_THE_OPERATOR, *(() if settings.runs_alertmanager else ("alertmanager",))}
    pace = {key: config["global"][key] for key in ("scrape_interval", "scrape_timeout")}
    return tuple(
        {"job_name": job["job_name"], **pace, **job}
        for job in config["scrape_configs"]
        if job["job_name"] not in left_out
    )


def _targets(
    namespaces: Sequence[str],
    addresses: Sequence[str] | None,
    chosen: list[Json],
    cluster: str | None = None,
    more: Mapping[str, str] | None = None,
) -> Json:
    """Return how targets are found: by Kubernetes, or at these addresses.

    Args:
        cluster: the label of all their series; None for Alertmanagers, which have none.
        more: labels of addresses that `chosen` gives to what Kubernetes finds.
    """
    if addresses is None:
        named = [_cluster_label(cluster)] if cluster else []
        return {
            "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [*namespaces]}}],
            "relabel_configs": [*chosen, *_pod_labels(), *named],
        }
    labels = {**({"cluster": cluster} if cluster else {}), **(more or {})}
    return {
        "static_configs": [
            {"targets": [address], "labels": {**labels, "namespace": namespaces[0], "pod": address}}
            for address in addresses
        ]
    }


def _cluster_label(cluster: str) -> Json:
    return {"target_label": "cluster", "replacement": cluster}


def _node_jobs(cluster: str, crawler_namespaces: Sequence[str]) -> list[Json]:
    """Return the jobs that scrape each node's kubelet, for the few containers of this product."""

    def job(name: str, path: str, kept: list[Json]) -> Json:
        return {
            "job_name": name,
            "scheme": "https",
            "metrics_path": path,
            "authorization": {"credentials_file": f"{ACCOUNT}/token"},
            # A kubelet signs its own certificate, unless the cluster does (serverTLSBootstrap): the
            # token goes to any server that answers on the node's address.
            "tls_config": {"ca_file": f"{ACCOUNT}/ca.crt", "insecure_skip_verify": True},
            "kubernetes_sd_configs": [{"role": "node"}],
            "relabel_configs": [
                {"source_labels": ["__meta_kubernetes_node_name"], "target_label": "node"},
                _cluster_label(cluster),
            ],
            "metric_relabel_configs": kept,
        }

    return [
        job(
            "kubelet",
            "/metrics",
            [
                keep("__name__", any_of(KUBELET_METRICS)),
                keep("namespace", MONITORING_NAMESPACE),
            ],
        ),
        job(
            "cadvisor",
            "/metrics/cadvisor",
            [
                keep("__name__", any_of(CADVISOR_METRICS)),
                keep("namespace", any_of(crawler_namespaces)),
                keep("container", "istio-proxy"),
            ],
        ),
    ]


def web_config(username: str, bcrypt_hash: str, tls: Tls | None = None) -> Json:
    """Return the file of `--web.config.file`, for Prometheus and Alertmanager alike."""
    return {"basic_auth_users": {username: bcrypt_hash}, **(tls.server() if tls else {})}


def http_config(auth: BasicAuth | None, tls: Tls | None = None) -> Json:
    """Return how a client logs in, and knows its server: the HTTP file of promtool and amtool."""
    login = auth and {"username": auth.username, "password_file": auth.password_file}
    return {**({"basic_auth": login} if login else {}), **(tls.client() if tls else {})}


def client_config(auth: BasicAuth | None, app: str, tls_folder: str | None) -> Json:
    """Return how Prometheus reaches a server of `monitoring`, as fields of a scrape job."""
    tls = Tls(app=app, folder=tls_folder) if tls_folder else None
    return {**({"scheme": "https"} if tls else {}), **http_config(auth, tls)}


def _remote_write(settings: StackSettings) -> Json:
    """Return what sends the hours to the user's own store, and nothing else."""
    ledger = settings.ledger
    if ledger.write_url is None:
        return {}
    login = {
        "username_file": f"{LEDGER_LOGIN}/username",
        "password_file": f"{LEDGER_LOGIN}/password",
    }
    written = {
        "url": ledger.write_url,
        "write_relabel_configs": [keep("__name__", any_of(RECORDS))],
        **({"basic_auth": login} if ledger.login_secret else {}),
    }
    return {"remote_write": [written]}


def _storage(prometheus: OwnPrometheus) -> Json:
    # Bytes spelt out: Prometheus's GB is 2^30, the stack file's 10^9.
    return {
        "tsdb": {
            "retention": {
                "time": format_duration(prometheus.retention),
                "size": f"{prometheus.retention_size}B",
            }
        }
    }


def _keep_container(container: str, port: int) -> list[Json]:
    """Keep one port of one container; native sidecars are init containers, and are found too."""
    return [keep("__meta_kubernetes_pod_container_name", container), *_keep_running(port)]


def _keep_labelled(labels: Mapping[str, str], port: int) -> list[Json]:
    """Keep one port of the pods with these labels."""
    chosen = [keep(pod_label(key), value) for key, value in labels.items()]
    return [*chosen, *_keep_running(port)]


def _keep_running(port: int) -> list[Json]:
    return [
        keep("__meta_kubernetes_pod_container_port_number", str(port)),
        # A finished pod's address may already belong to another pod.
        {
            "action": "drop",
            "source_labels": ["__meta_kubernetes_pod_phase"],
            "regex": "Failed|Succeeded",
        },
    ]


def _pod_labels() -> list[Json]:
    return [
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]
