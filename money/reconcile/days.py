"""Which days a vendor bills otherwise than they were, and what each looks like."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from money.reconcile.findings import Kind
from money.reconcile.metered import MeteredDay
from money.reconcile.readings import Reading, deviations

LEAST_SHARE = 0.03
"""A day that differs by a smaller share is not named: in a month of days with 1 % of noise, one
differs by 2.5 %."""

SIGMAS = 3.5
"""Nor is a day that differs by fewer standard deviations of the days. Of months with plain noise
alone, one in 70 has a day that differs by more."""

LEAST_OF_MEDIAN = 0.005
"""Nor is a day that differs by less than this share of the median day: a quiet day differs by
large shares of little."""

OFFSET = 0.02
"""From here on the difference of a whole month is named; the ledger itself is within 0.5 %."""

FOREIGN = 0.25
"""Excess from which a vendor's own padding is less likely than traffic of somebody else."""

MOST_TIMES = 3
"""A day may be booked twice, or three times; more is taken for foreign traffic."""


@dataclass(frozen=True, kw_only=True)
class OddDay:
    """A day that is billed otherwise than it was metered."""

    day: date
    kind: Kind
    excess: float
    """Billed less expected, in bytes or requests; of `without_data` what cannot be checked."""
    share: float
    """Of the expected."""


@dataclass(frozen=True, kw_only=True)
class Month:
    """A product's month under one reading."""

    reading: Reading
    billed: Mapping[date, float]
    listed: Mapping[date, int]
    """How often the vendor's file lists a day."""

    @property
    def offset(self) -> float:
        """The usual difference of a day, as a factor less 1."""
        found = deviations(self.reading, self.billed)
        return math.expm1(statistics.median(found.values())) if found else 0.0

    @property
    def noise(self) -> float:
        """The standard deviation of the days' differences, without the wild ones."""
        found = list(deviations(self.reading, self.billed).values())
        if len(found) < 3:
            return 0.0
        middle = statistics.median(found)
        # Of the median absolute deviation, which half of the days may spoil; it is coarse, so it
        # only says which days are wild.
        rough = 1.4826 * statistics.median(abs(one - middle) for one in found)
        return statistics.pstdev(one for one in found if abs(one - middle) <= SIGMAS * rough)

    def is_listed_again(self, day: date) -> bool:
        """Whether the vendor's file has more lines of a day than of the others."""
        return self.listed[day] > statistics.median(self.listed.values())

    def expected(self, day: date) -> float:
        """Return what a day should have, with the month's usual difference if that is small."""
        usual = self.offset if abs(self.offset) <= OFFSET else 0.0
        return self.reading.expected(day) * (1 + usual)

    def tolerance(self, day: date) -> float:
        """Return by how much a day may differ, in bytes or requests."""
        share = max(LEAST_SHARE, SIGMAS * self.noise)
        least = LEAST_OF_MEDIAN * statistics.median(map(self.reading.expected, self.billed))
        return max(share * self.expected(day), least)


def odd_days(month: Month) -> list[OddDay]:
    """Return the days that differ, in order."""
    if abs(month.offset) > OFFSET and month.reading.kind is None:
        # All days differ, and alike: that is said of the month. Those stand out that differ more.
        usual = month.reading.factor * (1 + month.offset)
        month = replace(month, reading=replace(month.reading, factor=usual))
    found = [one for day in month.billed if (one := _odd(month, day))]
    return _moved(month, found)


def _odd(month: Month, day: date) -> OddDay | None:
    billed, expected, tolerance = month.billed[day], month.expected(day), month.tolerance(day)
    metered = month.reading.days[day]
    excess = billed - expected
    share = excess / expected if expected else math.inf
    if metered.hours_without_data > 0:
        return _partly_known(month, day, metered)
    if abs(excess) <= tolerance:
        return None
    if excess < 0:
        kind: Kind = "not_billed" if billed == 0 else "billed_less"
    elif is_multiple(billed, expected, tolerance) or month.is_listed_again(day):
        kind = "day_twice"
    else:
        kind = "foreign_traffic" if share >= FOREIGN else "billed_more"
    return OddDay(day=day, kind=kind, excess=excess, share=share)


def is_multiple(billed: float, expected: float, tolerance: float) -> bool:
    """Whether a day looks as if it were billed twice or three times."""
    return expected > tolerance and any(
        abs(billed - times * expected) <= times * tolerance for times in range(2, MOST_TIMES + 1)
    )


def _partly_known(month: Month, day: date, metered: MeteredDay) -> OddDay | None:
    """Judge a day of which hours have no data: what they can explain is explained."""
    billed, tolerance = month.billed[day], month.tolerance(day)
    scale = month.expected(day) / metered.expected if metered.expected else 1.0
    # Half as much again as is usual at that hour.
    most = month.expected(day) + 0.5 * metered.missing * scale + tolerance
    if billed > most:
        excess = billed - month.expected(day)
        kind: Kind = "foreign_traffic" if excess > FOREIGN * month.expected(day) else "billed_more"
    else:
        excess, kind = max(0.0, billed - metered.metered * scale), "without_data"
    share = excess / metered.expected if metered.expected else math.inf
    return OddDay(day=day, kind=kind, excess=excess, share=share)


def _moved(month: Month, found: Sequence[OddDay]) -> list[OddDay]:
    """Explain a day that has too much by the day beside it that lacks as much."""
    by_day = {one.day: one for one in found}
    for day in sorted(by_day):
        one, other = by_day[day], by_day.get(day + timedelta(days=1))
        if other is None or not {"moved", "without_data"}.isdisjoint((one.kind, other.kind)):
            continue
        slack = month.tolerance(one.day) + month.tolerance(other.day)
        if one.excess * other.excess < 0 and abs(one.excess + other.excess) <= slack:
            for both in (one, other):
                by_day[both.day] = replace(both, kind="moved")
    return [by_day[day] for day in sorted(by_day)]
