"""By how much one set of books is ahead of another, followed through the window.

The difference between two correct sets of books stays the same, except for what is in flight and
for what a stopped process forgot. Each scrape bounds the difference from both sides. Where no
single value satisfies all scrapes, a count was lost, doubled or moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from books.events import Event


class Bounds(NamedTuple):
    low: float
    high: float

    def nearest(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def plus(self, other: Bounds) -> Bounds:
        return Bounds(self.low + other.low, self.high + other.high)


ANYTHING = Bounds(-math.inf, math.inf)
NOTHING = Bounds(0, 0)


class Point(NamedTuple):
    """At this moment the offset was within these bounds."""

    at: float
    bounds: Bounds


class Gap(NamedTuple):
    """Between these moments the offset may have moved, by no more than its events allow."""

    after: float
    before: float
    allowed: tuple[tuple[Event, Bounds], ...]

    @property
    def bounds(self) -> Bounds:
        total = NOTHING
        for _, bounds in self.allowed:
            total = total.plus(bounds)
        return total


class Move(NamedTuple):
    """The offset moved by `amount`: in a gap, or (`gap` None) where it must not."""

    after: float
    before: float
    amount: int
    gap: Gap | None


class _Stretch(NamedTuple):
    """Bounds of the offset from one move to the next, and the move that leads into it."""

    bounds: Bounds
    after: float
    before: float
    gap: Gap | None


def follow(points: Sequence[Point], gaps: Sequence[Gap], start: Bounds) -> list[Move]:
    """Return how the offset moved: the fewest and smallest moves that the points allow.

    Args:
        points: in order, none within a gap.
        gaps: in order, none overlapping another.
        start: what the offset may be before the first point.
    """
    stretches: list[_Stretch] = []
    now = _Stretch(start, 0.0, 0.0, None)
    left = list(reversed(gaps))
    previous = points[0].at if points else 0.0
    for point in points:
        while left and left[-1].after < point.at:
            gap = left.pop()
            stretches.append(now)
            now = _Stretch(now.bounds.plus(gap.bounds), gap.after, gap.before, gap)
        low = max(now.bounds.low, point.bounds.low)
        high = min(now.bounds.high, point.bounds.high)
        if low <= high:
            now = now._replace(bounds=Bounds(low, high))
        else:
            stretches.append(now)
            now = _Stretch(point.bounds, previous, point.at, None)
        previous = point.at
    return _moves([*stretches, now])


def _moves(stretches: Sequence[_Stretch]) -> list[Move]:
    """Choose an offset for each stretch, as near as possible to its neighbours'."""
    offset = 0.0
    for stretch in stretches:
        offset = stretch.bounds.nearest(offset)
    found = []
    for stretch, former in zip(reversed(stretches), reversed(stretches[:-1]), strict=False):
        bounds = former.bounds
        if stretch.gap:
            allowed = stretch.gap.bounds
            bounds = Bounds(
                max(bounds.low, offset - allowed.high), min(bounds.high, offset - allowed.low)
            )
        before = bounds.nearest(offset)
        if before != offset:
            amount = round(offset - before)
            found.append(Move(stretch.after, stretch.before, amount, stretch.gap))
        offset = before
    return found[::-1]
