"""`make audit`: a bounded run of the lab, its three sets of books read from Prometheus alone.

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

from audit.__main__ import audited, could_not_run, finish
from audit.books import NothingToAuditError
from audit.ledger import GENERATOR, LAG_SECONDS, SIDECAR, VENDOR
from audit.prometheus import Prometheus, PrometheusError
from audit.report import Report, Stop
from lab import breaks
from lab.envoy import STAND_INS
from lab.loopback import get_json, get_text
from lab.plan import MIXES, parse_count, with_every_fault, with_pause_at_end
from lab.ports import DEFAULT_BASE, Ports
from lab.processes import LabError, StopRequested, stop_on_signals
from lab.prometheus import WINDOW_STAND_IN
from lab.system import FOLDER, Lab, running
from settings.loading import SettingsError
from tools.reports import add_out

MOST_PER_SECOND = 1_200  # of every protocol and fault: what two cores bear with room to spare
LEAST_PER_SECOND = 500
PACED_SECONDS = 60
# What a process counted since its last scrape is lost with it: the less, the sooner that was.
SCRAPE_MILLISECONDS = 500
PAUSE_SECONDS = 1.0  # of a part that is stopped
PROGRESS_SECONDS = 10.0
STALLED_SECONDS = 30.0
POLL_SECONDS = 0.2

PROMETHEUS = "prometheus"
CRAWLER = "crawler"


@dataclass(frozen=True)
class _Way:
    """How a part is stopped: its process, the signal, and the event it must leave."""

    part: str
    number: signal.Signals
    event: str


STOPS = {
    "envoy": _Way("envoy", signal.SIGKILL, SIDECAR),
    "generator": _Way(CRAWLER, signal.SIGTERM, GENERATOR),
    "generator-kill": _Way(CRAWLER, signal.SIGKILL, GENERATOR),
    "vendor": _Way("vendors", signal.SIGKILL, VENDOR),
    "prometheus": _Way("prometheus", signal.SIGKILL, PROMETHEUS),
}


@dataclass(kw_only=True)
class _Run:
    """The traffic of an audit: `count` in all, over as many generators as it takes."""

    lab: Lab
    count: int
    per_second: int
    mix: str
    round_envoy_share: float
    seed: int
    before: int = 0  # made by generators that are gone
    stops: list[Stop] = field(default_factory=list)

    def start(self) -> None:
        left = self.count - self.before
        if left > 0:
            start_crawler(
                self.lab,
                left,
                self.per_second,
                seed=self.seed,
                mix=self.mix,
                round_envoy_share=self.round_envoy_share,
            )

    def made(self) -> int:
        return self.before + int(get_json(f"{self.lab.crawler_url}/books")["requests"])

    def is_quiet(self) -> bool:
        page = get_text(f"{self.lab.crawler_url}/metrics")
        found = re.search(r"^crawler_in_flight (\d+)", page, re.MULTILINE)
        return bool(found and int(found[1]) == 0)

    def stop(self, name: str, made: int) -> None:
        way = STOPS[name]
        after = time.time()
        if way.part == CRAWLER:
            self.lab.family.end(CRAWLER, way.number)
            time.sleep(PAUSE_SECONDS)
            # Another seed, else the same requests would come again.
            self.before, self.seed = made, self.seed + 1
            self.start()
            self._wait_for_crawler()
        else:
            self.lab.restart(way.part, way.number, PAUSE_SECONDS)
        stop = Stop(name=name, kind=way.event, after=after, before=time.time())
        self.stops.append(stop)
        print(f"stopped     {name}: up again after {stop.before - after:.1f} s", flush=True)

    def _wait_for_crawler(self) -> None:
        deadline = time.monotonic() + STALLED_SECONDS
        while time.monotonic() < deadline:
            try:
                self.made()
            except LabError:
                self.lab.family.check()
                time.sleep(POLL_SECONDS)
            else:
                return
        raise LabError(f"the crawler did not begin within {STALLED_SECONDS:.0f} s")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    try:
        with stop_on_signals():
            report = _run(options)
    except StopRequested as stop:
        return could_not_run(options.out, f"stopped by {stop}")
    except SettingsError as error:
        return could_not_run(options.out, *error.findings)
    except (LabError, PrometheusError, NothingToAuditError, ValueError, OSError) as error:
        return could_not_run(options.out, str(error))
    return finish(options.out, report, mode="lab")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--count", default="1000000", help="counts to make (N)")
    parser.add_argument("--break", dest="break_", default="", help="range, outcome or drop")
    parser.add_argument("--stops", default="", help=f"parts to stop: {', '.join(STOPS)}")
    parser.add_argument("--mix", default="even", help="what crawlers speak: crawl or even")
    parser.add_argument("--window", default="", help="of a running system only (WINDOW)")
    add_out(parser, "audit.json")
    parser.add_argument("--port-base", default=str(DEFAULT_BASE))
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> Report:
    started = time.monotonic()
    if options.window:
        raise ValueError(
            f"WINDOW: {options.window!r} looks back in a running system, and none is named; "
            "add PROMETHEUS_URL=http://127.0.0.1:9090, or leave WINDOW out"
        )
    count = parse_count(options.count, customary=1_000_000)
    if options.mix not in MIXES:
        raise ValueError(f"MIX: {options.mix!r} is unknown; use {' or '.join(MIXES)}")
    stops = [name for name in options.stops.split(",") if name]
    for name in stops:
        if name not in STOPS:
            raise ValueError(f"STOPS: {name!r} is unknown; use some of {','.join(STOPS)}")
    least = LEAST_PER_SECOND * (len(stops) + 1)
    if stops and count < least:
        raise ValueError(
            f"N: {count} is too few to stop {','.join(stops)} in the middle of traffic, a second "
            f"from each other; give {least} or more, or fewer STOPS"
        )
    broken = breaks.named(options.break_)
    ports = Ports.from_text(options.port_base)
    begun = math.floor(time.time())
    with running(
        ports=ports,
        folder=FOLDER / f"audit-{options.port_base}",
        say=lambda line: print(line, flush=True),
        behind_the_generator=broken.change,
        scrape_milliseconds=SCRAPE_MILLISECONDS,
    ) as lab:
        for stand_in in (*STAND_INS, WINDOW_STAND_IN):
            print(f"stand-in    {stand_in}")
        if broken.says:
            print(f"broken      {broken.says}")
        run = _Run(
            lab=lab,
            count=count,
            per_second=max(LEAST_PER_SECOND, min(count // PACED_SECONDS, MOST_PER_SECOND)),
            mix=options.mix,
            round_envoy_share=broken.round_envoy_share,
            seed=options.seed,
        )
        wait_for_first_scrapes(lab)
        _carry_out(run, stops)
        wait_for_last_scrapes(lab)
        return audited(
            Prometheus(lab.prometheus_url, {}),
            begun,
            time.time(),
            since=started,
            all_from_zero=True,
            stops=run.stops,
            more={
                "break": options.break_ or None,
                "stand_ins": [*STAND_INS, WINDOW_STAND_IN],
                "scrape_milliseconds": SCRAPE_MILLISECONDS,
            },
        )


def _carry_out(run: _Run, stops: Sequence[str]) -> None:
    """Make all counts; stop the parts at even distances; return when nothing is in flight."""
    due = [(run.count * (n + 1) // (len(stops) + 1), name) for n, name in enumerate(stops)]
    run.start()
    made, moved, shown = 0, time.monotonic(), time.monotonic()
    while True:
        run.lab.family.check()
        now = time.monotonic()
        try:
            done = run.made()
        except LabError:  # not begun, or too busy to answer
            done = made
        if done > made:
            made, moved = done, now
        if now - shown > PROGRESS_SECONDS:
            shown = now
            print(f"generator   {made:>9,} of {run.count:,}", flush=True)
        if due and made >= due[0][0]:
            run.stop(due.pop(0)[1], made)
            moved = time.monotonic()
        elif made >= run.count and run.is_quiet():
            return
        elif now - moved > STALLED_SECONDS:
            raise LabError(f"no count was made for {STALLED_SECONDS:.0f} s; see {run.lab.folder}")
        time.sleep(POLL_SECONDS)


def start_crawler(lab: Lab, count: int, per_second: int, **more: Any) -> None:
    """Start a crawler for `count` in all, with every fault there is; it stays to be scraped."""
    lab.start_crawler(
        count=None,
        requests_per_second=per_second,
        change=lambda own: with_pause_at_end(with_every_fault(own), count, per_second),
        **more,
    )


def wait_for_first_scrapes(lab: Lab) -> None:
    """Return once all that there is before the traffic has been read, its books at 0."""
    _wait_for_scrapes(lab, "sidecars|simulated-vendors", time.time())


def wait_for_last_scrapes(lab: Lab) -> None:
    """Return once an audit sees the end of traffic that has just ended.

    The sidecar's last read that is compared has a read of the generator a lag before it, which
    is to be of the end as well, and another a lag behind it.
    """
    ended = time.time() + 2 * LAG_SECONDS + 2 * SCRAPE_MILLISECONDS / 1000
    _wait_for_scrapes(lab, "sidecars|load-generator|simulated-vendors", ended)


def _wait_for_scrapes(lab: Lab, jobs: str, since: float) -> None:
    """Return once the targets of all jobs (separated by |) have been scraped after `since`."""
    deadline = time.monotonic() + STALLED_SECONDS
    while True:
        lab.family.check()
        found = lab.query(f'timestamp(up{{job=~"{jobs}"}} == 1)')
        late = [one for one in found if float(one["value"][1]) > since]
        if len(late) == jobs.count("|") + 1:
            return
        if time.monotonic() > deadline:
            raise LabError(f"waited {STALLED_SECONDS:.0f} s for scrapes of {jobs} in vain")
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
