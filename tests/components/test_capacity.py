"""A Prometheus that is too small for its stack is refused, with the numbers to write."""

from __future__ import annotations

import pytest

from components.prometheus.capacity import (
    CPU_MARGIN,
    SAMPLE_CPU_SECONDS,
    disk_needed,
    memory_needed,
)
from deployment import stack_plan
from settings.loading import SettingsError, parse_settings

SMALL = {"requests": {"cpu": "100m", "memory": "100M"}, "limits": {"cpu": "200m", "memory": "1G"}}


def findings(pods: int, **prometheus) -> list[str]:
    """Return what is said about a stack of two vendors with this many crawlers."""
    settings = parse_settings(
        {
            "cluster": "prod",
            "vendors": [
                {"name": f"vendor-{letter}", "cidrs": [f"10.{number}.0.0/16"]}
                for number, letter in enumerate("ab", 1)
            ],
            "crawlers": {"expectedPods": pods},
            "prometheus": prometheus,
        }
    )
    try:
        stack_plan(settings)
    except SettingsError as error:
        return list(error.findings)
    return []


def test_the_defaults_hold_a_thousand_crawlers():
    assert findings(1000) == []


def test_each_number_that_is_too_small_is_named_with_the_one_to_write():
    assert findings(5000, retentionSize="20G", storage="25G", resources=SMALL) == [
        "prometheus.resources.limits.memory: 1G cannot hold 540,000 series and as many of ended "
        'pods (about 5.5 GB); write "6G", or raise prometheus.shards, or correct '
        "crawlers.expectedPods",
        "prometheus.resources.limits.cpu: 200m cannot take in 36,000 samples/s (about 1.4 cores); "
        'write "2", or raise prometheus.shards or scrapeInterval, or correct '
        "crawlers.expectedPods",
        "prometheus.retentionSize: 20G cannot hold 7d of 36,000 samples/s (about 72.4 GB); write "
        '"73G" and storage "92G", or retention "1d"',
    ]


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_is_advised_is_accepted(replicas):
    """Who writes the numbers is not asked for others; a second replica holds everything, too."""
    limits = {"requests": SMALL["requests"], "limits": {"cpu": "2", "memory": "6G"}}
    fixed = {"resources": limits, "replicas": replicas}
    assert findings(5000, **fixed, retentionSize="73G", storage="92G") == []
    assert findings(5000, **fixed, retentionSize="20G", storage="25G", retention="1d") == []


def test_the_storage_is_above_the_size_to_write():
    """Both are rounded up to whole GB, and a size that is not below the storage is refused."""
    small = {"retention": "1h", "retentionSize": "100M", "storage": "1G"}
    (line,) = findings(1000, **small)
    assert line.endswith('write "1G" and storage "2G"')
    assert findings(1000, **{**small, "retentionSize": "1G", "storage": "2G"}) == []


def test_shards_share_the_series():
    assert findings(20_000, shards=16) == []
    assert len(findings(20_000, shards=2)) == 2


def test_the_operators_prometheus_is_its_owners():
    operated = {"mode": "operator", "url": "http://p.example:9090", "operatorLabels": {}}
    assert findings(10**6, **operated) == []


@pytest.mark.parametrize(
    ("sidecars", "series", "samples_per_second", "megabytes", "cores"),
    [(200, 40_368, 2_691, 254.8, 0.050), (2_000, 403_804, 26_920, 1_922.6, 0.449)],
)
def test_the_model_is_near_what_was_measured(
    sidecars, series, samples_per_second, megabytes, cores
):
    """`make bench ONLY=prometheus-scale` prints the ratios for every size; these are of one run."""
    assert 1.0 <= memory_needed(series) / 10**6 / megabytes <= 1.3, sidecars
    assert 1.0 <= SAMPLE_CPU_SECONDS * samples_per_second / cores <= 1.3
    assert CPU_MARGIN > 1
    # 7 days of a thousand samples a second, at the 1 to 2 bytes of Prometheus' documentation.
    assert disk_needed(1_000, 7 * 86400) / (2 * 1_000 * 7 * 86400) < 2
