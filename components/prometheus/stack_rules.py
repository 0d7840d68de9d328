"""Rule files that follow from a stack's settings; those in rules/ are the same for every one."""

from __future__ import annotations

from typing import Any

from components.prometheus.native_histograms import native_histogram_rules
from components.prometheus.thresholds import threshold_rules
from settings.stack import StackSettings


def stack_rules(settings: StackSettings) -> dict[str, dict[str, Any]]:
    """Return rule files by name, as plain values."""
    files = {"thresholds.yml": threshold_rules(settings)}
    if settings.telemetry.native_histograms:
        files["native_histograms.yml"] = native_histogram_rules(settings.telemetry.buckets)
    return files
