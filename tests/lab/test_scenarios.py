"""The table of scenarios: alerts that exist, names that are listed, findings of an outcome."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from lab.drill import Outcome, main, table
from lab.ports import Ports
from lab.prometheus import lab_alertmanager_files, lab_prometheus_files
from lab.receiver import FIRING, HEARTBEAT_LOST, Notice
from lab.scenarios import SCENARIOS, Scenario, chosen, listing
from lab.system import load_settings
from tests.ports import free_block
from tests.rules.promql import alerts

ALERTS = {rule["alert"]: rule["labels"]["severity"] for rule in alerts()}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_names_alerts_that_exist(scenario):
    """An alert that was renamed would be waited for in vain."""
    known = {*ALERTS, HEARTBEAT_LOST}
    assert scenario.alert in known
    assert set(scenario.companions) <= known - {scenario.alert}
    assert all(scenario.companions.values()), "each with its reason"
    assert not scenario.undelivered or scenario.undelivered in ALERTS


def test_every_vendor_alert_every_critical_alert_and_every_part_has_a_scenario():
    """The exceptions are in docs/drills.md."""
    covered = {one.alert for one in SCENARIOS} | {one.undelivered for one in SCENARIOS}
    assert len({one.name for one in SCENARIOS}) == len(SCENARIOS)
    # Its connections are refused by Istio's own listener: tests/mesh/test_vendors_only.py.
    covered.add("ProxyTrafficRefused")
    # It says what the stack file says: tests/rules raises it.
    covered.add("ProxyAttributionOff")
    # Of a month's hours, which no drill lasts: tests/money/test_exporter.py raises one of them.
    covered |= {"ProxyBudgetUsed", "ProxyBudgetRunsOut", "ProxyTrafficBilledNotMetered"}
    assert {name for name in ALERTS if name.startswith("Proxy")} <= covered
    assert {name for name, severity in ALERTS.items() if severity == "critical"} <= covered
    assert len([one for one in SCENARIOS if one.is_kill]) >= 6


def test_the_list_has_every_scenario(capsys):
    """`make drill` alone lists them and starts nothing."""
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[o.name, o.alert] for o in SCENARIOS]
    assert max(len(line) for line in listing().splitlines()) <= 160


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("vendor-b-ban", "NAME: 'vendor-b-ban' is unknown; did you mean vendor-b-bans? "),
        ("203.0.113.5:8080:u:1", "NAME: text of 20 characters is unknown; "),
        ("%%%", "NAME: '%%%' is unknown; "),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name, line, capsys, tmp_path):
    """Exit code 2, before anything is started."""
    assert main(["--name", name, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{line}make drill lists the names\n"
    assert json.loads((tmp_path / "drill.json").read_text())["status"] == 2


def test_scenarios_are_played_in_the_order_of_their_names():
    """`all` is every one."""
    assert chosen("all") == SCENARIOS
    first, third = SCENARIOS[0], SCENARIOS[2]
    assert chosen(f"{third.name},{first.name}") == (third, first)


def test_a_port_in_use_is_reported(capsys):
    """Exit code 2: another program would get the alerts."""
    base = free_block()
    with socket.create_server(("127.0.0.1", Ports(base).receiver)):
        assert main(["--name", "grafana-away", "--port-base", str(base)]) == 2
    assert f"port {Ports(base).receiver} on 127.0.0.1" in capsys.readouterr().err


def scenario(**more: Any) -> Scenario:
    some: dict[str, Any] = {
        "name": "d",
        "description": "",
        "fault": lambda stage: lambda: None,
        "alert": "A",
    }
    return Scenario(**some | more)


def notice(alert: str, **labels: str) -> Notice:
    labels = {"alertname": alert, **labels}
    return Notice(at=0.0, receiver="page", status=FIRING, labels=labels, summary="", description="")


DONE = {"fired_seconds": 1.0, "resolved_seconds": 1.0}
B = {"B": "it follows"}


@pytest.mark.parametrize(
    ("of_scenario", "of_outcome", "expected"),
    [
        ({}, {}, ["A did not arrive within 60 s"]),
        ({}, {"fired_seconds": 1.0}, ["A did not end within 60 s"]),
        ({}, {"others": {"B": [notice("B", x="y")]}, **DONE},
         ["B came too, for no known reason (alertname=B x=y)"]),
        ({"companions": B}, {"others": {"B": [notice("B")]}, **DONE}, []),
        ({"companions": B, "labels": {"proxy_vendor": "b"}},
         {"others": {"B": [notice("B", proxy_vendor=name) for name in "bc"]}, **DONE},
         ["B came too, for no known reason (alertname=B proxy_vendor=c)"]),
        ({"undelivered": "C"}, DONE, ["C does not fire in any Prometheus"]),
        ({}, {"unrest": "A goes on", **DONE}, ["the lab is not calm afterwards: A goes on"]),
    ],
    ids=["missing", "endless", "extra", "companion", "another-vendor", "unnoticed", "unrest"],
)  # fmt: skip
def test_anything_but_the_expected_alert_is_a_finding(of_scenario, of_outcome, expected):
    """It must come and end, and no other may come that is not declared."""
    outcome = Outcome(scenario=scenario(**of_scenario), **of_outcome)
    assert outcome.findings == [f"d: {line}" for line in expected]
    assert "d" in table([outcome]).splitlines()[1]


def test_on_a_busy_machine_another_alert_is_a_doubt_and_a_missing_one_a_finding():
    """Prometheus rightly sees a scrape that is late for want of time; that is no rule's fault."""
    outcome = Outcome(
        scenario=scenario(),
        fired_seconds=1.0,
        others={"PrometheusDown": [notice("PrometheusDown")]},
        slowest_scrape_seconds=0.9,
    )
    assert outcome.findings == ["d: A did not end within 60 s"]
    (doubt,) = outcome.doubts
    assert doubt.startswith("d: PrometheusDown came too")
    assert doubt.endswith("the machine was busy, a scrape took 0.90 s; try again")


def test_two_replicas_scrape_each_other_and_know_one_alertmanager():
    """What a drill needs beside the demo's lab."""
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
    (alertmanager,) = config["alerting"]["alertmanagers"]
    assert alertmanager["static_configs"][0]["targets"] == ["127.0.0.1:20092"]


def test_alertmanager_sends_to_the_labs_receiver(tmp_path):
    """Every receiver of the shipped routes has a file with its address."""
    files = lab_alertmanager_files(Ports(20_000), tmp_path, 60)
    config = json.loads(files["alertmanager.yml"])
    for receiver in config["receivers"][1:]:
        (webhook,) = receiver["webhook_configs"]
        assert webhook["url_file"] == f"{tmp_path}/{receiver['name']}"
        assert files[receiver["name"]] == f"http://127.0.0.1:20093/{receiver['name']}"
