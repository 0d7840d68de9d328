"""`make drill`: break the lab, see the alert arrive; undo it, see the alert end.

Exit codes: 0 the right alert came and ended and no other came, 1 it did not, 2 could not run, or
another alert came on a machine that had no time for the lab.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import loopback
from lab.fault_injection import PAGES, Stage, start_crawler
from lab.istio_stats import lab_stand_ins
from lab.pages import Page, served
from lab.ports import DEFAULT_BASE, Ports
from lab.processes import ENDED_EARLY, LabError, reasons_of, require_free, stop_on_signals
from lab.receiver import FIRING, HEARTBEAT_LOST, RESOLVED, Notice, Receiver, listening
from lab.scenarios import Scenario, chosen, listing
from lab.shortening import DRILL_FACTOR, stand_in
from lab.system import FOLDER, running
from tools.reports import add_out, finish

Json = dict[str, Any]

WATCHDOG = "Watchdog"
HEARTBEAT_MINUTES = 5  # the time-out that docs/runbooks/Watchdog.md names
HEARTBEAT_SECONDS = HEARTBEAT_MINUTES * 60 / DRILL_FACTOR
CALM_WITHIN_SECONDS = 90.0
# Alerts that fire or are about to. Over five scrapes the mesh's count and the generator's differ
# by chance for a moment, so ProxyCountsDisagree matters only if it lasts.
PENDING_ALERTS = (
    f'ALERTS_FOR_STATE{{alertname!~"{WATCHDOG}|ProxyCountsDisagree"}}'
    ' or time() - ALERTS_FOR_STATE{alertname="ProxyCountsDisagree"} > 6'
)

# A scrape takes some 10 ms. If one takes as long as this, the machine had no time for the lab:
# scrapes come late, and the alerts about that are right and prove nothing.
BUSY_SECONDS = 0.25
SLOWEST_SCRAPE = (
    'max(max_over_time(scrape_duration_seconds{{job=~"load-generator|prometheus|alertmanager"}}'
    "[{seconds}s]))"
)

_STAND_INS = (
    stand_in(DRILL_FACTOR),
    f"a heartbeat missed for {HEARTBEAT_MINUTES} min -> for {HEARTBEAT_SECONDS:g} s",
    "istiod, Grafana and a second sidecar -> pages of metrics",
)


@dataclass(kw_only=True)
class Outcome:
    """What a scenario showed.

    Attributes:
        arrived: the alert that was expected; None if it did not come.
        fired_seconds: from the fault to its arrival.
        resolved_seconds: from the undoing to the message that it has ended.
        noticed_by: the replicas in which it was firing then.
        undelivered_by: the replicas in which the undeliverable alert fired.
        others: what else arrived, by alert.
        unrest: what kept the lab from being calm again.
        slowest_scrape_seconds: tells a machine that had no time.
    """

    scenario: Scenario
    arrived: Notice | None = None
    fired_seconds: float | None = None
    resolved_seconds: float | None = None
    noticed_by: list[str] = field(default_factory=list)
    undelivered_by: list[str] = field(default_factory=list)
    others: dict[str, list[Notice]] = field(default_factory=dict)
    unrest: str = ""
    slowest_scrape_seconds: float = 0.0

    @property
    def is_busy(self) -> bool:
        return self.slowest_scrape_seconds > BUSY_SECONDS

    @property
    def findings(self) -> list[str]:
        scenario, lines = self.scenario, []
        if self.fired_seconds is None:
            lines.append(f"{scenario.alert} did not arrive within {scenario.within_seconds:g} s")
        elif self.resolved_seconds is None:
            lines.append(f"{scenario.alert} did not end within {scenario.within_seconds:g} s")
        if scenario.undelivered and not self.undelivered_by:
            lines.append(f"{scenario.undelivered} does not fire in any Prometheus")
        if not self.is_busy:
            lines += self._unexpected
        return [f"{scenario.name}: {line}" for line in lines]

    @property
    def doubts(self) -> list[str]:
        """What would be findings, had the machine had time."""
        busy = f"the machine was busy, a scrape took {self.slowest_scrape_seconds:.2f} s; try again"
        return [f"{self.scenario.name}: {one}; {busy}" for one in self._unexpected if self.is_busy]

    @property
    def _unexpected(self) -> list[str]:
        lines = []
        for alert, notices in self.others.items():
            labels = [n.labels for n in notices if not _is_companion(self.scenario, n)]
            if labels:
                pairs = " ".join(f"{k}={v}" for k, v in sorted(labels[0].items()))
                lines.append(f"{alert} came too, for no known reason ({pairs})")
        return [
            *lines,
            *([f"the lab is not calm afterwards: {self.unrest}"] if self.unrest else []),
        ]

    def as_json(self) -> Json:
        scenario, notice = self.scenario, self.arrived
        names = self.others.keys() & scenario.companions.keys()
        return {
            "name": scenario.name,
            "does": scenario.description,
            "is_kill": scenario.is_kill,
            "alert": scenario.alert,
            "severity": notice.labels.get("severity") if notice else None,
            "labels": dict(notice.labels) if notice else None,
            "summary": notice.summary if notice else None,
            "description": notice.description if notice else None,
            "noticed_by": self.noticed_by,
            "delivered_by": notice.receiver if notice else None,
            "undelivered": scenario.undelivered or None,
            "undelivered_by": self.undelivered_by,
            "fired_seconds": _rounded(self.fired_seconds),
            "resolved_seconds": _rounded(self.resolved_seconds),
            "companions": {alert: scenario.companions[alert] for alert in sorted(names)},
            "slowest_scrape_seconds": self.slowest_scrape_seconds,
            "findings": self.findings,
            "doubts": self.doubts,
        }


class Runner:
    """Plays scenarios on one lab."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._wait = stage.lab.family.wait
        self._first_calm: float | None = None

    def play(self, scenario: Scenario) -> Outcome:
        """Break the lab, wait for the alert, undo it, wait for the alert's end.

        Raises:
            LabError: a part of the lab died by itself, or it was never calm.
        """
        outcome = Outcome(scenario=scenario)
        if unrest := self._wait_until_calm(scenario.calm_seconds):
            raise LabError(f"{scenario.name}: the lab does not become calm: {unrest}")
        say(f"\nfault       {scenario.name}: {scenario.description}")
        begun = time.monotonic()
        undo = scenario.fault(self._stage)
        outcome.arrived = self._wait_for(scenario, FIRING, begun)
        if outcome.arrived:
            outcome.fired_seconds = outcome.arrived.at - begun
            outcome.noticed_by = self._firing_in(scenario.alert)
            say(f"arrived     after {outcome.fired_seconds:.1f} s")
        if scenario.undelivered:
            outcome.undelivered_by = self._wait(
                lambda: self._firing_in(scenario.undelivered), scenario.within_seconds
            )
            say(f"undelivered {scenario.undelivered} fires in {', '.join(outcome.undelivered_by)}")
        undone = time.monotonic()
        undo()
        say("undone")
        if outcome.arrived and (ended := self._wait_for(scenario, RESOLVED, undone)):
            outcome.resolved_seconds = ended.at - undone
            say(f"ended       after {outcome.resolved_seconds:.1f} s")
        outcome.unrest = self._wait_until_calm()
        outcome.slowest_scrape_seconds = self._slowest_scrape(time.monotonic() - begun)
        for notice in self._stage.receiver.since(begun):
            if notice.status == FIRING and not _is_expected(scenario, notice):
                outcome.others.setdefault(notice.alert, []).append(notice)
        return outcome

    def _wait_for(self, scenario: Scenario, status: str, since: float) -> Notice | None:
        def arrived() -> Notice | None:
            notices = self._stage.receiver.since(since)
            found = (n for n in notices if n.status == status and _is_expected(scenario, n))
            return next(found, None)

        return self._wait(arrived, scenario.within_seconds)

    def _wait_until_calm(self, calm_seconds: float = 0.0) -> str:
        """Return "" once the lab has been calm for so long since its start; else what is wrong."""

        def is_calm() -> bool:
            if self._unrest():
                return False
            self._first_calm = self._first_calm or time.monotonic()
            return time.monotonic() - self._first_calm >= calm_seconds

        return "" if self._wait(is_calm, CALM_WITHIN_SECONDS + calm_seconds) else self._unrest()

    def _firing_in(self, alert: str) -> list[str]:
        """Return the replicas in which the alert fires, or the heartbeat's receiver."""
        if alert == HEARTBEAT_LOST:
            return ["the heartbeat's receiver"]
        expression = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
        return [name for name, url in self._replicas() if loopback.query(url, expression)]

    def _slowest_scrape(self, seconds: float) -> float:
        expression = SLOWEST_SCRAPE.format(seconds=math.ceil(seconds))
        found = [loopback.query(url, expression) for _, url in self._replicas()]
        return max((float(one["value"][1]) for some in found for one in some), default=0.0)

    def _replicas(self) -> Iterator[tuple[str, str]]:
        for name, url in self._stage.lab.prometheus_urls.items():
            if loopback.answers(f"{url}/-/ready"):
                yield name, url

    def _unrest(self) -> str:
        """Return what is wrong with the lab, "" if nothing is."""
        receiver = self._stage.receiver
        if active := receiver.active():
            return f"the receiver has no end of {', '.join(active)}"
        if receiver.heartbeat_seconds() is None:
            return "no heartbeat yet"
        for name, url in self._stage.lab.prometheus_urls.items():
            try:
                down = loopback.query(url, "up == 0")
                alerts = loopback.query(url, PENDING_ALERTS)
                requests = loopback.query(url, "proxy_vendor:istio_requests:rate5m > 0")
            except LabError as error:
                return str(error)
            if down:
                return f"{name}: {down[0]['metric']['pod']} is not scraped"
            if alerts:
                labels = alerts[0]["metric"]
                return f"{name}: {labels['alertname']} {labels.get('proxy_vendor', '')} goes on"
            if not requests:
                return f"{name}: no requests yet"
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make drill", description=__doc__)
    parser.add_argument("--name", default="", help="a scenario, or all; none lists them")
    add_out(parser, "drill.json")
    parser.add_argument("--port-base", default=str(DEFAULT_BASE))
    options = parser.parse_args(arguments)
    if not options.name:
        say(listing())
        return 0
    outcomes: list[Outcome] = []
    status, findings = 2, []
    try:
        with stop_on_signals():
            _run(options, outcomes)
        findings = [finding for outcome in outcomes for finding in outcome.findings]
        doubts = [doubt for outcome in outcomes for doubt in outcome.doubts]
        status = 1 if findings else 2 if doubts else 0
        findings += doubts
    except ENDED_EARLY as error:
        findings = reasons_of(error)
    if outcomes:
        say("\n" + table(outcomes))
    report = {
        "status": status,
        "factor": DRILL_FACTOR,
        "stand_ins": drill_stand_ins(),
        "drills": [outcome.as_json() for outcome in outcomes],
        "findings": findings,
    }
    return finish("drill", options.out, report)


def drill_stand_ins() -> tuple[str, ...]:
    return (*lab_stand_ins(), *_STAND_INS)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a line a scenario: alert, who noticed, receiver, times, other alerts."""
    rows = [("drill", "alert", "noticed by", "receiver", "came", "ended", "with it")]
    for one in outcomes:
        undelivered = [f"({one.scenario.undelivered})"] if one.undelivered_by else []
        rows.append(
            (
                one.scenario.name,
                one.scenario.alert,
                ", ".join(one.noticed_by) or "-",
                f"/{one.arrived.receiver}" if one.arrived else "-",
                _seconds(one.fired_seconds),
                _seconds(one.resolved_seconds),
                ", ".join([*one.others, *undelivered]),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def staged(ports: Ports, folder: Path, *, priced: bool = False) -> Iterator[Stage]:
    """Run the lab, its monitoring and a crawler for the length of the block."""
    pages = {name: Page(text) for name, text in PAGES.items()}
    page_ports = (ports.istiod, ports.grafana, ports.second_sidecar)
    receiver = Receiver(silence_seconds=HEARTBEAT_SECONDS, say=say)
    require_free(("127.0.0.1", port) for port in (*page_ports, ports.receiver))
    with (
        served(dict(zip(page_ports, pages.values(), strict=True))),
        listening(ports.receiver, receiver),
        running(
            ports=ports,
            folder=folder,
            say=say,
            factor=DRILL_FACTOR,
            watched=True,
            inspect="mixed",  # so that alerts of either mode are tried
            priced=priced,
        ) as lab,
    ):
        stage = Stage(lab=lab, receiver=receiver, pages=pages)
        start_crawler(stage)
        yield stage


def _run(options: argparse.Namespace, outcomes: list[Outcome]) -> None:
    scenarios = chosen(options.name)
    ports = Ports.from_text(options.port_base)
    with staged(ports, FOLDER / f"drill-{options.port_base}") as stage:
        for line in drill_stand_ins():
            say(f"stand-in    {line}")
        say(f"receiver    http://127.0.0.1:{ports.receiver}  (alerts as they arrive)")
        runner = Runner(stage)
        for scenario in scenarios:
            outcomes.append(runner.play(scenario))


def _is_expected(scenario: Scenario, notice: Notice) -> bool:
    return notice.alert == scenario.alert and scenario.labels.items() <= notice.labels.items()


def _is_companion(scenario: Scenario, notice: Notice) -> bool:
    """Return whether the alert is a declared companion, and for no other vendor."""
    vendors = {
        labels["proxy_vendor"]
        for labels in (scenario.labels, notice.labels)
        if "proxy_vendor" in labels
    }
    return notice.alert in scenario.companions and len(vendors) <= 1


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


if __name__ == "__main__":
    sys.exit(main())
