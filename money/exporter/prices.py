"""The price of the next unit, by whose traffic it is: what live rates are multiplied by."""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from math import fsum

from money.billable import NEVER_SENT, billable, contract_of
from money.contract import GIGABYTES, Contract, Rule
from money.exact import price_at, price_of
from money.exporter.page import Family, Sample
from money.quantities import Book, Part, Quantities
from money.results import RESULT_OF, RESULTS

SECONDS_PER_DAY = 86400


@dataclass(frozen=True, kw_only=True)
class Priced:
    """A product of a vendor's, the contract that bills it today, and its month so far."""

    product: str
    contract: Contract
    units: Sequence[Fraction]
    """By rule, of all that the contract bills: tiers run over that."""
    own: Sequence[Quantities]
    """Of the product alone."""


def price_families(
    month: Book, contracts: Sequence[Contract], now: datetime, seen: Iterable[Part] = ()
) -> list[Family]:
    """Return the prices at `now`.

    Args:
        month: this month's traffic until now, over which tiers run.
        seen: whose traffic there was before; a product keeps its price as a month begins.
    """
    priced = list(_priced(month, contracts, now.date(), seen))
    return [
        Family(
            "proxy_unit_price",
            "What the next unit costs: byte by result, request and success by outcome. Free: none.",
            [sample for each in priced for sample in _unit_prices(each)],
        ),
        Family(
            "proxy_fixed_cost_per_second",
            "Commitment and rent of addresses, spread over this month.",
            list(_fixed_costs(contracts, now.date())),
        ),
    ]


def _priced(
    month: Book, contracts: Sequence[Contract], today: date, seen: Iterable[Part]
) -> Iterator[Priced]:
    """Yield each product with a contract: of the stack, or seen in traffic."""
    of_contract: defaultdict[int, list[Quantities]] = defaultdict(list)
    of_product: defaultdict[tuple[int, str], list[Quantities]] = defaultdict(list)
    products = {(contract.vendor, contract.product) for contract in contracts}
    products |= {(part.vendor, part.product) for part in seen}
    for hour, parts in month.hours.items():
        for part, quantities in parts.items():
            contract = contract_of(contracts, part, hour.date())
            of_contract[id(contract)].append(quantities)
            of_product[id(contract), part.product].append(quantities)
            products.add((part.vendor, part.product))
    # Once for each contract: for each of its products, it takes half a minute with fifty of them.
    units = {
        id(one): [_units(rule, of_contract[id(one)]) for rule in one.rules] for one in contracts
    }
    for vendor, product in sorted(products):
        if contract := contract_of(contracts, Part(vendor, product, "", ""), today):
            yield Priced(
                product=product,
                contract=contract,
                units=units[id(contract)],
                own=of_product[id(contract), product],
            )


def _unit_prices(priced: Priced) -> Iterator[Sample]:
    contract = priced.contract
    labels = _labels(contract, priced.product)
    paid = _is_paid_already(priced)
    if all(rule.kind == "perAddressMonth" for rule in contract.rules):
        # Not without a price (PriceMissing): more traffic costs nothing more.
        for result in RESULTS:
            yield Sample({**labels, "unit": "byte", "proxy_result": result}, 0.0)
    for index, (rule, units) in enumerate(zip(contract.rules, priced.units, strict=True)):
        if rule.kind == "perAddressMonth":
            continue
        within = paid or (index == 0 and units < Fraction(contract.included))
        price = Decimal() if within else price_at(rule.tiers, units)
        if rule.kind == "perGB":
            a_byte = float(price) / GIGABYTES[rule.unit] * _billed_share(rule, priced)
            for result in RESULTS:
                if result not in rule.free_results:
                    own = {"unit": "byte", "proxy_result": result}
                    yield Sample({**labels, **own}, a_byte)
            continue
        unit = "success" if rule.kind == "perSuccess" else "request"
        for outcome in _billed_outcomes(rule):
            own = {"unit": unit, "proxy_outcome": outcome, "proxy_result": RESULT_OF[outcome]}
            yield Sample({**labels, **own}, price)


def _billed_outcomes(rule: Rule) -> list[str]:
    if rule.kind == "perSuccess":
        return sorted(rule.successes)
    return [
        outcome
        for outcome, result in RESULT_OF.items()
        if result not in rule.free_results and outcome not in NEVER_SENT
    ]


def _units(rule: Rule, traffic: Iterable[Quantities]) -> Fraction:
    counted = fsum(billable(quantities, rule).total for quantities in traffic)
    return Fraction(counted) / GIGABYTES.get(rule.unit, 1)


def _is_paid_already(priced: Priced) -> bool:
    """Whether the month's use is still below a commitment that is a least sum."""
    contract = priced.contract
    if not contract.commitment or contract.included:
        return False
    cost = sum(
        price_of(rule.tiers, units)
        for rule, units in zip(contract.rules, priced.units, strict=True)
        if rule.kind != "perAddressMonth"
    )
    return cost < Fraction(contract.commitment)


def _billed_share(rule: Rule, priced: Priced) -> float:
    """Return how much of the wire bytes the vendor bills: less where overhead is taken off."""
    wire, billed = 0.0, 0.0
    for quantities in priced.own:
        free = fsum(
            quantities.bytes_sent.get(result, 0) + quantities.bytes_received.get(result, 0)
            for result in rule.free_results
        )
        wire += quantities.wire_bytes - free
        billed += billable(quantities, rule).total
    return billed / wire if wire > 0 else 1.0


def _fixed_costs(contracts: Sequence[Contract], today: date) -> Iterator[Sample]:
    seconds = SECONDS_PER_DAY * monthrange(today.year, today.month)[1]
    for contract in contracts:
        part = Part(contract.vendor, contract.product, "", "")
        addresses = sum(
            price_of(rule.tiers, Fraction(rule.addresses))
            for rule in contract.rules
            if rule.kind == "perAddressMonth"
        )
        fixed = float(contract.commitment) + float(addresses)
        if fixed and contract_of(contracts, part, today) is contract:
            yield Sample(_labels(contract, contract.product), fixed / seconds)


def _labels(contract: Contract, product: str) -> dict[str, str]:
    return {
        "proxy_vendor": contract.vendor,
        "proxy_pool": product,
        "currency": contract.currency,
    }
