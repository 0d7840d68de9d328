"""Limits that follow from the size of a stack: what is expected of a sidecar, times the pods."""

from __future__ import annotations

import math
from typing import Any

from components.attribution.stats import expected_series_per_sidecar
from settings.loading import SettingsError
from settings.model import StackSettings

LEAST_SAMPLES_PER_SECOND = 10_000  # the architecture document's HighMetricIngestionRate
HEADROOM = 1.5  # a bad hour has more outcomes than the estimate counts


def series_per_sidecar(settings: StackSettings) -> int:
    """Return the series expected of one sidecar.

    Raises:
        SettingsError: more than `telemetry.seriesBudget`. Refused here, since afterwards it
            would show as a Prometheus out of memory.
    """
    expected = expected_series_per_sidecar(
        settings.vendors, settings.telemetry.buckets, len(settings.targets)
    )
    budget = settings.telemetry.series_budget
    if expected > budget:
        raise SettingsError(
            [
                f"telemetry.seriesBudget: {budget} is less than the {expected} series expected of "
                "a sidecar; raise it, or have fewer vendors, pools, targets or telemetry.buckets"
            ]
        )
    return expected


def samples_per_second_threshold(
    *, expected_pods: int, series_per_sidecar: int, scrape_interval_seconds: int
) -> int:
    """Return the samples appended per second, by one replica, above which something is wrong."""
    expected = expected_pods * series_per_sidecar / scrape_interval_seconds
    return max(LEAST_SAMPLES_PER_SECOND, math.ceil(HEADROOM * expected))


def threshold_rules(samples_per_second: int) -> dict[str, Any]:
    """Return the rule file that alerts compare with, as plain values."""
    return {
        "groups": [
            {
                "name": "thresholds",
                "rules": [
                    {
                        "record": "cluster:prometheus_samples_appended:threshold",
                        "expr": f"vector({samples_per_second})",
                    }
                ],
            }
        ]
    }
