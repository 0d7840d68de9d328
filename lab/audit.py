"""`make audit`: a bounded run of the lab, compared from what Prometheus stored alone.

Exit codes: 0 nothing unexplained, 1 a finding, 2 could not run.
"""

from __future__ import annotations

import argparse
import math
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from books.comparison import LAG_SECONDS
from books.events import GENERATOR, SIDECAR, VENDOR
from books.prometheus import Prometheus
from books.reading import JOBS, SIDECARS, VENDORS
from books.report import Report, Stop, audit_report
from lab.bounded_run import (
    Run,
    add_options,
    attempt,
    bounded_stand_ins,
    checked,
    lab_for,
    wait_for_scrapes,
    watch,
)
from lab.loopback import get_json, get_text
from lab.plan import with_every_fault, with_pause_at_end
from lab.system import Lab
from settings.masking import quoted
from tools.reports import finish

CUSTOMARY = 1_000_000
MOST_PER_SECOND = 1_200  # what two cores bear of every protocol and fault, with room to spare
LEAST_PER_SECOND = 500
PACED_SECONDS = 60
# A process that is killed loses what it counted since its last scrape.
SCRAPE_MILLISECONDS = 500
PAUSE_SECONDS = 1.0  # for which a stopped part stays away

CRAWLER = "crawler"


# What STOPS= may stop: the process, the signal, and the kind of event that the stop must leave.
STOPS = {
    "envoy": ("envoy", signal.SIGKILL, SIDECAR),
    "generator": (CRAWLER, signal.SIGTERM, GENERATOR),
    "generator-kill": (CRAWLER, signal.SIGKILL, GENERATOR),
    "vendor": ("vendors", signal.SIGKILL, VENDOR),
    "prometheus": ("prometheus", signal.SIGKILL, "prometheus"),
}


@dataclass(kw_only=True)
class _Traffic:
    """The traffic of an audit: N counts, by as many generators as it takes."""

    lab: Lab
    run: Run
    made_before: int = 0  # by generators that were stopped
    generators: int = 0
    stops: list[Stop] = field(default_factory=list)

    def start(self) -> None:
        left = self.run.count - self.made_before
        if left > 0:
            per_second = min(self.run.count // PACED_SECONDS, MOST_PER_SECOND)
            start_crawler(
                self.lab,
                left,
                max(LEAST_PER_SECOND, per_second),
                # With the same seed the same requests would come again.
                seed=self.run.seed + self.generators,
                mix=self.run.mix,
                round_envoy_share=self.run.broken.round_envoy_share,
            )
            self.generators += 1

    def made(self) -> int:
        return self.made_before + int(get_json(f"{self.lab.crawler_url}/books")["requests"])

    def stop(self, name: str, made: int) -> None:
        (part, number, kind), after = STOPS[name], time.time()
        if part == CRAWLER:
            self.lab.family.end(CRAWLER, number)
            time.sleep(PAUSE_SECONDS)
            self.made_before = made
            self.start()
            next(n for n in watch(self.lab, self.run.count, self.made) if n)
        else:
            self.lab.restart(part, number, PAUSE_SECONDS)
        stop = Stop(name=name, kind=kind, after=after, before=time.time())
        self.stops.append(stop)
        print(f"stopped     {name}: up again after {stop.before - after:.1f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    add_options(parser, count=CUSTOMARY, mix="even", report="audit.json")
    parser.add_argument("--stops", default="", help=f"parts to stop: {', '.join(STOPS)}")
    parser.add_argument("--window", default="", help="of a running system only (WINDOW)")
    options = parser.parse_args(arguments)
    report = attempt("audit", options.out, lambda: _run(options))
    print("\n" + "\n".join(report.lines()), flush=True)
    return finish("audit", options.out, {"mode": "lab", **report.as_json()})


def _run(options: argparse.Namespace) -> Report:
    started = time.monotonic()
    if options.window:
        raise ValueError(
            f"WINDOW: {quoted(options.window)} looks back in a running system, and none is named; "
            "add PROMETHEUS_URL=http://127.0.0.1:9090, or leave WINDOW out"
        )
    run = checked(options, customary=CUSTOMARY)
    stops = _stops(options.stops, run.count)
    begun = math.floor(time.time())
    with lab_for(run, "audit", SCRAPE_MILLISECONDS) as lab:
        traffic = _Traffic(lab=lab, run=run)
        wait_for_first_scrapes(lab)
        _carry_out(traffic, stops)
        wait_for_last_scrapes(lab)
        return audit_report(
            Prometheus(lab.prometheus_url, {}),
            begun,
            time.time(),
            all_from_zero=True,
            since=started,
            stops=traffic.stops,
            more={
                "break": options.break_ or None,
                "inspect": options.inspect or None,
                "stand_ins": bounded_stand_ins(),
                "scrape_milliseconds": SCRAPE_MILLISECONDS,
            },
        )


def _stops(text: str, count: int) -> list[str]:
    stops = [name for name in text.split(",") if name]
    for name in stops:
        if name not in STOPS:
            raise ValueError(f"STOPS: {quoted(name)} is unknown; use some of {','.join(STOPS)}")
    least = LEAST_PER_SECOND * (len(stops) + 1)
    if stops and count < least:
        raise ValueError(
            f"N: {count} is too few to stop {','.join(stops)} in the middle of traffic, a second "
            f"from each other; give {least} or more, or fewer STOPS"
        )
    return stops


def _carry_out(traffic: _Traffic, stops: Sequence[str]) -> None:
    """Make all counts, stop the parts at even distances, and wait until nothing is in flight."""
    count = traffic.run.count
    due = [(count * (n + 1) // (len(stops) + 1), name) for n, name in enumerate(stops)]
    traffic.start()
    for made in watch(traffic.lab, count, traffic.made):
        if due and made >= due[0][0]:
            traffic.stop(due.pop(0)[1], made)
        elif made >= count and is_quiet(traffic.lab):
            return


def start_crawler(lab: Lab, count: int, per_second: int, **more: Any) -> None:
    """Start a crawler for `count` in all, with every fault; it stays, so that it is scraped."""
    lab.start_crawler(
        count=None,
        requests_per_second=per_second,
        change=lambda own: with_pause_at_end(with_every_fault(own), count, per_second),
        **more,
    )


def wait_for_first_scrapes(lab: Lab) -> None:
    """Return once sidecar and vendors were scraped before the traffic, their counters at 0."""
    wait_for_scrapes(lab, time.time(), (SIDECARS, VENDORS))


def is_quiet(lab: Lab) -> bool:
    """Return whether nothing is in flight; a crawler's `requests` are those it has begun."""
    page = get_text(f"{lab.crawler_url}/metrics")
    found = re.search(r"^crawler_in_flight (\d+)", page, re.MULTILINE)
    return bool(found and int(found[1]) == 0)


def wait_for_last_scrapes(lab: Lab) -> None:
    """Return once an audit sees the end of traffic that has just ended.

    The sidecar's last scrape that is compared lies between two scrapes of the generator, each a
    lag away, and the first of them must see the end too. A scrape may take long, so each wait
    begins when the scrape before it has ended.
    """
    for lag_seconds in (0, LAG_SECONDS, LAG_SECONDS):
        wait_for_scrapes(lab, time.time() + lag_seconds, JOBS)


if __name__ == "__main__":
    sys.exit(main())
