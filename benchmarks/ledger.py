"""What the ledger costs: memory, disk, and how long a month takes to be read.

400 days of 300 parts of traffic are written first, in the way of promtool, which takes minutes.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path

from benchmarks.cpu import resident_mb
from benchmarks.measure import Measure
from components.prometheus.capacity import GB
from lab.ledger_blocks import fill
from money.ledger import read_book
from money.quantities import Book, Part, Quantities, Wire
from settings.prometheus import OwnPrometheus
from tests.money.ledger_server import serving

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BEGIN, DAYS = datetime(2025, 10, 26, tzinfo=UTC), 400
AT_ONCE = 20
"""Days that are made at once, to spare memory."""
SEED = 17

PARTS = [
    Part(f"vendor-{vendor}", f"product-{pool}", f"team-{team:02}", f"target-{target}")
    for vendor, pool, team, target in product(range(5), range(2), range(10), range(3))
]
RESULTS = ("refused", "failed")
OUTCOMES = ("blocked", "rate_limited", "target_error", "timeout")
"""Half of these occur in a part, beside what was delivered."""

MOST_SECONDS = 0.2
MOST_SHARE = 0.01
"""The share that the ledger may take of the disk that the main Prometheus may."""


def months() -> list[Measure]:
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        data = Path(folder) / "data"
        chance = random.Random(SEED)
        occurring = {
            part: (
                ["delivered", *(one for one in RESULTS if chance.random() < 0.5)],
                ["success", *(one for one in OUTCOMES if chance.random() < 0.5)],
            )
            for part in PARTS
        }
        for first in range(0, DAYS, AT_ONCE):
            begin = BEGIN + first * DAY
            hours = [begin + number * HOUR for number in range(AT_ONCE * 24)]
            fill(data, _book(hours, occurring, chance), days=True)
        return [*_measured(data)]


def _book(
    hours: list[datetime],
    occurring: dict[Part, tuple[list[str], list[str]]],
    chance: random.Random,
) -> Book:
    def numbers(names: list[str], most: int) -> dict[str, float]:
        return {name: float(chance.randrange(1, most)) for name in names}

    return Book(
        hours={
            hour: {
                part: Quantities(
                    bytes_sent=numbers(results, 10**8),
                    bytes_received=numbers(results, 10**10),
                    requests=numbers(outcomes, 10**5),
                )
                for part, (results, outcomes) in occurring.items()
            }
            for hour in hours
        },
        wire={
            hour: {
                vendor: Wire(**numbers(["bytes_sent", "bytes_received"], 10**11))
                for vendor in sorted({part.vendor for part in PARTS})
            }
            for hour in hours
        },
        coverage=dict.fromkeys(hours, 1.0),
    )


def _measured(data: Path) -> Iterator[Measure]:
    size = sum(file.stat().st_size for file in data.rglob("*") if file.is_file())
    yield Measure(
        name=f"the ledger's disk ÷ Prometheus' own, {DAYS} days",
        value=size / OwnPrometheus().retention_size,
        goal=MOST_SHARE,
        note=f"{size / 10**6:.0f} MB of {OwnPrometheus().retention_size / GB:.0f} GB; random sums",
    )
    with serving(data) as server:
        read_book(server.api, BEGIN, BEGIN + DAY)  # the first query opens the blocks
        seconds = []
        for begin, end in _months():
            started = time.monotonic()
            book = read_book(server.api, begin, end, by_day=True)
            seconds.append(time.monotonic() - started)
            assert len(book.hours) == (end - begin) // DAY
        yield Measure(
            name="the longest wait for a month, by days and parts",
            value=max(seconds) * 1000,
            unit="ms",
            goal=MOST_SECONDS * 1000,
            note=f"{len(seconds)} months, {statistics.median(seconds) * 1000:.0f} ms usually",
        )
        started = time.monotonic()
        read_book(server.api, *_months()[0])
        yield Measure(
            name="... by hours",
            value=time.monotonic() - started,
            unit="s",
            note="the same month",
        )
        yield Measure(
            name="the ledger's memory after that",
            value=resident_mb(server.pid),
            unit="MB",
            note="resident",
        )


def _months() -> list[tuple[datetime, datetime]]:
    """Return the whole months of those days."""
    firsts = [BEGIN + number * DAY for number in range(DAYS)]
    begins = [day for day in firsts if day.day == 1]
    return [*pairwise(begins)]
