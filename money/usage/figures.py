"""What a vendor says of a span of days, and the error where it cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal


class UsageError(Exception):
    """The vendor's figures cannot be used; one line with the reason and what to do."""


@dataclass(frozen=True, kw_only=True)
class DayOfUsage:
    """What a vendor says of one day and product; None where it says nothing."""

    day: date
    product: str
    """As the stack names it; empty for all of the vendor's."""
    bytes: Decimal | None = None
    requests: Decimal | None = None
    cost: Decimal | None = None
    listed: int = 1
    """How many lines say so: 2 where a file lists a day twice. The figures are their sum."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """A vendor's own figures, one row for each day and product."""

    vendor: str
    source: str
    """As a reader knows it: "Zyte's API", or the file's name."""
    start: date
    end: date
    """Exclusive."""
    rows: Sequence[DayOfUsage]
    time_zone: str = "UTC"
    """Whose midnights part the days: an IANA name."""
    currency: str = ""
    """ISO 4217, of every cost; empty without costs."""
    costs: Mapping[str, Decimal] = field(default_factory=dict)
    """By product, of the whole span, where the vendor gives no cost by day."""
    notes: Sequence[str] = ()
    """What else the answer says that a reader should know."""

    @property
    def products(self) -> list[str]:
        return sorted({row.product for row in self.rows})

    def daily_bytes(self) -> dict[date, float]:
        """Return the bytes of each day, of all products."""
        days: dict[date, float] = {}
        for row in self.rows:
            days[row.day] = days.get(row.day, 0.0) + float(row.bytes or 0)
        return days


def days_between(start: date, end: date) -> list[date]:
    """Return the days from `start` up to, without, `end`."""
    return [start + timedelta(days=number) for number in range((end - start).days)]


def added_up(rows: Iterable[DayOfUsage]) -> list[DayOfUsage]:
    """Return one row for each day and product, in order; figures that nobody gives stay None."""
    found: dict[tuple[date, str], DayOfUsage] = {}
    for row in rows:
        key = (row.day, row.product)
        if (other := found.get(key)) is not None:
            row = replace(
                row,
                bytes=_sum(other.bytes, row.bytes),
                requests=_sum(other.requests, row.requests),
                cost=_sum(other.cost, row.cost),
                listed=other.listed + row.listed,
            )
        found[key] = row
    return [found[key] for key in sorted(found)]


def with_empty_days(rows: Iterable[DayOfUsage], start: date, end: date) -> list[DayOfUsage]:
    """Add zeros for days that a source leaves out because nothing was used."""
    listed = list(rows)
    known = {(row.day, row.product) for row in listed}
    # Whatever the others have, so that a cost which the vendor never gives stays unknown.
    like = {row.product: _without_traffic(row) for row in listed}
    empty = [
        replace(row, day=day)
        for day in days_between(start, end)
        for product, row in like.items()
        if (day, product) not in known
    ]
    return sorted([*listed, *empty], key=lambda row: (row.day, row.product))


def refuse_missing_days(rows: Iterable[DayOfUsage], start: date, end: date, source: str) -> None:
    """Refuse figures that leave out a day, which would be taken for one without traffic.

    Raises:
        UsageError: a day of a product is missing.
    """
    by_product: dict[str, set[date]] = {}
    for row in rows:
        by_product.setdefault(row.product, set()).add(row.day)
    for product, days in by_product.items():
        for day in days_between(start, end):
            if day not in days:
                of = f" of {product}" if product else ""
                raise UsageError(
                    f"{source}: has no figures{of} for {day}; ask for the whole span, or set "
                    "usage.skipsEmptyDays if the vendor leaves out days without traffic"
                )
    if not by_product:
        raise UsageError(f"{source}: has no figures from {start} to {end}")


def _without_traffic(row: DayOfUsage) -> DayOfUsage:
    return replace(
        row,
        bytes=None if row.bytes is None else Decimal(0),
        requests=None if row.requests is None else Decimal(0),
        cost=None if row.cost is None else Decimal(0),
        listed=1,
    )


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other
