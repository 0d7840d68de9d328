"""How much of a difference a stopped process explains, and not one count more.

A process that dies forgets what it counted since its last scrape. How much that can be is in the
other books: what they counted under the same key meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Set
from typing import NamedTuple

from books.counters import COUNTS, Key
from books.events import GENERATOR, SIDECAR, VENDOR, Event
from books.offset import NOTHING, Bounds, Move

ALL = "all outcomes"  # the outcome of a key that sums a vendor's requests of one visibility
UNEXPECTED, RESET = "unexpected", "reset"

# What a sidecar may call a request whose vendor died. The generator cannot tell these apart.
BROKEN = frozenset(
    {"connect_failed", RESET, "bad_answer", "timeout", "rejected", "client_cancelled"}
)
# The generator left, so it does not know what its sidecar found out at that very moment.
LEFT = ("timeout", "client_cancelled")
# What the generator calls a request of which a process died.
UNCLEAR = (UNEXPECTED, RESET, *LEFT)


class Counted(NamedTuple):
    """What both sides counted around an event, by key."""

    reference: Callable[[Key], float]
    other: Callable[[Key], float]
    in_flight: float


Allows = Callable[[Event, Key, Counted], Bounds]
"""By how much an event may move one key's offset."""


class Part(NamedTuple):
    """What an event explains of one row: a loss below 0, a surplus above.

    `book` is the one that differs from the generator's. An `at_most` of -1 is no bound.
    """

    event: Event
    book: str
    amount: int
    at_most: int


def mesh_allows(vendor_processes: Mapping[str, Set[str]], passive_vendors: Set[str]) -> Allows:
    """Return what may happen to a sidecar's counts minus those of its generator."""

    def allows(event: Event, key: Key, counted: Counted) -> Bounds:
        if event.kind == GENERATOR:
            return Bounds(0, counted.other(key))
        if event.kind == VENDOR:
            if event.name not in vendor_processes.get(key.vendor, ()):
                return NOTHING
            if key.measure != COUNTS:
                return bytes_allow(event, key, counted)
        forgotten = counted.reference(key) if event.kind == SIDECAR else 0
        if key.measure == COUNTS and event.kind == VENDOR and key.vendor in passive_vendors:
            # A sidecar that was refused before it had read the first byte saw no request.
            if key.visibility == "opaque":
                return Bounds(0, sum(_sum(counted, one, UNCLEAR) for one in _requests_of(key)))
            if key.outcome == ALL:
                return Bounds(-_sum(counted, key, UNCLEAR), 0)
        if key.measure != COUNTS or key.visibility == "opaque" or key.outcome == ALL:
            return Bounds(-forgotten, 0)
        # The sidecar answered in the vendor's place, and the generator cannot tell why.
        renamed = counted.reference(key) if key.outcome in UNCLEAR else 0
        names = [outcome for outcome in (UNEXPECTED, *LEFT) if outcome != key.outcome]
        if key.outcome == "connect_failed":
            names.append(RESET)
        surplus = _sum(counted, key, names) if key.outcome in BROKEN else 0
        return Bounds(-max(renamed, forgotten), surplus)

    return allows


def vendors_allow(event: Event, key: Key, counted: Counted) -> Bounds:
    """Return what may happen to a vendor's counts minus those of all generators."""
    if event.kind == GENERATOR:
        late = counted.in_flight if key.measure == COUNTS else 0
        return Bounds(0, counted.other(key) + late)
    if key.measure != COUNTS:
        return bytes_allow(event, key, counted)
    if key.visibility == "opaque":
        return Bounds(-counted.reference(key), 0)
    cut = _sum(counted, key, (UNEXPECTED, RESET))
    if event.kind == VENDOR:
        return Bounds(-counted.reference(key), 0 if key.outcome == ALL else cut)
    if key.outcome == ALL:
        return Bounds(-cut, 0)
    renamed = counted.reference(key) if key.outcome in UNCLEAR else 0
    left = _sum(counted, key, [outcome for outcome in LEFT if outcome != key.outcome])
    return Bounds(-renamed, cut + left)


def bytes_allow(event: Event, key: Key, counted: Counted) -> Bounds:
    """Return what may happen to bytes: the two ends of a cut connection saw different ones."""
    return Bounds(-counted.reference(key), counted.other(key))


def parts_of(move: Move, book: str) -> Iterable[Part]:
    """Yield the events of a move's gap that explain it, each up to what it allows."""
    left = move.amount
    for event, allowed in move.gap.allowed if move.gap else ():
        amount = int(allowed.nearest(left))
        if amount:
            at_most = allowed.high if left > 0 else -allowed.low
            yield Part(event, book, amount, -1 if math.isinf(at_most) else int(at_most))
            left -= amount


def _requests_of(key: Key) -> list[Key]:
    """Return a key for each visibility in which a vendor's requests are counted."""
    return [key._replace(visibility=each) for each in ("http", "tunnel", "socks")]


def _sum(counted: Counted, key: Key, outcomes: Iterable[str]) -> float:
    return sum(counted.reference(key._replace(outcome=outcome)) for outcome in outcomes)
