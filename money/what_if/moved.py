"""A month's traffic with some of a vendor's requests moved to another."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from money.confidence import Z, ratio_by_day
from money.quantities import Book, Part, Quantities
from money.traffic import SUCCESS, traffic_of

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
        products: dict[str, list[Quantities]] = defaultdict(list)
        by_hour: dict[datetime, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        opaque = 0.0
        for hour, part, one in entries(book):
            if belongs(part):
                products[part.product].append(one)
                opaque += _opaque(one)
                sums = traffic_of(one)
                for index, value in enumerate(
                    (sums.requests, sums.successes, sums.wire_bytes - _opaque(one))
                ):
                    by_hour[hour][index] += value
        requests, successes, sizes = _sample(by_hour)
        total = sum(requests)
        success, success_error = ratio_by_day(successes, requests)
        size, size_error = ratio_by_day(sizes, requests)
        return Rates(
            requests=total,
            per_request={name: _mean(some, total) for name, some in products.items()},
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
            product: Quantities(
                bytes_sent={key: value * factor for key, value in one.bytes_sent.items()},
                bytes_received={key: value * factor for key, value in one.bytes_received.items()},
                requests=scaled(one.requests),
                tunnels=scaled(one.tunnels),
            )
            for product, one in self.per_request.items()
        }


def _opaque(one: Quantities) -> float:
    return one.bytes_sent.get("", 0) + one.bytes_received.get("", 0)


def _sample(by_hour: Mapping[datetime, Sequence[float]]) -> list[list[float]]:
    """Return requests, successes and bytes by day; by hour, if there are few days."""
    days: dict[object, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    is_by_day = len({hour.date() for hour in by_hour}) >= ENOUGH_DAYS
    for hour, sums in by_hour.items():
        day = days[hour.date() if is_by_day else hour]
        for index, value in enumerate(sums):
            day[index] += value
    return [[sums[index] for sums in days.values()] for index in range(3)]


def _mean(several: Sequence[Quantities], requests: float) -> Quantities:
    def mean(maps: Iterator[Mapping[str, float]]) -> dict[str, float]:
        sums: dict[str, float] = defaultdict(float)
        for one in maps:
            for key, value in one.items():
                sums[key] += value / requests if requests else 0.0
        sums.pop("", None)  # opaque bytes
        return dict(sums)

    return Quantities(
        bytes_sent=mean(one.bytes_sent for one in several),
        bytes_received=mean(one.bytes_received for one in several),
        requests=mean(one.requests for one in several),
        tunnels=mean(one.tunnels for one in several),
    )


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
            for product, rates in arriving.items():
                there = Part(move.destination, product, part.team, part.target)
                there_now = found.get(there, Quantities())
                found[there] = there_now + rates.scaled(requests)
            if _opaque(one):
                first = next(iter(arriving), "")
                there = Part(move.destination, first, part.team, part.target)
                found[there] = found.get(there, Quantities()) + _opaque_of(one, move.share)
    return Book(hours=hours, wire=book.wire, coverage=book.coverage)


def _opaque_of(one: Quantities, share: float) -> Quantities:
    return Quantities(
        bytes_sent={"": share * one.bytes_sent.get("", 0)},
        bytes_received={"": share * one.bytes_received.get("", 0)},
    )
