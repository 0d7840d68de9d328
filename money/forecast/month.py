"""A month as it will probably end: its recorded hours, and what the missing ones should bring."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal

from money.forecast.history import Group, History, volume_of
from money.forecast.hours import HOUR, LEAST_HOURS, WEEK, Outlook, outlook
from money.months import next_month
from money.quantities import Book, Part, Quantities

Bound = Literal["low", "expected", "high"]
BOUNDS: tuple[Bound, ...] = ("low", "expected", "high")
WHOLE_HOUR = 0.5
"""An hour of which less was recorded is not learnt from."""

Missing = Mapping[date, Sequence[tuple[datetime, float]]]
"""By day, the hours that are not recorded or not whole, and the share that is missing."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """A group's outlook, and what its parts have of each unit of its volume."""

    outlook: Outlook
    mix: Mapping[Part, Quantities]


def month_so_far(history: History, month: datetime) -> Book:
    """Return a month's days, each under its first hour."""
    return _by_day(
        {
            day: parts
            for day, parts in history.days.items()
            if (day.year, day.month) == (month.year, month.month)
        }
    )


def months_ahead(history: History, month: datetime) -> dict[Bound, Book]:
    """Return the same with all of the month's days.

    An hour without data gets what is expected of it, also a past one: the vendor bills it. Hours
    before the ledger's first are left out, since nothing is known of them.

    Returns:
        Nothing where the ledger has less than a day: that would be a guess.
    """
    learnt_from = [hour for hour, share in history.coverage.items() if share >= WHOLE_HOUR]
    if len(learnt_from) < LEAST_HOURS or not (now := history.end):
        return {}
    expectations = _expectations(history, learnt_from, now)
    missing = _missing(history, max(month, min(history.volumes)), next_month(month))
    ahead = [share for hours in missing.values() for hour, share in hours if hour >= now]
    found = {}
    for bound in BOUNDS:
        days = {
            hour.date(): dict(parts) for hour, parts in month_so_far(history, month).hours.items()
        }
        for expectation in expectations:
            error = expectation.outlook.error(sum(ahead) / 24)
            factor = {"low": max(0.0, 1 - error), "expected": 1.0, "high": 1 + error}[bound]
            _expect(days, expectation, missing, factor)
        found[bound] = _by_day(days)
    return found


def _expectations(history: History, hours: Sequence[datetime], now: datetime) -> list[Expectation]:
    volumes: defaultdict[Group, dict[datetime, float]] = defaultdict(
        lambda: dict.fromkeys(hours, 0.0)
    )
    for hour in hours:
        for group, volume in history.volumes[hour].items():
            volumes[group][hour] = volume / history.coverage[hour]
    week: defaultdict[Group, dict[Part, Quantities]] = defaultdict(dict)
    for day in (day for day in history.days if day >= (now - WEEK).date()):
        for part, quantities in history.days[day].items():
            own = week[Group(part.vendor, part.product, part.team)]
            own[part] = own.get(part, Quantities()) + quantities
    found = []
    for group, known in volumes.items():
        whole = sum(volume_of(quantities) for quantities in week[group].values())
        learnt = outlook(known, now)
        if learnt and whole > 0:
            mix = {part: each.scaled(1 / whole) for part, each in week[group].items()}
            found.append(Expectation(outlook=learnt, mix=mix))
    return found


def _missing(history: History, begin: datetime, end: datetime) -> Missing:
    days: defaultdict[date, list[tuple[datetime, float]]] = defaultdict(list)
    hour = begin
    while hour < end:
        if (share := 1 - history.coverage.get(hour, 0.0)) > 0:
            days[hour.date()].append((hour, share))
        hour += HOUR
    return days


def _expect(
    days: dict[date, dict[Part, Quantities]],
    expectation: Expectation,
    missing: Missing,
    factor: float,
) -> None:
    """Add to the days what is expected of their missing hours."""
    for day, hours in missing.items():
        amount = factor * sum(share * expectation.outlook.expected(hour) for hour, share in hours)
        parts = days.setdefault(day, {})
        for part, one in expectation.mix.items():
            parts[part] = parts.get(part, Quantities()) + one.scaled(amount)


def _by_day(days: Mapping[date, Mapping[Part, Quantities]]) -> Book:
    hours = {datetime.combine(day, time(), tzinfo=UTC): parts for day, parts in days.items()}
    return Book(hours=hours, wire={}, coverage={})
