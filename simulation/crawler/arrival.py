"""When requests start in arrivals that have a rate."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator

from simulation.crawler.plan import Plan


def start_times(plan: Plan) -> Iterator[float]:
    """Yield when requests are due, in seconds from the start.

    It ends with `duration_seconds`, or where the shape has come to 0 for good.
    """
    assert plan.requests_per_second
    times = _evenly(plan.requests_per_second)
    if plan.arrival == "poisson":
        chance = random.Random(f"{plan.seed} arrivals")
        times = _by_chance(plan.requests_per_second, chance)
    if plan.shape:
        times = _shaped(times, plan.shape, plan.shape_period_seconds)
    end = plan.duration_seconds or math.inf
    return itertools.takewhile(lambda due: due < end, times)


def _evenly(rate: float) -> Iterator[float]:
    return (number / rate for number in itertools.count())


def _by_chance(rate: float, chance: random.Random) -> Iterator[float]:
    """Yield times with exponential gaps: what happens in one second says nothing of the next."""
    return itertools.accumulate(chance.expovariate(rate) for _ in itertools.count())


def _shaped(
    times: Iterable[float], points: tuple[tuple[float, float], ...], period: float | None
) -> Iterator[float]:
    """Move each time at factor 1 to where the area under the shape is as large."""
    pieces = _pieces(points, period)
    start, seconds, low, high = next(pieces)
    before = 0.0
    for passed in times:
        while passed >= before + (area := seconds * (low + high) / 2 if low or high else 0.0):
            piece = next(pieces, None)
            if piece is None:
                return
            before += area
            start, seconds, low, high = piece
        # The area under a line from `low` with this slope, solved for its width.
        left, slope = passed - before, (high - low) / seconds
        root = math.sqrt(max(0.0, low * low + 2 * slope * left))
        yield start + (2 * left / (low + root) if left else 0.0)


def _pieces(
    points: tuple[tuple[float, float], ...], period: float | None
) -> Iterator[tuple[float, float, float, float]]:
    """Yield the straight pieces of the shape: start, length, factor at both ends."""
    (first, factor), (last, end) = points[0], points[-1]
    line = [(0.0, factor), *points] if first else [*points]
    if period and last < period:
        line.append((period, line[0][1]))
    for start in itertools.count(0.0, period or 0.0):
        for (at, low), (to, high) in itertools.pairwise(line):
            yield start + at, to - at, low, high
        if not period:
            break
    if not period:
        yield last, math.inf, end, end
