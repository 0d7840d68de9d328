"""What each process counted: running totals at every scrape, carried on through restarts.

A counter starts at 0 with its process. What a process counted between its last scrape and its end
is lost, so a running total continues from the last value that Prometheus scraped.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

COUNTS, OPAQUE_BYTES, WIRE_BYTES = "counts", "opaque bytes", "wire bytes"
CONNECTION = "connection"  # the outcome of an opaque connection
OUTSIDE = "outside"  # the vendor of traffic to addresses in no vendor's range

# Nothing reached the vendor, so the vendor cannot have counted these.
VENDOR_CANNOT_KNOW = frozenset({"connect_failed", "rejected"})

Timestamp = int
"""Milliseconds since the epoch. Prometheus gives all samples of one scrape the same."""

Samples = Mapping[Timestamp, int]

CLOCK_SECONDS = 0.1  # two machines' clocks may differ by as much
START_JITTER_SECONDS = 0.5  # some exporters compute their start time anew at each scrape


class Key(NamedTuple):
    """What is counted. `outcome` is CONNECTION if opaque, the direction if bytes are counted."""

    measure: str
    vendor: str
    visibility: str
    outcome: str


class Scrape(NamedTuple):
    """The counters were read at some moment between these two, in seconds since the epoch."""

    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Process:
    """The counters of one process within the window.

    Attributes:
        name: the pod's.
        scrapes: the successful ones, in order.
        totals: for each key, a running total at each scrape.
        restarts: indices of the first scrape after each restart.
        outages: indices of scrapes that follow a failed one, if the process exports no start time:
            it may have restarted and counted beyond what it had.
        from_zero: whether it started within the window; else totals count from the first scrape.
        ended: whether it was gone before the window's end.
        began: when it started, if within the window and exported.
        in_flight: the generator's gauge at each scrape; empty for other processes.
    """

    name: str
    scrapes: Sequence[Scrape]
    totals: Mapping[Key, Sequence[int]]
    restarts: Sequence[int] = ()
    outages: Sequence[int] = ()
    from_zero: bool = False
    ended: bool = False
    began: float | None = None
    in_flight: Sequence[int] = ()

    def last_by(self, moment: float) -> int | None:
        """Return the last scrape that had ended: -1 where all was 0, None if that is unknown."""
        index = bisect_right(self.scrapes, moment, key=lambda scrape: scrape.ended) - 1
        return index if index >= 0 or self.from_zero else None

    def first_from(self, moment: float) -> int | None:
        """Return the first scrape that began then or later; the last one if the process ended."""
        index = bisect_left(self.scrapes, moment, key=lambda scrape: scrape.began)
        if index < len(self.scrapes):
            return index
        return index - 1 if self.ended else None

    def first_with_all(self, moment: float, lag_seconds: float) -> int | None:
        """Return the first scrape that has every count until then, even those counted late.

        It is -1 if the process had not started by then.
        """
        if self.began is not None and moment <= self.began - CLOCK_SECONDS:
            return -1
        return self.first_from(moment + lag_seconds)

    def total(self, key: Key, index: int) -> int:
        values = self.totals.get(key)
        return values[index] if values is not None and index >= 0 else 0

    def in_flight_at(self, index: int) -> int:
        return self.in_flight[index] if self.in_flight and index >= 0 else 0


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A load generator and the sidecar beside it."""

    generator: Process
    sidecar: Process


@dataclass(frozen=True, kw_only=True)
class Books:
    """Everything that was counted, by process.

    `without_sidecar` names generators whose sidecar is not scraped, `never_up` targets whose every
    scrape failed. `interval_seconds` is the time from one scrape to the next.
    """

    pods: Sequence[Pod]
    vendors: Sequence[Process]
    without_sidecar: Sequence[str] = ()
    never_up: Sequence[str] = ()
    interval_seconds: float = 0.0

    @property
    def generators(self) -> list[Process]:
        return [pod.generator for pod in self.pods]

    @property
    def sidecars(self) -> list[Process]:
        return [pod.sidecar for pod in self.pods]

    def passive_vendors(self) -> set[str]:
        """Return whose connections a sidecar reads passively: only then it reads SOCKS5."""
        found = (key for process in self.generators for key in process.totals)
        return {key.vendor for key in found if key.visibility == "socks"}

    def vendor_processes(self) -> dict[str, set[str]]:
        """Return the names of each vendor's processes; in the lab one process is all vendors."""
        found: dict[str, set[str]] = {}
        for process in self.vendors:
            for key in process.totals:
                found.setdefault(key.vendor, set()).add(process.name)
        return found


def process_from_samples(
    name: str,
    scrape_seconds: Mapping[Timestamp, float],
    series: Mapping[Key, Iterable[Samples]],
    *,
    starts: Mapping[Timestamp, float] | None = None,
    in_flight: Mapping[Timestamp, float] | None = None,
    failed: Iterable[Timestamp] = (),
    from_zero: bool = False,
    ended: bool = False,
) -> Process:
    """Return the process that these samples describe.

    Args:
        name: the pod's.
        scrape_seconds: when each successful scrape began, and how long it took.
        series: the series that add up to each key.
        starts: the exported start time at each scrape. Without it, the process restarted where
            a counter fell or vanished.
        in_flight: the generator's gauge.
        failed: when scrapes failed.
        from_zero: see Process.
        ended: see Process.
    """
    stamps = sorted(scrape_seconds)
    columns = {
        key: [[samples.get(stamp) for stamp in stamps] for samples in several]
        for key, several in series.items()
    }
    if starts:
        restarts, outages = _changes([starts.get(stamp) for stamp in stamps]), []
    else:
        restarts = _falls(len(stamps), [c for several in columns.values() for c in several])
        outages = sorted({bisect_right(stamps, stamp) for stamp in failed})
    return Process(
        name=name,
        scrapes=[Scrape(stamp / 1000, stamp / 1000 + scrape_seconds[stamp]) for stamp in stamps],
        totals={
            key: _running_total(several, set(restarts), from_zero)
            for key, several in columns.items()
        },
        restarts=restarts,
        outages=[n for n in outages if 0 < n < len(stamps) and n not in restarts],
        from_zero=from_zero,
        ended=ended,
        began=starts[min(starts)] if starts and from_zero else None,
        in_flight=[round(in_flight.get(stamp, 0)) for stamp in stamps] if in_flight else [],
    )


def _changes(starts: Sequence[float | None]) -> list[int]:
    """Return where the exported start time differs from the one before."""
    known = [(index, start) for index, start in enumerate(starts) if start is not None]
    return [
        index
        for (_, before), (index, start) in itertools.pairwise(known)
        if abs(start - before) > START_JITTER_SECONDS
    ]


def _falls(scrapes: int, columns: Iterable[Sequence[int | None]]) -> list[int]:
    """Return where a counter fell, or was missing from a successful scrape."""
    found = set()
    for column in columns:
        for index in range(1, scrapes):
            before, value = column[index - 1], column[index]
            if before is not None and (value is None or value < before):
                found.add(index)
    return sorted(found)


def _running_total(
    columns: Iterable[Sequence[int | None]], restarts: set[int], from_zero: bool
) -> list[int]:
    """Return the sum of several series over all lives of their process."""
    sums: list[int] = []
    for column in columns:
        total = before = 0
        for index, value in enumerate(column):
            now = value or 0
            if index in restarts:
                total += now
            elif index or from_zero:
                now = max(now, before)  # a series that pauses within a life has not gone back
                total += now - before
            before = now
            if index == len(sums):
                sums.append(0)
            sums[index] += total
    return sums
