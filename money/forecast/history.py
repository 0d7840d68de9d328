"""What of the ledger a forecast and a month's charges need: a hundredth of its hours' memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from money.forecast.hours import DAY, HISTORY, HOUR
from money.months import month_of
from money.quantities import Book, Part, Quantities


class Group(NamedTuple):
    """Whose traffic is forecast together. Its targets keep their shares of the last week."""

    vendor: str
    product: str
    team: str


@dataclass(kw_only=True)
class History:
    """Volumes by hour and group, and quantities by day and part."""

    volumes: dict[datetime, dict[Group, float]] = field(default_factory=dict)
    """Bytes and requests of the hours with data."""
    coverage: dict[datetime, float] = field(default_factory=dict)
    days: dict[date, dict[Part, Quantities]] = field(default_factory=dict)
    wire: dict[date, dict[str, float]] = field(default_factory=dict)
    """Bytes by vendor, both ways, of its own counters: an open tunnel's are in them."""

    def add(self, book: Book) -> None:
        """Take the hours that are not known yet."""
        for hour in sorted(book.hours.keys() - self.volumes.keys()):
            self.coverage[hour] = min(1.0, book.coverage.get(hour, 1.0))
            groups = self.volumes[hour] = {}
            parts = self.days.setdefault(hour.date(), {})
            for part, quantities in book.hours[hour].items():
                group = Group(part.vendor, part.product, part.team)
                groups[group] = groups.get(group, 0.0) + volume_of(quantities)
                parts[part] = parts.get(part, Quantities()) + quantities
            vendors = self.wire.setdefault(hour.date(), {})
            for vendor, wire in book.wire.get(hour, {}).items():
                size = wire.bytes_sent + wire.bytes_received
                vendors[vendor] = vendors.get(vendor, 0.0) + size

    def forget_before(self, hour: datetime) -> None:
        for old in [each for each in self.volumes if each < hour]:
            del self.volumes[old], self.coverage[old]
        for day in [each for each in self.days if each < hour.date()]:
            del self.days[day], self.wire[day]

    def recorded_hours(self, day: date) -> float:
        """Return how much of a day's 24 hours is recorded."""
        return sum(share for hour, share in self.coverage.items() if hour.date() == day)

    @property
    def end(self) -> datetime | None:
        """The end of the last hour with data."""
        return max(self.volumes) + HOUR if self.volumes else None


def history_of(book: Book) -> History:
    history = History()
    history.add(book)
    return history


def history_since(now: datetime) -> datetime:
    """Return since when the ledger must be read for the charges and the forecast of this month.

    Yesterday is in it, also on the first of a month.
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return min(month_of(now - DAY), today - HISTORY)


def volume_of(quantities: Quantities) -> float:
    """Return bytes and requests together: one of them may be unknown, and they move alike."""
    return quantities.wire_bytes + sum(quantities.requests.values())
