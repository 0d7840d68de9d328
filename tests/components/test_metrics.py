from __future__ import annotations

import re
from typing import Any

import pytest

from books import reading
from components.attribution.stats import (
    OUTSIDE_CLUSTERS,
    SCRAPED_METRICS,
    SidecarSeries,
    expected_series,
)
from components.prometheus.config import (
    SIMULATED_VENDOR_METRICS,
    BasicAuth,
    StaticTargets,
    operator_jobs,
    prometheus_config,
)
from components.prometheus.estimate import Estimate, estimate
from components.prometheus.relabel import sidecar_metric_relabel
from components.prometheus.thresholds import VENDOR, samples_per_second_threshold, threshold_rules
from components.prometheus.workloads import WORKLOAD
from settings.catalogue import OUTSIDE
from settings.loading import SettingsError, parse_settings
from simulation.crawler.books import Books as CrawlerBooks
from simulation.crawler.metrics import metrics_page
from simulation.proxy.books import Books
from tests.relabel import relabel
from tests.rules.promql import run_tests
from tools.find import find

VENDORS = [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]
NOBODY = BasicAuth(username="x", password_file="x")
STATIC = StaticTargets(sidecars=("127.0.0.1:1",), prometheus=("127.0.0.1:2",))


def stack(**sections):
    return parse_settings({"cluster": "prod", "vendors": VENDORS, **sections})


SETTINGS = stack(
    crawlers={"namespaces": ["crawlers", "crawlers-eu"]},
    simulatedVendors={"enabled": True, "vendors": {"vendor-a": {"endpoint": "10.1.0.10:3128"}}},
)


def jobs_of(settings=SETTINGS, **more):
    config = prometheus_config(settings, **more)
    return {job["job_name"]: job for job in config["scrape_configs"]}


def scraped(name, one_in=1, names=(), **labels):
    """What is stored of a series."""
    return relabel(sidecar_metric_relabel(one_in, names), {"__name__": name, **labels})


def test_a_vendors_connections_carry_its_name():
    """envoy.cluster metrics know the cluster only; the scrape names the vendor."""
    stored = scraped("envoy_cluster_upstream_cx_total", cluster_name="proxy-vendor_vendor-a")
    assert stored["proxy_vendor"] == "vendor-a"


def test_a_destinations_connections_carry_its_name():
    """In the place of `outside`, and in the same metrics."""
    stored = scraped(
        "envoy_cluster_upstream_cx_rx_bytes_total", cluster_name="proxy-destination_s3"
    )
    assert stored["proxy_vendor"] == "s3"


def test_what_istio_carries_of_a_name_is_outside_and_says_which_name():
    """The name is one of the stack's: any other ServiceEntry's cluster is nobody's business."""
    names = ("gw.vendor.test", "gw-2.vendor.test")
    total = "envoy_cluster_upstream_cx_total"
    assert scraped(total, names=names, cluster_name="outbound|7777||gw-2.vendor.test") == {
        "__name__": total,
        "cluster_name": "outbound|7777||gw-2.vendor.test",
        "proxy_host": "gw-2.vendor.test",
        "proxy_vendor": OUTSIDE,
    }
    for other in ("outbound|80||gwxvendor.test", "outbound|80|v1|gw.vendor.test", "xds-grpc"):
        assert scraped(total, names=names, cluster_name=other) is None
    for cluster in ("outbound|7777||", "outbound|7777||gw.vendor.test"):
        assert scraped(total, cluster_name=cluster) is None
    assert scraped(total, names=names, cluster_name="PassthroughCluster").keys() == {
        *("__name__", "cluster_name", "proxy_vendor")
    }
    stack_names = {
        "vendors": [{"name": "vendor-a", "hosts": [{"name": names[0], "ports": [7777]}]}]
    }
    job = jobs_of(parse_settings({"cluster": "prod", **stack_names}))["sidecars"]
    net = {"__name__": total, "cluster_name": f"outbound|7777||{names[0]}"}
    assert relabel(job["metric_relabel_configs"], net)["proxy_host"] == names[0]


@pytest.mark.parametrize("cluster", OUTSIDE_CLUSTERS)
def test_traffic_outside_every_range_has_a_name_of_its_own(cluster):
    """Whichever of Istio's clusters the mesh's policy sends it through."""
    stored = scraped("envoy_cluster_upstream_cx_total", cluster_name=cluster)
    assert stored["proxy_vendor"] == OUTSIDE == "outside"


def test_what_the_mesh_cuts_is_a_connection_outside_every_range():
    """Under `REGISTRY_ONLY` vendors' traffic ends there too wherever a filter does not apply."""
    assert scraped("envoy_cluster_upstream_cx_none_healthy", cluster_name="BlackHoleCluster") == {
        "__name__": "envoy_cluster_upstream_cx_total",
        "cluster_name": "BlackHoleCluster",
        "proxy_vendor": OUTSIDE,
    }


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        # Envoy's own connection to istiod.
        ("envoy_cluster_upstream_cx_total", {"cluster_name": "xds-grpc"}),
        # Always 0, and the scrape gives another series this name.
        ("envoy_cluster_upstream_cx_total", {"cluster_name": "BlackHoleCluster"}),
        ("envoy_cluster_upstream_cx_none_healthy", {"cluster_name": "PassthroughCluster"}),
        # Istio's standard metrics of other traffic: a series for every site called.
        ("istio_requests_total", {"destination_service": "shop.example"}),
        ("istio_tcp_sent_bytes_total", {"destination_service": "unknown"}),
        # Of a request that never reached a vendor.
        ("istio_proxy_request_bytes_total", {"proxy_vendor": "", "proxy_result": "failed"}),
        # Set-up time of a request that was never answered: recorded as 0.
        ("istio_proxy_setup_milliseconds_bucket", {"proxy_vendor": "", "le": "50"}),
        ("envoy_server_live", {}),
        ("istio_request_bytes_bucket", {"proxy_vendor": "vendor-a"}),
    ],
)
def test_what_nothing_reads_is_not_stored(name, labels):
    """A sidecar exposes thousands of series; each would be stored a thousand times."""
    assert scraped(name, **labels) is None


@pytest.mark.parametrize(
    "name",
    [
        "istio_requests_total",
        "istio_proxy_setup_milliseconds_bucket",
        "istio_tcp_connections_opened_total",
    ],
)
def test_attributed_metrics_are_stored_as_they_are(name):
    """Istio's own documentation explains them."""
    labels = {"proxy_vendor": "vendor-a", "proxy_visibility": "http"}
    assert scraped(name, **labels) == {"__name__": name, **labels}


def test_bytes_have_one_name_and_direction():
    """Istio's `received` is what the sidecar received of the crawler, which goes to the vendor."""
    labels = {"proxy_vendor": "vendor-a", "proxy_visibility": "opaque"}
    for name, stored in (
        ("istio_tcp_received_bytes_total", "istio_proxy_request_bytes_total"),
        ("istio_tcp_sent_bytes_total", "istio_proxy_response_bytes_total"),
    ):
        assert scraped(name, **labels) == {"__name__": stored, **labels}
        assert scraped(stored, **labels) == {"__name__": stored, **labels}


LABEL = "__meta_kubernetes_pod_label_example_com_team"


@pytest.mark.parametrize(
    ("keys", "pod", "team"),
    [
        ({}, {}, "crawlers"),
        ({}, {LABEL: "search"}, "crawlers"),
        ({"teamLabel": "example.com/team"}, {LABEL: "search"}, "search"),
        ({"teamLabel": "example.com/team"}, {}, "other"),
        ({"teamLabel": "example.com/team", "teams": ["search", "a.b"]}, {LABEL: "a.b"}, "a.b"),
        ({"teamLabel": "example.com/team", "teams": ["search", "a.b"]}, {LABEL: "axb"}, "other"),
    ],
)
def test_a_pods_team_is_its_labels_or_its_namespaces(
    keys: dict[str, Any], pod: dict[str, str], team: str
):
    """A team that the stack does not list is none: each multiplies the records."""
    settings = stack(crawlers=keys)
    found = {"__meta_kubernetes_namespace": "crawlers", **pod}
    for job in (jobs_of(settings)["sidecars"], operator_jobs(settings, NOBODY)[0]):
        assert job["job_name"] == "sidecars"
        rules = [rule for rule in job["relabel_configs"] if rule.get("target_label") == "team"]
        assert relabel(rules, found)["team"] == team
    assert "team" not in str(jobs_of(settings)["istiod"])
    (static,) = jobs_of(settings, targets=STATIC)["sidecars"]["static_configs"]
    assert static["labels"]["team"] == "crawlers"


def test_a_sidecars_workload_is_its_pods_and_not_what_envoy_says():
    """Envoy's is a bare pod's own name; Prometheus renames it where the target has the label."""
    settings = stack(crawlers={"workloadLabel": "example.com/crawler"})
    pod = {"__meta_kubernetes_pod_label_example_com_crawler": "prices"}
    for job in (jobs_of(settings)["sidecars"], operator_jobs(settings, NOBODY)[0]):
        rules = [rule for rule in job["relabel_configs"] if rule.get("target_label") == WORKLOAD]
        assert relabel(rules, pod)[WORKLOAD] == "prices"
        assert relabel(rules, {})[WORKLOAD] == "(Pod)"
    assert WORKLOAD not in str(jobs_of(settings)["istiod"])
    own = {WORKLOAD: "prices", "exported_source_workload": "crawl-x7k2p", "proxy_vendor": "a"}
    assert scraped("istio_requests_total", **own) == {
        **{"__name__": "istio_requests_total", WORKLOAD: "prices"},
        "proxy_vendor": "a",
    }


def test_teams_without_a_label_are_refused():
    with pytest.raises(SettingsError) as refused:
        stack(crawlers={"teams": ["search"]})
    assert refused.value.findings == (
        "crawlers.teams: ['search'] has no effect without teamLabel; name the label",
    )


@pytest.mark.parametrize("suffix", ["", "_bucket"])
def test_set_up_times_are_stored_of_one_sidecar_in_so_many(suffix):
    """In either form; everything else of the other sidecars is stored too."""
    pods = [f"crawler-{n}" for n in range(500)]
    labels = {"namespace": "crawlers", "proxy_vendor": "vendor-a"}
    name = f"istio_proxy_setup_milliseconds{suffix}"
    kept = [pod for pod in pods if scraped(name, 10, pod=pod, **labels)]
    assert 30 <= len(kept) <= 70
    for pod in pods:
        series = {"__name__": "istio_requests_total", "pod": pod, **labels}
        # No label is left of how they were chosen.
        assert scraped("istio_requests_total", 10, pod=pod, **labels) == series
    everyone = [pod for pod in pods if scraped(name, 1, pod=pod, **labels)]
    assert everyone == pods


def test_the_lab_differs_in_where_targets_come_from_only():
    """What the laptop shows is what the cluster will: same jobs, paths and relabelling."""
    cluster, lab = prometheus_config(SETTINGS), prometheus_config(SETTINGS, targets=STATIC)
    for config in (cluster, lab):
        for job in [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]:
            for key in ("kubernetes_sd_configs", "relabel_configs", "static_configs"):
                job.pop(key, None)
    assert [job["job_name"] for job in cluster["scrape_configs"][-2:]] == ["kubelet", "cadvisor"]
    del cluster["scrape_configs"][-2:]  # no laptop has one
    assert cluster == lab


def test_the_generator_is_found_by_its_own_label():
    """Its app.kubernetes.io/name may be the crawlers' selector's."""
    jobs = jobs_of()
    label = "__meta_kubernetes_pod_label_proxy_observability_component"
    keep = {"action": "keep", "source_labels": [label], "regex": "load-generator"}
    assert keep in jobs["load-generator"]["relabel_configs"]
    label = "__meta_kubernetes_pod_label_app_kubernetes_io_name"
    keep = {"action": "keep", "source_labels": [label], "regex": "prometheus|prometheus-shard"}
    assert keep in jobs["prometheus"]["relabel_configs"]


def test_every_metric_of_a_simulated_vendor_is_kept():
    """The mesh is compared with them: a name that the scrape drops is a comparison that is gone."""
    names = re.findall(r"^# TYPE (\S+)", Books().as_metrics(), re.MULTILINE)
    assert names
    assert [name for name in names if not re.fullmatch(SIMULATED_VENDOR_METRICS, name)] == []


def test_what_the_audit_asks_for_is_scraped():
    """A name the scrape drops is a row of the audit that stays empty in one of the books."""
    jobs = jobs_of()
    names = {
        job: set(re.findall(rf'^(\w+){{job="{job}"', "\n".join(reading.selectors()), re.MULTILINE))
        for job in reading.JOBS
    }
    assert names[reading.SIDECARS] <= set(SCRAPED_METRICS)
    page = metrics_page(CrawlerBooks(), 0, 0.0)
    assert names[reading.GENERATORS] <= set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    assert "metric_relabel_configs" not in jobs[reading.GENERATORS]
    for name in {*names[reading.VENDORS], reading.STARTED}:
        assert re.fullmatch(SIMULATED_VENDOR_METRICS, name)
    assert all(names.values())


@pytest.mark.parametrize("targets", [None, STATIC])
def test_every_series_has_the_label_cluster(targets):
    """Records of this cluster and federated ones of another would be told apart differently."""
    for name, job in jobs_of(targets=targets).items():
        if "static_configs" in job:
            assert all(one["labels"]["cluster"] == "prod" for one in job["static_configs"]), name
        else:
            assert {"target_label": "cluster", "replacement": "prod"} in job["relabel_configs"], (
                name
            )


@pytest.mark.parametrize(
    ("keys", "share"),
    [
        ({}, "0.05"),
        ({"telemetry": {"delayPodTermination": False}}, "0.2"),
        ({"istio": {"install": False, "cni": True}}, "0.2"),
        (
            {
                "istio": {"install": False, "cni": True},
                "telemetry": {"delayPodTermination": True},
            },
            "0.05",
        ),
    ],
)
def test_short_lives_are_not_taken_for_uncounted_bytes(keys: dict[str, Any], share: str):
    """Without a last scrape rate() puts 14 % on the wire bytes of crawlers that live 35 s."""
    vendors = [{"name": "vendor-p", "cidrs": ["10.9.0.0/16"], "inspect": "passive"}]
    (group,) = threshold_rules(stack(vendors=vendors, **keys))["groups"]
    name = "proxy_vendor:uncounted_bytes_per_bytes:threshold"
    (rule,) = (rule for rule in group["rules"] if rule["record"] == name)
    assert rule["expr"] == f'{share} * {VENDOR}{{cluster="prod"}}'


@pytest.mark.parametrize("mode", ["full", "observe", "off"])
def test_a_mode_that_counts_less_is_no_fault(mode):
    """ProxyVendorUnreadable or ProxyBytesUncounted would fire because somebody used the switch."""
    vendors = [{"name": "vendor-p", "cidrs": ["10.9.0.0/16"], "inspect": "passive"}, *VENDORS]
    (group,) = threshold_rules(stack(vendors=vendors, crawlers={"mode": mode}))["groups"]
    limited = {rule["record"] for rule in group["rules"]}
    of_reading = {
        "proxy_vendor:opaque_connections_per_connections:threshold",
        "proxy_vendor:uncounted_bytes_per_bytes:threshold",
    }
    assert limited & of_reading == (of_reading if mode == "full" else set())
    assert "proxy_vendor:slo:ratio" in limited
    modes = [one["labels"]["mode"] for one in group["rules"] if "mode" in one["labels"]]
    assert modes == [mode]


def test_the_threshold_follows_the_size_of_the_stack():
    """1.5 times what is expected; never under the architecture document's 10,000."""
    assert samples_per_second_threshold(9_000) == 13_500
    assert samples_per_second_threshold(200) == 10_000


def test_limits_are_the_vendors_own_or_the_stacks():
    """Each alert compares with the limit of its vendor, or with the one of all."""
    vendors = [
        {"name": f"vendor-{name}", "cidrs": [f"10.{number}.0.0/16"]}
        for number, name in enumerate("abc")
    ]
    vendors[1]["alerts"] = {"bannedShare": "40%", "minimumRequestsPerHour": 36}
    vendors[2] |= {"inspect": "connections", "alerts": {"bannedShare": "30%"}}
    banned = "proxy_vendor_target:requests_blocked_per_requests:threshold"
    outcome = "proxy_vendor_outcome:istio_requests_per_requests:threshold"
    opaque = "proxy_vendor:opaque_connections_per_connections:threshold"
    expected = {
        banned: {"a": 0.3, "b": 0.4, "c": 0.3},
        "proxy_vendor:istio_requests:threshold": {"a": 0.1, "b": 0.01, "c": 0.1},
        "proxy_vendor:slo:ratio": dict.fromkeys("abc", 0.95),
        outcome + '{proxy_outcome="rate_limited"}': dict.fromkeys("abc", 0.1),
        opaque: dict.fromkeys("ab", 0.9),
        "proxy_vendor:uncounted_bytes_per_bytes:threshold": {},
    }
    test = {
        "interval": "1m",
        # Another cluster's vendors have the limits of their own stack.
        "input_series": [
            {"series": VENDOR + '{cluster="eu", proxy_vendor="vendor-z"}', "values": "1"}
        ],
        "promql_expr_test": [
            {
                "expr": f"sum by (cluster, proxy_vendor) ({name})",
                "eval_time": "0m",
                "exp_samples": [
                    {"labels": f'{{cluster="prod", proxy_vendor="vendor-{one}"}}', "value": value}
                    for one, value in limits.items()
                ],
            }
            for name, limits in expected.items()
        ],
    }
    rules = threshold_rules(stack(vendors=vendors, alerts={"bannedShare": "30%"}))
    run_tests(find("promtool"), {"tests": [test]}, {"thresholds.yml": rules})


def test_a_limit_of_a_vendors_own_is_written_before_the_one_of_all():
    """Else the rule of all ends the vendor's series at the moment of its first own sample, which
    Prometheus then discards: pages about the vendor would end, and begin anew."""
    vendors = [*VENDORS, {"name": "vendor-b", "cidrs": ["10.2.0.0/16"]}]
    vendors[1]["alerts"] = {"bannedShare": "40%"}
    (group,) = threshold_rules(stack(vendors=vendors))["groups"]
    banned = "proxy_vendor_target:requests_blocked_per_requests:threshold"
    labels = [rule["labels"] for rule in group["rules"] if rule["record"] == banned]
    assert [one.get("proxy_vendor") for one in labels] == ["vendor-b", None]


def test_the_estimate_of_the_fleet_is_its_mean_sidecar():
    """With sampling most sidecars have no histograms; the budget is that of the others."""
    sidecar = SidecarSeries(requests=60, setup_times=90, connections=45)
    fleet = {"sidecar": sidecar, "sidecars": 1000, "scrape_interval_seconds": 15}
    every = Estimate(histogram_sampling=1, **fleet)
    assert every.series == 1000 * (195 + 5)  # Prometheus' own five of each scrape
    assert every.samples_per_second == 13_334
    sampled = Estimate(histogram_sampling=10, **fleet)
    assert sampled.series == 1000 * (105 + 9 + 5)
    assert sampled.as_output() == {
        "seriesPerSidecar": 195,
        "sidecars": 1000,
        "series": 119_000,
        "samplesPerSecond": 7_934,
    }


def test_a_stack_beyond_its_budget_is_refused_by_key():
    """The finding names the key, what is expected, and what would help."""
    settings = stack()
    parts = expected_series(settings.vendors, settings.telemetry.buckets)
    assert estimate(settings).sidecar == parts
    assert estimate(stack(telemetry={"seriesBudget": parts.total})).sidecar == parts
    targets = [{"name": "shops", "hosts": ["shop.example"]}]
    assert estimate(stack(targets=targets)).sidecar.total > parts.total
    less = {"seriesBudget": parts.total - 1}
    with pytest.raises(SettingsError) as refused:
        estimate(stack(telemetry=less))
    assert refused.value.findings == (
        f"telemetry.seriesBudget: {parts.total - 1} is less than the {parts.total} series expected "
        f"of a sidecar ({parts.requests} of requests, {parts.setup_times} of set-up times, "
        f"{parts.connections} of connections); raise it, or have fewer vendors, pools, targets, "
        "destinations, ports of hosts or telemetry.buckets, or set telemetry.nativeHistograms",
    )
    native = stack(telemetry={**less, "nativeHistograms": True})
    assert estimate(native).sidecar.total < parts.total - 1
