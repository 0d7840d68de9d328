"""What a contract counts of the traffic: bytes or requests, with what the vendor leaves free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from math import fsum

from money.contract import Contract, Rule
from money.quantities import Book, Part, Quantities
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


@dataclass(frozen=True, kw_only=True)
class BytesOfVendor:
    """A vendor's bytes in a book, and why those that are billed are fewer than those measured."""

    wire: float
    """Of the vendor's own counters."""
    measured: float
    """Of the parts that a contract by GB covers."""
    free: float
    """Of `measured`, those whose result the contract leaves free."""
    overhead: float
    """Of `measured`, what a contract that counts `target` takes off."""

    @property
    def billable(self) -> float:
        return self.measured - self.free - self.overhead


def bytes_of_vendors(book: Book, contracts: Sequence[Contract]) -> dict[str, BytesOfVendor]:
    """Return for each vendor of the book its wire bytes, and the way from these to the billed."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for wires in book.wire.values():
        for vendor, wire in wires.items():
            row = (wire.bytes_sent + wire.bytes_received, 0.0, 0.0, 0.0)
            found.setdefault(vendor, []).append(row)
    for hour, parts in book.hours.items():
        for part, traffic in parts.items():
            contract = contract_of(contracts, part, hour.date())
            row = (0.0, *(differences(traffic, contract) if contract else (0.0, 0.0, 0.0)))
            found.setdefault(part.vendor, []).append(row)
    return {
        vendor: BytesOfVendor(
            wire=fsum(row[0] for row in rows),
            measured=fsum(row[1] for row in rows),
            free=fsum(row[2] for row in rows),
            overhead=fsum(row[3] for row in rows),
        )
        for vendor, rows in found.items()
    }


def differences(traffic: Quantities, contract: Contract) -> tuple[float, float, float]:
    """Return a part's bytes: measured, free, and overhead."""
    rule = next((one for one in contract.rules if one.kind == "perGB"), None)
    if rule is None:
        return 0.0, 0.0, 0.0
    by_result = {
        result: traffic.bytes_sent.get(result, 0) + traffic.bytes_received.get(result, 0)
        for result in {*traffic.bytes_sent, *traffic.bytes_received}
    }
    measured = fsum(by_result.values())
    free = fsum(size for result, size in by_result.items() if result in rule.free_results)
    return measured, free, measured - free - billable(traffic, rule).total
