"""The Pipeline health board: does everything that measures still measure?"""

from __future__ import annotations

from dashboards.frame import IN_CLUSTER, PIPELINE, STATES, alert_level, board, or_none
from dashboards.look import Look
from dashboards.panels import (
    CRITICAL,
    GOOD,
    Json,
    at_least,
    limits,
    row,
    stat,
    state_timeline,
    timeseries,
)

_SIDECARS = '{cluster=~"$cluster", job="sidecars"}'
_POD = "{{pod}}"
# Alerts about budgets are on Cost and budget.
_ALERTS = 'proxy_vendor="", budget=""'
_LEVEL = alert_level("cluster, alertname", _ALERTS)
_WORST = alert_level("cluster", _ALERTS, f"cluster:sidecar_series:threshold{IN_CLUSTER}")
_UP = {0.0: ("down", CRITICAL), 1.0: ("up", GOOD)}
_NO_ISTIOD = "istiod is not scraped (istio.scrapeIstiod), or has sent nothing."


def pipeline(look: Look) -> Json:
    """Return the board as Grafana's dashboard JSON."""
    return board(
        PIPELINE,
        look,
        description="Scrapes, ingestion, queries, rules, storage, istiod, sidecars, Alertmanager "
        "and Grafana. If something is wrong here, believe no other board.",
        variables=[],
        rows=[_everything(look), _scrapes(look), _prometheus(look), _mesh(look), _people(look)],
    )


def _everything(look: Look) -> tuple[Json, ...]:
    return row(
        "Is anything wrong?",
        state_timeline(
            title="Alerts about the pipeline",
            description="Alerts about no vendor, and which of them fired. Begin with the one that "
            "came first: the others often follow from it.",
            expr=[(_WORST, look.named("any alert")), (_LEVEL, look.named("{{alertname}}"))],
            states=STATES,
            width=12,
        ),
        state_timeline(
            title="Servers that answer",
            description="Prometheus, Alertmanager, Grafana and istiod, by pod. One that is down "
            "has an alert of its name, whose runbook says what to look at.",
            expr=f"job_pod:up:max{IN_CLUSTER}",
            legend=look.named("{{job}} {{pod}}"),
            states=_UP,
            width=12,
        ),
    )


def _scrapes(look: Look) -> tuple[Json, ...]:
    named = look.named("{{job}}")
    return row(
        "Is everything scraped?",
        stat(
            title="Sidecars counted",
            unit="percentunit",
            description="Share of the crawlers' sidecars that answered the last scrape. Below "
            "90 % TargetsMissing fires: look at the pods, then at network policies.",
            expr=f"job:up:sum{_SIDECARS} / job:up:count{_SIDECARS}",
            below=at_least(0.9, 0.99),
            width=4,
        ),
        stat(
            title="Sidecars not scraped",
            unit="short",
            description="Crawler pods whose sidecar did not answer; what they carry is missing on "
            "all boards. Starting and ending pods pass through here.",
            expr=f"job:up:count{_SIDECARS} - job:up:sum{_SIDECARS}",
            width=4,
        ),
        stat(
            title="Series of a sidecar",
            unit="short",
            description="Mean over all sidecars; red from telemetry.seriesBudget on. If it grows, "
            "a label has unexpected values: see docs/series.md.",
            expr=f"job:scrape_samples_post_metric_relabeling:sum{_SIDECARS}"
            f" / (job:up:sum{_SIDECARS} > 0)",
            above=limits(critical=look.series_budget),
            decimals=0,
            width=4,
        ),
        stat(
            title="Sidecars over the series budget",
            unit="short",
            description="Sidecars with more series than telemetry.seriesBudget. Find them by "
            "scrape_samples_post_metric_relabeling, then the label that multiplied.",
            expr=f"cluster:sidecars_over_budget:count{IN_CLUSTER} or 0 * "
            f"cluster:sidecar_series:threshold{IN_CLUSTER}",
            above=limits(warning=1),
            width=4,
        ),
        stat(
            title="Lua errors",
            unit="ops",
            description="Requests on which the attribution's script failed: the vendor is right, "
            "outcome and set-up time are not. Anything but 0 is a defect: report it.",
            expr=f"cluster:envoy_http_lua_errors:rate5m{IN_CLUSTER}",
            above=limits(critical=0.000001),
            width=4,
        ),
        stat(
            title="Traffic past the vendors",
            unit="percentunit",
            description="Share of the pods' bytes to no vendor's range and no destination. If it "
            "jumps, attribution is lost, or a vendor has new addresses.",
            expr=f"cluster:outside_bytes_per_bytes:ratio_rate5m{IN_CLUSTER}",
            above=limits(critical=look.alerts.outside_share),
            decimals=1,
            width=4,
        ),
        timeseries(
            title="Targets that answer",
            unit="percentunit",
            description="By job. A job below the others lost pods, a Role or a network policy.",
            expr=f"job:up:sum{IN_CLUSTER} / job:up:count{IN_CLUSTER}",
            legend=named,
            maximum=1,
        ),
        timeseries(
            title="Duration of a scrape",
            unit="s",
            description="Mean over a job's targets. Near the scrape interval's time-out samples "
            "get lost: give sidecars more CPU, or scrape less often.",
            expr=f"job:scrape_duration_seconds:sum{IN_CLUSTER} / job:up:count{IN_CLUSTER}",
            legend=named,
        ),
        timeseries(
            title="Samples of a scrape",
            unit="short",
            description="All samples that the targets of a job bring at a time. It grows with the "
            "pods; without more pods a label multiplied.",
            expr=f"job:scrape_samples_post_metric_relabeling:sum{IN_CLUSTER}",
            legend=named,
        ),
    )


def _prometheus(look: Look) -> tuple[Json, ...]:
    named = look.named(_POD)
    return row(
        "Does Prometheus keep up?",
        timeseries(
            title="Ingestion: samples a second",
            unit="cps",
            description="Of the busiest replica. Above the limit HighMetricIngestionRate fires: "
            "more pods run than the stack expects, or a label multiplied.",
            expr=[
                (f"cluster:prometheus_samples_appended:rate5m{IN_CLUSTER}", look.named("samples")),
                (f"cluster:prometheus_samples_appended:threshold{IN_CLUSTER}", look.named("limit")),
            ],
        ),
        timeseries(
            title="Series in memory",
            unit="short",
            description="Memory grows with them. A stair at each roll-out is the old pods' series, "
            "which leave within two hours.",
            expr=f"pod:prometheus_tsdb_head_series:sum{IN_CLUSTER}",
            legend=named,
        ),
        timeseries(
            title="Queries, 90th percentile",
            absent="Nobody has asked anything.",
            unit="s",
            description="Nine of ten queries are quicker. Above 3 s people reload the page: "
            "somebody queries raw series, or Prometheus lacks CPU.",
            expr=f"pod:prometheus_http_request_duration_seconds:p90{IN_CLUSTER}",
            legend=named,
            above=limits(3),
        ),
        timeseries(
            title="Slowest group of rules",
            unit="percentunit",
            description="Its duration as a share of the time between two evaluations. Above 100 % "
            "records have gaps and alerts are late: give Prometheus CPU.",
            expr=f"pod:prometheus_rule_duration_per_interval:max{IN_CLUSTER}",
            legend=named,
            above=limits(0.5, 1),
            width=12,
        ),
        timeseries(
            title="Rules that fail",
            unit="cps",
            description="Evaluations that end in an error; what they record is missing. "
            "Prometheus' page Rules shows the error.",
            expr=f"pod:prometheus_rule_evaluation_failures:rate5m{IN_CLUSTER}",
            legend=named,
            above=limits(critical=0.000001),
            width=12,
        ),
        timeseries(
            title="Storage used",
            unit="decbytes",
            description="Blocks and write-ahead log. At prometheus.retentionSize the oldest blocks "
            "go, before prometheus.retention is reached.",
            expr=f"pod:prometheus_storage_bytes:sum{IN_CLUSTER}",
            legend=named,
            width=12,
        ),
        timeseries(
            title="Volumes used",
            absent="Kubelets tell it: prometheus.nodeMetrics.",
            unit="percentunit",
            description="Share of each volume in the namespace. Above 85 % and rising: raise "
            "prometheus.storage, or lower prometheus.retentionSize.",
            expr=f"persistentvolumeclaim:kubelet_volume_stats_used_per_capacity:max{IN_CLUSTER}",
            legend=look.named("{{persistentvolumeclaim}}"),
            maximum=1,
            above=limits(0.85),
            width=12,
        ),
    )


def _mesh(look: Look) -> tuple[Json, ...]:
    return row(
        "Does the mesh keep up?",
        timeseries(
            title="Sidecars: CPU of all",
            absent="Kubelets tell it: prometheus.nodeMetrics.",
            unit="none",
            description="Cores that all sidecars use, which is what the mesh costs. Compare with "
            "what they request (istio.sidecar).",
            expr=f"cluster:sidecar_cpu:rate5m{IN_CLUSTER}",
            legend=look.named("cores"),
            width=6,
        ),
        timeseries(
            title="Sidecars: memory of all",
            absent="Kubelets tell it: prometheus.nodeMetrics.",
            unit="decbytes",
            description="Bytes that all sidecars hold. Divide by the number of sidecars before you "
            "lower istio.sidecar.",
            expr=f"cluster:sidecar_memory:sum{IN_CLUSTER}",
            legend=look.named("memory"),
            width=6,
        ),
        timeseries(
            title="Sidecar nearest to its limit",
            absent="Kubelets tell it: prometheus.nodeMetrics.",
            unit="percentunit",
            description="Of CPU and of memory. At its CPU limit every request waits; at its memory "
            "limit the sidecar is killed with all its tunnels: raise istio.sidecar.",
            expr=[
                (f"cluster:sidecar_cpu_per_limit:max{IN_CLUSTER}", look.named("CPU")),
                (f"cluster:sidecar_memory_per_limit:max{IN_CLUSTER}", look.named("memory")),
            ],
            above=limits(0.9),
            width=6,
        ),
        timeseries(
            title="Sidecars that istiod configures",
            absent=_NO_ISTIOD,
            unit="short",
            description="Far fewer than pods: sidecars run on an old configuration, and new pods "
            "do not become ready.",
            expr=f"cluster:pilot_xds:sum{IN_CLUSTER}",
            legend=look.named("connected"),
            width=6,
        ),
        timeseries(
            title="Configuration reaches a sidecar",
            absent=_NO_ISTIOD,
            unit="s",
            description="From a change to the sidecar, 95th percentile. Above ten seconds istiod "
            "lacks CPU, or something changes all the time.",
            expr=f"cluster:pilot_proxy_convergence_time:p95{IN_CLUSTER}",
            legend=look.named("95th percentile"),
            above=limits(10),
            width=12,
        ),
        timeseries(
            title="Configurations refused",
            absent=_NO_ISTIOD,
            unit="short",
            description="By sidecars, since istiod started. A step up is a refused update: see the "
            "runbook of IstiodConfigRejected.",
            expr=f"cluster:pilot_total_xds_rejects:sum{IN_CLUSTER}",
            legend=look.named("refused"),
            width=12,
        ),
    )


def _people(look: Look) -> tuple[Json, ...]:
    sent, failed = (
        f"integration:alertmanager_notifications{each}:rate5m{IN_CLUSTER}"
        for each in ("", "_failed")
    )
    asked, refused = (
        f"cluster:grafana_datasource_request{each}:rate5m{IN_CLUSTER}" for each in ("", "_failures")
    )
    return row(
        "Does it reach people?",
        timeseries(
            title="Alertmanager: messages",
            unit="cps",
            description="By the way they take, and those that failed. Failures: the receiver's "
            "credential is wrong or expired, or it is out of reach.",
            expr=[
                (or_none(f"{sent} > 0", "integration", sent), look.named("{{integration}}")),
                (f"{failed} > 0", look.named("{{integration}} failed")),
            ],
        ),
        timeseries(
            title="Alerts that Prometheus could not hand over",
            unit="cps",
            description="To Alertmanager, by replica. Anything but 0: it refuses the password, or "
            "a network policy keeps Prometheus from it.",
            expr=f"pod:prometheus_notifications_errors:rate5m{IN_CLUSTER}",
            legend=look.named(_POD),
            above=limits(critical=0.000001),
        ),
        timeseries(
            title="Grafana: queries",
            unit="reqps",
            description="What boards ask, and what fails. Failures leave boards empty: Prometheus "
            "is down or overloaded, or Grafana has an old password.",
            expr=[(asked, look.named("asked")), (refused, look.named("failed"))],
        ),
    )
