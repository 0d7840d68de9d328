"""Limits that follow from the size of a stack: what is expected of a sidecar, times the pods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from components.prometheus.estimate import estimate
from components.prometheus.native_histograms import SIDECARS_PER_HISTOGRAM
from settings.stack import StackSettings
from settings.vendors import Vendor

LEAST_SAMPLES_PER_SECOND = 10_000  # the architecture document's HighMetricIngestionRate
HEADROOM = 1.5  # a bad hour has more outcomes than the estimate counts


def samples_per_second_threshold(expected: float) -> int:
    """Return the samples a second, taken in by one replica, above which something is wrong."""
    return max(LEAST_SAMPLES_PER_SECOND, math.ceil(HEADROOM * expected))


def threshold_rules(settings: StackSettings) -> dict[str, Any]:
    """Return the rule file that alerts compare with, as plain values.

    A record for each limit, and for each vendor where vendors may differ; the rules in rules/
    are the same for every stack.
    """
    # Of the busiest shard, where there are some: a hash gives each about as many sidecars.
    expected = estimate(settings).samples_per_second / settings.prometheus.shards
    samples = samples_per_second_threshold(expected)
    of_the_stack = [
        _record("cluster:prometheus_samples_appended:threshold", samples),
        _record("cluster:sidecar_series:threshold", settings.telemetry.series_budget),
        _record("cluster:outside_bytes_per_bytes:threshold", settings.alerts.outside_share),
        # No limit: what a rate of set-up times is to be multiplied with.
        _record(SIDECARS_PER_HISTOGRAM, settings.telemetry.histogram_sampling),
    ]
    of_vendors = [rule for vendor in settings.vendors for rule in _of_vendor(settings, vendor)]
    return {"groups": [{"name": "thresholds", "rules": [*of_the_stack, *of_vendors]}]}


# The outcomes that have an alert of their own, and the setting of its limit.
_OUTCOME_LIMITS = {
    "auth_failed": "auth_failure_share",
    "quota_exhausted": "quota_exhausted_share",
    "rate_limited": "rate_limited_share",
}


def _of_vendor(settings: StackSettings, vendor: Vendor) -> Iterator[dict[str, Any]]:
    def limit(name: str) -> float:
        own = getattr(vendor.alerts, name)
        return float(getattr(settings.alerts, name) if own is None else own)

    name = {"proxy_vendor": vendor.name}
    per_second = limit("minimum_requests_per_hour") / 3600
    yield _record("proxy_vendor:slo:ratio", limit("objective"), name)
    yield _record("proxy_vendor:istio_requests:threshold", per_second, name)
    yield _record(
        "proxy_vendor:request_failures_per_requests:threshold", limit("failure_share"), name
    )
    yield _record(
        "proxy_vendor:connect_failures_per_connections:threshold",
        limit("connect_failure_share"),
        name,
    )
    yield _record(
        "proxy_vendor:istio_proxy_setup_milliseconds:threshold", limit("setup_milliseconds"), name
    )
    yield _record(
        "proxy_vendor_target:requests_blocked_per_requests:threshold", limit("banned_share"), name
    )
    for outcome, setting in _OUTCOME_LIMITS.items():
        yield _record(
            "proxy_vendor_outcome:istio_requests_per_requests:threshold",
            limit(setting),
            {**name, "proxy_outcome": outcome},
        )


def _record(name: str, value: float, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"record": name, "expr": f"vector({value:.12g})"}
    return {**rule, "labels": dict(labels)} if labels else rule
