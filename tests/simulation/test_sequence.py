"""The sequence of intended counts: exact, and the same for the same seed."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from simulation.crawler.plan import Plan
from simulation.crawler.reading import read_plan
from simulation.crawler.sequence import OUTSIDE, planned_requests, quotas, request_kinds

VENDORS = [
    {"name": "vendor-a", "address": "127.0.0.1", "port": 1, "weight": 2, "faults": {"reset": 0.1}},
    {"name": "vendor-b", "address": "127.0.0.1", "port": 2},
]


def plan(**changes: Any) -> Plan:
    return read_plan({"vendors": VENDORS, "count": 1000, **changes}, {})


def test_same_seed_same_requests() -> None:
    """A run can be repeated: order, faults and sizes follow from the plan alone."""
    assert list(planned_requests(plan(seed=5))) == list(planned_requests(plan(seed=5)))
    assert list(planned_requests(plan(seed=5))) != list(planned_requests(plan(seed=6)))


def kinds_of(raw: Plan) -> Counter[tuple[int, str, str]]:
    return Counter(
        (planned.vendor, planned.protocol, planned.fault) for planned in planned_requests(raw)
    )


def test_quotas_are_exact_for_the_count() -> None:
    """1000 counts have exactly the plan's shares, not only on average."""
    place = {"address": "127.0.0.1", "port": 3}
    outside = [{**place, "share": 0.07}, {**place, "share": 0.03}]
    mix = {"http": 0.5, "tunnel": 0.3, "tls": 0.1, "socks5": 0.1}
    assert kinds_of(plan(mix=mix, outside=outside)) == {
        (OUTSIDE, "socks5", ""): 70,
        (OUTSIDE - 1, "socks5", ""): 30,
        (0, "http", ""): 270,
        (0, "http", "reset"): 30,
        (0, "tunnel", ""): 162,
        (0, "tunnel", "reset"): 18,
        (0, "tls", ""): 60,
        (0, "socks5", ""): 60,
        (1, "http", ""): 150,
        (1, "tunnel", ""): 90,
        (1, "tls", ""): 30,
        (1, "socks5", ""): 30,
    }


def test_vendor_may_have_a_mix_of_its_own() -> None:
    """A vendor's mix replaces the plan's."""
    first, second = VENDORS
    vendors = [{**first, "weight": 1}, {**second, "mix": {"tls": 0.25, "socks5": 0.75}}]
    assert kinds_of(plan(vendors=vendors, mix={"http": 1})) == {
        (0, "http", ""): 450,
        (0, "http", "reset"): 50,
        (1, "tls", ""): 125,
        (1, "socks5", ""): 375,
    }


def test_socks5_has_faults_where_it_is_read() -> None:
    """And only those that a SOCKS5 vendor can have."""
    faults = {"reset": 0.2, "policy": 0.1, "rate-limited": 0.1}
    vendors = [{**VENDORS[1], "faults": faults, "visible": "passive"}]
    assert kinds_of(plan(vendors=vendors, mix={"tls": 0.5, "socks5": 0.5})) == {
        (0, "tls", ""): 500,
        (0, "socks5", ""): 350,
        (0, "socks5", "reset"): 100,
        (0, "socks5", "policy"): 50,
    }


def test_rejected_belongs_to_plain_requests_alone() -> None:
    """Tunnels that would be rejected have no fault instead."""
    vendors = [{**VENDORS[1], "faults": {"rejected": 0.1, "reset": 0.2}}]
    assert kinds_of(plan(vendors=vendors, mix={"http": 0.5, "tunnel": 0.5})) == {
        (0, "http", ""): 350,
        (0, "http", "reset"): 100,
        (0, "http", "rejected"): 50,
        (0, "tunnel", ""): 400,
        (0, "tunnel", "reset"): 100,
    }


@pytest.mark.parametrize("count", [1, 2, 7, 99, 100, 12_345])
def test_quotas_sum_to_the_count_and_stray_less_than_one(count: int) -> None:
    """No kind of request is a whole count away from its share."""
    shares = [share for *_, share in request_kinds(plan())]
    parts = quotas(shares, count)
    assert sum(parts) == count
    assert all(abs(n - share * count) < 1 for n, share in zip(parts, shares, strict=True))


def test_endless_run_has_exact_blocks_again_and_again() -> None:
    """Every 10,000 counts of an endless run hold the shares; their order differs."""
    requests = planned_requests(plan(count=None))
    first = [planned[:3] for planned in itertools.islice(requests, 10_000)]
    second = [planned[:3] for planned in itertools.islice(requests, 10_000)]
    assert Counter(first) == Counter(second)
    assert first != second
