"""Prometheus, Alertmanager and Grafana as Kubernetes would receive them."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
import yaml

from components.prometheus.estimate import estimate
from components.prometheus.rules import EVALUATED_BY, SERVER
from dashboards.frame import shown
from dashboards.look import look_of
from render.program import REDACTED
from render.program import run_program as run_with
from settings.loading import ROOT
from settings.values.quantities import cpu_millis, memory_bytes
from tests.program.conftest import (
    OPERATOR,
    RECEIVERS,
    config_map,
    container_of,
    named,
    provider_of,
    scrape_jobs,
    workloads,
)


def server_of(run, name):
    (found,) = [s for s in run.of_kind("StatefulSet") if s.inputs["metadata"]["name"] == name]
    return found


def rules_of(run):
    return run.only("ConfigMap", "prometheus-rules")["data"]


AMOUNTS = {"cpu": cpu_millis, "memory": memory_bytes}


def pods_in(run, namespace):
    """Return a container of each workload, and how many pods have it; a CronJob has one."""
    found = [
        (container_of(workload.inputs), workload.inputs["spec"]["replicas"])
        for workload in workloads(run)
        if workload.namespace == namespace
    ]
    jobs = [one.inputs for one in run.of_kind("CronJob") if one.namespace == namespace]
    return [*found, *((container_of(job["spec"]["jobTemplate"]), 1) for job in jobs)]


def together(run, namespace, bound, name):
    """Return what all pods of a namespace ask for, in thousandths of a core or bytes."""
    return sum(
        Fraction(AMOUNTS[name](container["resources"][bound][name])) * count
        for container, count in pods_in(run, namespace)
    )


def test_monitoring_fits_the_brief(run_program):
    """All replicas together stay within the brief's figures for the namespace."""
    brief = {  # "Resource Allocation" of the architecture document
        "requests": {"cpu": 3000, "memory": 6 * 10**9},
        "limits": {"cpu": 4000, "memory": 8 * 10**9},
    }
    for bound, quantities in brief.items():
        for name, most in quantities.items():
            assert together(run_program("prod"), "monitoring", bound, name) <= most, (bound, name)


@pytest.mark.parametrize("shape", ["dev", "prod", "shards", "global"])
def test_a_namespace_has_room_for_its_pods_and_one_more(run_program, shape):
    """A quota that is too small refuses pods, and `up` waits in vain."""
    run = run_program(shape)
    namespaces = {"monitoring", "proxy-vendors"} & named(run, "Namespace")
    for namespace in namespaces:
        (quota,) = [one for one in run.of_kind("ResourceQuota") if one.namespace == namespace]
        hard = quota.inputs["spec"]["hard"]
        pods = pods_in(run, namespace)
        assert int(hard["pods"]) == sum(count for _, count in pods) + 1
        for bound in ("requests", "limits"):
            for name, amount in AMOUNTS.items():
                largest = max(amount(one["resources"][bound][name]) for one, _ in pods)
                text = hard[f"{bound}.{name}"]
                room = cpu_millis(text) if name == "cpu" else int(text)
                assert room == together(run, namespace, bound, name) + largest


def test_namespaces_of_others_have_no_quota(run_program, variant):
    """Crawlers', and one where others' pods run: those would not start."""
    limited = {one.namespace for one in run_program("dev").of_kind("ResourceQuota")}
    assert limited == {"monitoring", "proxy-vendors", "istio-system"}
    assert {one.namespace for one in run_program("operator").of_kind("ResourceQuota")} == {
        "proxy-vendors",
        "istio-system",
    }
    shared = variant(
        "prod", prometheus={"createNamespace": False}, istio={"install": False, "cni": True}
    )
    assert shared.of_kind("ResourceQuota") == ()


LAPTOP = (4000, 8 * 10**9)
KIND = (950, 290 * 2**20)  # CoreDNS, kindnet and the control plane on its one node
CNI_AGENT = (100, 100 * 2**20)  # one a node, by the default of Istio's chart
"""Millicores of CPU, and bytes of memory."""


def asked(resources, pods=1):
    """What some pods request."""
    requests = resources["requests"]
    return (pods * cpu_millis(requests["cpu"]), pods * memory_bytes(requests["memory"]))


def pods_at_most(workload):
    """How many pods a workload has while it rolls: a Deployment one more than it needs."""
    spec = workload.inputs["spec"]
    surges = workload.kind == "Deployment" and spec.get("strategy", {}).get("type") != "Recreate"
    return int(spec.get("replicas", 1)) + surges


def test_the_development_stack_fits_a_laptop(run_program):
    """kind on four cores runs its own pods too: the first `up` waited 318 s for a node."""
    run = run_program("dev")
    (istiod,) = [r.inputs["values"] for r in run.resources if r.inputs.get("chart") == "istiod"]
    sidecars = int(run.only("StatefulSet", "load-generator")["spec"]["replicas"])
    every = [
        *(asked(container_of(w.inputs)["resources"], pods_at_most(w)) for w in workloads(run)),
        asked(istiod["global"]["proxy"]["resources"], sidecars),
        asked(istiod["resources"], 2),  # its chart's rollingMaxSurge is 100%
        *(CNI_AGENT, KIND),
    ]
    cpu, memory = (Fraction(sum(amounts)) for amounts in zip(*every, strict=True))
    assert cpu <= LAPTOP[0]
    assert memory <= LAPTOP[1]
    assert run.settings.prometheus.storage + run.settings.alertmanager.storage <= 10 * 10**9


def test_every_rule_and_board_travels(run_program):
    """Every file in rules/ and every board is in a ConfigMap; test_ledger.py has the others."""
    run = run_program("prod")
    shipped = {name for name, servers in EVALUATED_BY.items() if SERVER in servers}
    elsewhere = {"native_histograms.yml", "ledger_records.yml", "ledger_alerts.yml"}
    elsewhere |= {"money_records.yml", "money_alerts.yml"}
    assert set(rules_of(run)) == shipped - elsewhere
    for uid in shown(look_of(run.settings)):
        ((file, text),) = config_map(run, f"grafana-{uid}").items()
        assert file == f"{uid}.json"
        assert json.loads(text)["uid"] == uid
        assert json.loads(text)["panels"]


def test_nodes_are_read_and_no_more(run_program, variant):
    """The only right beyond a namespace is to read nodes, and a stack can do without it."""
    role = run_program("prod").only("ClusterRole")
    assert {(tuple(r["resources"]), tuple(r["verbs"])) for r in role["rules"]} == {
        (("nodes",), ("list", "watch")),
        (("nodes/metrics",), ("get",)),
    }
    run = variant("prod", prometheus={"nodeMetrics": False})
    assert run.of_kind("ClusterRole") == run.of_kind("ClusterRoleBinding") == ()
    assert scrape_jobs(run).keys().isdisjoint({"kubelet", "cadvisor"})
    operated = {**OPERATOR, "nodeMetrics": False}
    assert variant("dev", prometheus=operated, alertmanager=None).of_kind("ServiceMonitor") == ()


def test_grafana_asks_with_the_login_of_any_prometheus(run_program, variant):
    """The data source is a ConfigMap; Grafana fills in user and password from a Secret."""
    logins = {"prometheus": {**OPERATOR, "loginSecret": "prometheus-login"}, "alertmanager": None}
    for run, secret in (
        (run_program("prod"), "prometheus-auth-"),
        (variant("dev", **logins), "prometheus-login"),
    ):
        text = config_map(run, "grafana-datasources")["prometheus.yaml"]
        (source,) = yaml.safe_load(text)["datasources"]
        container = container_of(run.only("Deployment", "grafana"))
        variables = {env["name"]: env.get("valueFrom") for env in container["env"]}
        for text, key in (
            (source["basicAuthUser"], "username"),
            (source["secureJsonData"]["basicAuthPassword"], "password"),
        ):
            reference = variables[text.removeprefix("$")]["secretKeyRef"]
            assert reference["name"].startswith(secret)
            assert reference["key"] == key


def test_grafana_asks_a_prometheus_without_login(run_program):
    """Grafana sends no login to a Prometheus that needs none."""
    run = run_program("operator")
    (source,) = yaml.safe_load(config_map(run, "grafana-datasources")["prometheus.yaml"])[
        "datasources"
    ]
    assert source["url"] == OPERATOR["url"]
    assert not source.keys() & {"basicAuth", "basicAuthUser", "secureJsonData"}


def test_alertmanagers_find_each_other_and_their_credentials(variant):
    """Each names all of them; a receiver's credential is a file of a Secret, and nowhere else."""
    alertmanager = {**RECEIVERS["alertmanager"], "replicas": 3}
    run = variant("prod", **{**RECEIVERS, "alertmanager": alertmanager})
    spec = run.only("StatefulSet", "alertmanager")["spec"]
    container = container_of({"spec": spec})
    peers = [a for a in container["args"] if a.startswith("--cluster.peer=")]
    assert peers == [f"--cluster.peer=alertmanager-{n}.alertmanager-pods:9094" for n in range(3)]
    assert spec["serviceName"] == "alertmanager-pods"
    assert run.only("Service", "alertmanager-pods")["spec"]["publishNotReadyAddresses"]
    (credentials,) = [s for s in run.of_kind("Secret") if s.name == "alertmanager-credentials"]
    assert credentials.inputs["stringData"] == {"oncall": REDACTED}
    assert named(run, "PodDisruptionBudget") == {"alertmanager", "prometheus"}


def test_a_second_replica_is_kept_through_drains(run_program):
    """With two replicas one may leave its node at a time; with one, a budget would block drains."""
    for name in ("prometheus", "alertmanager"):
        budget = run_program("prod").only("PodDisruptionBudget", name)
        assert budget["spec"]["maxUnavailable"] == 1
    assert run_program("dev").of_kind("PodDisruptionBudget") == ()


def test_a_changed_volume_size_replaces_no_server(run_program):
    """Pulumi would delete every replica, and the volumes would have the size they had."""
    for name in ("prometheus", "alertmanager"):
        assert server_of(run_program("prod"), name).ignored == {"spec.volumeClaimTemplates"}


def test_a_roll_out_of_prometheus_is_waited_for(run_program):
    """Replicas roll one by one, and each may need all of its start-up and its end."""
    for stack in ("dev", "prod"):
        server = server_of(run_program(stack), "prometheus")
        pod = server.inputs["spec"]["template"]["spec"]
        startup = pod["containers"][0]["startupProbe"]
        seconds = startup["periodSeconds"] * startup["failureThreshold"]
        seconds += pod["terminationGracePeriodSeconds"]
        assert server.update_timeout == f"{server.inputs['spec']['replicas'] * seconds // 60}m"


def test_a_kubeconfig_of_the_stack_is_used_and_stays_secret(tmp_path):
    """A deployment machine has no ~/.kube/config; the file holds the cluster's credentials."""
    path = tmp_path / "Pulumi.prod.yaml"
    text = (ROOT / "Pulumi.prod.yaml").read_text()
    path.write_text(text.replace("config:\n", "config:\n  kubernetes:kubeconfig: token\n", 1))
    provider = provider_of(run_with("prod", path))
    assert provider.inputs["kubeconfig"] == REDACTED
    assert "kubeconfig" in provider.secrets


def test_how_histograms_are_stored_reaches_prometheus(run_program):
    """Scrape job and rules change together; else p95 would have no data."""
    plain, run = run_program("prod"), run_program("native")
    assert "convert_classic_histograms_to_nhcb" not in scrape_jobs(plain)["sidecars"]
    assert "native_histograms.yml" not in rules_of(plain)

    job = scrape_jobs(run)["sidecars"]
    assert job["convert_classic_histograms_to_nhcb"] is True
    assert 10 in [rule.get("modulus") for rule in job["metric_relabel_configs"]]
    (group,) = yaml.safe_load(rules_of(run)["native_histograms.yml"])["groups"]
    assert [rule.get("labels") for rule in group["rules"]] == [
        *(None, {"le": "70.0"}, {"le": "9000.0"}, {"le": "+Inf"})
    ]
    own = {
        rule["record"]: rule["expr"]
        for rule in yaml.safe_load(rules_of(run)["thresholds.yml"])["groups"][0]["rules"]
    }
    assert own["cluster:sidecars_per_histogram:ratio"] == "vector(10)"
    classic = estimate(plain.settings).sidecar.total
    assert run.outputs["expected"]["seriesPerSidecar"] < classic
