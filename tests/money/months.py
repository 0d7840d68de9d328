"""Seeded months of simulated traffic: the diurnal profile, with what a real one has besides."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from money.quantities import Book, Part, Quantities

HOUR = timedelta(hours=1)
PROFILE = Path(__file__).parents[2] / "simulation/profiles/diurnal.json"
BYTES_PER_REQUEST = 50_000

BEGIN = datetime(2026, 10, 4, tzinfo=UTC)
"""Four weeks before the month."""
MONTH = datetime(2026, 11, 1, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)
PART = Part("vendor-a", "residential", "team-a", "shops")


def seeded_hours(seed: int, begin: datetime = BEGIN, end: datetime = END) -> dict[datetime, float]:
    """Return bytes by hour: the profile, grown by -10 to +50 % a month, with weekends of 50 to 90 %
    of a workday; each day is off by 8 % and each hour by 15 %, one standard deviation."""
    chance = random.Random(seed)
    growth, weekend = chance.uniform(-0.1, 0.5) / 30, chance.uniform(0.5, 0.9)
    profile = json.loads(PROFILE.read_text(encoding="utf-8"))
    hours, of_day, hour = {}, 1.0, begin
    while hour < end:
        if hour.hour == 0:
            of_day = math.exp(chance.gauss(0, 0.08))
        rate = profile["requests_per_second"] * _shape(profile["shape"], hour.hour * 3600 + 1800)
        usual = rate * math.exp(growth * ((hour - begin) / timedelta(days=1)))
        noise = of_day * math.exp(chance.gauss(0, 0.15))
        dip = weekend if hour.weekday() >= 5 else 1.0
        hours[hour] = 3600 * usual * dip * noise * BYTES_PER_REQUEST
        hour += HOUR
    return hours


def _shape(points: list[list[float]], second: float) -> float:
    around = [*points, [86400.0, points[0][1]]]
    for (earlier, low), (later, high) in pairwise(around):
        if second < later:
            return low + (high - low) * (second - earlier) / (later - earlier)
    raise AssertionError(second)


def book_of(
    hours: Mapping[datetime, float],
    until: datetime = END,
    part: Part = PART,
    *,
    keeps: Callable[[datetime], bool] = lambda _: True,
) -> Book:
    """Return a ledger of one part until then, without the hours that `keeps` refuses."""
    known = [hour for hour in hours if hour < until and keeps(hour)]
    return Book(
        hours={hour: {part: quantities_of(hours[hour])} for hour in known},
        wire={},
        coverage=dict.fromkeys(known, 1.0),
    )


def quantities_of(size: float) -> Quantities:
    return Quantities(
        bytes_sent={"delivered": size * 0.05, "failed": size * 0.01},
        bytes_received={"delivered": size * 0.94},
        requests={"success": size / BYTES_PER_REQUEST},
    )
