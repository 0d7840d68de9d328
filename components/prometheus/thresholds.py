"""The limits that alerts compare with, as records: from a stack's settings and its size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from components.mesh.values import last_scrape_seconds
from components.prometheus.estimate import estimate
from components.prometheus.native_histograms import SIDECARS_PER_HISTOGRAM
from settings.stack import StackSettings
from settings.vendors import Vendor

LEAST_SAMPLES_PER_SECOND = 10_000  # for a small stack (docs/decisions/0003)
HEADROOM = 1.5  # a bad hour has more outcomes than the estimate counts

UNCOUNTED_SHARE = 0.05
"""Of a passive vendor's bytes. All of them are counted, but the clusters' counters are read as
rates, and rate() guesses what a pod sent before its first and after its last scrape: up to 3 % too
much for crawlers that live a minute."""
UNCOUNTED_SHARE_OF_SHORT_LIVES = 0.2
"""The same where a sidecar ends with its crawler, before the last scrape: then the guess is up to
14 % too much, for crawlers that live 35 s (docs/decisions/0013)."""

UNREADABLE_SHARE = 0.9
"""Of the connections of a vendor that is to be read. A stack may mix TLS or SOCKS5 with what can be
read, but hardly as much of it without meaning `inspect: connections`."""

_OUTCOME = "proxy_vendor_outcome:istio_requests_per_requests:threshold"
# Records of a vendor: name, the setting of its limit, further labels.
_VENDOR_LIMITS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("proxy_vendor:slo:ratio", "objective", {}),
    ("proxy_vendor:request_failures_per_requests:threshold", "failure_share", {}),
    ("proxy_vendor:connect_failures_per_connections:threshold", "connect_failure_share", {}),
    ("proxy_vendor:istio_proxy_setup_milliseconds:threshold", "setup_milliseconds", {}),
    ("proxy_vendor_target:requests_blocked_per_requests:threshold", "banned_share", {}),
    (_OUTCOME, "auth_failure_share", {"proxy_outcome": "auth_failed"}),
    (_OUTCOME, "quota_exhausted_share", {"proxy_outcome": "quota_exhausted"}),
    (_OUTCOME, "rate_limited_share", {"proxy_outcome": "rate_limited"}),
)


def samples_per_second_threshold(expected: float) -> int:
    """Return the samples a second of one replica above which something is wrong."""
    return max(LEAST_SAMPLES_PER_SECOND, math.ceil(HEADROOM * expected))


def threshold_rules(settings: StackSettings) -> dict[str, Any]:
    """Return the rule file as plain values: a record for each limit, by vendor where it has one."""

    def record(name: str, value: float, **labels: str) -> dict[str, Any]:
        own = {"cluster": settings.cluster, **labels}
        return {"record": name, "expr": f"vector({value:.12g})", "labels": own}

    def of_vendor(vendor: Vendor) -> Iterator[dict[str, Any]]:
        def limit(name: str) -> float:
            own = getattr(vendor.alerts, name)
            return float(getattr(settings.alerts, name) if own is None else own)

        per_second = limit("minimum_requests_per_hour") / 3600
        yield record("proxy_vendor:istio_requests:threshold", per_second, proxy_vendor=vendor.name)
        for name, setting, labels in _VENDOR_LIMITS:
            yield record(name, limit(setting), proxy_vendor=vendor.name, **labels)
        if vendor.inspect != "connections" and mode == "full":
            name = "proxy_vendor:opaque_connections_per_connections:threshold"
            yield record(name, UNREADABLE_SHARE, proxy_vendor=vendor.name)
        if vendor.inspect == "passive" and mode == "full":
            name = "proxy_vendor:uncounted_bytes_per_bytes:threshold"
            yield record(name, uncounted, proxy_vendor=vendor.name)

    # What the mode leaves unread or uncounted is no fault of a vendor or sidecar.
    mode = settings.crawlers.mode
    outliving = last_scrape_seconds(settings) is not None
    uncounted = UNCOUNTED_SHARE if outliving else UNCOUNTED_SHARE_OF_SHORT_LIVES
    # The busiest shard's, where there are some: a hash gives each about as many sidecars.
    expected = estimate(settings).samples_per_second / settings.prometheus.shards
    samples = samples_per_second_threshold(expected)
    rules = [
        record("cluster:prometheus_samples_appended:threshold", samples),
        record("cluster:sidecar_series:threshold", settings.telemetry.series_budget),
        record("cluster:outside_bytes_per_bytes:threshold", settings.alerts.outside_share),
        # No limit, but the factor for rates of set-up times.
        record(SIDECARS_PER_HISTOGRAM, settings.telemetry.histogram_sampling),
        # No limit: alerts ask whether a cluster's sidecars are meant to count.
        record("cluster:crawlers_mode:info", 1, mode=mode),
        *(rule for vendor in settings.vendors for rule in of_vendor(vendor)),
        # No limit either: it tells a destination from a vendor.
        *(
            record("proxy_vendor:destination:info", 1, proxy_vendor=destination.name)
            for destination in settings.destinations
        ),
    ]
    return {"groups": [{"name": "thresholds", "rules": rules}]}
