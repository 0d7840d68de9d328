"""A stack whose Prometheus is not ours: what is made of it, and what is left out."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest
import yaml

from components import repository_files
from components.prometheus.rules import EVALUATED_BY
from components.prometheus.rules import OPERATOR as OPERATORS_PROMETHEUS
from render.__main__ import main as render
from render.program import MOCK_PASSWORD, REDACTED, Run
from render.program import run_program as run_with
from settings.loading import ROOT
from settings.namespaces import MONITORING_NAMESPACE
from tests.program.pod_security import violations

URL = "http://kube-prometheus-stack-prometheus.monitoring.svc:9090"
OPERATOR = {"mode": "operator", "url": URL, "operatorLabels": {"release": "kube-prometheus-stack"}}
RECEIVERS = {
    "alertmanager": {
        "receivers": [{"name": "oncall", "kind": "pagerduty"}],
        "critical": ["oncall"],
    },
    "alertmanagerSecrets": {"oncall": {"secure": "v1:abcdefgh:0123456789"}},
}
KINDS = ("PodMonitor", "ServiceMonitor", "PrometheusRule")


@pytest.fixture
def run_of(edited):
    """Run a shipped stack with another `prometheus` section, and other keys."""

    def run(prometheus, stack="dev", **more) -> Run:
        def edit(keys):
            keys.pop("alertmanager", None)
            keys.update(prometheus=prometheus, **more)

        return run_with(stack, edited(stack, edit))

    return run


def named(run: Run, kind: str) -> set[str]:
    return {one.inputs["metadata"]["name"] for one in run.of_kind(kind)}


modes = pytest.mark.parametrize("prometheus", [OPERATOR], ids=["operator"])
alertmanagers = pytest.mark.parametrize("more", [{}, RECEIVERS], ids=["theirs", "ours"])


@modes
@alertmanagers
def test_no_prometheus_is_run(run_of, prometheus, more):
    """No server, volume, password or right of one: there is a Prometheus already."""
    run = run_of(prometheus, **more)
    assert "prometheus" not in named(run, "StatefulSet") | named(run, "Service")
    assert not any("prometheus" in one.name.split("-") for one in run.of_kind("Secret"))
    for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
        assert run.of_kind(kind) == ()
    assert not any(one.type.endswith("PrometheusServer") for one in run.resources)
    assert "prometheusPassword" not in run.outputs
    assert run.outputs["prometheusUrl"] == prometheus["url"]


@modes
@alertmanagers
def test_an_alertmanager_runs_where_it_has_somebody_to_tell(run_of, prometheus, more):
    """Else alerts go where that Prometheus sends them, and one of ours would hear nothing."""
    run = run_of(prometheus, **more)
    assert ("alertmanager" in named(run, "StatefulSet")) is bool(more)
    assert ("alertmanagerPassword" in run.outputs) is bool(more)
    logins = [one for one in run.of_kind("Secret") if one.name == "alertmanager-login"]
    assert [one.inputs["type"] for one in logins] == ["kubernetes.io/basic-auth"] * bool(more)
    for one in logins:
        assert one.inputs["stringData"].keys() == {"username", "password"}


@modes
@alertmanagers
def test_everything_else_holds(run_of, prometheus, more):
    """URNs and objects are unique, secrets secret, and pods admitted, as in every stack."""
    run = run_of(prometheus, **more)
    assert max(Counter(one.urn for one in run.resources).values()) == 1
    identities = [
        (one.kind, one.namespace, one.inputs["metadata"]["name"])
        for one in run.resources
        if one.kind
    ]
    assert len(set(identities)) == len(identities)
    for one in run.resources:
        text = json.dumps(one.inputs)
        assert MOCK_PASSWORD not in text
        assert one.kind == "Secret" or REDACTED not in text, one.urn
        if one.kind in ("Deployment", "StatefulSet"):
            assert violations("restricted", one.inputs["spec"]["template"]["spec"]) == []
        if one.kind:
            labels = one.inputs["metadata"]["labels"]
            assert labels["app.kubernetes.io/part-of"] == "proxy-observability"
    assert MOCK_PASSWORD not in json.dumps(run.outputs)


RULE_FILES = {name for name, servers in EVALUATED_BY.items() if OPERATORS_PROMETHEUS in servers}
RULE_FILES -= {"native_histograms.yml", "alertmanager_alerts.yml"}


def test_the_operator_gets_monitors_and_rules(run_of):
    """With the labels it selects by, beside Grafana; every rule file is one of them."""
    run = run_of(OPERATOR)
    assert named(run, "PodMonitor") == {
        f"proxy-observability-{job}"
        for job in ("sidecars", "istiod", "load-generator", "simulated-vendors", "grafana")
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
    assert not any("external" in name for name in named(run, "ConfigMap"))


def test_the_operator_without_nodes(run_of):
    """Where no kubelet may be asked nothing is asked of it."""
    assert run_of({**OPERATOR, "nodeMetrics": False}).of_kind("ServiceMonitor") == ()


def test_the_operator_s_owner_is_told_what_it_needs(run_of):
    """The cluster's name for every series that leaves it; our Alertmanager where there is one."""
    values = run_of(OPERATOR).outputs["requiredPrometheusValues"]
    assert values == {"prometheus": {"prometheusSpec": {"externalLabels": {"cluster": "dev"}}}}
    values = run_of(OPERATOR, **RECEIVERS).outputs["requiredPrometheusValues"]
    (endpoint,) = values["prometheus"]["prometheusSpec"]["alertingEndpoints"]
    run = run_of(OPERATOR, **RECEIVERS)
    service = run.only("Service", endpoint["name"])
    assert service["metadata"]["namespace"] == endpoint["namespace"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["basicAuth"]["password"] == {"name": "alertmanager-login", "key": "password"}


@modes
def test_grafana_asks_the_one_that_is_there(run_of, prometheus):
    """With the login of a Secret that the program never reads, or with none."""

    def source_of(run):
        (config,) = [c for c in run.of_kind("ConfigMap") if c.name == "grafana-datasources"]
        (source,) = yaml.safe_load(config.inputs["data"]["prometheus.yaml"])["datasources"]
        (container,) = run.only("Deployment", "grafana")["spec"]["template"]["spec"]["containers"]
        references = {
            env["name"]: env["valueFrom"]["secretKeyRef"]
            for env in container["env"]
            if "valueFrom" in env
        }
        return source, references

    source, references = source_of(run_of(prometheus))
    assert source["url"] == prometheus["url"]
    assert not source.keys() & {"basicAuth", "basicAuthUser", "secureJsonData"}
    assert references.keys() == {"GF_SECURITY_ADMIN_PASSWORD"}

    source, references = source_of(run_of({**prometheus, "loginSecret": "prometheus-login"}))
    assert source["basicAuth"]
    assert references[source["basicAuthUser"].removeprefix("$")] == {
        "name": "prometheus-login",
        "key": "username",
    }
    variable = source["secureJsonData"]["basicAuthPassword"].removeprefix("$")
    assert references[variable] == {"name": "prometheus-login", "key": "password"}


@modes
def test_a_monitoring_namespace_that_is_there_stays_as_it_is(run_of, prometheus):
    """kube-prometheus-stack often lives there, and `up` would stop at it."""
    run = run_of({**prometheus, "createNamespace": False})
    assert "monitoring" not in named(run, "Namespace")
    assert run.only("Deployment", "grafana")["metadata"]["namespace"] == "monitoring"
    assert "monitoring" in named(run_of(prometheus), "Namespace")


def test_simulated_vendors_let_that_prometheus_in(run_of):
    """Their books are scraped from wherever it runs."""
    for namespace, prometheus in (
        ("observability", {**OPERATOR, "namespace": "observability"}),
        (MONITORING_NAMESPACE, OPERATOR),
        (MONITORING_NAMESPACE, {"scrapeInterval": "15s"}),
    ):
        policy = run_of(prometheus).only("NetworkPolicy", "simulated-vendors")
        allowed = [
            expression["values"]
            for rule in policy["spec"]["ingress"]
            for peer in rule["from"]
            for expression in peer["namespaceSelector"]["matchExpressions"]
        ]
        assert [namespace] in allowed


@modes
def test_rule_files_of_the_stack_s_own_go_along(run_of, prometheus, tmp_path, monkeypatch):
    """As they are: whose series they mean, their writer knows."""
    rule = {"record": "shops:istio_requests:rate5m", "expr": "sum(rate(istio_requests_total[5m]))"}
    text = yaml.safe_dump({"groups": [{"name": "shops", "rules": [rule]}]})
    monkeypatch.setattr(repository_files, "ROOT", tmp_path)
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    (tmp_path / "shops.yml").write_text(text)
    run = run_of(prometheus, "prod", alerts={"ruleFiles": ["shops.yml"]})
    (group,) = run.only("PrometheusRule", "proxy-observability-own-0-shops")["spec"]["groups"]
    assert group == {"interval": "15s", "name": "shops", "rules": [rule]}


@modes
@alertmanagers
def test_the_manifests_are_rendered(edited, prometheus, more, tmp_path, monkeypatch):
    """`make render` works for these as for any stack."""

    def edit(keys):
        del keys["alertmanager"]
        keys.update(prometheus=prometheus, **more)

    path = edited("prod", edit)
    monkeypatch.setenv("STACK_FILE", str(path))
    assert render(["--stack", "prod", "--out", str(tmp_path / "out")]) == 0
    files = {file.name for file in (tmp_path / "out" / "monitoring").iterdir()}
    assert "PodMonitor-proxy-observability-sidecars.yaml" in files
    assert not any("StatefulSet-prometheus" in name for name in files)
