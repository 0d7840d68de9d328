"""`make drill`: break the lab, see the alert arrive; mend it, see that it is over.

Exit codes: 0 the right alert came and went and nothing else did, 1 it did not, 2 could not run, or
another came on a machine that had no time for the lab.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import loopback
from lab.drills import Drill, listing, named
from lab.envoy import STAND_INS
from lab.faults import PAGES, Stage, start_crawler
from lab.pages import Page, served
from lab.ports import DEFAULT_BASE, Ports
from lab.processes import LabError, StopRequested, require_free, stop_on_signals
from lab.receiver import FIRING, HEARTBEAT_LOST, RESOLVED, Notice, Receiver, listening
from lab.shortening import DRILL_FACTOR, stand_in
from lab.system import FOLDER, running
from settings.loading import SettingsError
from tools.reports import add_out, write_report

Json = dict[str, Any]

WATCHDOG = "Watchdog"
HEARTBEAT_MINUTES = 5  # the patience that docs/runbooks/Watchdog.md names
HEARTBEAT_SECONDS = HEARTBEAT_MINUTES * 60 / DRILL_FACTOR
GOOD_ORDER_SECONDS = 90.0
POLL_SECONDS = 0.1
# What is about to fire, or fires. Over five scrapes chance makes the mesh's count and the
# generator's differ for a moment, and again: only if it lasts that is more.
UNREST = (
    f'ALERTS_FOR_STATE{{alertname!~"{WATCHDOG}|ProxyCountsDisagree"}}'
    ' or time() - ALERTS_FOR_STATE{alertname="ProxyCountsDisagree"} > 6'
)

# A scrape takes some 10 ms. Where one takes as long as this, the machine had no time for the lab:
# scrapes come late, and alerts about that are true and prove nothing.
BUSY_SECONDS = 0.25
SLOWEST_SCRAPE = (
    'max(max_over_time(scrape_duration_seconds{{job=~"load-generator|prometheus|alertmanager"}}'
    "[{seconds}s]))"
)

DRILL_STAND_INS = (
    *STAND_INS,
    stand_in(DRILL_FACTOR),
    f"a heartbeat missed for {HEARTBEAT_MINUTES} min -> for {HEARTBEAT_SECONDS:g} s",
    "istiod, Grafana and a second sidecar -> pages of metrics",
)


@dataclass(kw_only=True)
class Outcome:
    """What a drill showed; seconds are None where something did not come."""

    drill: Drill
    arrived: Notice | None = None
    fired_seconds: float | None = None
    resolved_seconds: float | None = None
    noticed_by: list[str] = field(default_factory=list)
    undelivered_by: list[str] = field(default_factory=list)
    others: dict[str, list[Notice]] = field(default_factory=dict)
    """What else arrived, by alert."""
    order: str = ""
    """What kept the lab from good order afterwards."""
    slowest_scrape_seconds: float = 0.0

    @property
    def extras(self) -> dict[str, Notice]:
        """The first notice of each alert that nothing explains."""
        return {
            notice.alert: notice
            for notices in reversed(self.others.values())
            for notice in reversed(notices)
            if not _is_companion(self.drill, notice)
        }

    @property
    def findings(self) -> list[str]:
        drill, lines = self.drill, []
        if self.fired_seconds is None:
            lines.append(f"{drill.alert} did not arrive within {drill.seconds:g} s")
        elif self.resolved_seconds is None:
            lines.append(f"{drill.alert} was not over within {drill.seconds:g} s")
        if drill.undelivered and not self.undelivered_by:
            lines.append(f"{drill.undelivered} does not fire in any Prometheus")
        if not self.is_busy:
            lines += self._unexplained
        return [f"{drill.name}: {line}" for line in lines]

    @property
    def doubts(self) -> list[str]:
        """What would be findings, had the machine had time."""
        busy = f"the machine was busy, a scrape took {self.slowest_scrape_seconds:.2f} s: try again"
        return [f"{self.drill.name}: {line}; {busy}" for line in self._unexplained if self.is_busy]

    @property
    def is_busy(self) -> bool:
        return self.slowest_scrape_seconds > BUSY_SECONDS

    @property
    def _unexplained(self) -> list[str]:
        lines = []
        for alert, notice in self.extras.items():
            labels = " ".join(f"{k}={v}" for k, v in sorted(notice.labels.items()))
            lines.append(f"{alert} came too, which nothing explains ({labels})")
        if self.order:
            lines.append(f"no good order afterwards: {self.order}")
        return lines

    def as_json(self) -> Json:
        drill, notice = self.drill, self.arrived
        return {
            "name": drill.name,
            "does": drill.does,
            "is_kill": drill.is_kill,
            "alert": drill.alert,
            "severity": notice.labels.get("severity") if notice else None,
            "labels": dict(notice.labels) if notice else None,
            "summary": notice.summary if notice else None,
            "description": notice.description if notice else None,
            "noticed_by": self.noticed_by,
            "delivered_by": notice.receiver if notice else None,
            "undelivered": drill.undelivered or None,
            "undelivered_by": self.undelivered_by,
            "fired_seconds": _rounded(self.fired_seconds),
            "resolved_seconds": _rounded(self.resolved_seconds),
            "companions": {
                alert: drill.companions[alert] for alert in self.others if alert in drill.companions
            },
            "slowest_scrape_seconds": self.slowest_scrape_seconds,
            "findings": self.findings,
            "doubts": self.doubts,
        }


class Runner:
    """Carries drills out on one lab."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._first_good: float | None = None

    def carry_out(self, drill: Drill) -> Outcome:
        """Break, wait, mend, wait.

        Raises:
            LabError: a part of the lab died by itself, or it was never in good order.
        """
        outcome = Outcome(drill=drill)
        if wrong := self._wait_for_good_order(drill.past_seconds):
            raise LabError(f"{drill.name}: the lab is not in good order: {wrong}")
        say(f"\nfault       {drill.name}: {drill.does}")
        begun = time.monotonic()
        mend = drill.fault(self._stage)
        fired = self._wait_for(drill, FIRING, begun)
        if fired is not None:
            outcome.arrived, outcome.fired_seconds = fired, fired.at - begun
            outcome.noticed_by = self._firing_in(drill.alert)
            say(f"arrived     after {outcome.fired_seconds:.1f} s")
        if drill.undelivered:
            outcome.undelivered_by = self._wait_until_it_fires(drill)
            say(f"undelivered {drill.undelivered} fires in {', '.join(outcome.undelivered_by)}")
        mended = time.monotonic()
        mend()
        say("mended")
        if fired is not None:
            over = self._wait_for(drill, RESOLVED, mended)
            if over is not None:
                outcome.resolved_seconds = over.at - mended
                say(f"over        after {outcome.resolved_seconds:.1f} s")
        outcome.order = self._wait_for_good_order()
        outcome.slowest_scrape_seconds = self._slowest_scrape(time.monotonic() - begun)
        for notice in self._stage.receiver.since(begun):
            if notice.status == FIRING and not _is_meant(drill, notice):
                outcome.others.setdefault(notice.alert, []).append(notice)
        return outcome

    def _wait_for(self, drill: Drill, status: str, since: float) -> Notice | None:
        while time.monotonic() < since + drill.seconds:
            self._stage.lab.family.check()
            for notice in self._stage.receiver.since(since):
                if notice.status == status and _is_meant(drill, notice):
                    return notice
            time.sleep(POLL_SECONDS)
        return None

    def _wait_until_it_fires(self, drill: Drill) -> list[str]:
        deadline = time.monotonic() + drill.seconds
        while not (firing := self._firing_in(drill.undelivered)):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        return firing

    def _firing_in(self, alert: str) -> list[str]:
        """Return who noticed: the replicas in which it fires, or the heartbeat's receiver."""
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

    def _wait_for_good_order(self, past_seconds: float = 0.0) -> str:
        """Return "" once all is well and has a past of that length; else what is wrong."""
        deadline = time.monotonic() + GOOD_ORDER_SECONDS + past_seconds
        while True:
            self._stage.lab.family.check()
            wrong, now = self._wrong(), time.monotonic()
            if not wrong:
                self._first_good = self._first_good or now
                if now - self._first_good >= past_seconds:
                    return ""
            if now > deadline:
                return wrong
            time.sleep(POLL_SECONDS)

    def _wrong(self) -> str:
        """Return what is not as it should be, "" where all is."""
        receiver = self._stage.receiver
        if active := receiver.active():
            return f"{', '.join(active)} is not over at the receiver"
        if receiver.heartbeat_seconds() is None:
            return "no heartbeat yet"
        for name, url in self._stage.lab.prometheus_urls.items():
            try:
                down = loopback.query(url, "up == 0")
                alerts = loopback.query(url, UNREST)
                served = loopback.query(url, "proxy_vendor:istio_requests:rate5m > 0")
            except LabError as error:
                return str(error)
            if down:
                return f"{name}: {down[0]['metric']['pod']} is not scraped"
            if alerts:
                labels = alerts[0]["metric"]
                return f"{name}: {labels['alertname']} {labels.get('proxy_vendor', '')} goes on"
            if not served:
                return f"{name}: no requests yet"
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
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
    except StopRequested as stop:
        findings = [f"stopped by {stop}"]
    except SettingsError as error:
        findings = list(error.findings)
    except (LabError, ValueError, OSError) as error:
        findings = [str(error)]
    if outcomes:
        say("\n" + table(outcomes))
    for finding in findings:
        print(finding, file=sys.stderr, flush=True)
    if options.out is not None:
        report = {
            "target": "drill",
            "status": status,
            "factor": DRILL_FACTOR,
            "stand_ins": DRILL_STAND_INS,
            "drills": [outcome.as_json() for outcome in outcomes],
            "findings": findings,
        }
        return write_report(options.out / "drill.json", report)
    return status


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a line a drill: alert, who noticed, by what it was told, times, companions."""
    rows = [("drill", "alert", "noticed by", "told by", "came", "over", "with it")]
    for one in outcomes:
        rows.append(
            (
                one.drill.name,
                one.drill.alert,
                ", ".join(one.noticed_by) or "-",
                f"/{one.arrived.receiver}" if one.arrived else "-",
                _seconds(one.fired_seconds),
                _seconds(one.resolved_seconds),
                ", ".join(
                    [*one.others, *([f"({one.drill.undelivered})"] if one.undelivered_by else [])]
                ),
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
def staged(ports: Ports, folder: Path, tell: Callable[[str], None]) -> Iterator[Stage]:
    """Run the lab with all that watches it, and a crawler, for the length of the block."""
    pages = {name: Page(text) for name, text in PAGES.items()}
    page_ports = (ports.istiod, ports.grafana, ports.second_sidecar)
    receiver = Receiver(silence_seconds=HEARTBEAT_SECONDS, say=tell)
    require_free(("127.0.0.1", port) for port in (*page_ports, ports.receiver))
    with (
        served(dict(zip(page_ports, pages.values(), strict=True))),
        listening(ports.receiver, receiver),
        running(ports=ports, folder=folder, say=tell, factor=DRILL_FACTOR, watched=True) as lab,
    ):
        stage = Stage(lab=lab, receiver=receiver, pages=pages)
        start_crawler(stage)
        yield stage


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make drill", description=__doc__)
    parser.add_argument("--name", default="", help="a drill, or all; none lists them")
    add_out(parser, "drill.json")
    parser.add_argument("--port-base", default=str(DEFAULT_BASE))
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace, outcomes: list[Outcome]) -> None:
    chosen = named(options.name)
    ports = Ports.from_text(options.port_base)
    with staged(ports, FOLDER / f"drill-{options.port_base}", say) as stage:
        for line in DRILL_STAND_INS:
            say(f"stand-in    {line}")
        say(f"receiver    http://127.0.0.1:{ports.receiver}  (alerts as they arrive)")
        runner = Runner(stage)
        for drill in chosen:
            outcomes.append(runner.carry_out(drill))


def _is_meant(drill: Drill, notice: Notice) -> bool:
    return notice.alert == drill.alert and drill.labels.items() <= notice.labels.items()


def _is_companion(drill: Drill, notice: Notice) -> bool:
    """Whether it is declared, and of the drill's own vendor if it is of any."""
    vendors = {
        one["proxy_vendor"] for one in (drill.labels, notice.labels) if "proxy_vendor" in one
    }
    return notice.alert in drill.companions and len(vendors) <= 1


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


if __name__ == "__main__":
    sys.exit(main())
