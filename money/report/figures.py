"""A month's money by vendor, product, team and target group, as the report shows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_DOWN, Decimal
from typing import TypeVar

from money.billable import contract_of
from money.charges import Charge, Month
from money.contract import Contract
from money.exact import cents
from money.quantities import Book, Part
from money.traffic import Traffic, by_day_and_part

CENT = Decimal("0.01")
ZERO = Decimal(0)

K = TypeVar("K", bound=Hashable)

VIEWS: Mapping[str, Callable[[Part], tuple[str, ...]]] = {
    "vendor": lambda part: (part.vendor,),
    "product": lambda part: (part.vendor, part.product),
    "team": lambda part: (part.team,),
    "target group": lambda part: (part.target,),
}
"""What a table groups by."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a table: money in whole cents, which add up to the table's total."""

    name: tuple[str, ...]
    cost: Decimal
    failed_cost: Decimal
    traffic: Traffic

    @property
    def per_thousand_successes(self) -> Decimal | None:
        if self.traffic.successes <= 0:
            return None
        return self.cost * 1000 / Decimal(self.traffic.successes)


def currencies(month: Month) -> list[str]:
    return sorted({one.currency for one in month.charges})


def in_currency(month: Month, currency: str) -> list[Charge]:
    return [one for one in month.charges if one.currency == currency]


def traffic_by_currency(
    book: Book, contracts: Sequence[Contract]
) -> dict[str, dict[Part, Traffic]]:
    """Return the traffic that each currency pays for, by part; that without a price under ""."""
    found: dict[str, dict[Part, Traffic]] = defaultdict(lambda: defaultdict(Traffic))
    for (day, part), one in by_day_and_part(book).items():
        contract = contract_of(contracts, part, day)
        found[contract.currency if contract else ""][part] += one
    return {currency: dict(parts) for currency, parts in found.items()}


def tables(charges: Sequence[Charge], traffic: Mapping[Part, Traffic]) -> dict[str, list[Line]]:
    """Return each view's lines, the dearest first. The cents of each view add up to the month's,
    and those of a vendor's products to the vendor's."""
    found = {name: _table(charges, traffic, key) for name, key in VIEWS.items()}
    vendors = {line.name[0]: line for line in found["vendor"]}
    found["product"] = [
        line
        for vendor in vendors.values()
        for line in _table(
            [one for one in charges if one.part.vendor == vendor.name[0]],
            {part: one for part, one in traffic.items() if part.vendor == vendor.name[0]},
            VIEWS["product"],
            vendor,
        )
    ]
    return found


def _table(
    charges: Sequence[Charge],
    traffic: Mapping[Part, Traffic],
    key: Callable[[Part], tuple[str, ...]],
    whole: Line | None = None,
) -> list[Line]:
    by_key: dict[tuple[str, ...], Traffic] = defaultdict(Traffic)
    for part, one in traffic.items():
        by_key[key(part)] += one
    nothing = dict.fromkeys(by_key, ZERO)
    costs = nothing | sums(charges, lambda one: key(one.part))
    failed = nothing | sums(charges, lambda one: key(one.part), lambda one: one.failed_cost)
    cost_cents = in_cents(costs, whole.cost if whole else None)
    failed_cents = in_cents(failed, whole.failed_cost if whole else None)
    lines = [
        Line(name=name, cost=cost_cents[name], failed_cost=failed_cents[name], traffic=by_key[name])
        for name in costs
    ]
    return sorted(lines, key=lambda line: (-line.cost, line.name))


def total(lines: Sequence[Line]) -> Line:
    """Return the last line of a table."""
    traffic = Traffic()
    for line in lines:
        traffic += line.traffic
    return Line(
        name=(),
        cost=sum((line.cost for line in lines), ZERO),
        failed_cost=sum((line.failed_cost for line in lines), ZERO),
        traffic=traffic,
    )


def sums(
    charges: Sequence[Charge],
    key: Callable[[Charge], K],
    amount: Callable[[Charge], Decimal] = lambda one: one.cost,
) -> dict[K, Decimal]:
    found: dict[K, Decimal] = defaultdict(Decimal)
    for one in charges:
        found[key(one)] += amount(one)
    return dict(found)


def in_cents(amounts: Mapping[K, Decimal], whole: Decimal | None = None) -> dict[K, Decimal]:
    """Round amounts to cents that add up to `whole`, or else to their rounded sum.

    Each is rounded down, and those that lost most get the cents that are left (largest remainder).
    No line is off by a cent or more.
    """
    down = {key: one.quantize(CENT, rounding=ROUND_DOWN) for key, one in amounts.items()}
    if whole is None:
        whole = cents(sum(amounts.values(), ZERO))
    missing = int((whole - sum(down.values(), ZERO)) / CENT)
    order = sorted(amounts, key=lambda key: (down[key] - amounts[key], str(key)))
    return down | {key: down[key] + CENT for key in order[:missing]}


def daily(charges: Sequence[Charge]) -> Iterator[tuple[date, dict[str, Decimal]]]:
    """Yield each day's cost by vendor, in order."""
    by_day: dict[date, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for one in charges:
        by_day[one.day][one.part.vendor] += one.cost
    for day in sorted(by_day):
        yield day, dict(by_day[day])
