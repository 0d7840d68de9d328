"""Months of one vendor as the ledger has them, and as a vendor bills them, with errors or not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal

from money.contract import Contract
from money.quantities import Book, Part
from money.reconcile.metered import Counting, Metered, as_contract
from money.reconcile.prices import contract_costs
from money.usage.figures import DayOfUsage, Usage, days_between
from tests.money.books import book, contract, per_gb, seeded_hour

START, END = date(2026, 11, 1), date(2026, 12, 1)
DAY = date(2026, 11, 8)
"""On which an error is planted."""

PART = Part("vendor-a", "residential", "search", "shops")
CONTRACTS = (
    contract(
        "vendor-a",
        per_gb(
            ("20", "8.4"),
            (None, "7"),
            counts="target",
            overhead_bytes_per_tunnel=9000,
            overhead_bytes_per_request=60,
            free_results=frozenset({"failed"}),
        ),
    ),
)

Change = Callable[[list[DayOfUsage]], list[DayOfUsage]]


def ledger(seed: int, *, part: Part = PART) -> Book:
    """Make up November, with a day before and after it: a vendor's days may begin elsewhere."""
    chance = random.Random(seed)
    begin = datetime(2026, 10, 31, tzinfo=UTC)
    hours = (begin + timedelta(hours=number) for number in range(32 * 24))
    return book((at, part, seeded_hour(chance, at, 1.0)) for at in hours)


def factors(seed: int, noise: str) -> dict[date, float]:
    """Return what a vendor's counting does to each day: at most 1 %, or 1 % standard deviation."""
    chance = random.Random(f"noise {seed}")
    one: Callable[[], float] = {
        "none": lambda: 1.0,
        "within": lambda: chance.uniform(0.99, 1.01),
        "normal": lambda: math.exp(chance.gauss(0, 0.01)),
    }[noise]
    return {day: one() for day in days_between(START, END)}


def invoice(
    ledger: Book,
    *,
    seed: int = 0,
    noise: str = "within",
    counting: Counting = as_contract,
    zone: tzinfo = UTC,
    factor: float = 1.0,
    change: Change = list,
    contracts: Sequence[Contract] = CONTRACTS,
    priced_by: Sequence[Contract] | None = None,
    product: str = "residential",
) -> Usage:
    """Bill a ledger's November.

    Args:
        change: of the days' rows, before they are priced.
        priced_by: contracts by which each day has a cost; without, there are no costs.
    """
    metered = Metered(book=ledger, vendor="vendor-a", contracts=contracts)
    days = days_between(START, END)
    hours = metered.hours(None, "bytes", counting)
    found = metered.days(hours, "bytes", days, zone)
    noisy = factors(seed, noise)
    rows = change(
        [
            DayOfUsage(
                day=day,
                product=product,
                bytes=Decimal(round(found[day].metered * noisy[day] * factor)),
            )
            for day in days
        ]
    )
    if priced_by is not None:
        costs = contract_costs("vendor-a", rows, priced_by)
        assert costs
        rows = [replace(row, cost=round(costs.usage[row.day, row.product], 2)) for row in rows]
    return Usage(
        vendor="vendor-a",
        source="invoice.csv",
        start=START,
        end=END,
        time_zone="UTC",
        rows=rows,
        currency="USD" if priced_by is not None else "",
    )


def on(day: date, change: Callable[[DayOfUsage], DayOfUsage]) -> Change:
    """Change one day alone."""
    return lambda rows: [change(row) if row.day == day else row for row in rows]


def times(share: float) -> Callable[[DayOfUsage], DayOfUsage]:
    return lambda row: replace(row, bytes=Decimal(round((row.bytes or 0) * Decimal(share))))
