"""A month's traffic with some of a vendor's requests moved to another."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from money.confidence import Z, ratio_by_day
from money.quantities import Book, Part, Quantities
from money.traffic import SUCCESS, Traffic, traffic_of

ENOUGH_DAYS = 7
"""From here on days are the sample of an error; before, hours are."""

MOVE = re.compile(r"([a-z0-9-]+):([a-z0-9-]+):(\d+(?:\.\d+)?)%")


@dataclass(frozen=True, kw_only=True)
class Move:
    """A share of a vendor's requests that goes to another vendor instead."""

    source: str
    destination: str
    share: float
    """0 to 1."""
    target: str
    """Of one target group; empty: of all."""

    def takes(self, part: Part) -> bool:
        return part.vendor == self.source and self.target in ("", part.target)

    def resembles(self, part: Part) -> bool:
        """Whether a part shows what the destination does with such requests."""
        return part.vendor == self.destination and self.target in ("", part.target)


def parse_move(text: str, target: str) -> Move:
    """Read `vendor-a:vendor-b:30%`.

    Raises:
        ValueError: it is not of that form, or moves nothing.
    """
    found = MOVE.fullmatch(text)
    if not found or found[1] == found[2] or not 0 < float(found[3]) <= 100:
        raise ValueError(f"{text!r} is no move; write FROM:TO:SHARE, such as vendor-a:vendor-b:30%")
    return Move(source=found[1], destination=found[2], share=float(found[3]) / 100, target=target)


def entries(book: Book) -> Iterator[tuple[datetime, Part, Quantities]]:
    for hour, parts in book.hours.items():
        for part, one in parts.items():
            yield hour, part, one


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a vendor does with a request, by product; the rates of all products add up."""

    requests: float
    per_request: Mapping[str, Quantities]
    """By product. Without opaque bytes, which are of no request."""
    success: float
    success_error: float
    bytes_per_request: float
    bytes_error: float
    opaque_bytes: float

    @property
    def error(self) -> float:
        return self.success_error + self.bytes_error

    @staticmethod
    def measured(book: Book, belongs: Callable[[Part], bool]) -> Rates:
        products: dict[str, Quantities] = defaultdict(Quantities)
        by_hour: dict[datetime, Traffic] = defaultdict(Traffic)
        opaque = 0.0
        for hour, part, one in entries(book):
            if belongs(part):
                readable = _readable(one)
                products[part.product] += readable
                by_hour[hour] += traffic_of(readable)
                opaque += _opaque(one).wire_bytes
        sample = _sample(by_hour)
        requests = [one.requests for one in sample]
        total = sum(requests)
        success, success_error = ratio_by_day([one.successes for one in sample], requests)
        size, size_error = ratio_by_day([one.wire_bytes for one in sample], requests)
        return Rates(
            requests=total,
            per_request={
                name: all_of_it.scaled(1 / total if total else 0.0)
                for name, all_of_it in products.items()
            },
            success=success,
            success_error=success_error,
            bytes_per_request=size,
            bytes_error=size_error,
            opaque_bytes=opaque,
        )

    def bytes_factor(self, shift: float) -> float:
        """Return by what the bytes differ, if they are `shift` times the interval off."""
        if not shift or not self.bytes_per_request or not math.isfinite(self.bytes_error):
            return 1.0
        return max(0.0, 1 + shift * Z * self.bytes_error / self.bytes_per_request)

    def shifted(self, shift: float) -> Mapping[str, Quantities]:
        """Return the rates with bytes and successes both at a bound of their interval."""
        factor = self.bytes_factor(shift)
        error = self.success_error if math.isfinite(self.success_error) else 0.0
        success = min(1.0, max(0.0, self.success + shift * Z * error))
        good = success / self.success if self.success else 1.0
        bad = (1 - success) / (1 - self.success) if self.success < 1 else 1.0

        def scaled(outcomes: Mapping[str, float]) -> dict[str, float]:
            return {
                name: number * (good if name == SUCCESS else bad)
                for name, number in outcomes.items()
            }

        return {
            product: replace(
                one.scaled(1, factor), requests=scaled(one.requests), tunnels=scaled(one.tunnels)
            )
            for product, one in self.per_request.items()
        }


def _opaque(one: Quantities) -> Quantities:
    """Return the bytes of which no request is known."""
    return Quantities(
        bytes_sent={"": one.bytes_sent.get("", 0)},
        bytes_received={"": one.bytes_received.get("", 0)},
    )


def _readable(one: Quantities) -> Quantities:
    sent, received = (
        {result: size for result, size in sizes.items() if result}
        for sizes in (one.bytes_sent, one.bytes_received)
    )
    return replace(one, bytes_sent=sent, bytes_received=received)


def _sample(by_hour: Mapping[datetime, Traffic]) -> list[Traffic]:
    """Return the traffic by day; by hour, if there are few days."""
    is_by_day = len({hour.date() for hour in by_hour}) >= ENOUGH_DAYS
    found: dict[object, Traffic] = defaultdict(Traffic)
    for hour, one in by_hour.items():
        found[hour.date() if is_by_day else hour] += one
    return list(found.values())


def moved_book(
    book: Book, move: Move, arriving: Mapping[str, Quantities], leaving_factor: float
) -> Book:
    """Return the book with the share of each hour moved.

    Args:
        arriving: What a moved request becomes, by the destination's product.
        leaving_factor: Of the bytes that leave the source.
    """
    bytes_left = max(0.0, 1 - move.share * leaving_factor)
    hours: dict[datetime, dict[Part, Quantities]] = {}
    for hour, parts in book.hours.items():
        found = hours[hour] = dict(parts)
        for part, one in parts.items():
            if not move.takes(part):
                continue
            found[part] = one.scaled(1 - move.share, bytes_left)
            requests = move.share * sum(one.requests.values())
            arrived = {product: rates.scaled(requests) for product, rates in arriving.items()}
            if (opaque := _opaque(one).scaled(move.share)).wire_bytes:
                first = next(iter(arriving), "")
                arrived[first] = arrived.get(first, Quantities()) + opaque
            for product, more in arrived.items():
                there = Part(move.destination, product, part.team, part.target)
                found[there] = found.get(there, Quantities()) + more
    return Book(hours=hours, wire=book.wire, coverage=book.coverage)
