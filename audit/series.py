"""Counters of a process, read now and then, through its restarts.

A counter starts at 0 with its process. What it held is known at each read, and what was counted
between the last read of a life and its end is lost: the running totals here go on from the last
value that was read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

COUNTS, OPAQUE_BYTES, WIRE_BYTES = "counts", "opaque bytes", "wire bytes"

Stamp = int
"""Milliseconds since the epoch, as Prometheus has them: the samples of one scrape share theirs."""

Labels = tuple[tuple[str, str], ...]
RawSeries = Mapping[Stamp, int]

START_JITTER_SECONDS = 0.5  # some processes work out anew when they began


class Row(NamedTuple):
    """What is counted: `what` is an outcome, or the direction of bytes."""

    measure: str
    vendor: str
    visibility: str
    what: str


class Read(NamedTuple):
    """One scrape: the counters were read at some moment from `at` to `until`, in seconds."""

    at: float
    until: float


@dataclass(frozen=True, kw_only=True)
class Target:
    """A process that is scraped, over the window.

    Attributes:
        name: the pod.
        reads: its successful scrapes, in order.
        restarts: indices of reads which were the first of a new life.
        absences: indices of reads before which a scrape had failed, where the process does not
            tell when it began: it may have restarted and counted beyond what it had.
        from_zero: whether it began within the window, its counters at 0; else the running totals
            begin at its first read.
        ended: whether it was gone before the window's end.
        totals: a running total for each read.
        in_flight: the generator's own gauge, one a read; empty for others.
    """

    name: str
    reads: Sequence[Read]
    restarts: Sequence[int] = ()
    absences: Sequence[int] = ()
    from_zero: bool = False
    ended: bool = False
    totals: Mapping[Row, Sequence[int]]
    in_flight: Sequence[int] = ()
    _ats: list[float] = field(init=False, repr=False, compare=False)
    _untils: list[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ats", [read.at for read in self.reads])
        object.__setattr__(self, "_untils", [read.until for read in self.reads])

    def last_by(self, moment: float) -> int | None:
        """Return the last read that was over by then: -1 where all was 0, None if unknown."""
        index = bisect_right(self._untils, moment) - 1
        return index if index >= 0 or self.from_zero else None

    def first_from(self, moment: float) -> int | None:
        """Return the first read that began then or later; the last of one that has ended."""
        index = bisect_left(self._ats, moment)
        if index < len(self.reads):
            return index
        return len(self.reads) - 1 if self.ended else None

    def total(self, row: Row, index: int) -> int:
        values = self.totals.get(row)
        return values[index] if values is not None and index >= 0 else 0

    def under_way(self, index: int) -> int:
        """Return how many counts were in flight at a read."""
        return self.in_flight[index] if self.in_flight and index >= 0 else 0


def target(
    name: str,
    scrapes: Mapping[Stamp, float],
    series: Mapping[Row, Iterable[RawSeries]],
    *,
    starts: RawSeries | None = None,
    in_flight: RawSeries | None = None,
    failed: Iterable[Stamp] = (),
    from_zero: bool = False,
    ended: bool = False,
) -> Target:
    """Put raw samples together.

    Args:
        name: the pod.
        scrapes: stamps of the successful scrapes and how many seconds each took.
        series: the series that make up each row, stamp to value.
        starts: when the process began, in milliseconds; None where it does not tell. Then
            it restarted where a counter fell or vanished.
        in_flight: the generator's gauge.
        failed: stamps of the scrapes that found nobody.
        from_zero: as of Target; also found from `starts`.
        ended: as of Target.
    """
    stamps = sorted(scrapes)
    columns = {
        row: [[one.get(stamp) for stamp in stamps] for one in several]
        for row, several in series.items()
    }
    if starts:
        restarts, absences = _changes([starts.get(stamp) for stamp in stamps]), []
    else:
        restarts = _falls(len(stamps), [c for several in columns.values() for c in several])
        absences = sorted({bisect_right(stamps, stamp) for stamp in failed})
    return Target(
        name=name,
        reads=[Read(stamp / 1000, stamp / 1000 + scrapes[stamp]) for stamp in stamps],
        restarts=restarts,
        absences=[n for n in absences if 0 < n < len(stamps) and n not in restarts],
        from_zero=from_zero,
        ended=ended,
        totals={
            row: _running_total(several, set(restarts), from_zero)
            for row, several in columns.items()
        },
        in_flight=[(in_flight or {}).get(stamp, 0) for stamp in stamps] if in_flight else [],
    )


def _changes(starts: Sequence[int | None]) -> list[int]:
    """Return where the start of the process is another than before."""
    found, known = [], starts[0] if starts else None
    for index, start in enumerate(starts):
        if start is None:
            continue
        if known is not None and abs(start - known) > START_JITTER_SECONDS * 1000:
            found.append(index)
        known = start
    return found


def _falls(reads: int, columns: Iterable[Sequence[int | None]]) -> list[int]:
    """Return where any counter fell, or was gone although the process was read."""
    found = set()
    for column in columns:
        before: int | None = None
        for index in range(reads):
            value = column[index]
            if before is not None and (value is None or value < before):
                found.add(index)
            before = value
    return sorted(found)


def _running_total(
    several: Iterable[Sequence[int | None]], restarts: set[int], from_zero: bool
) -> list[int]:
    """Return the sum of series over all lives, from 0 at the first read or at the start."""
    sums: list[int] = []
    for column in several:
        total = before = 0
        for index, value in enumerate(column):
            now = value or 0
            if index in restarts:
                total += now
            elif index or from_zero:
                # A series that pauses within a life has not gone back.
                now = max(now, before)
                total += now - before
            before = now
            if index == len(sums):
                sums.append(0)
            sums[index] += total
    return sums
