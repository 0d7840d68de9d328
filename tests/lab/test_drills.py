"""The table of drills: alerts that exist, names that are listed, findings that are told."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from lab.drill import Outcome, main, table
from lab.drills import DRILLS, Drill, listing, named
from lab.faults import swollen
from lab.ports import Ports
from lab.prometheus import lab_alertmanager_files, lab_prometheus_files
from lab.receiver import FIRING, HEARTBEAT_LOST, Notice
from lab.system import load_settings
from tests.ports import free_block
from tests.rules.promql import alerts

ALERTS = {rule["alert"]: rule["labels"]["severity"] for rule in alerts()}


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_a_drill_names_alerts_that_exist(drill):
    """An alert that was renamed would be waited for in vain."""
    known = {*ALERTS, HEARTBEAT_LOST}
    assert drill.alert in known
    assert set(drill.companions) <= known - {drill.alert}
    assert all(drill.companions.values()), "each with its reason"
    assert not drill.undelivered or drill.undelivered in ALERTS


def test_there_are_drills_for_every_vendors_alert_and_every_part():
    """Twelve faults at least; every page; and each part of the pipeline is killed."""
    drilled = {drill.alert for drill in DRILLS} | {drill.undelivered for drill in DRILLS}
    assert len({drill.name for drill in DRILLS}) == len(DRILLS) >= 12
    assert {name for name in ALERTS if name.startswith("Proxy")} <= drilled
    assert {name for name, severity in ALERTS.items() if severity == "page"} <= drilled
    assert len([drill for drill in DRILLS if drill.is_kill]) >= 6


def test_the_list_has_every_drill(capsys):
    """`make drill` alone says what there is, and starts nothing."""
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(DRILLS) + 1
    for drill, line in zip(DRILLS, lines[1:], strict=True):
        assert line.split()[:2] == [drill.name, drill.alert]
        assert line.endswith(drill.does)
    assert max(len(line) for line in listing().splitlines()) <= 160


def test_an_unknown_name_is_refused_with_the_names(capsys, tmp_path):
    """Exit code 2, before anything is started."""
    assert main(["--name", "vendor-x", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "'vendor-x'" in told
    assert all(drill.name in told for drill in DRILLS)
    assert json.loads((tmp_path / "drill.json").read_text())["status"] == 2


def test_several_are_chosen_by_commas_and_all_is_every_one():
    """In the order they are asked for."""
    assert named("all") == DRILLS
    chosen = [drill.name for drill in (DRILLS[2], DRILLS[0])]
    assert named(",".join(chosen)) == (DRILLS[2], DRILLS[0])


def test_a_port_in_use_is_told(capsys):
    """Exit code 2: something else would get the alerts."""
    base = free_block()
    with socket.create_server(("127.0.0.1", Ports(base).receiver)):
        assert main(["--name", "grafana-away", "--port-base", str(base)]) == 2
    assert f"port {Ports(base).receiver} on 127.0.0.1" in capsys.readouterr().err


def drill(**more: Any) -> Drill:
    some: dict[str, Any] = {
        "name": "d",
        "does": "",
        "fault": lambda stage: lambda: None,
        "alert": "A",
    }
    return Drill(**some | more)


def notice(alert: str, **labels: str) -> Notice:
    labels = {"alertname": alert, "severity": "page", **labels}
    return Notice(at=0.0, receiver="page", status=FIRING, labels=labels, summary="", description="")


@pytest.mark.parametrize(
    ("of_drill", "of_outcome", "expected"),
    [
        ({}, {}, ["d: A did not arrive within 60 s"]),
        ({}, {"fired_seconds": 1.0}, ["d: A was not over within 60 s"]),
        (
            {},
            {"fired_seconds": 1.0, "resolved_seconds": 1.0, "others": {"B": [notice("B", x="y")]}},
            ["d: B came too, which nothing explains (alertname=B severity=page x=y)"],
        ),
        (
            {"companions": {"B": "it follows"}},
            {"fired_seconds": 1.0, "resolved_seconds": 1.0, "others": {"B": [notice("B")]}},
            [],
        ),
        (
            {"companions": {"B": "it follows"}, "labels": {"proxy_vendor": "b"}},
            {
                "fired_seconds": 1.0,
                "resolved_seconds": 1.0,
                "others": {"B": [notice("B", proxy_vendor=name) for name in "bc"]},
            },
            ["d: B came too, which nothing explains (alertname=B proxy_vendor=c severity=page)"],
        ),
        (
            {"undelivered": "C"},
            {"fired_seconds": 1.0, "resolved_seconds": 1.0},
            ["d: C does not fire in any Prometheus"],
        ),
        (
            {},
            {"fired_seconds": 1.0, "resolved_seconds": 1.0, "order": "A goes on"},
            ["d: no good order afterwards: A goes on"],
        ),
    ],
    ids=["missing", "endless", "extra", "companion", "another's", "unnoticed", "disorder"],
)
def test_findings_are_what_is_wrong_or_missing_or_too_much(of_drill, of_outcome, expected):
    """Anything but the right alert, come and gone, alone, is a finding."""
    outcome = Outcome(drill=drill(**of_drill), **of_outcome)
    assert outcome.findings == expected
    assert "d" in table([outcome]).splitlines()[1]


def test_on_a_busy_machine_what_came_too_is_a_doubt_and_what_is_missing_a_finding():
    """A scrape that is late for want of time is true to Prometheus, and no rule's fault."""
    outcome = Outcome(
        drill=drill(),
        fired_seconds=1.0,
        others={"PrometheusDown": [notice("PrometheusDown")]},
        slowest_scrape_seconds=0.9,
    )
    assert outcome.findings == ["d: A was not over within 60 s"]
    assert len(outcome.doubts) == 1
    assert outcome.doubts[0].startswith("d: PrometheusDown came too")
    assert outcome.doubts[0].endswith("the machine was busy, a scrape took 0.90 s: try again")


def test_prometheus_reads_what_a_drill_writes():
    """Two replicas scrape each other and everything beside, and tell one Alertmanager."""
    ports = Ports(20_000)
    files = lab_prometheus_files(load_settings(ports), ports, factor=60, watched=True)
    config = json.loads(files["prometheus.yml"])
    scraped = {
        job["job_name"]: [one["targets"][0] for one in job["static_configs"]]
        for job in config["scrape_configs"]
    }
    assert scraped["prometheus"] == ["127.0.0.1:20090", "127.0.0.1:20091"]
    assert {len(scraped[job]) for job in ("istiod", "grafana", "alertmanager")} == {1}
    assert len(scraped["sidecars"]) == 2
    (told,) = config["alerting"]["alertmanagers"]
    assert told["static_configs"][0]["targets"] == ["127.0.0.1:20092"]


def test_alertmanager_tells_the_labs_receiver(tmp_path):
    """Every receiver of the shipped routes has a file with its address."""
    files = lab_alertmanager_files(Ports(20_000), tmp_path, 60)
    config = json.loads(files["alertmanager.yml"])
    for receiver in config["receivers"][1:]:
        (webhook,) = receiver["webhook_configs"]
        assert webhook["url_file"] == f"{tmp_path}/{receiver['name']}"
        assert files[receiver["name"]] == f"http://127.0.0.1:20093/{receiver['name']}"


def test_a_swollen_page_has_as_many_series_as_said():
    """Each a line of its own labels."""
    lines = [line for line in swollen(1_500)().splitlines() if not line.startswith("#")]
    assert len(set(lines)) == 1_500
