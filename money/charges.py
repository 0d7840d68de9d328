"""What a month's traffic costs, day by day and part by part."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from money.billable import Billable, billable, contract_of, summed
from money.contract import GIGABYTES, Contract, Rule
from money.exact import decimal, price_of, shared, steps
from money.months import days_of
from money.quantities import Book, Part, Quantities

Kind = Literal["usage", "commitment", "addresses"]
Unit = Literal["GB", "GiB", "request", "address", ""]


@dataclass(frozen=True, kw_only=True)
class Charge:
    """A part's cost on one UTC day."""

    day: date
    part: Part
    kind: Kind
    currency: str
    cost: Decimal
    quantity: Decimal
    """Billable units: 0 for a commitment."""
    unit: Unit
    failed_cost: Decimal
    """Of `cost`, what traffic cost whose result is `refused` or `failed`."""


@dataclass(frozen=True, kw_only=True)
class Month:
    """A month's charges, up to the ledger's last hour. Charges of one day and contract add up to
    what the contract says, exactly."""

    year: int
    month: int
    charges: Sequence[Charge]
    without_price: Sequence[Part]
    """Parts with traffic but without a contract, also those that are no vendor's: known
    destinations, and `outside`."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one rule counts of a part on one day, and what it costs before a least sum."""

    rule: Rule
    part: Part
    units: Fraction
    lost: Fraction
    """The share that was refused or failed, 0 to 1."""
    cost: Fraction


Traffic = Mapping[date, Mapping[Part, Sequence[Quantities]]]
"""What a contract bills, by day."""

ANY_BYTES = Rule(kind="perGB", tiers=(), unit="GB")
"""All wire bytes."""
ANY_REQUESTS = Rule(kind="perRequest", tiers=(), unit="request")


def month_charges(
    book: Book, contracts: Sequence[Contract], year: int, month: int, through: date | None = None
) -> Month:
    """Return the charges of a month.

    Args:
        through: The last day whose fixed sums are due. Without it, that of the book's last hour:
            a month that has only begun costs a part of them.
    """
    days = days_of(year, month)
    hours = [*book.hours, *book.wire, *book.coverage]
    last = through or (max(hours).date() if hours else date.min)
    due = [day for day in days if day <= last]
    traffic, without_price = by_contract(book, contracts, days)
    charges = [
        charge
        for number, contract in enumerate(contracts)
        if (in_force := days_in_force(contract, contracts, days))
        for charge in charges_of(contract, traffic.get(number, {}), in_force, due)
    ]
    charges.sort(key=lambda charge: (charge.day, charge.part, charge.kind, charge.unit))
    return Month(year=year, month=month, charges=charges, without_price=without_price)


def by_contract(
    book: Book, contracts: Sequence[Contract], days: Sequence[date]
) -> tuple[Mapping[int, Traffic], list[Part]]:
    """Return the month's traffic by the number of the contract, and the parts without one."""
    traffic: dict[int, dict[date, dict[Part, list[Quantities]]]] = {}
    without_price = set()
    numbers: dict[tuple[date, Part], int | None] = {}
    for hour, parts in book.hours.items():
        day = hour.date()
        if not days[0] <= day <= days[-1]:
            continue
        for part, quantities in parts.items():
            if (day, part) not in numbers:
                contract = contract_of(contracts, part, day)
                numbers[day, part] = None if contract is None else contracts.index(contract)
            if (number := numbers[day, part]) is not None:
                of_day = traffic.setdefault(number, {}).setdefault(day, {})
                of_day.setdefault(part, []).append(quantities)
            elif quantities.wire_bytes or any(quantities.requests.values()):
                without_price.add(part)
    return traffic, sorted(without_price)


def days_in_force(
    contract: Contract, contracts: Sequence[Contract], days: Sequence[date]
) -> list[date]:
    """Return the days on which a contract serves, until the next of the same product begins."""
    begins = contract.valid_from or date.min
    later = [
        other.valid_from
        for other in contracts
        if (other.vendor, other.product) == (contract.vendor, contract.product)
        and other.valid_from
        and other.valid_from > begins
    ]
    return [day for day in days if begins <= day < min(later, default=date.max)]


def charges_of(
    contract: Contract, traffic: Traffic, in_force: Sequence[date], due: Sequence[date]
) -> Iterator[Charge]:
    """Yield a contract's charges. Of a month that it serves in part, it takes that part of each
    fixed sum and of the included units; tiers begin again with it."""
    year, month = in_force[0].year, in_force[0].month
    share = Fraction(len(in_force), monthrange(year, month)[1])
    least = Fraction(0) if contract.included else Fraction(contract.commitment) * share
    yield from usage(contract, traffic, Fraction(contract.included) * share, least)
    fixed = [day for day in in_force if day in due]
    if contract.commitment:
        total = Fraction(contract.commitment) * share
        daily = amounts_by_day(total, in_force)
        yield from fixed_charges(contract, traffic, fixed, daily, "commitment", Fraction(0))
    for rule in contract.rules:
        if rule.kind == "perAddressMonth":
            total = price_of(rule.tiers, Fraction(rule.addresses)) * share
            daily = amounts_by_day(total, in_force)
            quantity = rule.addresses * share / len(in_force)
            yield from fixed_charges(contract, traffic, fixed, daily, "addresses", quantity)


def usage(
    contract: Contract, traffic: Traffic, included: Fraction, least: Fraction
) -> Iterator[Charge]:
    """Yield what the traffic costs above `least`, day after day."""
    rules = [rule for rule in contract.rules if rule.kind != "perAddressMonth"]
    so_far = [Fraction(0)] * len(rules)
    cost, charged = Fraction(0), 0
    for day in sorted(traffic):
        lines = []
        for index, rule in enumerate(rules):
            counted = counted_by_part(rule, traffic[day])
            paid = included if index == 0 else Fraction(0)
            lines += lines_of(rule, counted, so_far[index], paid)
            so_far[index] += sum(units_of(rule, each) for each in counted.values())
        cost += sum(line.cost for line in lines)
        owed = steps(max(Fraction(0), cost - least))
        costs = shared(owed - charged, [line.cost for line in lines])
        charged = owed
        for line, amount in zip(lines, costs, strict=True):
            yield Charge(
                day=day,
                part=line.part,
                kind="usage",
                currency=contract.currency,
                cost=decimal(amount),
                quantity=decimal(steps(line.units)),
                unit=line.rule.unit,
                failed_cost=decimal(int(amount * line.lost)),
            )


def counted_by_part(rule: Rule, parts: Mapping[Part, Sequence[Quantities]]) -> dict[Part, Billable]:
    """Return what a rule counts of each part on one day; parts of which it counts something."""
    counted = {
        part: summed(billable(hour, rule) for hour in hours) for part, hours in parts.items()
    }
    return {part: counted[part] for part in sorted(counted) if counted[part].total > 0}


def units_of(rule: Rule, counted: Billable) -> Fraction:
    return Fraction(counted.total) / GIGABYTES.get(rule.unit, 1)


def lines_of(
    rule: Rule, counted: Mapping[Part, Billable], before: Fraction, included: Fraction
) -> list[Line]:
    """Return what a day's parts cost by one rule, after the month's `before` units."""
    units = {part: units_of(rule, each) for part, each in counted.items()}
    after = before + sum(units.values())
    cost = price_of(rule.tiers, max(after, included)) - price_of(rule.tiers, max(before, included))
    return [
        Line(
            rule=rule,
            part=part,
            units=units[part],
            lost=lost_share(each),
            cost=cost * units[part] / (after - before),
        )
        for part, each in counted.items()
    ]


def lost_share(counted: Billable) -> Fraction:
    return Fraction(counted.lost) / Fraction(counted.total) if counted.total else Fraction(0)


def amounts_by_day(total: Fraction, days: Sequence[date]) -> dict[date, int]:
    """Spread a sum evenly; the days add up to it."""
    ends = [steps(total * number / len(days)) for number in range(len(days) + 1)]
    return {day: ends[number + 1] - ends[number] for number, day in enumerate(days)}


def fixed_charges(
    contract: Contract,
    traffic: Traffic,
    days: Iterable[date],
    amounts: Mapping[date, int],
    kind: Kind,
    quantity: Fraction,
) -> Iterator[Charge]:
    """Yield a fixed sum's days, each split by what the contract counts of the parts.

    Traffic that failed has its share of a commitment, which pays for traffic, and none of the
    price of addresses.
    """
    nobody = {Part(contract.vendor, contract.product, "", ""): Billable(total=1)}
    for day in days:
        counted = basis(contract, traffic.get(day, {})) or nobody
        weights = [Fraction(each.total) for each in counted.values()]
        costs = shared(amounts[day], weights)
        for (part, each), weight, amount in zip(counted.items(), weights, costs, strict=True):
            lost = lost_share(each) if kind == "commitment" else Fraction(0)
            yield Charge(
                day=day,
                part=part,
                kind=kind,
                currency=contract.currency,
                cost=decimal(amount),
                quantity=decimal(steps(quantity * weight / sum(weights))),
                unit="address" if kind == "addresses" else "",
                failed_cost=decimal(int(amount * lost)),
            )


def basis(contract: Contract, parts: Mapping[Part, Sequence[Quantities]]) -> dict[Part, Billable]:
    """Return by what a day's fixed sums are split: the first rule that counts something of the
    day's traffic, else its bytes, else its requests."""
    for rule in (*contract.rules, ANY_BYTES, ANY_REQUESTS):
        if counted := counted_by_part(rule, parts):
            return counted
    return {}
