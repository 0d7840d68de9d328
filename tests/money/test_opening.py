"""Which server a command about money reads, and with which login."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from books.prometheus import PrometheusError
from discover.kubectl import KubectlError
from lab.ledger_blocks import fill
from money.command import opened
from money.ledger import read_book
from settings.loading import parse_settings
from tests.money.ledger_server import serving
from tests.money.test_ledger import BEGIN, END, book
from tests.programs import stand_in

# Stand-in for kubectl: it has one Secret, and forwards nothing, since the server is here.
KUBECTL = """#!{python}
import base64, json, sys, time
said = sys.argv[1:]
open({heard!r}, "a").write(" ".join(said) + "\\n")
if "port-forward" in said:
    print("Forwarding from 127.0.0.1:{port} -> 9090", flush=True)
    time.sleep(600)
login = {{key: base64.b64encode(b"x").decode() for key in ("username", "password")}}
print(json.dumps({{"items": [{{"data": login}}]}}))
"""


def stack(**ledger):
    vendors = [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]
    return parse_settings({"cluster": "test", "vendors": vendors, "ledger": ledger})


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledger")
    fill(folder / "data", book(), days=False)
    with serving(folder / "data") as server:
        yield server.url


@pytest.fixture
def kubectl(url, tmp_path, monkeypatch):
    """Return what kubectl was asked, a line each."""
    heard = tmp_path / "heard"
    port = url.rpartition(":")[2]
    text = KUBECTL.format(python=sys.executable, heard=str(heard), port=port)
    stand_in(tmp_path / "kubectl", text)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return lambda: heard.read_text().splitlines() if heard.exists() else []


def read(settings, environment):
    with opened(settings, "prod-admin", environment) as server:
        return read_book(server, BEGIN, END, cluster=settings.cluster)


def test_an_address_in_the_environment_comes_first(url, kubectl):
    """Whatever the stack says: no kubectl is needed."""
    environment = {"LEDGER_URL": url, "LEDGER_USERNAME": "me", "LEDGER_PASSWORD": "hunter2"}
    assert read(stack(), environment) == book()
    assert kubectl() == []


def test_the_stacks_own_ledger_is_reached_through_kubectl(kubectl):
    assert read(stack(enabled=True), {}) == book()
    secret, forward = kubectl()
    assert "app.kubernetes.io/name=prometheus" in secret
    assert forward.endswith("port-forward --address=127.0.0.1 service/ledger :9090")
    assert all(line.startswith("--context=prod-admin") for line in (secret, forward))


def test_a_store_of_the_users_is_asked_with_its_own_login(url, kubectl):
    assert read(stack(url=url, loginSecret="store-login"), {}) == book()
    (secret,) = kubectl()
    assert secret.split()[-2] == "store-login"


def test_a_store_in_the_cluster_is_reached_through_kubectl(kubectl):
    assert read(stack(url="http://thanos-query.observability.svc:10902"), {}) == book()
    (forward,) = kubectl()
    assert "--namespace=observability" in forward
    assert forward.endswith("service/thanos-query :10902")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {},
            "ledger: this stack keeps no hours; set ledger.enabled, or name a server in LEDGER_URL",
        ),
        ({"LEDGER_URL": "nowhere"}, "LEDGER_URL: is no address; give one such as"),
        (
            {"LEDGER_URL": "http://me:hunter2@store.example"},
            "LEDGER_URL: holds credentials; give them in LEDGER_USERNAME and LEDGER_PASSWORD",
        ),
        ({"LEDGER_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1: cannot be reached"),
    ],
)
def test_what_is_missing_is_named_by_the_words_of_this_command(environment, said):
    with pytest.raises(PrometheusError) as refused:
        read(stack(), environment)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_cluster_out_of_reach_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KubectlError, match="kubectl"):
        read(stack(enabled=True), {})


def test_the_exporter_reads_hours_without_the_programs_other_parts():
    """Its pod has Python's standard library and money/ alone."""
    for module in ("ledger", "quantities"):
        text = (Path(__file__).parents[2] / "money" / f"{module}.py").read_text()
        assert "from settings" not in text
        assert "from components" not in text
        assert "from books" not in text
