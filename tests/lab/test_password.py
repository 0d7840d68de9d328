"""Prometheus and Alertmanager behind the rendered password: refused without, working with it."""

from __future__ import annotations

import base64
import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.alertmanager.config import alertmanager_config
from components.file_text import yaml_text
from components.prometheus.config import (
    BasicAuth,
    StaticTargets,
    http_config,
    prometheus_config,
    web_config,
)
from components.prometheus.rules import RULES
from components.tls import Tls
from lab.processes import Children, children
from settings.alertmanager import Alertmanager
from settings.loading import parse_settings
from tests.lab.conftest import until
from tests.ports import free_ports
from tests.programs import run_to_end
from tests.rules.exposed import ALERTMANAGER, PROMETHEUS, missing
from tools.find import find

pytestmark = pytest.mark.long

PASSWORD = "correct-horse"
# bcrypt of it, at the least cost: each request of a test would take a while.
HASH = "$2b$04$abcdefghijklmnopqrstuuPoaPXzWjiVz4HaNq2LJXksWbO79E.S6"
# Of a stack that says nothing of it, to the byte.
STACK = parse_settings(
    {
        "cluster": "lab",
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "prometheus": {"scrapeInterval": "1s"},
    }
)
KEPT = STACK.prometheus
SECONDS = 120.0


@dataclass(frozen=True)
class Pair:
    prometheus: str
    alertmanager: str
    folder: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The two servers, with the files that the program renders; targets are static."""
    folder = tmp_path_factory.mktemp("password")
    *ports, gossip = free_ports(["127.0.0.1"] * 3)
    names = ("prometheus", "alertmanager")
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
    logins = {user: with_login(folder, user) for user in addresses}
    config = prometheus_config(
        STACK,
        targets=StaticTargets(
            sidecars=(),
            prometheus=(addresses["prometheus"],),
            alertmanager=(addresses["alertmanager"],),
        ),
        rule_files=(str(RULES / "*.yml"),),
        prometheus_auth=logins["prometheus"],
        alertmanager_auth=logins["alertmanager"],
    )
    (folder / "prometheus.yml").write_text(yaml_text(config))
    (folder / "alertmanager.yml").write_text(yaml_text(alertmanager_config(Alertmanager())))
    with children() as family:
        for name, address in addresses.items():
            start(family, folder, name, name, address, f"127.0.0.1:{gossip}")
        for address in addresses.values():
            until(lambda address=address: _listens(address), SECONDS)
        family.check()
        yield Pair(*(f"http://{address}" for address in addresses.values()), folder)


def with_login(folder: Path, app: str, tls: Tls | None = None) -> BasicAuth:
    """Write what an application asks its clients for, and what they need to know."""
    (folder / app).mkdir(exist_ok=True)
    (folder / app / "password").write_text(PASSWORD)
    login = BasicAuth(username=app, password_file=str(folder / app / "password"))
    (folder / app / "web.yml").write_text(yaml_text(web_config(app, HASH, tls)))
    (folder / app / "http.yml").write_text(yaml_text(http_config(login, tls)))
    return login


def start(family: Children, folder: Path, name: str, app: str, address: str, gossip: str) -> None:
    """Start a Prometheus or an Alertmanager, by the files of its name and of its application."""
    # Said twice: it would advertise an address of the machine's, and may find none. Prometheus
    # may fire Watchdog before it knows of Alertmanager: else the next try is a minute later.
    flags = {
        "prometheus": [
            f"--storage.tsdb.path={folder / f'{name}-data'}",
            "--rules.alert.resend-delay=1s",
        ],
        "alertmanager": [
            f"--storage.path={folder / f'{name}-data'}",
            *(f"--cluster.{what}-address={gossip}" for what in ("listen", "advertise")),
        ],
    }
    command = [
        *(str(find(app)), f"--config.file={folder / f'{name}.yml'}"),
        *(f"--web.config.file={folder / app / 'web.yml'}", f"--web.listen-address={address}"),
        *flags[app],
    ]
    family.start(name, command, log=folder / f"{name}.log", environment={"POD_NAME": name})


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def get(url: str, login: str = "") -> tuple[int, str]:
    token = base64.b64encode(login.encode()).decode()
    request = urllib.request.Request(
        url, headers={"Authorization": f"Basic {token}"} if login else {}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def status(url: str, login: str = "") -> int:
    return get(url, login)[0]


@pytest.mark.parametrize("path", ["/-/ready", "/-/healthy", "/metrics"])
@pytest.mark.parametrize("server", ["prometheus", "alertmanager"])
def test_without_the_password_there_is_nothing(pair: Pair, server: str, path: str) -> None:
    """Not even the health pages, which is why no probe asks for them."""
    url = getattr(pair, server) + path
    assert status(url) == 401
    assert status(url, f"{server}:wrong") == 401
    assert status(url, f"admin:{PASSWORD}") == 401
    # 503 until it is ready.
    until(lambda: status(url, f"{server}:{PASSWORD}") == 200, SECONDS)


def _query(pair: Pair, expression: str) -> list[dict[str, Any]]:
    done = run_to_end(
        *(find("promtool"), "query", "instant", "-o", "json"),
        f"--http.config.file={pair.folder / 'prometheus' / 'http.yml'}",
        *(pair.prometheus, expression),
    )
    found: list[dict[str, Any]] = yaml.safe_load(done.stdout)
    return found


def test_the_probe_of_the_pod_passes(pair: Pair) -> None:
    """The very command of the StatefulSet, with its file; without it the pod would never start."""
    command = [str(find("promtool")), "check", "ready", f"--url={pair.prometheus}"]
    config = f"--http.config.file={pair.folder / 'prometheus' / 'http.yml'}"
    until(lambda: run_to_end(*command, config, status=None).returncode == 0, SECONDS)
    assert run_to_end(*command, status=None).returncode != 0


def test_scraping_and_alerting_go_on(pair: Pair) -> None:
    """Prometheus logs in at itself and at Alertmanager, whose alerts it hands over."""

    def scraped_and_known() -> bool:
        up = {found["metric"]["job"]: found["value"][1] for found in _query(pair, "up")}
        known = _query(pair, "prometheus_notifications_alertmanagers_discovered")
        counts = [found["value"][1] for found in known]
        return up == {"prometheus": "1", "alertmanager": "1"} and counts == ["1"]

    until(scraped_and_known, SECONDS)


def test_the_running_server_keeps_what_the_stack_says(pair: Pair) -> None:
    """Retention by time and by size: in its metrics, and what it goes by in its own words."""
    _, page = get(f"{pair.prometheus}/metrics", f"prometheus:{PASSWORD}")
    own = dict(re.findall(r"^(prometheus_tsdb_retention_limit_\w+) (\S+)$", page, re.MULTILINE))
    assert float(own["prometheus_tsdb_retention_limit_seconds"]) == KEPT.retention
    assert float(own["prometheus_tsdb_retention_limit_bytes"]) == KEPT.retention_size
    _, runtime = get(f"{pair.prometheus}/api/v1/status/runtimeinfo", f"prometheus:{PASSWORD}")
    by_time, by_size = json.loads(runtime)["data"]["storageRetention"].split(" or ")
    assert (by_time, KEPT.retention) == ("1w", 7 * 86400)
    # "37GiB258MiB996KiB"
    parts = re.findall(r"(\d+)([KMGT]?)i?B", by_size)
    assert sum(int(n) * 1024 ** " KMGT".index(u or " ") for n, u in parts) == KEPT.retention_size


@pytest.mark.parametrize(
    ("server", "file"), [("prometheus", PROMETHEUS), ("alertmanager", ALERTMANAGER)]
)
def test_what_is_recorded_of_a_server_is_what_it_exposes(
    pair: Pair, server: str, file: str
) -> None:
    """Rules are checked against the recording: a name that a new version dropped must not stay."""

    def page_of(name: str) -> str:
        return get(f"{getattr(pair, name)}/metrics", f"{name}:{PASSWORD}")[1]

    # Some names come with the first alert that was sent.
    sent = r"^prometheus_notifications_sent_total{.*} [1-9]"
    until(lambda: re.search(sent, page_of("prometheus"), re.MULTILINE), SECONDS)
    until(lambda: not missing(file, page_of(server), f"{server}_.+"), SECONDS)
