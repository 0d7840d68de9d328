"""The planned requests of a run in their order, which follows from the seed alone."""

from __future__ import annotations

import array
import itertools
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from simulation.crawler.faults import HTTP_ONLY, OPAQUE, SOCKS_FAULTS
from simulation.crawler.plan import Hosts, Plan, Vendor

BLOCK_COUNTS = 10_000  # an endless run has the exact shares in every block of this many
OPAQUE_SENT_BYTES = (64, 2048)
OPAQUE_RECEIVED_BYTES = (64, 8192)
OUTSIDE = -1  # in place of a vendor's index: the first address outside, -2 the second


class PlannedRequest(NamedTuple):
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


def request_kinds(plan: Plan) -> list[tuple[int, str, str, float]]:
    """Return every (vendor, protocol, fault) that can occur, with its share of all counts."""
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
    return [kind for kind in found if kind[3] > 0]


def faults_of(vendor: Vendor, protocol: str) -> dict[str, float]:
    """Return the faults that counts of this protocol can meet, with their shares."""
    visibility = vendor.visibility_of(protocol)
    if visibility == "opaque":
        return {}
    if visibility == "socks":
        return {fault: part for fault, part in vendor.faults.items() if fault in SOCKS_FAULTS}
    either = protocol == "http"
    return {
        fault: part for fault, part in vendor.faults.items() if either or fault not in HTTP_ONLY
    }


def planned_requests(plan: Plan) -> Iterator[PlannedRequest]:
    """Yield the run's requests in order: the same plan gives the same ones.

    The shares are exact over `plan.count`, or over every block of an endless run.
    """
    requests = _requests(plan)
    if plan.hosts is None:
        return requests
    ranks = host_ranks(plan.hosts, random.Random(f"{plan.seed} hosts"))
    return (one._replace(host=rank) for one, rank in zip(requests, ranks, strict=False))


def _requests(plan: Plan) -> Iterator[PlannedRequest]:
    chance, order = random.Random(plan.seed), random.Random(f"{plan.seed} order")
    kinds, sizes = request_kinds(plan), plan.target.sizes_bytes
    quantiles = [quantile for quantile, _ in sizes]
    while True:
        parts = quotas([kind[3] for kind in kinds], plan.count or BLOCK_COUNTS)
        for index in shuffled(parts, order):
            vendor, protocol, fault, _ = kinds[index]
            if protocol in OPAQUE:
                received = chance.randint(*OPAQUE_RECEIVED_BYTES)
                sent = chance.randint(*OPAQUE_SENT_BYTES) if protocol == "socks5" else 0
                yield PlannedRequest(vendor, protocol, fault, received, sent)
            else:
                size = _size(chance.random(), quantiles, sizes)
                yield PlannedRequest(vendor, protocol, fault, size, 0)
        if plan.count:
            return


def shuffled(parts: Sequence[int], chance: random.Random) -> Iterator[int]:
    """Yield each index as often as its part says, in an order by chance.

    They are drawn one by one: to shuffle a million at once would delay all starts by half a second.
    """
    indexes = array.array("L")
    for index, part in enumerate(parts):
        indexes.extend(array.array("L", [index]) * part)
    for left in range(len(indexes), 0, -1):
        at = int(chance.random() * left)
        yield indexes[at]
        indexes[at] = indexes[left - 1]


def host_ranks(hosts: Hosts, chance: random.Random) -> Iterator[int]:
    """Yield ranks from 1, for ever, each in proportion to 1 / rank ** exponent."""
    weights = (rank**-hosts.zipf_exponent for rank in range(1, hosts.count + 1))
    upto = array.array("d", itertools.accumulate(weights))
    while True:
        yield bisect_right(upto, chance.random() * upto[-1]) + 1


def _size(at: float, quantiles: list[float], points: tuple[tuple[float, int], ...]) -> int:
    """Return the size at quantile `at`, in proportion between two points."""
    right = bisect_right(quantiles, at)
    if right == 0 or right == len(points):
        return points[max(0, right - 1)][1]
    (low, small), (high, large) = points[right - 1], points[right]
    return int(small + (large - small) * (at - low) / (high - low))


def retry_of(plan: Plan, planned: PlannedRequest, chance: random.Random) -> PlannedRequest:
    """Draw a fault anew for a retry."""
    faults = faults_of(plan.vendors[planned.vendor], planned.protocol)
    names = ["", *faults]
    [fault] = chance.choices(names, [max(0.0, 1 - sum(faults.values())), *faults.values()])
    return planned._replace(fault=fault)


def host_of(planned: PlannedRequest, suffix: str) -> str:
    """Return the target's name, by which the simulated vendor knows the fault."""
    if planned.fault == "rejected":
        return f"under_score.{suffix}"  # Envoy answers 400, and no vendor sees it
    site = f"site-{planned.host or planned.size_bytes % 100}.{suffix}"
    if not planned.fault:
        return site
    return f"fault-{planned.fault}.{site if planned.host else suffix}"
