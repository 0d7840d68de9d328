"""One scenario from end to end: real Prometheus and Alertmanager, the shipped rules and routes."""

from __future__ import annotations

import json

import pytest

from lab.drill import BUSY_SECONDS
from tests.lab.conftest import run_lab

pytestmark = pytest.mark.long


def test_an_alert_arrives_and_ends_and_nothing_else_does(ports, tmp_path):
    """What a vendor does reaches the receiver in words and a number, and its end does too."""
    ended = run_lab(
        "drill",
        *("--name", "vendor-b-quota", "--port-base", str(ports.base), "--out", str(tmp_path)),
    )
    report = json.loads((tmp_path / "drill.json").read_text())
    assert report["status"] == ended.returncode
    (drill,) = report["drills"]
    assert drill["findings"] == [], ended.stdout
    # Another alert is a doubt on a machine that has no time for the lab, else a finding.
    assert ended.returncode == (2 if drill["doubts"] else 0), ended.stdout + ended.stderr
    assert not drill["doubts"] or drill["slowest_scrape_seconds"] > BUSY_SECONDS
    assert drill["delivered_by"] == drill["severity"] == "warning"
    assert drill["labels"]["proxy_vendor"] == "vendor-b"
    assert "% of its requests are refused for lack of quota" in drill["description"]
    # Ten minutes of a cluster, half of them the window of the rates, half the rule's wait.
    assert drill["fired_seconds"] > 5
    assert drill["resolved_seconds"] > 0
    assert set(drill["noticed_by"]) <= {"prometheus-0", "prometheus-1"} != set()
    for line in ("firing      ProxyVendorQuotaExhausted", "resolved    ProxyVendorQuotaExhausted"):
        assert ended.stdout.count(line) == 1
