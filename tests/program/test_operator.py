"""A stack whose Prometheus the cluster's operator runs, and files for one outside the cluster."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from components.access.roles import ROLES
from components.prometheus.rules import EVALUATED_BY
from components.prometheus.rules import OPERATOR as OPERATED
from render.__main__ import main as render
from tests.program.conftest import OPERATOR, RECEIVERS, named, provider_of, sections
from tests.programs import run_to_end
from tools.find import find

RULE_FILES = {name for name, servers in EVALUATED_BY.items() if OPERATED in servers}
RULE_FILES -= {"native_histograms.yml", "alertmanager_alerts.yml", "ledger_records.yml"}
RULE_FILES -= {"money_records.yml", "money_alerts.yml"}  # where hours are kept
KINDS = ("PodMonitor", "ServiceMonitor", "PrometheusRule")


@pytest.mark.parametrize("shape", ["operator", "operator-slack"])
def test_no_prometheus_is_run(run_program, shape):
    """No server, volume, password or right of one: there is a Prometheus already."""
    run = run_program(shape)
    assert "prometheus" not in named(run, "StatefulSet") | named(run, "Service")
    assert not any("prometheus" in one.name.split("-") for one in run.of_kind("Secret"))
    assert named(run, "Role") == set(ROLES)  # of people
    for kind in ("RoleBinding", "ClusterRole", "ClusterRoleBinding"):
        assert run.of_kind(kind) == ()
    assert "prometheusPassword" not in run.outputs
    assert run.outputs["prometheusUrl"] == OPERATOR["url"]


@pytest.mark.parametrize(("shape", "ours"), [("operator", False), ("operator-slack", True)])
def test_an_alertmanager_runs_where_it_has_receivers(run_program, shape, ours):
    """Without receivers alerts go where that Prometheus sends them."""
    run = run_program(shape)
    assert ("alertmanager" in named(run, "StatefulSet")) is ours
    assert ("alertmanagerPassword" in run.outputs) is ours
    assert ("proxy-observability-alertmanager" in named(run, "PodMonitor")) is ours
    logins = [one for one in run.of_kind("Secret") if one.name == "alertmanager-login"]
    assert [one.inputs["type"] for one in logins] == ["kubernetes.io/basic-auth"] * ours
    for one in logins:
        assert one.inputs["stringData"].keys() == {"username", "password", "alertmanagers.yml"}


def test_the_operator_gets_monitors_and_rules(run_program):
    """With the labels it selects by, beside Grafana; every rule file is one of them."""
    run = run_program("operator")
    jobs = ("sidecars", "istiod", "load-generator", "simulated-vendors", "grafana")
    assert named(run, "PodMonitor") == {
        f"proxy-observability-{job}" for job in (*jobs, "crawlers-unseen")
    }
    assert named(run, "ServiceMonitor") == {"proxy-observability-cadvisor"}
    assert named(run, "PrometheusRule") == {
        f"proxy-observability-{file.removesuffix('.yml').replace('_', '-')}" for file in RULE_FILES
    }
    for kind in KINDS:
        for one in run.of_kind(kind):
            assert one.inputs["apiVersion"] == "monitoring.coreos.com/v1"
            assert one.namespace == "monitoring"
            assert one.inputs["metadata"]["labels"]["release"] == "kube-prometheus-stack"
            assert len(json.dumps(one.inputs)) < 400_000


def test_another_team_keeps_its_alertmanager(run_program):
    """`alertingEndpoints` replaced it for every alert; now ours is one more."""
    values = run_program("operator").outputs["requiredPrometheusValues"]
    assert values == {"prometheus": {"prometheusSpec": {"externalLabels": {"cluster": "dev"}}}}
    run = run_program("operator-slack")
    spec = run.outputs["requiredPrometheusValues"]["prometheus"]["prometheusSpec"]
    assert spec.keys() == {"externalLabels", "additionalAlertManagerConfigsSecret"}
    reference = spec["additionalAlertManagerConfigsSecret"]
    secret = run.only("Secret", reference["name"])
    assert reference["key"] in secret["stringData"]


def test_the_operator_finds_the_login_in_both_namespaces(variant):
    """It reads one beside the monitors and one beside its Prometheus, and stops without either."""
    run = variant("dev", prometheus={**OPERATOR, "namespace": "observability"}, **RECEIVERS)
    logins = {
        one.namespace: one.inputs["stringData"].keys()
        for one in run.of_kind("Secret")
        if one.inputs["metadata"]["name"] == "alertmanager-login"
    }
    keys = {"username", "password", "alertmanagers.yml"}
    assert logins == {"monitoring": keys, "observability": keys}
    # Replaced under a fixed name it would be missing for a moment.
    provider = provider_of(run)
    assert provider.inputs["enableSecretMutable"] == "true"


@pytest.mark.parametrize("create", [True, False])
def test_a_monitoring_namespace_that_is_there_stays_as_it_is(variant, create):
    """kube-prometheus-stack often runs there, and `up` would fail with "already exists"."""
    run = variant("dev", prometheus={**OPERATOR, "createNamespace": create}, alertmanager=None)
    assert ("monitoring" in named(run, "Namespace")) is create
    assert run.only("Deployment", "grafana")["metadata"]["namespace"] == "monitoring"


OWN_RULES = {
    "groups": [
        {
            "name": "shops",
            "rules": [
                {"record": "shops:requests:rate5m", "expr": "sum(rate(istio_requests_total[5m]))"},
                {"alert": "ShopsSilent", "expr": "up == 0", "labels": {"severity": "warning"}},
            ],
        }
    ]
}


@pytest.mark.parametrize(
    "prometheus", [OPERATOR, {"scrapeInterval": "15s"}], ids=["operator", "server"]
)
def test_rule_files_of_the_user_go_along(variant, own_rules, prometheus):
    """With the label without which Alertmanager would take their alerts for another team's."""
    alerts = own_rules(yaml.safe_dump(OWN_RULES))
    run = variant("prod", prometheus=prometheus, alerts=alerts, alertmanager=None)
    if prometheus is OPERATOR:
        rule_object = run.only("PrometheusRule", "proxy-observability-own-0-shops")
        (group,) = rule_object["spec"]["groups"]
        assert group.pop("interval") == "15s"
    else:
        text = run.only("ConfigMap", "prometheus-rules")["data"]["own-0-shops.yml"]
        (group,) = yaml.safe_load(text)["groups"]
    record, alert = OWN_RULES["groups"][0]["rules"]
    labels = {"product": "proxy-observability", "severity": "warning"}
    assert group == {"name": "shops", "rules": [record, {**alert, "labels": labels}]}


@pytest.mark.parametrize(
    ("stack", "edit"),
    [
        ("dev", sections()),
        ("prod", sections()),
        ("prod", sections(prometheus=OPERATOR, **RECEIVERS)),
    ],
    ids=["dev", "prod", "operator"],
)
def test_every_rendering_has_files_for_a_prometheus_outside(
    edited, tmp_path, monkeypatch, stack, edit
):
    """promtool takes them as they lie there; nothing but Kubernetes' own files is missing."""
    monkeypatch.setenv("STACK_FILE", str(edited(stack, edit)))
    assert render(["--stack", stack, "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "prometheus"
    rules = {path.name for path in (folder / "rules").iterdir()}
    assert rules - {"alertmanager_alerts.yml"} == RULE_FILES
    # As often as sidecars are scraped; Prometheus' own default is a minute.
    whole = yaml.safe_load((folder / "prometheus.yml").read_text())["global"]
    jobs = yaml.safe_load((folder / "scrape_configs.yml").read_text())["scrape_configs"]
    assert {whole["evaluation_interval"]} == {job["scrape_interval"] for job in jobs}
    (tmp_path / "password").touch()
    for path in (folder / "prometheus.yml", folder / "scrape_configs.yml"):
        text = re.sub(r"(file: )/\S+", rf"\1{tmp_path}/password", path.read_text())
        path.write_text(text)
    done = run_to_end(find("promtool"), "check", "config", folder / "prometheus.yml")
    assert "rules found" in done.stdout


def test_values_for_charts_of_others_are_rendered(edited, tmp_path, monkeypatch):
    """The Istio team and the owner of kube-prometheus-stack can read them before any `up`."""
    edit = sections(prometheus=OPERATOR, istio={"install": False, "cni": True}, **RECEIVERS)
    monkeypatch.setenv("STACK_FILE", str(edited("prod", edit)))
    assert render(["--stack", "prod", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "render.json").read_text())
    for key, file in (
        ("optionalIstioValues", "optional/istiod.yaml"),
        ("requiredPrometheusValues", "required/kube-prometheus-stack.yaml"),
    ):
        assert report[key] == yaml.safe_load((tmp_path / file).read_text())
        assert file in report["files"]
