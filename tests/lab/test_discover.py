"""`make discover` on a real Envoy: kubectl's part is played by a script, named below."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from deployment import stack_plan
from discover.__main__ import main
from settings.loading import load_stack_file
from tests.lab.conftest import Sidecar, running_sidecar, until
from tests.lab.scripted import ask, vendor
from tests.programs import stand_in

SECRET = "zqsecretzq"
REQUEST = (
    f"GET http://user:{SECRET}@{SECRET}.test/{SECRET}?q={SECRET} HTTP/1.1\r\n"
    f"Host: {SECRET}.test\r\nProxy-Authorization: Basic {SECRET}\r\n\r\n"
)
OUTSIDE = "127.9.0.10"

# Stand-in for kubectl and the API server: one pod, whose sidecar is the lab's Envoy.
KUBECTL = """#!{python}
import json, sys, urllib.request
said = sys.argv[1:]
refuse = {refuse!r}
verb = next(one for one in said if one in ("get", "exec", "logs"))
if verb == refuse:
    sys.exit('Error from server (Forbidden): pods is forbidden: User "zqsecretzq" cannot')
if verb == "get":
    owner = {{"kind": "ReplicaSet", "name": "scraper-5d4f8c7b9", "controller": True}}
    sidecar = {{"name": {sidecar!r}}}
    pod = {{"metadata": {{"name": "scraper-5d4f8c7b9-x1", "ownerReferences": [owner]}},
           "spec": {{"containers": [{{"name": "scraper"}}], "initContainers": [sidecar]}}}}
    print(json.dumps({{"items": [pod]}}))
elif verb == "exec":
    assert said[-4:] == ["pilot-agent", "request", "GET", "clusters?format=json"], said
    print(urllib.request.urlopen("http://127.0.0.1:{admin}/clusters?format=json").read().decode())
else:
    print(open({log!r}).read())
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """Put the stand-in on PATH, alone."""

    def write(admin: int = 1, refuse: str = "", sidecar: str = "istio-proxy", log: Path = tmp_path):
        text = KUBECTL.format(
            python=sys.executable, admin=admin, refuse=refuse, sidecar=sidecar, log=str(log)
        )
        script = stand_in(tmp_path / "bin" / "kubectl", text)
        monkeypatch.setenv("PATH", str(script.parent))

    monkeypatch.delenv("ENVOY_ADMIN", raising=False)
    monkeypatch.delenv("STACK_FILE", raising=False)
    return write


@contextmanager
def crawling(folder: Path, *, log_outside: bool) -> Iterator[Sidecar]:
    """One held connection and ended ones to an address of nobody, and one held to vendor-a.

    Envoy forgets an address to which no connection has been open for some seconds.
    """

    def change(settings):
        telemetry = settings.telemetry.model_copy(update={"log_outside": log_outside})
        return settings.model_copy(update={"telemetry": telemetry})

    with running_sidecar(folder, change_settings=change) as sidecar:
        ports = sidecar.ports
        with (
            vendor(OUTSIDE, ports.outside_upstream),
            vendor("127.1.0.10", ports.vendor_upstream),
        ):
            for _ in range(3):
                assert ask(OUTSIDE, ports.vendor, REQUEST).endswith("ok")
            with held(OUTSIDE, ports.vendor), held("127.1.0.10", ports.vendor):
                yield sidecar


@contextmanager
def held(address: str, port: int) -> Iterator[None]:
    """Have a request answered, and keep its connection open."""
    with socket.create_connection((address, port), timeout=60) as connection:
        connection.sendall(REQUEST.encode())
        assert connection.recv(4096).endswith(b"ok")
        yield


def discovered(folder: Path, capsys, *arguments: str):
    """(exit code, the report or None, what was printed)."""
    status = main(["--seconds", "3", "--out", str(folder / "out"), *arguments])
    report = None
    with suppress(FileNotFoundError):
        report = json.loads((folder / "out" / "discover.json").read_text())
    out, err = capsys.readouterr()
    return status, report, out + err


def test_an_envoy_tells_who_is_talked_to(tmp_path, monkeypatch, capsys):
    """Without any patch: connections, ports, vendors that the stack has; no user and no URL."""
    with crawling(tmp_path, log_outside=False) as sidecar:
        monkeypatch.setenv("ENVOY_ADMIN", f"http://127.0.0.1:{sidecar.ports.envoy_admin}")
        monkeypatch.setenv("STACK_FILE", str(tmp_path / "none.yaml"))
        status, report, said = discovered(tmp_path, capsys, "--stack", "new")
        port = sidecar.ports.outside_upstream
    assert (status, report["findings"], report["bytes"]) == (0, [], False)
    found = {(one["address"], one["port"]): one for one in report["destinations"]}
    # The lab's stand-in for distance: Envoy connects to another port than the crawler.
    assert found[OUTSIDE, port]["connections"] == 4
    assert found[OUTSIDE, port]["known"] is None
    assert found["127.1.0.10", sidecar.ports.vendor_upstream]["known"] == "vendor-a"
    assert SECRET not in said + json.dumps(report)
    assert f"{OUTSIDE}:{port}" in said


def test_a_cluster_is_read_by_kubectl(tmp_path, kubectl, capsys):
    """By exec and by the log of telemetry.logOutside; the stack file that it suggests renders."""
    with crawling(tmp_path, log_outside=True) as sidecar:
        log = tmp_path / "envoy.log"
        until(lambda: log.read_text().count('"log":"outside"') == 3)
        kubectl(sidecar.ports.envoy_admin, log=log)
        stack = tmp_path / "Pulumi.new.yaml"
        given = (
            "config:\n  proxy-observability:cluster: new\n"
            "  proxy-observability:telemetry: {logOutside: true}\n"
            "  proxy-observability:vendors: [{name: known, cidrs: [127.1.0.0/16]}]\n"
        )
        stack.write_text(given)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STACK_FILE", str(stack))
            status, report, said = discovered(tmp_path, capsys, "--stack", "new")
    assert (status, report["pods"], report["bytes"]) == (0, {"found": 1, "read": 1}, True)
    found = {(one["address"], one["port"]): one for one in report["destinations"]}
    line = found[OUTSIDE, sidecar.ports.vendor]
    assert (line["logged_connections"], line["workloads"]) == (3, ["scraper"])
    assert line["bytes_sent"] == 3 * len(REQUEST)
    assert SECRET not in said + json.dumps(report)
    stack.write_text(report["stack"])
    settings = load_stack_file(stack)
    (suggested,) = settings.vendors
    assert [str(one.network) for one in suggested.cidrs] == [f"{OUTSIDE}/32"]
    assert stack_plan(settings).crawlers is not None


@pytest.mark.parametrize(
    ("refuse", "said"),
    [
        ("get", "kubectl: you may not list pods in namespace shops; have its owner run `kubectl "),
        ("exec", "--verb=create --resource=pods/exec`, and bind it to you"),
    ],
)
def test_a_right_that_is_missing_is_named(tmp_path, kubectl, capsys, refuse, said):
    """With the command that gives it; kubectl's own words may name the user, and are left out."""
    kubectl(refuse=refuse)
    status, report, printed = discovered(tmp_path, capsys, "--namespace", "shops", "--stack", "no")
    assert (status, report["status"]) == (2, 2)
    assert said in printed
    assert SECRET not in printed


def test_what_cannot_run_says_what_to_do(tmp_path, kubectl, monkeypatch, capsys):
    """No pod with a sidecar, no kubectl, no Envoy, no stack, and names that are none."""
    kubectl(sidecar="other")
    shops = ("--namespace", "shops", "--stack", "no")
    assert "pods: none with a sidecar runs in shops" in discovered(tmp_path, capsys, *shops)[2]
    (tmp_path / "bin" / "kubectl").unlink()
    assert "kubectl: is not on PATH; install" in discovered(tmp_path, capsys, *shops)[2]
    assert "NAMESPACE=" in discovered(tmp_path, capsys, "--stack", "no")[2]
    login = "gw.example:80:user:hunter2"
    status, _, said = discovered(tmp_path, capsys, "--names", login, *shops)
    assert (status, "NAMES: text of 26 characters" in said, "hunter2" in said) == (2, True, False)
    said = discovered(tmp_path, capsys, *shops, "--pods", "no")[2]
    assert "PODS: 'no' is no whole number from 1 to 500; write one" in said
    monkeypatch.setenv("ENVOY_ADMIN", "http://127.0.0.1:1")
    assert "does not answer" in discovered(tmp_path, capsys, *shops)[2]
    monkeypatch.setenv("ENVOY_ADMIN", "http://user:hunter2@10.0.0.1:15000")
    status, _, said = discovered(tmp_path, capsys, *shops)
    assert (status, "is not an Envoy of this machine" in said, "hunter2" in said) == (
        2,
        True,
        False,
    )
