"""A stack with shards that also takes another cluster's records, as Kubernetes would receive it."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml

from components import repository_files
from components.prometheus.rules import federated_sums
from components.prometheus.thresholds import LEAST_SAMPLES_PER_SECOND
from render.manifests import RELEASE_TYPE
from render.program import REDACTED
from render.program import run_program as run_with
from settings.loading import SettingsError
from tests.program import test_program as every
from tools.find import find

SHARDS = ("prometheus-shard-0", "prometheus-shard-1")
SERVERS = ("prometheus", *SHARDS)


def with_federation(keys):
    keys["prometheus"] = {
        "replicas": 2,
        "shards": 2,
        "federateFrom": [
            {"cluster": "eu", "url": "https://prometheus.eu.example.com", "stack": "prod-eu"}
        ],
    }


@pytest.fixture
def run(edited):
    return run_with("prod", edited("prod", with_federation))


def config_of(run, server):
    return yaml.safe_load(run.only("ConfigMap", f"{server}-config")["data"]["prometheus.yml"])


@pytest.mark.parametrize(
    "promise",
    [
        every.test_no_two_resources_are_the_same_one,
        every.test_every_object_is_one_object_of_the_cluster,
        every.test_every_resource_hangs_below_a_component,
        every.test_every_object_goes_to_the_named_cluster,
        every.test_every_object_is_in_a_namespace_of_the_stack,
        every.test_every_object_can_be_found_by_label,
        every.test_secrets_stay_secret,
        every.test_every_pod_is_admitted_by_its_namespace,
        every.test_what_pods_refer_to_exists,
        every.test_services_lead_to_pods,
        every.test_no_probe_stands_before_the_password,
    ],
    ids=lambda promise: promise.__name__,
)
def test_what_holds_of_every_stack(run, promise):
    """Shards are pods like others: admitted, labelled, with what they refer to."""
    promise(lambda _: run, "prod")


def test_every_shard_is_a_server_of_its_own(run):
    """Replicas, volume and resources are each one's; two budgets, or a drain takes both of one."""
    for server in SERVERS:
        spec = run.only("StatefulSet", server)["spec"]
        assert spec["replicas"] == 2
        selected = spec["selector"]["matchLabels"]
        budget = run.only("PodDisruptionBudget", server)["spec"]["selector"]["matchLabels"]
        assert selected.items() <= budget.items()
        assert run.only("Service", server)["spec"]["sessionAffinity"] == "ClientIP"
    assert {b.inputs["metadata"]["name"] for b in run.of_kind("PodDisruptionBudget")} == {
        *SERVERS,
        "alertmanager",
    }


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


def test_one_replica_of_a_shard_is_asked(run):
    """The Service chooses one that is ready: both together would count everything twice."""
    jobs = {job["job_name"]: job for job in config_of(run, "prometheus")["scrape_configs"]}
    asked = [job for name, job in jobs.items() if name.startswith("federation-shard-")]
    assert [job["static_configs"][0]["targets"] for job in asked] == [
        [f"{shard}.monitoring.svc:9090"] for shard in SHARDS
    ]
    mounted = mounts(run, "prometheus")
    for job in (*asked, jobs["federation-cluster-eu"]):
        folder, _, key = job["basic_auth"]["password_file"].rpartition("/")
        assert folder in mounted
        assert key in ("password", "eu")
    assert "sidecars" not in jobs


def mounts(run, server):
    (container,) = run.only("StatefulSet", server)["spec"]["template"]["spec"]["containers"]
    return {mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_machinery_is_watched_shards_included(run):
    """A shard that is down is a PrometheusDown, with its pod's name."""
    config = config_of(run, "prometheus")
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "prometheus"]
    (keep,) = [r for r in job["relabel_configs"] if "app_kubernetes_io_name" in str(r)]
    for server in SERVERS:
        template = run.only("StatefulSet", server)["spec"]["template"]
        name = template["metadata"]["labels"]["app.kubernetes.io/name"]
        assert name in keep["regex"].split("|")


def test_boards_and_people_ask_where_all_meet(run):
    """A shard behind Grafana would show a part as the whole."""
    (source,) = [c for c in run.of_kind("ConfigMap") if c.name == "grafana-datasources"]
    assert "http://prometheus.monitoring.svc:9090" in json.dumps(source.inputs)
    assert run.outputs["prometheusUrl"] == "http://prometheus.monitoring.svc:9090"
    rules = run.only("ConfigMap", "prometheus-rules")["data"]
    added_up = yaml.safe_load(rules["shards.yml"])["groups"][0]["rules"]
    assert tuple(rule["record"] for rule in added_up) == federated_sums()
    assert "vendor_alerts.yml" in rules


def test_another_clusters_password_is_in_a_secret_alone(run):
    """It opens that cluster's Prometheus to whoever reads it."""
    (secret,) = [s for s in run.of_kind("Secret") if s.name == "prometheus-federation"]
    assert secret.inputs["stringData"] == {"eu": REDACTED}


def test_the_limit_of_samples_is_a_shards(edited):
    """The whole's would never be met by a part, however much too many samples come."""

    def edit(keys, shards):
        keys["prometheus"]["shards"] = shards
        keys["crawlers"] = {"expectedPods": 5000}

    def limit(shards):
        run = run_with("prod", edited("prod", lambda keys: edit(keys, shards)))
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


def test_rules_of_the_stack_on_sidecars_are_refused_by_name(edited, tmp_path, monkeypatch):
    """Before anything is deployed: they would be silent for ever."""
    text = (
        "groups: [{name: shops, rules: [{alert: Shops, labels: {severity: warning},"
        ' expr: "sum(rate(istio_requests_total[5m])) == 0"}]}]'
    )

    def edit(keys):
        with_federation(keys)
        keys["alerts"] = {"ruleFiles": ["shops.yml"]}

    (tmp_path / "rules").symlink_to(repository_files.ROOT / "rules")
    (tmp_path / "shops.yml").write_text(text)
    monkeypatch.setattr(repository_files, "ROOT", tmp_path)
    with pytest.raises(SettingsError, match=r"alerts\.ruleFiles\[0\]: 'Shops' selects istio_req"):
        run_with("prod", edited("prod", edit))


def without_crawlers(keys):
    with_federation(keys)
    del keys["prometheus"]["shards"]
    keys["prometheus"]["role"] = "global"


@pytest.fixture
def watching(edited):
    return run_with("prod", edited("prod", without_crawlers))


@pytest.mark.parametrize(
    "promise",
    [
        every.test_no_two_resources_are_the_same_one,
        every.test_what_pods_refer_to_exists,
        every.test_services_lead_to_pods,
    ],
    ids=lambda promise: promise.__name__,
)
def test_what_holds_of_every_stack_holds_of_a_global_one(watching, promise):
    """It is a stack like others, with less in it."""
    promise(lambda _: watching, "prod")


def test_a_global_stack_is_monitoring_alone(watching):
    """No mesh, no filters, no namespace but its own: there are no crawlers to attribute."""
    assert {resource.namespace for resource in every.objects(watching)} == {"", "monitoring"}
    namespaces = [n.inputs["metadata"]["name"] for n in watching.of_kind("Namespace")]
    assert namespaces == ["monitoring"]
    assert watching.of_kind("EnvoyFilter") == ()
    assert watching.of_type(RELEASE_TYPE) == ()
    jobs = [job["job_name"] for job in config_of(watching, "prometheus")["scrape_configs"]]
    assert jobs == ["prometheus", "alertmanager", "grafana", "kubelet", "federation-cluster-eu"]


def test_promtool_takes_what_every_server_is_given(run, watching, tmp_path):
    """Configuration and rules together, as they are mounted; a shard's and a global one's too."""
    promtool = find("promtool")
    for made, servers in ((run, SERVERS), (watching, ("prometheus",))):
        for server in servers:
            root = tmp_path / f"{len(servers)}-{server}"
            text = made.only("ConfigMap", f"{server}-config")["data"]["prometheus.yml"]
            for file in re.findall(r"file: (/\S+)", text):
                (root / file[1:]).parent.mkdir(parents=True, exist_ok=True)
                (root / file[1:]).touch()
            (root / "etc/prometheus/rules").mkdir(parents=True, exist_ok=True)
            for name, rules in made.only("ConfigMap", f"{server}-rules")["data"].items():
                (root / "etc/prometheus/rules" / name).write_text(rules)
            config = root / "prometheus.yml"
            config.write_text(re.sub(r"(- |file: )/", rf"\1{root}/", text))
            done = subprocess.run(
                [promtool, "check", "config", config], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "rules found" in done.stdout
