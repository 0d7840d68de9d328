"""How late the crawler starts what is due, near the most that it can do."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.generator import Json, books_of, crawling, plan_of, start_vendor
from benchmarks.measure import Measure
from lab.processes import children

ROUNDS = 3
COUNTS = 60_000
SHARE = 0.8
OPEN: Json = {"arrival": "constant", "in_flight_cap": 200, "mix": {"http": 1}}
MORE_THAN_ANYBODY_CAN = 100_000


def start_lag() -> list[Measure]:
    """Find the open loop's maximum, then ask for 80 % of it: the delay of the latest hundredth."""
    rounds = []
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        for _ in range(ROUNDS):
            most = _rate(_books(MORE_THAN_ANYBODY_CAN, folder))
            books = _books(SHARE * most, folder)
            rounds.append((books["start_lag"]["p99_seconds"], most, _rate(books)))
        family.check()
    lag, most, kept = (statistics.median(column) for column in zip(*rounds, strict=True))
    return [
        Measure(
            name="start lag, p99, of an open loop at 80 % of its maximum",
            value=lag * 1000,
            unit="ms",
            goal=5.0,
            note=(
                f"{kept:,.0f} of at most {most:,.0f} counts/s; {ROUNDS} rounds, "
                f"{min(rounds)[0] * 1000:.2f} to {max(rounds)[0] * 1000:.2f} ms"
            ),
        )
    ]


def _books(rate: float, folder: Path) -> Json:
    plan = plan_of(**OPEN, requests_per_second=rate, count=COUNTS)
    with crawling(plan, folder) as process:
        return books_of(process)


def _rate(books: Json) -> float:
    return float(books["attempts"] / (books["ended_seconds"] - books["started_seconds"]))
