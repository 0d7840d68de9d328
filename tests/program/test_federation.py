"""A stack with shards that also takes another cluster's records, as Kubernetes would receive it."""

from __future__ import annotations

import pytest
import yaml

from components.prometheus.rules import federated_sums
from components.prometheus.thresholds import LEAST_SAMPLES_PER_SECOND
from render.manifests import RELEASE_TYPE
from render.program import REDACTED
from tests.program.conftest import (
    config_map,
    container_of,
    named,
    objects,
    scrape_jobs,
)

SHARDS = ("prometheus-shard-0", "prometheus-shard-1")
SERVERS = ("prometheus", *SHARDS)


@pytest.fixture
def run(run_program):
    return run_program("shards")


@pytest.fixture
def watching(run_program):
    return run_program("global")


def config_of(run, server):
    return yaml.safe_load(run.only("ConfigMap", f"{server}-config")["data"]["prometheus.yml"])


def test_every_shard_is_a_server_of_its_own(run):
    """Replicas, volume and resources are each one's; two budgets, or a drain takes both of one."""
    for server in SERVERS:
        spec = run.only("StatefulSet", server)["spec"]
        assert spec["replicas"] == 2
        selected = spec["selector"]["matchLabels"]
        budget = run.only("PodDisruptionBudget", server)["spec"]["selector"]["matchLabels"]
        assert selected.items() <= budget.items()
        assert run.only("Service", server)["spec"]["sessionAffinity"] == "ClientIP"
    assert named(run, "PodDisruptionBudget") == {*SERVERS, "alertmanager"}


def test_a_shard_has_sums_of_its_sidecars_and_no_more(run):
    """No alert, no Alertmanager's password, no other job."""
    for number, server in enumerate(SHARDS):
        config = config_of(run, server)
        assert config["global"]["external_labels"]["shard"] == str(number)
        assert [job["job_name"] for job in config["scrape_configs"]] == ["sidecars"]
        assert "alerting" not in config
        rules = run.only("ConfigMap", f"{server}-rules")["data"]
        assert set(rules) == {"thresholds.yml", "sums.yml"}
        volumes = run.only("StatefulSet", server)["spec"]["template"]["spec"]["volumes"]
        assert {volume["name"] for volume in volumes} == {"config", "rules", "auth"}


def test_one_replica_of_a_shard_is_scraped(run):
    """The Service chooses one that is ready: both together would count everything twice."""
    jobs = scrape_jobs(run)
    shard_jobs = [job for name, job in jobs.items() if name.startswith("federation-shard-")]
    assert [job["static_configs"][0]["targets"] for job in shard_jobs] == [
        [f"{shard}.monitoring.svc:9090"] for shard in SHARDS
    ]
    container = container_of(run.only("StatefulSet", "prometheus"))
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    for job in (*shard_jobs, jobs["federation-cluster-eu"]):
        folder, _, key = job["basic_auth"]["password_file"].rpartition("/")
        assert folder in mounted
        assert key in ("password", "eu")
    assert "sidecars" not in jobs


def test_the_machinery_is_watched_shards_included(run):
    """A shard that is down is a PrometheusDown, with its pod's name."""
    job = scrape_jobs(run)["prometheus"]
    (keep,) = [r for r in job["relabel_configs"] if "app_kubernetes_io_name" in str(r)]
    for server in SERVERS:
        template = run.only("StatefulSet", server)["spec"]["template"]
        name = template["metadata"]["labels"]["app.kubernetes.io/name"]
        assert name in keep["regex"].split("|")


def test_boards_and_people_ask_where_all_meet(run):
    """A shard behind Grafana would show a part as the whole."""
    source = config_map(run, "grafana-datasources")["prometheus.yaml"]
    assert "http://prometheus.monitoring.svc:9090" in source
    assert run.outputs["prometheusUrl"] == "http://prometheus.monitoring.svc:9090"
    rules = run.only("ConfigMap", "prometheus-rules")["data"]
    added_up = yaml.safe_load(rules["shards.yml"])["groups"][0]["rules"]
    assert tuple(rule["record"] for rule in added_up) == federated_sums()
    assert "vendor_alerts.yml" in rules


def test_another_clusters_password_is_in_a_secret_alone(run):
    """The other stack's secret output reaches one Secret, and nothing else."""
    assert run.stacks == {"prod-eu"}
    (secret,) = [s for s in run.of_kind("Secret") if s.name == "prometheus-federation"]
    assert secret.inputs["stringData"] == {"eu": REDACTED}


def test_the_limit_of_samples_is_a_shards(variant):
    """The whole's would never be met by a part, however much too many samples come."""

    def limit(shards):
        run = variant(
            "prod",
            prometheus={"replicas": 2, "shards": shards, "retention": "1d"},
            crawlers={"expectedPods": 3500},
        )
        text = run.only("ConfigMap", "prometheus-rules")["data"]["thresholds.yml"]
        (rule,) = [
            rule
            for rule in yaml.safe_load(text)["groups"][0]["rules"]
            if rule["record"] == "cluster:prometheus_samples_appended:threshold"
        ]
        return float(rule["expr"].removeprefix("vector(").removesuffix(")"))

    whole = limit(1)
    assert whole / 2 > LEAST_SAMPLES_PER_SECOND
    assert limit(2) == pytest.approx(whole / 2, abs=1)


def test_a_global_stack_is_monitoring_alone(watching):
    """No mesh, no filters, no namespace but its own: there are no crawlers to attribute."""
    assert {resource.namespace for resource in objects(watching)} == {"", "monitoring"}
    assert named(watching, "Namespace") == {"monitoring"}
    assert watching.outputs.keys().isdisjoint({"expected", "optionalIstioValues"})
    assert watching.of_kind("EnvoyFilter") == ()
    assert watching.of_type(RELEASE_TYPE) == ()
    assert [*scrape_jobs(watching)] == [
        "prometheus",
        "alertmanager",
        "grafana",
        "kubelet",
        "federation-cluster-eu",
    ]
