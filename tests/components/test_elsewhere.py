"""Which of our jobs and rules a Prometheus that is not ours gets, and what they mean there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.attribution.stats import SCRAPED_METRICS
from components.contents import rule_files
from components.external.files import all_files, configuration_files
from components.prometheus.config import CADVISOR_METRICS, BasicAuth
from components.prometheus.elsewhere import Elsewhere, elsewhere_of, without_anchors
from components.prometheus.stack_rules import stack_rules
from components.texts import yaml_text
from dashboards.boards import boards
from settings.loading import ROOT, parse_settings
from tests.rules.promql import alerts, metric_names, rules

Json = dict[str, Any]

RECEIVERS = {
    "alertmanager": {
        "receivers": [{"name": "oncall", "kind": "pagerduty"}],
        "critical": ["oncall"],
    },
    "alertmanagerSecrets": {"oncall": "0123456789abcdef0123456789abcdef"},
}
OURS = ["sidecars", "istiod", "load-generator", "grafana", "cadvisor"]


def settings_of(*, node_metrics: bool = True, **more: Json):
    return parse_settings(
        {
            "cluster": "prod",
            "vendors": [
                {"name": f"vendor-{name}", "cidrs": [f"10.{number}.0.0/16"]}
                for number, name in enumerate("abc", 1)
            ],
            "prometheus": {
                "mode": "operator",
                "url": "http://prometheus.example",
                "operatorLabels": {},
                "nodeMetrics": node_metrics,
            },
            **more,
        }
    )


def elsewhere(settings, simulated: str | None = None) -> Elsewhere:
    return elsewhere_of(
        settings,
        {**rule_files(), **{name: yaml_text(one) for name, one in stack_rules(settings).items()}},
        monitoring_namespace="monitoring",
        simulated_vendors_namespace=simulated,
        alertmanager_auth=BasicAuth(username="alertmanager", password_file="/login/password"),
    )


def parsed(files: dict[str, str]) -> list[Json]:
    groups = [group for text in files.values() for group in yaml.safe_load(text)["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def name_of(rule: Json) -> str:
    return rule.get("alert") or rule["record"]


@pytest.mark.parametrize(
    ("settings", "simulated", "expected"),
    [
        (settings_of(), None, OURS),
        (settings_of(), "proxy-vendors", [*OURS, "simulated-vendors"]),
        (settings_of(**RECEIVERS), None, [*OURS, "alertmanager"]),
        (settings_of(node_metrics=False), None, OURS[:-1]),
    ],
)
def test_jobs_are_those_of_what_is_ours(settings, simulated, expected):
    """Prometheus and the cluster's volumes are watched by those whose they are."""
    config = elsewhere(settings, simulated)
    assert {job["job_name"] for job in config.jobs} == set(expected)
    assert bool(config.alerting) is settings.runs_alertmanager
    # Whoever scrapes for us has a pace of his own.
    assert {job["scrape_interval"] for job in config.jobs} == {"15s"}


SAMPLES = "cluster:prometheus_samples_appended:rate5m"
ABOUT_PROMETHEUS = {
    "FederationSourceMissing",
    *("PrometheusDown", "PrometheusRulesSlow", "PrometheusRulesFailing"),
    *("PrometheusQueriesSlow", "PrometheusNotificationsFailing"),
    *("StorageFilling", "ConfigurationReloadFailed"),
}
ABOUT_ALERTMANAGER = {"Watchdog", "AlertmanagerDown", "AlertmanagerNotificationsFailing"}
ABOUT_NODES = {"SidecarCpuNearLimit", "SidecarMemoryNearLimit"}


@pytest.mark.parametrize(
    ("settings", "left_out"),
    [
        (settings_of(), ABOUT_PROMETHEUS | ABOUT_ALERTMANAGER),
        (settings_of(**RECEIVERS), ABOUT_PROMETHEUS),
        (
            settings_of(node_metrics=False),
            ABOUT_PROMETHEUS | ABOUT_ALERTMANAGER | ABOUT_NODES,
        ),
    ],
)
def test_alerts_are_those_about_what_is_ours(settings, left_out):
    """One about another's Prometheus would fire for its owner's reasons, or be absent for ever."""
    stay = {rule["alert"] for rule in parsed(elsewhere(settings).rules) if "alert" in rule}
    assert {alert["alert"] for alert in alerts()} - stay == left_out
    # Every vendor's alert is there.
    assert {name for name in left_out if name.startswith("Proxy")} == set()


@pytest.mark.parametrize("settings", [settings_of(), settings_of(node_metrics=False)])
def test_no_rule_or_board_reads_what_was_left_out(settings):
    """It would be a panel without data, and an alert without a voice."""
    stay = {name_of(rule) for rule in parsed(elsewhere(settings).rules)}
    gone = {name_of(rule) for rule in rules()} - stay
    assert gone
    for rule in parsed(elsewhere(settings).rules):
        assert not metric_names(rule["expr"]) & gone, name_of(rule)
    asked = set(re.findall(r"\w+:\w+:\w+", "".join(boards().values())))
    assert asked
    nodes = {"cluster:sidecar_cpu:rate5m", "cluster:sidecar_memory:sum"}
    assert asked & gone <= (set() if settings.prometheus.node_metrics else nodes)


def test_what_stays_is_as_it_was_but_for_its_selectors():
    """The very rules: names, times, labels and words, in the order of their files."""
    settings = settings_of()
    stay = parsed(elsewhere(settings).rules)
    before = [*rules(), *stack_rules(settings)["thresholds.yml"]["groups"][0]["rules"]]
    (samples,) = [rule for rule in stay if name_of(rule) == SAMPLES]
    assert samples["expr"].startswith("sum(scrape_samples_post_metric_relabeling{job=~")
    assert samples["expr"].endswith("}) / 15")
    stay.remove(samples)
    names = {name_of(rule) for rule in stay}
    expected = [rule for rule in before if name_of(rule) in names]

    def unpinned(rule: Json) -> Json:
        text = re.sub(r'job=~?"[^"]*"(, )?', "", rule["expr"]).replace("{}", "")
        return {**rule, "expr": text}

    def anywhere(rule: Json) -> Json:
        return {**rule, "expr": without_anchors(rule["expr"])}

    assert sorted(map(json.dumps, map(unpinned, stay))) == sorted(
        map(json.dumps, map(unpinned, map(anywhere, expected)))
    )


def test_no_rule_asks_for_the_newest_prometheus():
    """`anchored` is 3.16's: an older one would refuse the whole file."""
    assert "anchored" in "".join(rule_files().values())
    assert "anchored" not in "".join(
        rule["expr"] for rule in parsed(elsewhere(settings_of()).rules)
    )


def test_every_selector_of_raw_series_says_whose_it_means():
    """The user's Prometheus has other jobs, and what they scrape may have the same names."""
    for rule in parsed(elsewhere(settings_of()).rules):
        for name in metric_names(rule["expr"]):
            if ":" not in name:
                selectors = re.findall(rf"(?<![\w:]){name}(?![\w:])(\{{[^}}]*\}})?", rule["expr"])
                assert selectors
                assert all(re.search(r"\bjob=", text) for text in selectors), rule


def doubled(series: list[Json]) -> list[Json]:
    """The series as scraped by us, and by those who were there before."""
    scraped = {
        # Istio's samples have a monitor of all sidecars, kube-prometheus-stack one of cAdvisor.
        **dict.fromkeys(SCRAPED_METRICS, ("sidecars", "istio-system/envoy-stats-monitor")),
        **dict.fromkeys(CADVISOR_METRICS, ("cadvisor", "kubelet")),
    }
    found = []
    for one in series:
        name, _, labels = one["series"].partition("{")
        jobs = scraped.get(name, ())
        told = re.search(r'job="([^"]*)"', labels)
        if not jobs or (told and told[1] not in jobs):  # a stranger's anyway
            found.append(one)
            continue
        others = re.sub(r'job="[^"]*", ?', "", labels)
        found += [{**one, "series": f'{name}{{job="{job}", {others}'} for job in jobs]
    return found


@pytest.mark.parametrize("file", ["requests", "connections", "derived", "lives"])
def test_what_another_scrapes_too_is_counted_once(tmp_path, promtool, file):
    """Every rate would be twice what it is, and every byte billed twice."""
    document = yaml.safe_load((ROOT / f"tests/rules/{file}.test.yml").read_text())
    for test in document["tests"]:
        test["input_series"] = doubled(test["input_series"])

    def passes(rule_texts: dict[str, str], folder: str) -> bool:
        place = tmp_path / folder
        place.mkdir()
        for name, text in rule_texts.items():
            (place / name).write_text(text)
        names = [Path(name).name for name in document["rule_files"]]
        (place / "test.yml").write_text(yaml_text({**document, "rule_files": names}))
        command = [promtool, "test", "rules", place / "test.yml"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert passes(elsewhere(settings_of()).rules, "elsewhere")
    # In a Prometheus of ours nobody else scrapes: there the rules are as they are.
    assert not passes(rule_files(), "ours")


@pytest.mark.parametrize("more", [{}, RECEIVERS])
def test_prometheus_takes_the_files_as_they_lie(tmp_path, promtool, more):
    """promtool is the judge, of the example, the jobs it reads, and every rule."""
    settings = settings_of(**more)
    files = all_files(
        configuration_files(settings.cluster, elsewhere(settings)), elsewhere(settings).rules
    )
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("/login/password", str(tmp_path / "password")))
    (tmp_path / "password").write_text("secret")
    command = [promtool, "check", "config", "--lint=all", tmp_path / "prometheus.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Files of the cluster are not here.
    said = re.sub(r"\S*/serviceaccount/\S+", "", done.stderr)
    assert done.returncode == 0 or "serviceaccount" in done.stderr, said
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", *tmp_path.glob("rules/*")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = yaml.safe_load(files["prometheus.yml"])
    assert document["global"]["external_labels"] == {"cluster": "prod"}
    assert ("alerting" in document) is bool(more)


def test_of_targets_and_samples_only_ours_count(tmp_path, promtool):
    """The user's own jobs may be down, and his Prometheus take in what it likes."""
    settings = settings_of()
    for name, text in elsewhere(settings).rules.items():
        (tmp_path / name).write_text(text)
    ours, theirs = 'job="sidecars", instance="a"', 'job="their-shop", instance="a"'
    samples = "scrape_samples_post_metric_relabeling"
    test = {
        "interval": "1m",
        "input_series": [
            {"series": f"up{{{ours}}}", "values": "1x60 0x60"},
            {"series": f"up{{{theirs}}}", "values": "0x120"},
            {"series": f"{samples}{{{ours}}}", "values": "100000x30 300000x90"},
            {"series": f"{samples}{{{theirs}}}", "values": "9000000x120"},
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname, job) (ALERTS{alertstate="firing", '
                'alertname=~"TargetsMissing|HighMetricIngestionRate"})',
                "eval_time": time,
                "exp_samples": [{"labels": labels, "value": 1} for labels in firing],
            }
            for time, firing in (
                ("25m", []),
                ("50m", ['{alertname="HighMetricIngestionRate"}']),
                (
                    "100m",
                    [
                        '{alertname="HighMetricIngestionRate"}',
                        '{alertname="TargetsMissing", job="sidecars"}',
                    ],
                ),
            )
        ],
    }
    document = {
        "rule_files": ["recording.yml", "thresholds.yml", "pipeline_alerts.yml"],
        "evaluation_interval": "1m",
        "tests": [test],
    }
    (tmp_path / "test.yml").write_text(yaml_text(document))
    command = [promtool, "test", "rules", "--diff", tmp_path / "test.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
