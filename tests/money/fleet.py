"""Seeded traffic of a fleet: what a ledger would hold of crawlers that share vendors out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from money.quantities import Book, Part, Quantities

BAD = {"blocked": "refused", "timeout": "failed", "target_error": "delivered"}
"""Outcomes besides success, and their result."""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a vendor serves a target group."""

    success: float
    page: float
    """Bytes of a successful answer."""
    wobble: float = 0.03
    """Standard deviation of a day's success and size around the month's, as a share."""


Behaviours = Mapping[tuple[str, str], Behaviour]
"""By vendor and target group."""

Shares = Mapping[str, Mapping[str, float]]
"""Target group -> vendor -> requests an hour at the mean."""


def seeded_book(seed: int, behaviours: Behaviours, shares: Shares, days: int = 30) -> Book:
    """Return November 2026 or its first days: busy afternoons, weekends at two thirds."""
    random = Random(seed)
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    hours: dict[datetime, dict[Part, Quantities]] = {}
    for day in range(days):
        moods = {
            key: (random.gauss(1, one.wobble), random.gauss(1, one.wobble))
            for key, one in behaviours.items()
        }
        for number in range(24):
            hour = begin + timedelta(days=day, hours=number)
            busy = 1 + 0.6 * math.sin((number - 9) * math.pi / 12)
            busy *= 2 / 3 if hour.weekday() >= 5 else 1
            hours[hour] = {
                Part(vendor, "residential", f"team-{target}", target): _hour(
                    random, mean * busy, behaviours[vendor, target], moods[vendor, target]
                )
                for target, vendors in shares.items()
                for vendor, mean in vendors.items()
            }
    return Book(hours=hours, wire={}, coverage=dict.fromkeys(hours, 1.0))


def _hour(random: Random, mean: float, one: Behaviour, mood: tuple[float, float]) -> Quantities:
    tries = max(0, round(random.gauss(mean, math.sqrt(mean))))
    rate = min(0.999, max(0.0, one.success * mood[0]))
    good = min(
        tries, max(0, round(random.gauss(tries * rate, math.sqrt(tries * rate * (1 - rate)))))
    )
    page = one.page * mood[1]
    requests: dict[str, float] = {"success": good}
    received = {"delivered": max(0.0, random.gauss(good * page, math.sqrt(good) * page))}
    for outcome, result in BAD.items():
        requests[outcome] = (tries - good) / len(BAD)
        received[result] = received.get(result, 0) + requests[outcome] * 900
    return Quantities(
        requests=requests, bytes_received=received, bytes_sent={"delivered": tries * 500.0}
    )
