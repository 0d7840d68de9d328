"""By how much one set of books is ahead of another, followed through a window.

The difference of two true books is the same at every moment, but for what is in flight and for
what a gap has swallowed. Each pair of reads gives bounds of it: what no value satisfies did not
happen in the open. So one lost count is found once the traffic of its row pauses, wherever the
window's edges are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Bounds(NamedTuple):
    low: float
    high: float

    def nearest(self, value: float) -> float:
        return min(max(value, self.low), self.high)


ANYTHING = Bounds(-math.inf, math.inf)
NOTHING = Bounds(0, 0)


class Point(NamedTuple):
    """At this moment the offset was within these bounds."""

    at: float
    bounds: Bounds


class Gap(NamedTuple):
    """Between these moments the offset may have moved, by no more than `by`.

    `shares` says how much of it each event allows, by the event's number.
    """

    after: float
    before: float
    by: Bounds
    shares: tuple[tuple[int, Bounds], ...] = ()


class Move(NamedTuple):
    """The offset moved by `amount`: in a gap, or (`gap` None) where it must not."""

    after: float
    before: float
    amount: int
    gap: Gap | None


@dataclass(frozen=True)
class Course:
    """The moves of an offset, the fewest and smallest that its points allow."""

    moves: tuple[Move, ...]

    @property
    def difference(self) -> int:
        return sum(move.amount for move in self.moves)

    @property
    def explained(self) -> int:
        return sum(abs(move.amount) for move in self.moves if move.gap)

    @property
    def unexplained(self) -> int:
        return sum(abs(move.amount) for move in self.moves if not move.gap)


class _Stretch(NamedTuple):
    """The bounds of the offset up to a move; the move into it."""

    bounds: Bounds
    after: float
    before: float
    gap: Gap | None


def follow(points: Sequence[Point], gaps: Sequence[Gap], start: Bounds) -> Course:
    """Return how the offset moved.

    Args:
        points: in order, none within a gap.
        gaps: in order, none within another.
        start: what the offset may be before the first point.
    """
    stretches: list[_Stretch] = []
    now = _Stretch(start, 0.0, 0.0, None)
    left = list(reversed(gaps))
    seen = points[0].at if points else 0.0
    for point in points:
        while left and left[-1].after < point.at:
            gap = left.pop()
            stretches.append(now)
            moved = Bounds(now.bounds.low + gap.by.low, now.bounds.high + gap.by.high)
            now = _Stretch(moved, gap.after, gap.before, gap)
        low = max(now.bounds.low, point.bounds.low)
        high = min(now.bounds.high, point.bounds.high)
        if low <= high:
            now = now._replace(bounds=Bounds(low, high))
        else:
            stretches.append(now)
            now = _Stretch(point.bounds, seen, point.at, None)
        seen = point.at
    stretches.append(now)
    return Course(tuple(_moves(stretches)))


def _moves(stretches: Sequence[_Stretch]) -> list[Move]:
    """Choose an offset for each stretch, as near as may be to its neighbours'."""
    offset = 0.0
    for stretch in stretches:
        offset = stretch.bounds.nearest(offset)
    found = []
    for stretch, former in zip(reversed(stretches), reversed(stretches[:-1]), strict=False):
        bounds = former.bounds
        if stretch.gap:
            by = stretch.gap.by
            bounds = Bounds(max(bounds.low, offset - by.high), min(bounds.high, offset - by.low))
        before = bounds.nearest(offset)
        if before != offset:
            amount = round(offset - before)
            found.append(Move(stretch.after, stretch.before, amount, stretch.gap))
        offset = before
    return found[::-1]
