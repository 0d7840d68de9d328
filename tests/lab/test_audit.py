"""`make audit` on real parts: stopped, running on, and broken."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest

from books.__main__ import main
from lab.audit import (
    SCRAPE_MILLISECONDS,
    STOPS,
    is_quiet,
    start_crawler,
    wait_for_first_scrapes,
    wait_for_last_scrapes,
)
from lab.broken_configuration import broken_configuration
from lab.loopback import get_json
from lab.processes import LabError, children
from lab.system import running
from tests.lab.conftest import run_lab, until

pytestmark = pytest.mark.long

STOPPED = ("envoy", "generator-kill", "vendor")


@pytest.mark.parametrize("inspect", ["http", "passive"])
def test_parts_that_die_in_the_middle_leave_nothing_unexplained(ports, tmp_path, inspect):
    """Each stop is named with what it lost, and no row differs by more."""
    ended = run_lab(
        "audit",
        *("--count", "2000", "--stops", ",".join(STOPPED), "--inspect", inspect),
        *("--port-base", str(ports.base), "--out", str(tmp_path)),
    )
    report = json.loads((tmp_path / "audit.json").read_text())
    assert (ended.returncode, report["status"], ended.stderr) == (0, 0, "")
    assert report["inspect"] == inspect
    assert (report["unexplained"], report["findings"]) == (0, [])
    assert [stop["name"] for stop in report["stops"]] == [*STOPPED]
    kinds = [event["kind"] for event in report["events"] if event["what"] == "restarted"]
    assert kinds == [STOPS[name][2] for name in STOPPED]
    # The sidecar and the vendors were dead for a second in which crawlers went on.
    assert 100 < report["explained"] < report["counts"]
    for row in report["rows"]:
        assert all(abs(part["amount"]) <= part["at_most"] for part in row["parts"])
        assert "between" in row["cause"] if row["explained"] else row["cause"] is None
    # The killed generator's last ones are in no book: a second's, and more where scrapes are late.
    assert 1000 < report["counts"] <= 2500


def running_lab(ports, tmp_path, change=None):
    return running(
        ports=ports,
        folder=tmp_path / "lab",
        say=lambda line: None,
        behind_the_generator=change,
        scrape_milliseconds=SCRAPE_MILLISECONDS,
    )


def audit_of(lab, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_URL", lab.prometheus_url)
    code = main(["--window", "1h", "--out", str(tmp_path)])
    return code, json.loads((tmp_path / "audit.json").read_text())


def made(lab):
    try:
        return get_json(f"{lab.crawler_url}/books")["requests"]
    except LabError:  # not begun
        return 0


def test_a_running_system_is_audited_while_its_traffic_goes_on(
    ports, tmp_path, monkeypatch, capsys
):
    """What is in flight is no difference."""
    with running_lab(ports, tmp_path) as lab:
        lab.start_crawler(count=None, requests_per_second=500)
        until(lambda: made(lab) > 1900)
        code, report = audit_of(lab, tmp_path, monkeypatch)
    assert (code, report["findings"]) == (0, []), capsys.readouterr().err
    assert report["counts"] > 200
    assert report["explained"] == report["unexplained"] == 0
    assert all(row["mesh"] == row["generator"] for row in report["rows"])


def test_a_broken_configuration_is_named(ports, tmp_path, monkeypatch, capsys):
    """A range given away, a changed rule, and traffic past Envoy, all at once."""
    range_, outcome, drop = (broken_configuration(name) for name in ("range", "outcome", "drop"))
    with running_lab(ports, tmp_path, lambda s: outcome.change(range_.change(s))) as lab:
        wait_for_first_scrapes(lab)
        start_crawler(lab, 1800, 900, round_envoy_share=5 * drop.round_envoy_share)
        until(lambda: made(lab) == 1800 and is_quiet(lab))
        wait_for_last_scrapes(lab)
        code, report = audit_of(lab, tmp_path, monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    assert code == report["status"] == 1
    assert lines == report["findings"]

    def named(start, words):
        return [line for line in lines if line.startswith(start) and words in line]

    assert named("vendor-c http success: mesh", "counted as vendor-a")
    assert named("vendor-a http success: mesh", "from vendor-c")
    assert named("vendor-b ", "quota_exhausted: mesh")
    assert named("vendor-b ", "counted as rate_limited")
    # Only the drop befell these: their vendors have what the mesh lacks. How many of them go past
    # Envoy is chance, as is whether a rare outcome's few fit in what moved between other rows.
    others = [r for r in report["rows"] if r["vendor"] in ("vendor-d", "vendor-e", "vendor-h")]
    assert all(r["vendor_books"] in (r["generator"], None) for r in others)
    whole, lost = (sum(r[name] for r in others) for name in ("generator", "difference"))
    assert -lost == pytest.approx(0.05 * whole, abs=5 * math.sqrt(0.05 * 0.95 * whole))
    for r in others:
        name = f"{r['vendor']} {r['visibility']} {r['outcome']}: mesh"
        assert not r["difference"] or named(name, r["cause"])
    missed = [r for r in others if r["outcome"] == "success" and r["difference"] < 0]
    assert {r["cause"] for r in missed} <= {"never seen by Envoy"}, (whole, lost, others)


LAB_ONLY = "looks back in a running system, and none is named; add "


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--stops", "envoy,moon"),
            "STOPS: 'moon' is unknown; use some of "
            "envoy,generator,generator-kill,vendor,prometheus",
        ),
        (("--break", "typo"), "BREAK: 'typo' is unknown; use range, outcome or drop"),
        (("--count=-5",), "N: '-5' is no number of counts; 1000000 is customary"),
        (("--count", "10000001"), "N: 10000001 is above 10000000; give that, or less"),
        (
            ("--count", "1499", "--stops", "envoy,vendor"),
            "N: 1499 is too few to stop envoy,vendor in the middle of traffic, a second from each "
            "other; give 1500 or more, or fewer STOPS",
        ),
        (
            ("--window=-1h",),
            f"WINDOW: '-1h' {LAB_ONLY}PROMETHEUS_URL=http://127.0.0.1:9090, or leave WINDOW out",
        ),
        (("--mix", "odd"), "MIX: 'odd' is unknown; use crawl or even"),
    ],
)
def test_a_bad_argument_is_one_line_and_could_not_run(arguments, line):
    """Code 2 is not code 1: nothing was compared."""
    ended = run_lab("audit", *arguments)
    assert (ended.returncode, ended.stderr) == (2, line + "\n")


def test_a_child_is_ended_and_started_anew_as_it_was(tmp_path):
    """The lab does not take that for a failure, and both lives are in its log."""
    log = tmp_path / "child.log"
    words = "import os, time; print(os.environ['WORD'], flush=True); time.sleep(60)"
    with children() as family:
        first = family.start(
            "child", ["python3", "-c", words], log=log, environment={"WORD": "hello"}
        )
        until(lambda: "hello" in log.read_text())
        start_again = family.end("child", signal.SIGKILL)
        family.check()
        second = start_again()
        until(lambda: log.read_text().split() == ["hello", "hello"])
        assert first != second
        os.kill(second, signal.SIGKILL)
        with pytest.raises(LabError, match="was ended by SIGKILL"):
            until(family.check, 5)
