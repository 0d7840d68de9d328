"""Durations in bounded memory, as histograms."""

from __future__ import annotations

import math
import re

import pytest

from simulation.crawler.durations import Durations, histogram


def test_histogram_is_cumulative_and_exact_at_its_bounds() -> None:
    """Prometheus' rules: rising bounds and counts, +Inf equal to the count."""
    sample = [0.0, 1e-12, 1e9, *(2.0**power for power in range(-16, 9))]
    found = Durations()
    assert found.as_json() == {"count": 0, "mean_seconds": 0.0, "most_seconds": 0.0}
    for seconds in sample:
        found.add(seconds)
    mean = pytest.approx(sum(sample) / 28)
    assert found.as_json() == {"count": 28, "mean_seconds": mean, "most_seconds": 1e9}
    samples = dict(histogram('protocol="http"', found))
    buckets = [
        (float(bound[1]), count)
        for key, count in samples.items()
        if (bound := re.fullmatch(r'_bucket\{protocol="http",le="(.*)"\}', key))
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == (math.inf, 28)
    for bound, count in buckets:
        assert count == sum(seconds <= bound for seconds in sample)
    assert samples['_count{protocol="http"}'] == 28
    assert samples['_sum{protocol="http"}'] == pytest.approx(sum(sample))
    assert histogram("", Durations())[-1] == ("_count", 0)
