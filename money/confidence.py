"""How sure a measured rate is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z = 1.96
"""Standard deviations of a 95 % interval."""

ENOUGH_REQUESTS = 400
"""With so many a rate is known within 5 points, whatever it is: (1.96 · 0.5 / 0.05)² = 384."""


class Interval(NamedTuple):
    """A figure with its bounds."""

    low: float
    value: float
    high: float


def wilson(hits: float, tries: float) -> Interval:
    """Return the Wilson score interval, at 95 %, of a rate.

    It stays inside 0 and 1 and is not empty at 0 of 12, where hits/tries ± z·σ would be. It takes
    requests to be independent; those of one bad hour are not, so the truth is a little wider.
    """
    if tries <= 0:
        return Interval(0.0, 0.0, 1.0)
    rate = min(1.0, hits / tries)
    middle = (rate + Z * Z / (2 * tries)) / (1 + Z * Z / tries)
    half = Z / (1 + Z * Z / tries) * math.sqrt(rate * (1 - rate) / tries + (Z / (2 * tries)) ** 2)
    return Interval(max(0.0, middle - half), rate, min(1.0, middle + half))


def ratio_by_day(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, float]:
    """Return the ratio of two sums over days, and its standard error.

    Days are the sample, not requests: what a vendor does to one request of a day it does to many.

    Returns:
        The ratio, and the error of the ratio over as many days again as were measured: both
        months vary, so the variance counts twice. With one day the error is infinite.
    """
    total = sum(denominators)
    if total <= 0:
        return 0.0, math.inf
    ratio, days = sum(numerators) / total, len(denominators)
    if days < 2:
        return ratio, math.inf
    residuals = sum(
        (top - ratio * bottom) ** 2 for top, bottom in zip(numerators, denominators, strict=True)
    )
    variance = days / (days - 1) * residuals / total**2
    return ratio, math.sqrt(2 * variance)
