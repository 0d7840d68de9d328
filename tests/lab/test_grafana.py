"""Grafana beside the demo: a fake program notes how it is started and what it could read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from lab.grafana import grafana_command, start_grafana
from lab.processes import children
from tests.lab.conftest import until
from tests.programs import stand_in

FAKE = f"""#!{sys.executable}
import json, os, signal, sys
told = {{"arguments": sys.argv[1:], "environment": dict(os.environ)}}
with open(os.environ["TOLD"] + ".new", "w") as file:
    json.dump(told, file)
os.rename(os.environ["TOLD"] + ".new", os.environ["TOLD"])
signal.pause()
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a program on PATH, as an unpacked archive of Grafana has it; return the function."""

    def make(name):
        program = stand_in(tmp_path / "home" / "bin" / name, FAKE)
        (tmp_path / "home" / "conf").mkdir()
        (tmp_path / "home" / "conf" / "defaults.ini").touch()
        monkeypatch.setenv("PATH", str(program.parent))
        monkeypatch.setenv("TOLD", str(tmp_path / "told.json"))
        return program

    return make


@pytest.mark.parametrize(("name", "arguments"), [("grafana", ["server"]), ("grafana-server", [])])
def test_grafana_gets_the_shipped_provisioning(fake, tmp_path, name, arguments):
    """It finds its own files, Prometheus and the boards, and listens on loopback alone."""
    program = fake(name)
    command = grafana_command()
    assert command[0] == str(program)
    folder = tmp_path / "grafana"
    with children() as family:
        url = start_grafana(
            family,
            command,
            folder,
            port=3195,
            prometheus_url="http://127.0.0.1:3190",
            scrape_seconds=1,
            boards={"fleet": {"uid": "fleet", "title": "Fleet"}},
        )
        until((tmp_path / "told.json").exists)
    assert url == "http://127.0.0.1:3195"
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["arguments"] == [*arguments, f"--homepath={tmp_path / 'home'}"]
    environment = told["environment"]
    assert environment["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert environment["GF_SERVER_HTTP_PORT"] == "3195"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    # Else whoever reaches the port is administrator with Grafana's own password.
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_SNAPSHOTS_EXTERNAL_ENABLED"] == "false"
    assert environment["GF_PUBLIC_DASHBOARDS_ENABLED"] == "false"
    provisioning = Path(environment["GF_PATHS_PROVISIONING"])
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert (source["url"], source["uid"]) == ("http://127.0.0.1:3190", "prometheus")
    assert source["jsonData"]["timeInterval"] == "1s"
    (provider,) = yaml.safe_load((provisioning / "dashboards/provider.yaml").read_text())[
        "providers"
    ]
    (board,) = Path(provider["options"]["path"]).iterdir()
    assert json.loads(board.read_text())["title"] == "Fleet"


def test_no_grafana_is_no_trouble(monkeypatch, tmp_path):
    """Where Grafana cannot be had, the demo runs without it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert grafana_command() == []
