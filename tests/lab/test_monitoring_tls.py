"""`monitoring.tls`: real Prometheus, a shard and Alertmanager speak TLS alone, with rendered files.

A page in Grafana's place has Grafana's certificate. The names are those that cert-manager is asked
for; every client connects to an address, as it does to pods.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.alertmanager.config import alertmanager_config
from components.certificates.plan import certificates
from components.file_text import yaml_text
from components.prometheus.config import (
    BasicAuth,
    StaticTargets,
    http_config,
    prometheus_config,
)
from components.prometheus.federation import Source, server_config, shard_config
from components.prometheus.rules import RULES
from components.tls import Tls
from lab.processes import children
from settings.alertmanager import Alertmanager
from settings.loading import parse_settings
from tests.certificates import Authority
from tests.lab.conftest import until
from tests.lab.test_password import start, with_login
from tests.pages import serving
from tests.ports import free_ports
from tests.programs import run_to_end
from tools.find import find

pytestmark = pytest.mark.long

STACK = parse_settings(
    {
        "cluster": "lab",
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "prometheus": {"scrapeInterval": "1s", "shards": 2},
        "monitoring": {"tls": {"issuer": {"name": "monitoring-ca"}}},
    }
)
SERVERS = {"prometheus": "prometheus", "shard": "prometheus", "alertmanager": "alertmanager"}
"""By its process: the application whose certificate and login it has."""
SECONDS = 120.0


@dataclass(frozen=True)
class Monitoring:
    at: dict[str, str]
    """Address by process."""
    folder: Path
    authority: Authority

    def promtool(self, *arguments: str, user: str = "prometheus") -> subprocess.CompletedProcess:
        config = f"--http.config.file={self.folder / user / 'http.yml'}"
        command = (find("promtool"), *arguments[:2], config, *arguments[2:])
        return run_to_end(*command, status=None)

    def query(self, expression):
        arguments = ("query", "instant", "-o", "json", f"https://{self.at['prometheus']}")
        return json.loads(self.promtool(*arguments, expression).stdout or "[]")


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory):
    folder, authority = tmp_path_factory.mktemp("tls"), Authority()
    names = (*SERVERS, "grafana", "gossip")
    ports = free_ports(["127.0.0.1"] * len(names))
    at = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
    logins = {}
    for app, spec in certificates(STACK).items():
        authority.issue(folder / app, spec["dnsNames"])
        logins[app] = with_login(folder, app, Tls(app=app, folder=str(folder / app)))
    for name, config in configurations(at, folder, logins).items():
        (folder / f"{name}.yml").write_text(yaml_text(config))
    with children() as family, grafana(at["grafana"], folder / "grafana"):
        for name, app in SERVERS.items():
            start(family, folder, name, app, at[name], at["gossip"])
        yield Monitoring(at, folder, authority)
        family.check()


def configurations(at, folder, logins):
    own = Tls(app="prometheus", folder=str(folder / "prometheus"))
    config = prometheus_config(
        STACK,
        targets=StaticTargets(
            sidecars=(),
            prometheus=(at["prometheus"], at["shard"]),
            alertmanager=(at["alertmanager"],),
            grafana=(at["grafana"],),
        ),
        rule_files=(str(RULES / "*.yml"),),
        prometheus_auth=logins["prometheus"],
        alertmanager_auth=logins["alertmanager"],
        tls_folder=own.folder,
    )
    shard = Source(url=f"https://{at['shard']}", auth=logins["prometheus"], tls=own, shard=0)
    return {
        "prometheus": server_config(config, [shard]),
        "shard": shard_config(config, 0, 2),
        "alertmanager": alertmanager_config(Alertmanager()),
    }


def grafana(address, folder):
    """Serve a page of metrics with Grafana's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    page = b"grafana_datasource_request_total 1\n"
    headers = {"Content-Type": "text/plain; version=0.0.4"}
    port = int(address.rpartition(":")[2])
    return serving(lambda asked: (200, page, headers), port, context)


def test_every_scrape_and_the_federation_go_by_tls(monitoring):
    def up():
        return sorted((o["metric"]["job"], o["value"][1]) for o in monitoring.query("up"))

    jobs = ("alertmanager", "federation", "grafana", "prometheus", "prometheus")
    until(lambda: up() == [(job, "1") for job in jobs], SECONDS)


def test_alerts_arrive(monitoring):
    """In amtool's words, which reads the same kind of file as promtool."""
    command = [
        *(str(find("amtool")), "alert", "query", "-o", "json"),
        f"--http.config.file={monitoring.folder / 'alertmanager' / 'http.yml'}",
        f"--alertmanager.url=https://{monitoring.at['alertmanager']}",
    ]

    def alerts():
        done = run_to_end(*command, status=None)
        return {one["labels"]["alertname"] for one in json.loads(done.stdout or "[]")}

    until(lambda: "Watchdog" in alerts(), SECONDS)


@pytest.mark.parametrize("name", SERVERS)
def test_plain_http_gets_nothing(monitoring, name):
    ready(monitoring, name)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{monitoring.at[name]}/metrics", timeout=SECONDS)
    assert refused.value.code == 400
    assert b"HTTP request to an HTTPS server" in refused.value.read()


def ready(monitoring, name, user=None):
    """Wait for the probe of the StatefulSet to pass."""
    arguments = ("check", "ready", f"--url=https://{monitoring.at[name]}")
    app = user or SERVERS[name]
    until(lambda: monitoring.promtool(*arguments, user=app).returncode == 0, SECONDS)


def test_a_server_with_another_name_or_ca_is_not_believed(monitoring):
    """The probe at Prometheus' address fails with Alertmanager's name, and with another CA."""
    ready(monitoring, "prometheus")
    arguments = ("check", "ready", f"--url=https://{monitoring.at['prometheus']}")
    done = monitoring.promtool(*arguments, user="alertmanager")
    assert done.returncode != 0
    assert "alertmanager.monitoring.svc" in done.stdout + done.stderr
    stranger = monitoring.folder / "stranger"
    Authority().issue(stranger, ["prometheus.monitoring.svc"])
    login = BasicAuth(
        username="prometheus", password_file=str(monitoring.folder / "prometheus" / "password")
    )
    tls = Tls(app="prometheus", folder=str(stranger))
    (stranger / "http.yml").write_text(yaml_text(http_config(login, tls)))
    done = monitoring.promtool(*arguments, user="stranger")
    assert done.returncode != 0
    assert "unknown authority" in done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVERS)
def test_a_renewed_certificate_is_served_without_a_restart(monitoring, name):
    """cert-manager renews it in the Secret, which kubelet puts into the pod's folder."""
    ready(monitoring, name)
    host, _, port = monitoring.at[name].partition(":")
    before = ssl.get_server_certificate((host, int(port)))
    app = SERVERS[name]
    monitoring.authority.issue(monitoring.folder / app, certificates(STACK)[app]["dnsNames"])
    assert ssl.get_server_certificate((host, int(port))) != before
    ready(monitoring, name)
