"""Small months of charges and books for the tests of report, export and scorecard."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from money.charges import Charge, Month
from money.quantities import Book, Part, Quantities

SHOPS = Part("vendor-a", "residential", "prices", "shops")
NEWS = Part("vendor-a", "residential", "news", "news")
OTHER = Part("vendor-b", "", "prices", "shops")
NOBODY = Part("vendor-a", "", "", "")
FIRST = date(2026, 11, 1)


def charge(part: Part, cost: str, **more: object) -> Charge:
    defaults: dict[str, object] = {
        "day": FIRST,
        "part": part,
        "kind": "usage",
        "currency": "USD",
        "cost": Decimal(cost),
        "quantity": Decimal(1),
        "unit": "GB",
        "failed_cost": Decimal(0),
    }
    return Charge(**(defaults | more))  # type: ignore[arg-type]


def november(*charges: Charge, without_price: tuple[Part, ...] = ()) -> Month:
    return Month(year=2026, month=11, charges=charges, without_price=without_price)


def book(*entries: tuple[Part, dict[str, float], float], days: int = 1) -> Book:
    """Return a book whose days are alike: at noon, each part's requests by outcome and bytes."""
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    hours = {
        noon + timedelta(days=day): {
            part: Quantities(requests=requests, bytes_received={"delivered": size})
            for part, requests, size in entries
        }
        for day in range(days)
    }
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    covered = {begin + timedelta(hours=hour): 1.0 for hour in range(24 * days)}
    return Book(hours=hours, wire={}, coverage=covered)
