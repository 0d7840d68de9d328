"""Which Prometheus evaluates what: nothing is lost between shards and server, nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.attribution.stats import SCRAPED_METRICS
from components.prometheus import rules as module
from components.prometheus.rules import (
    EVALUATED_BY,
    MADE,
    RULES,
    SHARD_PREFIX,
    federated_sums,
    operator_rules,
    rules_of,
    server_rules,
    shard_rules,
    shipped_rules,
    sums_of_shards,
)
from settings.loading import SettingsError, parse_settings
from tests.rules.promql import metric_names, run_tests

Json = dict[str, Any]

ABOUT_PROMETHEUS = {
    *("PrometheusDown", "PrometheusRulesSlow", "PrometheusRulesFailing", "StorageFilling"),
    *("PrometheusQueriesSlow", "PrometheusNotificationsFailing"),
    *("ConfigurationReloadFailed", "FederationSourceMissing"),
}
ABOUT_ALERTMANAGER = {"Watchdog", "AlertmanagerDown", "AlertmanagerNotificationsFailing"}
ABOUT_THE_MESH = {
    *("IstiodDown", "IstiodConfigRejected", "ProxyCrawlersUnseen"),
    *("SidecarCpuNearLimit", "SidecarMemoryNearLimit"),
}


def stack(prometheus: Json | None = None, **more: Any) -> Any:
    vendors = [{"name": f"vendor-{x}", "cidrs": [f"10.{n}.0.0/16"]} for n, x in enumerate("abc")]
    return parse_settings(
        {"cluster": "dev", "vendors": vendors, "prometheus": prometheus or {}, **more}
    )


SHARDED = stack({"shards": 2})
NATIVE = stack({"shards": 2}, telemetry={"nativeHistograms": True, "histogramSampling": 10})
OPERATOR = {
    "mode": "operator",
    "url": "http://prometheus.example",
    "operatorLabels": {"release": "monitoring"},
}
GLOBAL = {
    "role": "global",
    "federateFrom": [{"cluster": "eu", "url": "https://prometheus.eu.example.com"}],
}
RECEIVERS = {
    "alertmanager": {
        "receivers": [{"name": "oncall", "kind": "pagerduty"}],
        "critical": ["oncall"],
    },
    "alertmanagerSecrets": {"oncall": "0123456789abcdef0123456789abcdef"},
}


def parsed(files: dict[str, str]) -> list[Json]:
    return [rule for text in files.values() for rule in rules_of(yaml.safe_load(text))]


def records(files: dict[str, str]) -> set[str]:
    return {rule["record"] for rule in parsed(files) if "record" in rule}


def alerts(files: dict[str, str]) -> set[str]:
    return {rule["alert"] for rule in parsed(files) if "alert" in rule}


ALL = alerts(server_rules(stack()))


@pytest.mark.parametrize(
    ("rules", "left_out"),
    [
        (server_rules(SHARDED), set()),
        (operator_rules(stack(OPERATOR)), ABOUT_PROMETHEUS | ABOUT_ALERTMANAGER),
        (operator_rules(stack(OPERATOR, **RECEIVERS)), ABOUT_PROMETHEUS),
    ],
    ids=["shards", "operator", "operator with receivers"],
)
def test_alerts_are_about_what_the_stack_runs(rules, left_out):
    """One about another team's Prometheus would fire for their reasons, or be absent for ever."""
    assert ALL - alerts(rules) == left_out


def test_a_cluster_without_crawlers_has_no_alerts_on_a_mesh(monkeypatch):
    """IstiodDown would fire for ever."""
    settings = stack()
    prometheus = settings.prometheus.model_copy(update={"role": "global"})
    settings = settings.model_copy(update={"prometheus": prometheus})
    assert ALL - alerts(server_rules(settings)) == ABOUT_THE_MESH


@pytest.mark.parametrize("settings", [SHARDED, NATIVE], ids=["classic", "native"])
def test_a_shard_records_sums_alone(settings):
    """What may not be added up, an alert least of all, has no place on a part of the sidecars."""
    shard = shard_rules(settings)
    assert alerts(shard) == set()
    assert records(shard) >= set(federated_sums())
    read = {name for rule in parsed(shard) for name in metric_names(rule["expr"])}
    assert {name for name in read if ":" in name} <= records(shard)
    derived = ("ratio_rate5m", "p50", "p95", "burnrate5m")
    assert not [name for name in records(shard) if name.endswith(derived)]


def test_every_sum_of_a_shard_is_added_up_once():
    """A sum that is not would be an empty panel, and one that is twice a doubled one."""
    made = [rule["record"] for rule in rules_of(sums_of_shards())]
    assert sorted(made) == sorted(set(made))
    steps = records({"sums.yml": (RULES / "sums.yml").read_text()}) - set(made)
    parts = "workload_team_proxy_vendor_pool_visibility"
    assert steps == {
        f"{parts}_outcome_target:istio_requests:rate5m",
        *(
            f"{parts}_result_target:istio_proxy_{way}_bytes:rate5m"
            for way in ("request", "response")
        ),
    }
    # What is computed from sums is computed where they are added up.
    derived = yaml.safe_load((RULES / "vendor_records.yml").read_text())
    for rule in rules_of(derived):
        assert not metric_names(rule["expr"]) & {*SCRAPED_METRICS, *steps}
        assert rule["record"] not in made


def test_shards_add_up_and_clusters_do_not(promtool: Path):
    """3 and 5 of two shards are 8; the same vendor's 2 in another cluster stay 2, with ratios."""
    outcomes = "proxy_vendor_outcome:istio_requests:rate5m"
    requests = "proxy_vendor:istio_requests:rate5m"

    def series(name: str, value: int, **labels: str) -> dict[str, str]:
        text = ", ".join(f'{label}="{of}"' for label, of in labels.items())
        return {"series": f'{name}{{proxy_vendor="vendor-a", {text}}}', "values": f"{value}x20"}

    def expect(expr: str, dev: float, eu: float) -> Json:
        samples = [
            {"labels": f'{{cluster="{cluster}", proxy_vendor="vendor-a"}}', "value": value}
            for cluster, value in (("dev", dev), ("eu", eu))
        ]
        return {"expr": f"{expr} + 0", "eval_time": "10m", "exp_samples": samples}

    test = {
        "interval": "1m",
        "input_series": [
            series(SHARD_PREFIX + outcomes, 3, cluster="dev", shard="0", proxy_outcome="success"),
            series(SHARD_PREFIX + outcomes, 4, cluster="dev", shard="1", proxy_outcome="success"),
            series(SHARD_PREFIX + outcomes, 1, cluster="dev", shard="1", proxy_outcome="blocked"),
            series(outcomes, 2, cluster="eu", proxy_outcome="blocked"),
            series(SHARD_PREFIX + requests, 3, cluster="dev", shard="0"),
            series(SHARD_PREFIX + requests, 5, cluster="dev", shard="1"),
            series(requests, 2, cluster="eu"),
        ],
        "promql_expr_test": [
            expect(requests, 8, 2),
            expect("proxy_vendor:request_failures:rate5m", 1, 2),
            expect("proxy_vendor:request_failures_per_requests:ratio_rate5m", 0.125, 1),
        ],
    }
    server = server_rules(SHARDED)
    wanted = ("shards.yml", "sums.yml", "vendor_records.yml")
    files = {name: yaml.safe_load(server[name]) for name in wanted}
    run_tests(promtool, {"tests": [test]}, files)


SCRAPED = {
    "up": "1x40",
    "envoy_server_uptime": "86400+60x40",
    "istio_requests_total": "0+60x40",
    "envoy_cluster_upstream_cx_tx_bytes_total": "0+60x40",
    "scrape_samples_post_metric_relabeling": "30x40",
}


def test_what_another_job_scrapes_too_is_counted_once(promtool: Path):
    """Istio's samples have a monitor of all sidecars: every byte would be billed twice."""
    labels = 'cluster="dev", instance="1", pod="1", proxy_vendor="vendor-a"'
    series = [
        {"series": f'{name}{{job="{job}", {labels}}}', "values": values}
        for job in ("sidecars", "istio-system/envoy-stats-monitor")
        for name, values in SCRAPED.items()
    ]
    vendor = '{cluster="dev", proxy_vendor="vendor-a"}'

    def expect(expr: str, labels: str, value: float) -> Json:
        sample = {"labels": labels, "value": value}
        return {"expr": f"round({expr})", "eval_time": "30m", "exp_samples": [sample]}

    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            expect("proxy_vendor:istio_requests:rate5m", vendor, 1),
            expect("proxy_vendor:envoy_cluster_upstream_cx_tx_bytes:rate5m", vendor, 1),
            expect("cluster:prometheus_samples_appended:rate5m * 60", '{cluster="dev"}', 30),
            expect("job:up:count", '{cluster="dev", job="sidecars"}', 1),
        ],
    }
    files = {name: yaml.safe_load(text) for name, text in operator_rules(stack(OPERATOR)).items()}
    run_tests(promtool, {"tests": [test]}, files)


def own(expr: str) -> dict[str, Json]:
    rules = [{"alert": "ShopsSilent", "expr": expr, "labels": {"severity": "warning"}}]
    return {"own-3-shops.yml": {"groups": [{"name": "shops", "rules": rules}]}}


@pytest.mark.parametrize(
    ("expr", "selected"),
    [
        ('rate(istio_requests_total{proxy_target="shops"}[5m]) == 0', "istio_requests_total"),
        ('absent(up{job="sidecars"})', 'job="sidecars"'),
        ('absent(up{job =~ "sidecars|istiod"})', 'job="sidecars"'),
        ("absent(up{job='sidecars'})", 'job="sidecars"'),
        ('sum({__name__=~"istio_req.*"}) == 0', "__name__"),
    ],
)
def test_a_users_rule_on_sidecars_is_refused_with_shards(expr, selected):
    """The server that has alerts has no series of sidecars: it would fire for ever, or never."""
    with pytest.raises(SettingsError) as refused:
        server_rules(SHARDED, own(expr))
    (finding,) = refused.value.findings
    assert finding.startswith(f"alerts.ruleFiles[3]: 'ShopsSilent' selects {selected}, and this")
    assert "own-3-shops.yml" in server_rules(stack(), own(expr))


def test_a_users_rule_on_records_stays_where_people_query():
    """On a shard it would see a part."""
    shops = own("proxy_vendor:envoy_cluster_upstream_cx_active:sum == 0")
    assert "own-3-shops.yml" in server_rules(SHARDED, shops)


def test_every_file_in_rules_is_named(tmp_path, monkeypatch):
    """A file dropped into rules/ is refused, with the place that it belongs to."""
    assert {path.name for path in RULES.iterdir()} == EVALUATED_BY.keys() - set(MADE)
    (tmp_path / "acme.yml").write_text("groups: []")
    monkeypatch.setattr(module, "RULES", tmp_path)
    module.read_rules.cache_clear()
    try:
        with pytest.raises(SettingsError, match=r"^rules/acme.yml: .*under alerts\.ruleFiles"):
            shipped_rules(stack())
    finally:
        module.read_rules.cache_clear()
