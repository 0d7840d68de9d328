"""What is left to chance follows the plan: one statistical test a mechanism.

Every test is at level 0.001: a right program would fail one seed in a thousand. Seeds are fixed,
so a test that passes passes always.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from simulation.crawler.arrival import start_times
from simulation.crawler.plan import PAGE_SIZES, Plan
from simulation.crawler.reading import read_plan
from simulation.crawler.sequence import PlannedRequest, planned_requests, request_kinds, retry_of
from tests.simulation.vendor_process import is_likely

LEVEL = 0.001
VENDORS = [
    {"name": "vendor-a", "address": "127.0.0.1", "port": 1, "weight": 3},
    {"name": "vendor-b", "address": "127.0.0.1", "port": 2, "faults": {"reset": 0.2}},
]


def plan(**changes: Any) -> Plan:
    return read_plan({"vendors": VENDORS, "seed": 11, **changes}, {})


def open_plan(**changes: Any) -> Plan:
    return plan(requests_per_second=50, arrival="poisson", **changes)


def is_distributed(sample: Sequence[float], upto: Callable[[float], float]) -> bool:
    """Kolmogorov and Smirnov's test against the distribution function `upto`."""
    ordered, n = sorted(sample), len(sample)
    distance = max(
        max((rank + 1) / n - upto(value), upto(value) - rank / n)
        for rank, value in enumerate(ordered)
    )
    return distance < math.sqrt(-math.log(LEVEL / 2) / 2 / n)


def take(count: int, times: Any) -> list[float]:
    return list(itertools.islice(times, count))


def test_poisson_gaps_are_exponential() -> None:
    """Kolmogorov-Smirnov over 4,000 gaps."""
    times = take(4000, start_times(open_plan()))
    gaps = [b - a for a, b in itertools.pairwise([0.0, *times])]
    assert is_distributed(gaps, lambda gap: 1 - math.exp(-50 * gap))


@pytest.mark.parametrize(
    ("shape", "period", "expected"),
    [
        ([[0, 1]], None, [0, 1, 2, 3]),
        ([[5, 2]], None, [0, 0.5, 1, 1.5]),
        ([[0, 0], [2, 1]], None, [0, math.sqrt(4), 3, 4]),  # the area of the ramp is 1
        ([[0, 1], [2, 1], [3, 0]], None, [0, 1, 2]),
        ([[0, 0], [1, 0], [1.5, 4], [2, 0]], 10, [1, 1.5, 11, 11.5]),
    ],
)
def test_shape_is_exact_where_nothing_is_left_to_chance(
    shape: list[list[float]], period: float | None, expected: list[float]
) -> None:
    """A factor of 0 is a pause, or the end if nothing follows."""
    shaped = plan(requests_per_second=1, shape=shape, shape_period_seconds=period)
    assert take(4, start_times(shaped)) == pytest.approx(expected)


def test_duration_ends_the_arrivals() -> None:
    assert take(9, start_times(plan(requests_per_second=2, duration_seconds=1.5))) == [0, 0.5, 1.0]


def test_sizes_follow_the_quantiles() -> None:
    """Kolmogorov-Smirnov between p10 and p90, where the distribution is continuous."""
    points = PAGE_SIZES
    sized = plan(count=6000, mix={"http": 1}, target={"sizes_bytes": [list(p) for p in points]})
    sizes = [planned.size_bytes for planned in planned_requests(sized)]
    inner = [size for size in sizes if 6000 < size < 147_000]
    marks = [size for _, size in points]

    def upto(size: float) -> float:
        right = min(bisect_right(marks, size), len(points) - 1)
        (low, small), (high, large) = points[right - 1], points[right]
        return (low + (high - low) * (size - small) / (large - small) - 0.1) / 0.8

    assert is_distributed(inner, upto)
    ends = [sizes.count(6000), len(inner), sizes.count(147_000)]
    assert is_likely(ends, [600, 4800, 600])


@pytest.mark.parametrize("exponent", [0, 0.8, 1.3])
def test_hosts_follow_zipf(exponent: float) -> None:
    """Chi-square over the twenty busiest hosts and the rest."""
    hosted = plan(count=10_000, hosts={"count": 500, "zipf_exponent": exponent})
    ranks = Counter(planned.host for planned in planned_requests(hosted))
    weights = [rank**-exponent for rank in range(1, 501)]
    expected = [10_000 * weight / sum(weights) for weight in weights]
    head = [ranks[rank] for rank in range(1, 21)]
    assert is_likely([*head, 10_000 - sum(head)], [*expected[:20], sum(expected[20:])])
    assert min(ranks) >= 1
    assert max(ranks) <= 500


def test_any_stretch_of_a_run_has_the_mix() -> None:
    """Chi-square over vendor, protocol and fault of the first 2,000 counts of a block of 10,000.

    Quotas are exact over the block; the order must not favour anybody.
    """
    mixed = plan(count=None)
    seen = Counter(planned[:3] for planned in itertools.islice(planned_requests(mixed), 2000))
    table = [(cell[:3], 2000 * cell[3]) for cell in request_kinds(mixed)]
    assert is_likely([seen[key] for key, _ in table], [expected for _, expected in table])


def test_retries_meet_faults_by_chance() -> None:
    """Chi-square over 2,000 retries: their vendor's faults are drawn anew."""
    planned, chance = PlannedRequest(1, "http", "reset", 100, 0, 7), random.Random(3)
    found = Counter(retry_of(plan(), planned, chance) for _ in range(2000))
    assert is_likely([found[planned._replace(fault="")], found[planned]], [1600, 400])


def test_retries_disturb_no_later_request() -> None:
    """What a plan intends follows from its seed, whatever keys decide about the rest of the run."""
    usual = list(planned_requests(plan(count=500, hosts={"count": 9})))
    other = plan(
        count=500,
        hosts={"count": 9},
        retries={"maximum": 5},
        per_host_concurrency=2,
        session="sticky",
    )
    assert list(planned_requests(other)) == usual
    bare = [planned._replace(host=0) for planned in usual]
    assert list(planned_requests(plan(count=500))) == bare
