"""`monitoring.tls` as Kubernetes receives it; tests/lab/test_monitoring_tls.py has it spoken."""

from __future__ import annotations

import pytest
import yaml

from components.certificates.plan import certificates
from deployment import files_outside
from tests.program.conftest import config_map, container_of, scrape_jobs, waited_for, workloads

OWN = ("prometheus", "alertmanager", "grafana")
SHARD = "prometheus-shard-0"


@pytest.fixture
def run(run_program):
    return run_program("tls")


def test_nothing_of_it_is_there_unasked(run_program):
    run = run_program("prod")
    assert certificates(run.settings) == {}
    assert run.of_kind("Certificate") == ()
    assert run.outputs["prometheusUrl"].startswith("http://")


def test_cert_manager_is_asked_for_each_name_that_clients_check(run):
    specs = {
        one.inputs["metadata"]["name"]: one.inputs["spec"] for one in run.of_kind("Certificate")
    }
    assert set(specs) == set(OWN)
    for app, spec in specs.items():
        assert spec["issuerRef"] == {
            "group": "cert-manager.io",
            "kind": "ClusterIssuer",
            "name": "monitoring-ca",
        }
        assert spec["secretName"] == f"{app}-tls"
        assert f"{app}.monitoring.svc" in spec["dnsNames"]
    for name in (SHARD, "prometheus-1.prometheus-pods"):
        assert f"{name}.monitoring.svc" in specs["prometheus"]["dnsNames"]


def test_every_server_mounts_its_certificate_and_waits_for_it(run):
    """A pod without its Secret does not start; the servers of today would be gone by then."""
    asked = {one.urn for one in run.of_kind("Certificate")}
    for workload in workloads(run):
        if workload.namespace != "monitoring":
            continue
        name = workload.inputs["metadata"]["name"]
        app = next(app for app in OWN if name.startswith(app))
        volumes = workload.inputs["spec"]["template"]["spec"]["volumes"]
        mounted = {one["secret"]["secretName"] for one in volumes if "secret" in one}
        assert f"{app}-tls" in mounted
        assert asked <= waited_for(run, workload)


def test_whatever_reaches_a_server_asks_by_tls_for_its_name(run):
    jobs = scrape_jobs(run)
    names = {
        "prometheus": "prometheus",
        "crawlers-unseen": "prometheus",
        "alertmanager": "alertmanager",
        "grafana": "grafana",
        "federation-shard-0": "prometheus",
        "federation-shard-1": "prometheus",
    }
    for job, app in names.items():
        assert jobs[job]["scheme"] == "https"
        assert jobs[job]["tls_config"] == {
            "ca_file": "/etc/prometheus/tls/ca.crt",
            "server_name": f"{app}.monitoring.svc",
        }
    in_clear = {name for name, job in jobs.items() if job.get("scheme", "http") == "http"}
    assert in_clear == {"istiod", "load-generator"}
    config = yaml.safe_load(run.only("ConfigMap", "prometheus-config")["data"]["prometheus.yml"])
    (alertmanagers,) = config["alerting"]["alertmanagers"]
    assert alertmanagers["scheme"] == "https"
    assert alertmanagers["tls_config"]["server_name"] == "alertmanager.monitoring.svc"
    datasource = yaml.safe_load(config_map(run, "grafana-datasources")["prometheus.yaml"])
    (prometheus,) = datasource["datasources"]
    assert prometheus["url"] == "https://prometheus.monitoring.svc:9090"
    assert prometheus["jsonData"]["tlsAuthWithCACert"] is True
    assert prometheus["secureJsonData"]["tlsCACert"] == "$PROMETHEUS_CA"
    for output, url in {
        "prometheusUrl": "https://prometheus.monitoring.svc:9090",
        "alertmanagerUrl": "https://alertmanager.monitoring.svc:9093",
        "grafanaUrl": "https://grafana.monitoring.svc",
    }.items():
        assert run.outputs[output] == url


def test_a_prometheus_outside_is_told_too(run):
    """As for the login, its owner mounts the Secret; without it no alert would arrive."""
    files = {name: yaml.safe_load(text) for name, text in files_outside(run.settings).items()}
    (alertmanagers,) = files["prometheus.yml"]["alerting"]["alertmanagers"]
    jobs = {one["job_name"]: one for one in files["scrape_configs.yml"]["scrape_configs"]}
    assert "scheme" not in jobs["crawlers-unseen"]  # it is that Prometheus itself
    for app, client in (
        ("alertmanager", alertmanagers),
        ("alertmanager", jobs["alertmanager"]),
        ("grafana", jobs["grafana"]),
    ):
        assert client["scheme"] == "https"
        assert client["tls_config"] == {
            "ca_file": "/etc/prometheus/secrets/alertmanager-tls/ca.crt",
            "server_name": f"{app}.monitoring.svc",
        }


def test_probes_speak_what_the_server_speaks(run):
    for name in ("prometheus", SHARD):
        container = container_of(run.only("StatefulSet", name))
        for probe in ("startupProbe", "readinessProbe"):
            assert "--url=https://127.0.0.1:9090" in container[probe]["exec"]["command"]
    container = container_of(run.only("Deployment", "grafana"))
    environment = {one["name"]: one for one in container["env"]}
    assert environment["GF_SERVER_PROTOCOL"]["value"] == "https"
    assert environment["PROMETHEUS_CA"]["valueFrom"]["secretKeyRef"] == {
        "name": "grafana-tls",
        "key": "ca.crt",
    }
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"


def test_the_backup_asks_one_replica_by_its_name(variant):
    store = {"path": "backups/prod", "secret": "backup-storage"}
    tls = {"issuer": {"name": "monitoring-ca"}}
    run = variant("prod", prometheus={"backup": {"objectStorage": store}}, monitoring={"tls": tls})
    template = run.only("CronJob", "prometheus-backup")["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    name = "prometheus-0.prometheus-pods.monitoring.svc"
    assert f"--prometheus=https://{name}:9090" in container["command"]
    assert "--ca=/etc/prometheus/tls/ca.crt" in container["command"]
    assert name in certificates(run.settings)["prometheus"]["dnsNames"]
    secrets = {
        one["secret"]["secretName"] for one in template["spec"]["volumes"] if "secret" in one
    }
    assert "prometheus-tls" in secrets
