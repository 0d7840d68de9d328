"""In which ways a vendor may have counted: as the contract says, or in one of the usual others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, timezone, tzinfo

from money.reconcile.findings import Kind, Measure
from money.reconcile.metered import (
    Counting,
    Metered,
    MeteredDay,
    as_contract,
    on_the_wire,
    received_alone,
    with_free_results,
)

GIB_BY_GB = 2**30 / 10**9
CAP = 0.10
"""Of a day's difference: one wild day must not decide how the whole month was counted."""

CLEARLY_BETTER = 0.6
LEAST_GAIN = 0.005
CLOSE = 0.02
"""Another reading is taken if its days differ by at most 2 %, and by 0.5 points and 40 % less than
by the contract's. Chance does not do that: 30 days of 1 % noise differ by 0.8 % in each reading."""

SMALL_DAY = 0.2
"""Of the median day: smaller ones say little of how was counted."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way of counting, and the month by it."""

    kind: Kind | None
    """None: as the contract says."""
    says: str
    """What the vendor does, by this reading."""
    days: Mapping[date, MeteredDay]
    factor: float = 1.0
    """Billed quantities are this times the expected."""

    def expected(self, day: date) -> float:
        return self.days[day].expected * self.factor


def readings(
    metered: Metered, product: str | None, measure: Measure, days: Sequence[date], zone: tzinfo
) -> Iterator[Reading]:
    """Yield the contract's reading, then the others."""

    def by_days(counting: Counting, where: tzinfo = zone) -> Mapping[date, MeteredDay]:
        return metered.days(metered.hours(product, measure, counting), measure, days, where)

    hours = metered.hours(product, measure, as_contract)
    contract = metered.days(hours, measure, days, zone)
    yield Reading(kind=None, says="counts as the contract says", days=contract)
    others: list[tuple[Counting, str]] = [
        (with_free_results, "bills what the contract leaves free")
    ]
    if measure == "bytes":
        others += [
            (on_the_wire, "bills all bytes on the wire"),
            (received_alone, "bills the received bytes alone"),
        ]
        for factor, says in (
            (GIB_BY_GB, "counts in GB of 10^9 bytes what the contract or the file has in GiB"),
            (1 / GIB_BY_GB, "counts in GiB (2^30 bytes) what the contract or the file has in GB"),
        ):
            yield Reading(kind="unit", says=says, days=contract, factor=factor)
    for counting, says in others:
        yield Reading(kind="counting", says=says, days=by_days(counting))
    for offset in range(-12, 15):
        shifted = timezone(timedelta(hours=offset))
        says = f"begins its days at midnight of UTC{offset:+d}"
        yield Reading(kind="time_zone", says=says, days=metered.days(hours, measure, days, shifted))


def chosen(found: Sequence[Reading], billed: Mapping[date, float]) -> Reading:
    """Return how the month was counted: by the contract, unless another way fits far better."""
    contract, *others = found
    usual = difference(contract, billed)
    best = min(others, key=lambda one: difference(one, billed))
    least = difference(best, billed)
    is_better = least <= CLOSE and usual - least >= LEAST_GAIN and least <= CLEARLY_BETTER * usual
    return best if is_better else contract


def difference(reading: Reading, billed: Mapping[date, float]) -> float:
    """Return by how much the days differ on average, each by `CAP` at most."""
    found = [min(CAP, abs(one)) for one in deviations(reading, billed).values()]
    return statistics.fmean(found) if found else math.inf


def deviations(reading: Reading, billed: Mapping[date, float]) -> dict[date, float]:
    """Return the logarithm of billed by expected, of days with data and traffic enough."""
    expected = {day: reading.expected(day) for day in billed}
    busy = [value for value in expected.values() if value > 0]
    least = SMALL_DAY * statistics.median(busy) if busy else math.inf
    return {
        day: math.log(max(billed[day], 1e-9) / expected[day])
        for day in billed
        if expected[day] >= least and not reading.days[day].hours_without_data > 0.5
    }
