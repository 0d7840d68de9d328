"""A month's costs as a table for spreadsheets: a row a day and part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from money.charges import Month
from money.quantities import Book, Part
from money.report.csv_text import Cell, csv_text
from money.traffic import Traffic, by_day_and_part

HEADER = (
    *("day", "vendor", "product", "team", "target", "currency"),
    *("cost", "usage", "commitment", "addresses", "failed"),
    *("requests", "successes", "blocked", "gigabytes"),
)
KINDS = ("usage", "commitment", "addresses")


def costs_csv(book: Book, month: Month) -> str:
    """Return the rows: `cost` is the next three, `failed` a part of it. Any sum of rows is right.

    Traffic without a price has no currency and no cost.
    """
    return csv_text(HEADER, _rows(book, month))


def _rows(book: Book, month: Month) -> Iterator[tuple[Cell, ...]]:
    traffic = by_day_and_part(book)
    costs: dict[tuple[date, Part], dict[str, Decimal]] = {}
    currencies: dict[tuple[date, Part], str] = {}
    for charge in month.charges:
        key = charge.day, charge.part
        sums = costs.setdefault(key, defaultdict(Decimal))
        sums[charge.kind] += charge.cost
        sums["failed"] += charge.failed_cost
        currencies[key] = charge.currency
    for key in sorted({*costs, *traffic}):
        day, part = key
        found, one = costs.get(key), traffic.get(key, Traffic())
        money: tuple[Cell, ...] = (None,) * 5
        if found is not None:
            kinds = [found[kind] for kind in KINDS]
            money = (sum(kinds, Decimal(0)), *kinds, found["failed"])
        yield (
            *(day.isoformat(), *part, currencies.get(key)),
            *money,
            *(_rounded(number) for number in (one.requests, one.successes, one.blocked)),
            _rounded(one.wire_bytes / 1e9),
        )


def _rounded(number: float) -> Decimal:
    return Decimal(f"{number:.6f}")
