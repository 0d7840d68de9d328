"""Quantiles from bounded memory, in tables and metrics."""

from __future__ import annotations

import math
import random
import re

import pytest

from simulation.crawler.durations import Durations, histogram
from simulation.crawler.table import bytes_text, seconds_text


def recorded(sample: list[float]) -> Durations:
    found = Durations()
    for seconds in sample:
        found.add(seconds)
    return found


def test_quantiles_are_right_to_three_percent() -> None:
    """Quantiles are right for microseconds as for hours, log-normal with a long tail."""
    chance = random.Random(2)
    for scale in (-9, -3, 0, 4):
        sample = sorted(math.exp(chance.gauss(scale, 1)) for _ in range(20_000))
        found = recorded(sample)
        for share in (0.01, 0.5, 0.95, 0.99):
            assert found.quantile(share) == pytest.approx(sample[int(share * 20_000)], rel=0.03)
        assert found.most_seconds == found.quantile(1) == sample[-1]
        assert found.total_seconds == pytest.approx(sum(sample))


def test_memory_does_not_grow() -> None:
    """Neither many durations nor absurd ones take more memory."""
    found = recorded([0.0, 1e-12, 1e-3, 1e9])
    size = len(found.buckets)
    for _ in range(1000):
        found.add(0.5)
    assert len(found.buckets) == size
    assert (found.count, sum(found.buckets)) == (1004, 1004)


def test_nothing_recorded_is_zero() -> None:
    assert Durations().as_json() == {
        "count": 0,
        "p50_seconds": 0.0,
        "p95_seconds": 0.0,
        "p99_seconds": 0.0,
        "most_seconds": 0.0,
    }


def test_histogram_is_cumulative_and_exact_at_its_bounds() -> None:
    """Prometheus' rules: rising bounds and counts, +Inf equal to the count."""
    sample = [2.0**power * 1.01 for power in range(-16, 9)]
    samples = dict(histogram('protocol="http"', recorded(sample)))
    buckets = [
        (float(found[1]), count)
        for key, count in samples.items()
        if (found := re.fullmatch(r'_bucket\{protocol="http",le="(.*)"\}', key))
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == (math.inf, 25)
    for bound, count in buckets:
        assert count == sum(seconds <= bound for seconds in sample)
    assert samples['_count{protocol="http"}'] == 25
    assert samples['_sum{protocol="http"}'] == pytest.approx(sum(sample))
    assert histogram("", Durations())[-1] == ("_count", 0)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0 ms"), (0.00123456, "1.23 ms"), (0.9994, "999 ms"), (0.9996, "1 s"), (95.04, "95 s")],
)
def test_seconds_are_shown_with_three_digits(seconds: float, shown: str) -> None:
    assert seconds_text(seconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB")]
)
def test_bytes_are_decimal(size: int, shown: str) -> None:
    """A GB is 10^9 bytes, as vendors bill them."""
    assert bytes_text(size) == shown
