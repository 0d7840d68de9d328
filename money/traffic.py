"""What a cost is divided by: sums of requests, successes and bytes, by day and part."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from money.months import month_bounds
from money.quantities import Book, Part, Quantities

SUCCESS = "success"
"""The outcome that counts as success here, whatever a contract bills as one."""

BLOCKED = "blocked"


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Sums of traffic over some time."""

    requests: float = 0
    successes: float = 0
    blocked: float = 0
    wire_bytes: float = 0
    """Both directions."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            requests=self.requests + other.requests,
            successes=self.successes + other.successes,
            blocked=self.blocked + other.blocked,
            wire_bytes=self.wire_bytes + other.wire_bytes,
        )


def traffic_of(one: Quantities) -> Traffic:
    return Traffic(
        requests=sum(one.requests.values()),
        successes=one.requests.get(SUCCESS, 0),
        blocked=one.requests.get(BLOCKED, 0),
        wire_bytes=one.wire_bytes,
    )


def by_day_and_part(book: Book) -> dict[tuple[date, Part], Traffic]:
    """Sum up each part's hours of a UTC day."""
    found: dict[tuple[date, Part], Traffic] = defaultdict(Traffic)
    for hour, parts in book.hours.items():
        for part, one in parts.items():
            found[hour.date(), part] += traffic_of(one)
    return dict(found)


def coverage(book: Book, year: int, month: int, until: datetime | None = None) -> float:
    """Return the share of a month's hours, up to `until`, that the ledger has data of."""
    begin, end = month_bounds(year, month)
    hours = int((min(end, until or end) - begin) / timedelta(hours=1))
    if hours <= 0:
        return 0.0
    each = (begin + timedelta(hours=number) for number in range(hours))
    return sum(min(1.0, book.coverage.get(hour, 0.0)) for hour in each) / hours
