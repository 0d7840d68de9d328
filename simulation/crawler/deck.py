"""The counts of a run in their order, by the seed alone."""

from __future__ import annotations

import array
import itertools
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from simulation.crawler.faults import HTTP_ONLY, OPAQUE
from simulation.crawler.plan import Hosts, Plan, Vendor

DECK_COUNTS = 10_000  # an endless run deals this many at a time
OPAQUE_SENT_BYTES = (64, 2048)
OPAQUE_RECEIVED_BYTES = (64, 8192)
OUTSIDE = -1  # in place of a vendor's index: the first address outside, -2 the second


class Card(NamedTuple):
    """One intended count. Sizes are payload bytes: a page's, or a SOCKS5 answer's."""

    vendor: int
    protocol: str  # of MIX
    fault: str
    size_bytes: int
    sent_bytes: int  # SOCKS5 only
    host: int = 0  # its rank from 1; 0 where the plan has no hosts


def quotas(shares: Sequence[float], count: int) -> list[int]:
    """Split `count` by largest remainder; `shares` need not sum to 1. Ties go to the first."""
    total = sum(shares)
    exact = [share / total * count for share in shares]
    parts = [int(part) for part in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: parts[index] - exact[index])
    for index in by_remainder[: count - sum(parts)]:
        parts[index] += 1
    return parts


def cells(plan: Plan) -> list[tuple[int, str, str, float]]:
    """Every (vendor, protocol, fault) that can occur, with its share. Opaque has no faults."""
    found = [(~index, "socks5", "", place.share) for index, place in enumerate(plan.outside)]
    inside = 1 - sum(place.share for place in plan.outside)
    weights = sum(vendor.weight for vendor in plan.vendors)
    for index, vendor in enumerate(plan.vendors):
        for protocol, share in vendor.mix.items():
            whole_share = inside * vendor.weight / weights * share
            faults = faults_of(vendor, protocol)
            found.append((index, protocol, "", whole_share * (1 - sum(faults.values()))))
            found += [
                (index, protocol, fault, whole_share * part) for fault, part in faults.items()
            ]
    return [cell for cell in found if cell[3] > 0]


def faults_of(vendor: Vendor, protocol: str) -> dict[str, float]:
    """The faults that counts of this protocol can meet, with their shares."""
    if protocol in OPAQUE:
        return {}
    either = protocol == "http"
    return {
        fault: part for fault, part in vendor.faults.items() if either or fault not in HTTP_ONLY
    }


def deal(plan: Plan) -> Iterator[Card]:
    """The run's counts in order: the same plan gives the same cards.

    Quotas are exact over `plan.count`, or over every 10,000 of an endless run.
    """
    cards = _deal(plan)
    if plan.hosts is None:
        return cards
    return map(_placed, cards, host_ranks(plan.hosts, random.Random(f"{plan.seed} hosts")))


def _placed(card: Card, host: int) -> Card:
    return card._replace(host=host)


def _deal(plan: Plan) -> Iterator[Card]:
    chance, order = random.Random(plan.seed), random.Random(f"{plan.seed} order")
    table = cells(plan)
    quantiles = [quantile for quantile, _ in plan.sizes_bytes]
    while True:
        parts = quotas([cell[3] for cell in table], plan.count or DECK_COUNTS)
        for index in shuffled(parts, order):
            vendor, protocol, fault, _ = table[index]
            if protocol in OPAQUE:
                received = chance.randint(*OPAQUE_RECEIVED_BYTES)
                sent = chance.randint(*OPAQUE_SENT_BYTES) if protocol == "socks5" else 0
                yield Card(vendor, protocol, fault, received, sent)
            else:
                size = _size(chance.random(), quantiles, plan.sizes_bytes)
                yield Card(vendor, protocol, fault, size, 0)
        if plan.count:
            return


def shuffled(parts: Sequence[int], chance: random.Random) -> Iterator[int]:
    """Each index as often as its part says, in an order by chance.

    Drawn one by one: to shuffle a million at once would hold up all starts for half a second.
    """
    deck = array.array("L")
    for index, part in enumerate(parts):
        deck.extend(array.array("L", [index]) * part)
    for left in range(len(deck), 0, -1):
        at = int(chance.random() * left)
        yield deck[at]
        deck[at] = deck[left - 1]


def host_ranks(hosts: Hosts, chance: random.Random) -> Iterator[int]:
    """Ranks from 1, for ever, each in proportion to 1 / rank ** exponent."""
    weights = (rank**-hosts.zipf_exponent for rank in range(1, hosts.count + 1))
    upto = array.array("d", itertools.accumulate(weights))
    while True:
        yield bisect_right(upto, chance.random() * upto[-1]) + 1


def _size(at: float, quantiles: list[float], points: tuple[tuple[float, int], ...]) -> int:
    """The size at quantile `at`: between two points in proportion, beyond the ends the end's."""
    right = bisect_right(quantiles, at)
    if right == 0 or right == len(points):
        return points[max(0, right - 1)][1]
    (low, small), (high, large) = points[right - 1], points[right]
    return int(small + (large - small) * (at - low) / (high - low))


def again(plan: Plan, card: Card, chance: random.Random) -> Card:
    """The card of a retry: another chance to meet a fault, with another vendor if there is one."""
    vendor = card.vendor
    if plan.retries and plan.retries.switch_vendor:
        others = {
            index: each.weight
            for index, each in enumerate(plan.vendors)
            if each.name != plan.vendors[vendor].name and each.mix.get(card.protocol)
        }
        if sum(others.values()):
            [vendor] = chance.choices(list(others), list(others.values()))
    faults = faults_of(plan.vendors[vendor], card.protocol)
    names = ["", *faults]
    [fault] = chance.choices(names, [max(0.0, 1 - sum(faults.values())), *faults.values()])
    return card._replace(vendor=vendor, fault=fault)


def host_of(card: Card, suffix: str) -> str:
    """The target's name, by which the simulated vendor knows the fault."""
    if card.fault == "rejected":
        return f"under_score.{suffix}"  # Envoy answers 400, and asks nobody
    site = f"site-{card.host or card.size_bytes % 100}.{suffix}"
    if not card.fault:
        return site
    return f"fault-{card.fault}.{site if card.host else suffix}"
