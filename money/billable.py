"""What a contract counts of the traffic: bytes or requests, with what the vendor leaves free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from math import fsum

from money.contract import Contract, Rule
from money.quantities import Part, Quantities
from money.results import DELIVERED, LOST, RESULT_OF

NEVER_SENT = frozenset({"connect_failed", "rejected"})
"""Outcomes of requests that reached no vendor, and are on no bill."""


@dataclass(frozen=True, kw_only=True)
class Billable:
    """Bytes of a `perGB` rule, else requests."""

    total: float = 0
    lost: float = 0
    """Of `total`, what was refused or failed."""


def billable(traffic: Quantities, rule: Rule) -> Billable:
    """Return what a rule counts of one part in one hour.

    A rule by address counts nothing of the traffic.
    """
    if rule.kind == "perAddressMonth":
        return Billable()
    if rule.kind == "perGB":
        amounts = {
            result: billable_bytes(traffic, rule, result)
            for result in {*traffic.bytes_sent, *traffic.bytes_received}
            if result not in rule.free_results
        }
    else:
        amounts = billable_requests(traffic, rule)
    return Billable(
        total=fsum(amounts.values()),
        lost=fsum(amount for result, amount in amounts.items() if result in LOST),
    )


def billable_bytes(traffic: Quantities, rule: Rule, result: str) -> float:
    """Return the bytes of one result, both ways; the rule's overhead is taken off, to 0 at most."""
    wire = traffic.bytes_sent.get(result, 0) + traffic.bytes_received.get(result, 0)
    if rule.counts == "wire":
        return wire
    requests, tunnels = (
        fsum(
            n
            for outcome, n in counted.items()
            if RESULT_OF.get(outcome, DELIVERED) == result and outcome not in NEVER_SENT
        )
        for counted in (traffic.requests, traffic.tunnels)
    )
    overhead = (
        tunnels * rule.overhead_bytes_per_tunnel
        + (requests - tunnels) * rule.overhead_bytes_per_request
    )
    return max(0.0, wire - overhead)


def billable_requests(traffic: Quantities, rule: Rule) -> dict[str, float]:
    """Return by result how many requests a rule bills."""
    amounts: dict[str, float] = {}
    for outcome, number in traffic.requests.items():
        result = RESULT_OF.get(outcome, DELIVERED)
        is_billed = (
            outcome in rule.successes
            if rule.kind == "perSuccess"
            else result not in rule.free_results and outcome not in NEVER_SENT
        )
        if is_billed:
            amounts[result] = amounts.get(result, 0) + number
    return amounts


def summed(several: Iterable[Billable]) -> Billable:
    """Add up, correctly rounded whatever the order is."""
    listed = list(several)
    return Billable(total=fsum(one.total for one in listed), lost=fsum(one.lost for one in listed))


def contract_of(contracts: Sequence[Contract], part: Part, day: date) -> Contract | None:
    """Return the contract that bills a part's traffic on a day.

    It is the product's own; the vendor's serves where the product has none in force.
    """
    for product in dict.fromkeys((part.product, "")):
        in_force = [
            one
            for one in contracts
            if (one.vendor, one.product) == (part.vendor, product)
            and (one.valid_from is None or one.valid_from <= day)
        ]
        if in_force:
            return max(in_force, key=lambda one: one.valid_from or date.min)
    return None
