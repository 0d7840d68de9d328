"""How late the crawler starts what is due, near the most that it can do."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generator import Json, books_of, crawling, plan_of, start_vendor
from benchmarks.measure import Measure
from lab.processes import children

ROUNDS = 5
# Of both runs of a round: seconds, so that the maximum is one that lasts and not a burst, and the
# connections of the start weigh as much in the one as in the other.
COUNTS = 300_000
SHARE = 0.8
# The rate comes up within a second: all 200 connections within 5 ms are no crawler's start, and
# the lag that they cost would be a tenth of a short run. Starts of that second are booked as well.
SOFTLY = [[0, 0.1], [1, 1]]
OPEN: Json = {"arrival": "constant", "in_flight_cap": 200, "mix": {"http": 1}, "shape": SOFTLY}
MORE_THAN_ANYBODY_CAN = 100_000


@dataclass(frozen=True, kw_only=True)
class Round:
    """Counts a second, at most and at `SHARE` of it; milliseconds of start lag there."""

    most: float
    kept: float
    median: float
    p99: float
    latest: float
    load: float

    def says(self) -> str:
        return (
            f"{self.kept:,.0f} of at most {self.most:,.0f} counts/s, start lag p50 "
            f"{self.median:.2f}, p99 {self.p99:.2f}, latest {self.latest:.1f} ms, "
            f"load average {self.load:.1f}"
        )


def start_lag() -> list[Measure]:
    """Find the open loop's maximum, then ask for 80 % of it: the delay of the latest hundredth."""
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        vendor = start_vendor(family, folder)
        for _ in range(ROUNDS):
            rounds.append(_round(folder, vendor))
            print(rounds[-1].says(), file=sys.stderr, flush=True)
        family.check()
    lags = sorted(each.p99 for each in rounds)
    return [
        Measure(
            name="start lag, p99, of an open loop at 80 % of its maximum",
            value=statistics.median(lags),
            unit="ms",
            goal=5.0,
            note=(
                f"{statistics.median(each.kept for each in rounds):,.0f} of at most "
                f"{statistics.median(each.most for each in rounds):,.0f} counts/s; "
                f"{ROUNDS} rounds, {lags[0]:.2f} to {lags[-1]:.2f} ms"
            ),
        )
    ]


def _round(folder: Path, vendor: int) -> Round:
    most = _rate(_books(MORE_THAN_ANYBODY_CAN, folder, vendor))
    books = _books(SHARE * most, folder, vendor)
    lag = books["start_lag"]
    return Round(
        most=most,
        kept=_rate(books),
        median=lag["p50_seconds"] * 1000,
        p99=lag["p99_seconds"] * 1000,
        latest=lag["most_seconds"] * 1000,
        load=os.getloadavg()[0],
    )


def _books(rate: float, folder: Path, vendor: int) -> Json:
    plan = plan_of(**OPEN, requests_per_second=rate, count=COUNTS)
    with crawling(plan, folder) as process:
        _keep_apart(process.pid, vendor)
        return books_of(process)


def _keep_apart(*processes: int) -> None:
    """Give each a core of its own where that can be had.

    Woken by the crawler's bytes, the vendor would else start on the crawler's core, and what is
    measured as the crawler's lag would be the vendor's turn there.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < len(processes):
        return
    for process, core in zip(processes, cores[-len(processes) :], strict=True):
        os.sched_setaffinity(process, {core})


def _rate(books: Json) -> float:
    return float(books["attempts"] / (books["ended_seconds"] - books["started_seconds"]))
