"""Two sets of books beside each other: what one side is ahead of the other at every scrape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from books.counters import COUNTS, Key, Process, Scrape
from books.events import SIDECAR, Event
from books.explanation import Allows, Counted
from books.offset import ANYTHING, NOTHING, Bounds, Gap, Move, Point, follow

# A sidecar may count these once they stand, and the generator once they have ended.
COUNTED_AS_THEY_STAND = ("tunnel", "socks")


class _Moment(NamedTuple):
    """A scrape of the other side; per process, the last scrape before and the first one after."""

    scrape: Scrape
    other_before: list[int]
    other_after: list[int]
    reference_before: list[int]
    reference_after: list[int]


@dataclass(kw_only=True)
class SideBySide:
    """`other` minus `reference`, each a sum over processes, at every scrape of `other`.

    Attributes:
        events: the stops that may explain a difference.
        allows: how much each may explain.
        lag_seconds: how far apart the two sides may count the same thing.
        requests_first: `other` counts a request before `reference` does.
        tolerance: the share of a total that is no difference.
        generators: by its sidecar's name, the part of `reference` that a sidecar carries.
    """

    other: Sequence[Process]
    reference: Sequence[Process]
    events: Sequence[Event]
    allows: Allows
    lag_seconds: float
    requests_first: bool = False
    tolerance: float = 0.0
    generators: Mapping[str, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lag, moments = self.lag_seconds, []
        for scrape in sorted({scrape for one in self.other for scrape in one.scrapes}):
            indices = (
                [one.last_by(scrape.ended) for one in self.other],
                [one.first_from(scrape.began) for one in self.other],
                [one.last_by(scrape.began - lag) for one in self.reference],
                [one.first_with_all(scrape.ended, lag) for one in self.reference],
            )
            # A moment can be compared if the totals of every process are known there.
            known = [[n for n in some if n is not None] for some in indices]
            if all(known) and [*map(len, known)] == [*map(len, indices)]:
                moments.append(_Moment(scrape, *known))
        self._moments = moments

    @property
    def is_comparable(self) -> bool:
        """Whether there is a moment at which both sides are known."""
        return bool(self._moments)

    @property
    def ended(self) -> float:
        return self._moments[-1].scrape.ended if self._moments else 0.0

    def keys(self, *measures: str) -> list[Key]:
        both = (*self.other, *self.reference)
        return sorted({key for one in both for key in one.totals if key.measure in measures})

    def other_total(self, key: Key) -> int:
        """Return the other side's total at the last comparable moment."""
        return _total(self.other, key, self._moments[-1].other_before)

    def reference_total(self, key: Key) -> int:
        """Return the reference's total at its first scrapes after the last comparable moment."""
        return _total(self.reference, key, self._moments[-1].reference_after)

    def moves(self, key: Key) -> list[Move]:
        """Return how one key's offset moved through the window."""
        gaps, points = self._gaps(key), []
        blocked = iter(gaps)
        gap = next(blocked, None)
        for moment in self._moments:
            while gap is not None and moment.scrape.began >= gap.before:
                gap = next(blocked, None)
            if gap is None or moment.scrape.ended <= gap.after:
                points.append(Point(moment.scrape.began, self._bounds(key, moment)))
        return follow(points, gaps, NOTHING if self._begin_at_zero else ANYTHING)

    def unread(self, edge_seconds: float) -> Iterable[tuple[float, float]]:
        """Yield from when to when only one side was scraped, if longer than `edge_seconds`.

        Books that both began at 0 can be compared from their start.
        """
        both = (*self.other, *self.reference)
        first, last = self._moments[0].scrape, self._moments[-1].scrape
        begun = min(one.scrapes[0].began for one in both)
        ended = max(one.scrapes[-1].ended for one in both)
        if not self._begin_at_zero and first.began - begun > edge_seconds:
            yield begun, first.began
        if ended - last.ended > edge_seconds:
            yield last.ended, ended

    @property
    def _begin_at_zero(self) -> bool:
        return all(one.from_zero for one in (*self.other, *self.reference))

    def _bounds(self, key: Key, moment: _Moment) -> Bounds:
        low = _total(self.other, key, moment.other_before)
        high = _total(self.other, key, moment.other_after)
        floor = _total(self.reference, key, moment.reference_before)
        top = _total(self.reference, key, moment.reference_after)
        if key.measure == COUNTS and key.visibility == "opaque":
            # The generator counts a connection when it opens, the others when it closes.
            floor -= _in_flight(self.reference, moment.reference_before)
        elif key.measure == COUNTS and (
            self.requests_first or key.visibility in COUNTED_AS_THEY_STAND
        ):
            top += _in_flight(self.reference, moment.reference_after)
        play = self.tolerance * max(high, top)
        return Bounds(low - top - play, high - floor + play)

    def _gaps(self, key: Key) -> list[Gap]:
        """Return the gaps of a key; those that overlap become one."""
        found: list[Gap] = []
        for event in self.events:
            allowed = self.allows(event, key, self._counted(event))
            if allowed == NOTHING:
                continue
            after, before = event.after - self.lag_seconds, event.before + self.lag_seconds
            gap = Gap(after, before, ((event, allowed),))
            if found and after < found[-1].before:
                last = found.pop()
                gap = Gap(last.after, max(last.before, before), (*last.allowed, *gap.allowed))
            found.append(gap)
        return found

    def _counted(self, event: Event) -> Counted:
        after, before = event.after - self.lag_seconds, event.before + self.lag_seconds

        def increase(processes: Sequence[Process], key: Key) -> float:
            found = 0.0
            for one in processes:
                first, last = one.last_by(after), one.first_from(before)
                if first is None or last is None:
                    return math.inf
                found += one.total(key, last) - one.total(key, first)
                if key.measure == COUNTS and key.visibility == "opaque":
                    found += one.in_flight_at(first)
            return found

        reference = self.reference
        if event.kind == SIDECAR and event.name in self.generators:
            reference = [self.generators[event.name]]
        return Counted(
            reference=lambda key: increase(reference, key),
            other=lambda key: increase(self.other, key),
            in_flight=sum(one.in_flight_at(one.last_by(after) or 0) for one in self.reference),
        )


def _total(processes: Sequence[Process], key: Key, indices: Sequence[int]) -> int:
    return sum(one.total(key, index) for one, index in zip(processes, indices, strict=True))


def _in_flight(processes: Sequence[Process], indices: Sequence[int]) -> int:
    return sum(one.in_flight_at(index) for one, index in zip(processes, indices, strict=True))
