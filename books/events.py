"""Which processes stopped, and when: only there may counts be lost without a mistake."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from books.counters import Books, Process

SIDECAR, GENERATOR, VENDOR = "sidecar", "generator", "vendor"
RESTARTED, ENDED, AWAY = "restarted", "ended", "was away"

GRACE_SECONDS = 5.0  # a process may live on for as long after the first scrape that missed it


class Event(NamedTuple):
    """A process restarted, ended or did not answer between two moments."""

    kind: str
    name: str
    after: float
    before: float
    what: str

    def __str__(self) -> str:
        span = f"between {clock(self.after)} and {clock(self.before)}"
        return f"{self.kind} {self.name} {self.what} {span}"


def events_of(books: Books) -> list[Event]:
    """Return every stop of every process, in the order of time."""
    found = [event for one in books.vendors for event in _events(VENDOR, one)]
    for pod in books.pods:
        found += [*_events(SIDECAR, pod.sidecar), *_events(GENERATOR, pod.generator)]
    return sorted(found, key=lambda event: (event.after, event.before))


def clock(seconds: float) -> str:
    """Return a time of day such as 14:05:09.1."""
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S.%f")[:-5]


def _events(kind: str, process: Process) -> Iterable[Event]:
    scrapes = process.scrapes
    for what, indices in ((RESTARTED, process.restarts), (AWAY, process.outages)):
        for index in indices:
            yield Event(kind, process.name, scrapes[index - 1].began, scrapes[index].ended, what)
    if process.ended and scrapes:
        last = scrapes[-1]
        yield Event(kind, process.name, last.began, last.ended + GRACE_SECONDS, ENDED)
