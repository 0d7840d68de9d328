"""What the contract makes of the billed quantities, beside what the vendor asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from money.billable import contract_of
from money.charges import month_charges
from money.contract import GIGABYTES, Contract, Rule
from money.quantities import Book, Part, Quantities
from money.reconcile.findings import Finding
from money.usage.figures import DayOfUsage, Usage

SHARE = Decimal("0.01")
CENTS = Decimal("0.02")
"""By what a day's cost may differ: the vendor prices unrounded bytes, and rounds to cents."""

SUM_SHARE = Decimal("0.003")
SUM_LEAST = Decimal("0.05")
"""By what a month's cost may differ; the days' rounding evens out."""

SAME_PRICE = Decimal("0.01")


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a vendor's contracts make of quantities."""

    usage: Mapping[tuple[date, str], Decimal]
    """By day and product: what the traffic costs."""
    fixed: Decimal
    """Commitments and addresses."""

    @property
    def total(self) -> Decimal:
        return sum(self.usage.values(), Decimal(0)) + self.fixed


def contract_costs(
    vendor: str, rows: Sequence[DayOfUsage], contracts: Sequence[Contract]
) -> Costs | None:
    """Charge billed quantities as they are: nothing is free of what the vendor has billed.

    Returns:
        None if a row has no contract, or lacks what its contract charges for.
    """
    if not rows or any(_rules(contracts, vendor, row) is None for row in rows):
        return None
    hours: dict[datetime, dict[Part, Quantities]] = {}
    for row in rows:
        parts = hours.setdefault(datetime.combine(row.day, time(), UTC), {})
        parts[Part(vendor, row.product, "", "")] = Quantities(
            bytes_received={"": float(row.bytes or 0)},
            requests={"success": float(row.requests or 0)},
        )
    first = min(row.day for row in rows)
    month = month_charges(
        Book(hours=hours, wire={}, coverage={}),
        [replace(one, rules=[*map(_as_billed, one.rules)]) for one in contracts],
        first.year,
        first.month,
        max(row.day for row in rows),
    )
    own = [charge for charge in month.charges if charge.part.vendor == vendor]
    usage: dict[tuple[date, str], Decimal] = {(row.day, row.product): Decimal(0) for row in rows}
    for charge in own:
        if charge.kind == "usage":
            usage[charge.day, charge.part.product] += charge.cost
    fixed = sum((charge.cost for charge in own if charge.kind != "usage"), Decimal(0))
    return Costs(usage=usage, fixed=fixed)


def _as_billed(rule: Rule) -> Rule:
    successes = frozenset({"success"}) if rule.kind == "perSuccess" else frozenset[str]()
    return replace(rule, counts="wire", free_results=frozenset(), successes=successes)


def _rules(contracts: Sequence[Contract], vendor: str, row: DayOfUsage) -> Sequence[Rule] | None:
    """Return what charges a row's quantities; None if one of them is not known."""
    contract = contract_of(contracts, Part(vendor, row.product, "", ""), row.day)
    if contract is None:
        return None
    rules = [rule for rule in contract.rules if rule.kind != "perAddressMonth"]
    for rule in rules:
        if (row.bytes if rule.kind == "perGB" else row.requests) is None:
            return None
    return rules


def price_findings(usage: Usage, contracts: Sequence[Contract]) -> list[Finding]:
    """Compare the vendor's costs with the contract's for the same quantities."""
    computed = contract_costs(usage.vendor, usage.rows, contracts)
    asked = asked_cost(usage)
    if computed is None or asked is None:
        return []
    # A commitment pays for the first days: their cost says nothing of a price.
    by_day = not any(one.commitment for one in contracts)
    found = [
        finding
        for product in (usage.products if by_day else ())
        for finding in _days_of(usage, product, contracts, computed)
    ]
    return found or _sum_of(usage, contracts, computed, asked)


def asked_cost(usage: Usage) -> Decimal | None:
    """Return what the vendor asks for, if it says."""
    daily = [row.cost for row in usage.rows if row.cost is not None]
    if not daily and not usage.costs:
        return None
    return sum(daily, Decimal(0)) + sum(usage.costs.values(), Decimal(0))


@dataclass(frozen=True, kw_only=True)
class PricedDay:
    """A day that costs otherwise than by the contract."""

    day: date
    units: Decimal
    cost: Decimal
    """As the vendor says."""
    due: Decimal
    """As the contract makes it."""
    rule: Rule

    @property
    def tier_price(self) -> Decimal | None:
        """The price, if it is that of a tier, though not of the one that the month has reached."""
        price = self.cost / self.units
        prices = (tier.price for tier in self.rule.tiers)
        return next((one for one in prices if abs(price - one) <= SAME_PRICE * one), None)


def _days_of(
    usage: Usage, product: str, contracts: Sequence[Contract], computed: Costs
) -> list[Finding]:
    """Say which days of a product cost otherwise, and by which price."""
    odd = []
    for row in usage.rows:
        rules = _rules(contracts, usage.vendor, row)
        if row.product != product or row.cost is None or not rules:
            continue
        units, due = _units(row, rules[0]), computed.usage[row.day, product]
        if units and abs(row.cost - due) > SHARE * due + CENTS * row.listed:
            odd.append(PricedDay(day=row.day, units=units, cost=row.cost, due=due, rule=rules[0]))
    of_tier = [one for one in odd if one.tier_price is not None]
    others = [one for one in odd if one.tier_price is None]
    return [_finding(usage, product, days) for days in (of_tier, others) if days]


def _units(row: DayOfUsage, rule: Rule) -> Decimal:
    if rule.kind == "perGB":
        return (row.bytes or Decimal(0)) / GIGABYTES[rule.unit]
    return row.requests or Decimal(0)


def _finding(usage: Usage, product: str, days: Sequence[PricedDay]) -> Finding:
    units, cost, due = (
        sum((getattr(one, name) for one in days), Decimal(0)) for name in ("units", "cost", "due")
    )
    tier = days[0].tier_price
    is_tier = tier is not None
    of = f" of {product}" if product else ""
    cause = "the price of another tier" if is_tier else "no price of the contract"
    return Finding(
        kind="wrong_tier" if is_tier else "wrong_price",
        text=(
            f"{span([one.day for one in days])}{of}: billed at {usage.currency} "
            f"{short(tier or cost / units)} a {days[0].rule.unit}, {cause}; by the contract it is "
            f"{short(due / units)}"
        ),
        is_defect=cost > due,
        product=product,
        days=[one.day for one in days],
        amount=cost - due,
    )


def _sum_of(
    usage: Usage, contracts: Sequence[Contract], computed: Costs, asked: Decimal
) -> list[Finding]:
    """Compare the month's sum, where the days are right or have no cost."""
    if _is_close(asked, computed.total):
        return []
    free = [replace(one, commitment=Decimal(0), included=Decimal(0)) for one in contracts]
    plain = contract_costs(usage.vendor, usage.rows, free)
    for traffic in (computed, plain):
        if traffic and _is_close(asked, traffic.total - traffic.fixed):
            text = (
                "the cost is that of the traffic alone, without commitment and addresses: by the "
                f"contract the month costs {usage.currency} {computed.total:.2f}"
            )
            return [Finding(kind="note", text=text)]
    amount = asked - computed.total
    if price := _one_price(usage, contracts, computed, asked):
        text = f"everything is billed at {usage.currency} {short(price)}, the price of another tier"
        return [Finding(kind="wrong_tier", text=text, is_defect=amount > 0, amount=amount)]
    text = (
        f"the sum is {usage.currency} {asked:.2f}, and the contract makes {computed.total:.2f} of "
        "the billed quantities"
    )
    return [Finding(kind="wrong_sum", text=text, is_defect=amount > 0, amount=amount)]


def _is_close(asked: Decimal, due: Decimal) -> bool:
    return abs(asked - due) <= max(SUM_LEAST, SUM_SHARE * due)


def _one_price(
    usage: Usage, contracts: Sequence[Contract], computed: Costs, asked: Decimal
) -> Decimal | None:
    """Return the price of a tier at which all units together cost what is asked."""
    rules = [_rules(contracts, usage.vendor, row) for row in usage.rows]
    firsts = [one[0] for one in rules if one]
    if not firsts or any(one != firsts[0] for one in firsts):
        return None
    units = sum((_units(row, firsts[0]) for row in usage.rows), Decimal(0))
    return next(
        (
            tier.price
            for tier in firsts[0].tiers
            if abs(asked - computed.fixed - units * tier.price) <= SAME_PRICE * asked
        ),
        None,
    )


def span(days: Sequence[date]) -> str:
    """Write days as a reader would: one, a run of them, or a list."""
    first, last = min(days), max(days)
    if len(days) == 1:
        return str(first)
    if last - first == timedelta(days=len(days) - 1):
        return f"{first} to {last}"
    listed = [str(day) for day in sorted(days)]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more days" if len(listed) > 5 else "")


def short(price: Decimal) -> str:
    """Write a price with four significant digits: more are the rounding of cents."""
    return f"{Decimal(f'{price:.4g}').normalize():f}"
