"""`make verify PROMETHEUS_URL=` on the lab: all good, then one planted fault after another."""

from __future__ import annotations

import base64
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from books.prometheus import Prometheus
from deployment import stack_plan
from lab.system import STACK_FILE, running
from settings.loading import load_stack_file
from tests.lab.conftest import free_ports, until
from tests.programs import stand_in
from verify.__main__ import main
from verify.cluster import ISTIO_RESOURCES
from verify.prometheus import boards_check

Json = dict[str, Any]

# Stand-in for kubectl and the API server, whose Prometheus is the lab's.
KUBECTL = """#!{python}
import base64, json, sys, time
said = sys.argv[1:]
assert said[0] == "--context=lab-admin", said
if "port-forward" in said:
    assert said[-2:] == ["service/prometheus", ":9090"], said
    print("Forwarding from 127.0.0.1:{port} -> 9090", flush=True)
    time.sleep(60)
answers = json.load(open({answers!r}))
kind = said[said.index("get") + 1]
print(json.dumps({{"items": answers.get(kind, [])}}))
"""
Asked = Callable[[], tuple[int, list[str]]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab") / "demo"
    with running(ports=free_ports(), folder=folder, say=lambda line: None, inspect="mixed") as lab:
        lab.start_crawler(count=None, requests_per_second=300)
        yield lab


@pytest.fixture
def asked(lab, tmp_path, monkeypatch) -> Asked:
    """Return what the target does: its exit code and findings."""
    monkeypatch.setenv("PROMETHEUS_URL", lab.prometheus_url)
    monkeypatch.setenv("STACK_FILE", str(STACK_FILE))

    def ask() -> tuple[int, list[str]]:
        status = main(["--out", str(tmp_path)])
        report = json.loads((tmp_path / "verify.json").read_text())
        assert report["status"] == status
        return status, report["findings"]

    return ask


def changed(file: Path, change: Callable[[Json], None]) -> Callable[[], None]:
    """Change a file of Prometheus', which reloads it; return the undoing."""
    before = file.read_text()
    document = json.loads(before)
    change(document)

    def write(text: str) -> None:
        # At once: Prometheus would refuse half a file, and that is a finding of its own.
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").replace(file)

    write(json.dumps(document))
    return lambda: write(before)


def config_of(lab) -> Path:
    return lab.folder / "prometheus" / "prometheus.yml"


def sidecars(config: Json) -> Json:
    return next(job for job in config["scrape_configs"] if job["job_name"] == "sidecars")


def test_all_is_good(lab, asked, capsys):
    """Exit code 0; what the crawlers send to nobody is a note."""
    until(lambda: asked()[0] == 0, seconds=60)
    # A crawler connects to nobody's addresses now and then, and a first scrape shows no increase.
    outside = 'envoy_cluster_upstream_cx_total{job="sidecars", proxy_vendor="outside"}'
    until(lambda: lab.query(f"sum(increase({outside}[1h])) > 0"), seconds=60)
    capsys.readouterr()
    assert asked() == (0, [])
    said = capsys.readouterr().out
    assert "good  metrics: istio.stats as expected" in said
    assert "note  outside: connections of the last hour to nobody's addresses" in said


def test_a_rule_that_is_not_loaded_is_named(lab, asked):
    """As where a reload failed, or somebody edited the ConfigMap."""

    def change(file: Json) -> None:
        file["groups"][0]["rules"] = [
            rule for rule in file["groups"][0]["rules"] if rule.get("alert") != "IstiodDown"
        ]

    undo = changed(lab.folder / "prometheus" / "rules" / "istiod_alerts.yml", change)
    # A reload begins the group anew, and its other rules wait for their first evaluation.
    wanted = ["rules: IstiodDown of group istiod is not loaded"]
    until(lambda: [line.partition(" (")[0] for line in asked()[1]] == wanted)
    undo()
    until(lambda: asked()[0] == 0)


@pytest.mark.parametrize(
    ("relabelled", "expected"),
    [
        (
            {"target_label": "destination_service", "replacement": "site-1.sim.test"},
            "metrics: istio_requests_total has the label destination_service, which no rule reads",
        ),
        (
            {"target_label": "proxy_outcome", "replacement": "unknown"},
            "metrics: istio_requests_total has proxy_outcome='unknown': an expression failed",
        ),
        (
            {"target_label": "source_workload", "replacement": ""},
            "metrics: istio_requests_total has series without source_workload, which rules read",
        ),
    ],
    ids=["another-label", "another-value", "no-label"],
)
def test_what_differs_from_the_contract_is_named(lab, asked, relabelled, expected):
    """The lab's Envoy counts right, so Prometheus changes what it stores of one metric."""
    rule = {"source_labels": ["__name__"], "regex": "istio_requests_total", **relabelled}
    undo = changed(config_of(lab), lambda c: sidecars(c)["metric_relabel_configs"].append(rule))
    # Boards and rules may stumble over it as well, on the way.
    found = until(lambda: [line for line in asked()[1] if line.startswith(expected)])
    undo()
    assert len(found) == 1
    until(lambda: asked()[0] == 0)


def test_a_panel_without_an_answer_is_named(lab):
    """By its title, with the reason that Prometheus gives."""
    board = {"panels": [{"title": "Broken", "targets": [{"expr": "sum("}]}]}
    check = boards_check(Prometheus(lab.prometheus_url, {}), {"own.json": json.dumps(board)})
    (finding,) = check.findings
    assert finding.startswith("boards: own.json, panel 'Broken' gets no answer")
    assert "parse error" in finding


def answers(uid: str, label: str) -> dict[str, list[Json]]:
    """Return what the API server says of a cluster where the lab's stack is deployed."""
    crawlers = stack_plan(load_stack_file(STACK_FILE)).crawlers
    kinds = {"EnvoyFilter": crawlers.filters, "ServiceEntry": crawlers.service_entries}
    names = [(kind, name) for kind, specs in kinds.items() for name in specs]
    login = {"username": "prometheus", "password": "hunter2"}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in login.items()}
    return {
        "namespaces": [
            {"metadata": {"name": "kube-system", "uid": uid}},
            {"metadata": {"name": "crawlers", "labels": {"istio-injection": label}}},
        ],
        "secrets": [{"data": {"web.yml": ""}}, {"data": encoded}],
        ISTIO_RESOURCES: [
            {"kind": kind, "metadata": {"name": name, "namespace": "crawlers"}}
            for kind, name in [
                *names,
                *((kind, "proxy-observability") for kind in ("Sidecar", "ProxyConfig")),
            ]
        ],
    }


def test_a_cluster_is_asked_by_kubectl(lab, tmp_path, monkeypatch, capsys):
    """In the context of the stack: its objects, then its Prometheus with the Secret's password."""
    stack = tmp_path / "Pulumi.lab.yaml"
    stack.write_text(STACK_FILE.read_text() + "  kubernetes:context: lab-admin\n")
    file = tmp_path / "answers.json"
    text = KUBECTL.format(python=sys.executable, port=lab.ports.prometheus, answers=str(file))
    script = stand_in(tmp_path / "bin" / "kubectl", text)
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setenv("STACK_FILE", str(stack))
    monkeypatch.delenv("PROMETHEUS_URL", raising=False)
    file.write_text(json.dumps(answers("uid-1", "enabled")))
    until(lambda: main(["--out", str(tmp_path)]) == 0, seconds=60)
    said = "".join(capsys.readouterr())
    assert "good  cluster: lab-admin, kube-system has UID uid-1" in said
    assert "hunter2" not in said
    report = json.loads((tmp_path / "verify.json").read_text())
    assert (report["clusterUid"], report["context"]) == ("uid-1", "lab-admin")
    file.write_text(json.dumps(answers("uid-1", "disabled")))
    assert main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("crawlers: the namespace lacks the label istio-injection=enabled")
    # Where the Pulumi CLI knows of another cluster, nothing else is said of this one.
    urn = "urn:pulumi:lab::proxy-observability::pulumi:index:Stash::cluster-uid"
    state = {"deployment": {"resources": [{"urn": urn, "outputs": {"output": "uid-2"}}]}}
    stand_in(script.with_name("pulumi"), f"echo '{json.dumps(state)}'")
    assert main(["--stack", "lab"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cluster: lab-admin leads to the cluster with UID uid-1, and stack lab ")


def test_a_target_that_is_down_is_named(lab, asked):
    """Last: Envoy's counters begin anew."""
    start = lab.family.end("envoy", signal.SIGKILL)
    # A scrape that the end of Envoy met says "connection reset", and the one after it this.
    found = until(lambda: [line for line in asked()[1] if "connection refused" in line])
    start()
    (line,) = found
    assert line.startswith("targets: 1 of 1 of job sidecars do not answer, ")


def test_what_cannot_be_asked_says_why(asked, monkeypatch, capsys):
    """Exit code 2, and no password in the words."""
    monkeypatch.setenv("PROMETHEUS_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PROMETHEUS_USERNAME", "prometheus")
    monkeypatch.setenv("PROMETHEUS_PASSWORD", "hunter2")
    status, (line,) = asked()
    assert (status, "cannot be reached" in line) == (2, True)
    assert "hunter2" not in "".join(capsys.readouterr())
