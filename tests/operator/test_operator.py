"""The operator's own code takes our objects, and makes our configuration of them."""

from __future__ import annotations

import copy
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.alertmanager.config import alertmanagers
from components.file_text import yaml_text
from components.labels import PROJECT, labels
from components.prometheus.config import BasicAuth, operator_jobs
from components.prometheus.operator import APP
from components.prometheus.operator_objects import (
    API_VERSION,
    OperatorObject,
    monitors,
    prometheus_rules,
    required_prometheus_values,
)
from components.prometheus.own_rules import own_rule_files
from components.prometheus.rules import operator_rules
from preflight.selected import FIELDS, Given, labels_for, misses
from settings.loading import SettingsError, parse_settings
from tests import binaries
from tests.operator.real import PROMETHEUS, SELECTED, ask
from tests.operator.structural import faults_of_object
from tests.operator.targets import BY_ROLE
from tests.programs import run_to_end
from tests.relabel import relabel
from tools.find import find

Json = dict[str, Any]

SETTINGS = parse_settings(
    {
        "cluster": "prod",
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "crawlers": {"namespaces": ["crawlers", "crawlers-eu"]},
        "prometheus": {
            "mode": "operator",
            "url": "http://prometheus-operated.monitoring.svc:9090",
            "operatorLabels": SELECTED["matchLabels"],
        },
        "simulatedVendors": {
            "enabled": True,
            "vendors": {"vendor-a": {"endpoint": "10.1.0.10:3128"}},
        },
        # What each sidecar's histograms cost: both ways to store less of them.
        "telemetry": {"nativeHistograms": True, "histogramSampling": 10},
        "alerts": {"ruleFiles": ["My shops.yml"]},
        "alertmanager": {
            "receivers": [{"name": "oncall", "kind": "pagerduty"}],
            "critical": ["oncall"],
        },
        "alertmanagerSecrets": {"oncall": "0123456789abcdef0123456789abcdef"},
    }
)
LOGIN = {
    "metadata": {"name": "alertmanager-login", "namespace": "monitoring"},
    "kind": "Secret",
    # As the API server stores it.
    "data": {"username": "YWxlcnRtYW5hZ2Vy", "password": "cGFzc3dvcmQ="},
}
OWN_RULES = """\
groups:
  - name: shops
    interval: 1m
    limit: 10
    rules:
      - alert: ShopsSilent
        expr: 1
        for: 1m
        labels: {severity: warning, tier: 1, always: on}
        annotations:
"""


def jobs() -> tuple[Json, ...]:
    return operator_jobs(SETTINGS, BasicAuth(username="alertmanager", password_file="/password"))


@cache
def rule_texts() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "My shops.yml").write_text(OWN_RULES)
        own = own_rule_files(SETTINGS, Path(folder))
    return operator_rules(SETTINGS, own)


def manifest(one: OperatorObject, labels: dict[str, str] | None = None) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": one.kind,
        "metadata": {
            "name": one.name,
            "namespace": "monitoring",
            "labels": SELECTED["matchLabels"] if labels is None else labels,
        },
        "spec": one.spec,
    }


def manifests(labels: dict[str, str] | None = None) -> list[Json]:
    found = (*monitors(jobs()), *prometheus_rules(rule_texts(), 15))
    return [manifest(one, labels) for one in found]


@pytest.fixture(scope="module")
def operatorlab() -> Path:
    return binaries.find("operatorlab")


@pytest.fixture(scope="module")
def crds(operatorlab: Path) -> dict[str, Json]:
    """By kind, as this version of the operator ships them."""
    files = operatorlab.parent.glob("monitoring.coreos.com_*.yaml")
    found = [yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader) for file in files]
    return {crd["spec"]["names"]["kind"]: crd for crd in found}


def test_every_object_fits_its_schema(crds):
    """An API server drops a field it does not know, and says so in a warning nobody reads."""
    found = manifests()
    assert {one["kind"] for one in found} == {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
    assert [fault for one in found for fault in faults_of_object(crds[one["kind"]], one)] == []


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("podMetricsEndpoints", 0, "metric_relabelings"), [], "is no field"),
        (("podMetricsEndpoints", 0, "interval"), "15 s", "has not the form"),
        (("podMetricsEndpoints", 0, "relabelings", 0, "action"), "keepit", "is none of"),
        (("podMetricsEndpoints", 0, "honorLabels"), "yes", "is no boolean"),
        (("fallbackScrapeProtocol",), "text", "is none of"),
        (("selector",), None, "is no object"),
    ],
)
def test_the_schema_s_checker_sees_a_wrong_object(crds, path, value, fault):
    """The promise above is worth what its checker sees."""
    wrong = copy.deepcopy(next(one for one in manifests() if one["kind"] == "PodMonitor"))
    holder = wrong["spec"]
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    (found,) = faults_of_object(crds["PodMonitor"], wrong)
    assert fault in found


def test_the_operator_takes_every_object(operatorlab):
    """Selected by their labels, validated as its webhook does, and none refused."""
    found = manifests()
    answer = ask(operatorlab, [*found, LOGIN])
    assert answer.refused == ()
    assert answer.selected == {f"monitoring/{one['metadata']['name']}" for one in found}


def test_the_operator_takes_nothing_without_its_labels(operatorlab):
    """It says nothing of it either: why the key is required."""
    assert ask(operatorlab, [*manifests({}), LOGIN]).selected == frozenset()


OWN, CHOSEN = labels(APP), SELECTED["matchLabels"]


@pytest.mark.parametrize(
    "selector",
    [
        None,
        {},
        {"matchLabels": CHOSEN},
        {"matchLabels": {"release": "other", "app.kubernetes.io/part-of": PROJECT}},
        {"matchLabels": {"app.kubernetes.io/part-of": "other"}},
        {"matchExpressions": [{"key": "release", "operator": "NotIn", "values": ["other"]}]},
        {"matchExpressions": [{"key": "release", "operator": "DoesNotExist"}]},
        {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]},
        {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
    ],
)
def test_preflight_says_what_the_operator_selects(operatorlab, selector):
    """And of labels that it tells to write, the operator selects every object."""
    spec = {f"{field}Selector": selector for field in FIELDS.values()}
    server = {"kind": "Prometheus", **PROMETHEUS, "spec": spec}

    def selected(chosen):
        return len(ask(operatorlab, [*manifests({**OWN, **chosen}), LOGIN], spec).selected)

    objects = Given(kinds=tuple(FIELDS), own=OWN, chosen=CHOSEN, of_namespace={})
    all_of_them = len(manifests())
    assert selected(CHOSEN) == (0 if [*misses(server, objects)] else all_of_them)
    wanted = labels_for([selector], CHOSEN, OWN)
    if selector is not None and wanted is not None:
        assert selected(wanted) == all_of_them


def test_what_the_operator_refuses_is_seen(operatorlab):
    """The two promises above are worth what the stand-in for the cluster reports."""
    found = manifests()
    (rule,) = [one for one in found if one["metadata"]["name"].endswith("-sums")]
    rule["spec"]["groups"][0]["rules"][0]["expr"] = "sum("
    answer = ask(operatorlab, found)  # and the Secret is missing
    assert len(answer.refused) == 2
    assert "proxy-observability-alertmanager" in answer.refused[0]
    assert "parse error" in answer.refused[1]


def test_prometheus_takes_what_the_operator_makes(operatorlab, tmp_path):
    """promtool is the judge of the configuration that the operator's Prometheus gets."""
    answer = ask(operatorlab, [*manifests(), LOGIN])
    path = tmp_path / "prometheus.yml"
    path.write_text(answer.configuration)
    run_to_end(find("promtool"), "check", "config", "--syntax-only", path)


def made_by_the_operator(operatorlab: Path) -> dict[str, Json]:
    """Its jobs, by the names of ours."""
    jobs = ask(operatorlab, [*manifests(), LOGIN]).jobs
    return {job["job_name"].split("/")[2].removeprefix("proxy-observability-"): job for job in jobs}


def targets_of(job: Json) -> list[dict[str, str]]:
    """The recorded targets that a job discovers."""
    (discovery,) = job["kubernetes_sd_configs"]
    names = discovery.get("namespaces", {}).get("names")
    return [
        target
        for target in BY_ROLE[discovery["role"]]
        if names is None or target["__meta_kubernetes_namespace"] in names
    ]


def labels_of_target(job: Json, target: dict[str, str]) -> dict[str, str] | None:
    """Return the labels that a discovered target's series get; None if it is not scraped."""
    found = {
        "job": str(job["job_name"]),
        "__metrics_path__": str(job.get("metrics_path", "/metrics")),
        "__scheme__": str(job.get("scheme", "http")),
        **target,
    }
    relabelled = relabel(job.get("relabel_configs", ()), found)
    if relabelled is None:
        return None
    relabelled.setdefault("instance", relabelled["__address__"])
    where = {key: relabelled[key] for key in ("__address__", "__metrics_path__", "__scheme__")}
    return where | {key: text for key, text in relabelled.items() if not key.startswith("__")}


def scraped_by(job: Json) -> list[dict[str, str]]:
    found = [labels_of_target(job, target) for target in targets_of(job)]
    return sorted((one for one in found if one), key=json.dumps)


def test_the_same_targets_get_the_same_labels(operatorlab):
    """Boards and rules can't tell whose Prometheus it is."""
    theirs = made_by_the_operator(operatorlab)
    ours = {job["job_name"]: job for job in jobs()}
    assert theirs.keys() == ours.keys()
    for name, job in ours.items():
        assert scraped_by(job), f"no recorded target of {name}"
        assert scraped_by(theirs[name]) == scraped_by(job)
    (shop, news) = scraped_by(theirs["sidecars"])
    assert shop == {
        "__address__": "10.244.1.5:15090",
        "__metrics_path__": "/stats/prometheus",
        "__scheme__": "http",
        "cluster": "prod",
        "instance": "10.244.1.5:15090",
        "job": "sidecars",
        "namespace": "crawlers",
        "pod": "shop-1",
        "source_workload": "(Pod)",
        "team": "crawlers",
    }
    assert news["namespace"] == "crawlers-eu"
    # A target for each workload without a sidecar, however many pods and ports it has: Prometheus
    # takes targets of the same labels for one. None is asked anything.
    unseen = scraped_by(theirs["crawlers-unseen"])
    found = sorted({(one["namespace"], one["workload"]) for one in unseen})
    assert [workload for _, workload in found] == ["(Pod)", "old", "run", "set"]
    assert len({json.dumps(one, sort_keys=True) for one in unseen}) == 4
    assert {one["__address__"] for one in unseen} == {"127.0.0.1:9090"}
    # Nor is anybody else's Grafana taken for ours.
    assert [one["pod"] for one in scraped_by(theirs["grafana"])] == ["grafana-1"]
    assert [one["pod"] for one in scraped_by(theirs["alertmanager"])] == ["alertmanager-0"]


def test_of_a_target_the_same_series_are_stored(operatorlab):
    """Pace, login, fallback and relabelling of series: what else a job says."""
    theirs = made_by_the_operator(operatorlab)
    for job in jobs():
        made = theirs[job["job_name"]]
        for key in ("scrape_interval", "scrape_timeout", "fallback_scrape_protocol"):
            assert made.get(key) == job.get(key)
        for key in ("tls_config", "convert_classic_histograms_to_nhcb"):
            assert made.get(key) == job.get(key)
        kept = [{"action": "replace", **rule} for rule in job.get("metric_relabel_configs", ())]
        made_kept = made.get("metric_relabel_configs", ())
        assert [{"action": "replace", **rule} for rule in made_kept] == kept
    assert theirs["sidecars"]["convert_classic_histograms_to_nhcb"]
    assert theirs["alertmanager"]["basic_auth"] == {
        "username": "alertmanager",
        "password": "password",
    }
    # cAdvisor's series name the pod they are about; the target's own labels must not win.
    assert theirs["cadvisor"]["honor_labels"]
    assert theirs["cadvisor"]["bearer_token_file"].endswith("/serviceaccount/token")


def test_prometheus_takes_our_alertmanagers_beside_others(tmp_path):
    """promtool is the judge of the Secret's text, which the operator appends as it is."""
    entries = alertmanagers("monitoring", 9093, 2, "password")
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml_text({"alerting": {"alertmanagers": entries}}))
    run_to_end(find("promtool"), "check", "config", path)
    values = required_prometheus_values("prod", runs_alertmanager=False)
    assert values == {"prometheus": {"prometheusSpec": {"externalLabels": {"cluster": "prod"}}}}


def test_a_rule_of_the_stack_s_own_keeps_its_text():
    """YAML makes a number of `tier: 1` and a truth of `on`; a label is text."""
    (own,) = [one for one in prometheus_rules(rule_texts(), 15) if "own-0" in one.name]
    assert own.name == "proxy-observability-own-0-my-shops"
    assert own.spec["groups"] == [
        {
            "interval": "1m",
            "name": "shops",
            "limit": 10,
            "rules": [
                {
                    "alert": "ShopsSilent",
                    "expr": "1",
                    "for": "1m",
                    "labels": {
                        "product": "proxy-observability",
                        "severity": "warning",
                        "tier": "1",
                        "always": "on",
                    },
                }
            ],
        }
    ]


def test_a_file_too_large_for_an_object_is_refused():
    """Refused before anything is deployed: the operator would leave it out."""
    rules = [{"record": "shops:up:sum", "expr": f"sum(up) # {'x' * 1000}"}] * 500
    text = yaml_text({"groups": [{"name": "shops", "rules": rules}]})
    with pytest.raises(SettingsError, match=r"^alerts\.ruleFiles: own-0-shops\.yml has 5\d{5} "):
        prometheus_rules({"own-0-shops.yml": text}, 15)
