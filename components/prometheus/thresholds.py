"""The limits that alerts compare with, as records: from a stack's settings and its size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from components.mesh.values import istiod_release, last_scrape_seconds
from components.prometheus.estimate import estimate
from components.prometheus.native_histograms import SIDECARS_PER_HISTOGRAM
from settings.stack import StackSettings

Json = dict[str, Any]

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

VENDOR = "proxy_vendor:vendor:info"
"""1 for each vendor of the stack. A limit that several have is recorded for all at once, as its
multiple: a further vendor is one line of this file and not one a limit."""

CONTROL_PLANE = "cluster:control_plane:info"
"""1 for each of two control planes: IstiodDown cannot know one without any pod by its targets."""

_OUTCOME = "proxy_vendor_outcome:istio_requests_per_requests:threshold"
# Records of a vendor: name, the setting of its limit, what it is divided by, further labels.
_VENDOR_LIMITS: tuple[tuple[str, str, int, dict[str, str]], ...] = (
    ("proxy_vendor:istio_requests:threshold", "minimum_requests_per_hour", 3600, {}),
    ("proxy_vendor:slo:ratio", "objective", 1, {}),
    ("proxy_vendor:request_failures_per_requests:threshold", "failure_share", 1, {}),
    ("proxy_vendor:connect_failures_per_connections:threshold", "connect_failure_share", 1, {}),
    ("proxy_vendor:istio_proxy_setup_milliseconds:threshold", "setup_milliseconds", 1, {}),
    ("proxy_vendor_target:requests_blocked_per_requests:threshold", "banned_share", 1, {}),
    (_OUTCOME, "auth_failure_share", 1, {"proxy_outcome": "auth_failed"}),
    (_OUTCOME, "quota_exhausted_share", 1, {"proxy_outcome": "quota_exhausted"}),
    (_OUTCOME, "rate_limited_share", 1, {"proxy_outcome": "rate_limited"}),
)


def samples_per_second_threshold(expected: float) -> int:
    """Return the samples a second of one replica above which something is wrong."""
    return max(LEAST_SAMPLES_PER_SECOND, math.ceil(HEADROOM * expected))


def threshold_rules(settings: StackSettings) -> Json:
    """Return the rule file as plain values: a record for each limit, by vendor where it has one."""

    def record(name: str, value: float, **labels: str) -> Json:
        return _record(settings, name, f"vector({value:.12g})", **labels)

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
        record("cluster:crawlers_mode:info", 1, mode=settings.crawlers.mode),
        *(record(CONTROL_PLANE, 1, control_plane=name) for name in _control_planes(settings)),
        # No limits either: they tell vendors and destinations apart. They come before the limits,
        # since Prometheus evaluates the rules of a group one after the other.
        *(record(VENDOR, 1, proxy_vendor=vendor.name) for vendor in settings.vendors),
        *(
            record("proxy_vendor:destination:info", 1, proxy_vendor=destination.name)
            for destination in settings.destinations
        ),
        *_limits_of_vendors(settings),
    ]
    return {"groups": [{"name": "thresholds", "rules": rules}]}


def _control_planes(settings: StackSettings) -> list[str]:
    """Return what the pods' names of each istiod begin with, where there are two."""
    revisions = sorted(settings.istio.revisions)
    return [istiod_release(one) for one in revisions] if len(revisions) > 1 else []


def _record(settings: StackSettings, name: str, expr: str, **labels: str) -> Json:
    return {"record": name, "expr": expr, "labels": {"cluster": settings.cluster, **labels}}


def _limits_of_vendors(settings: StackSettings) -> Iterator[Json]:
    for name, setting, per, labels in _VENDOR_LIMITS:
        usual = float(getattr(settings.alerts, setting))
        own = {vendor.name: getattr(vendor.alerts, setting) for vendor in settings.vendors}
        limits = {v: float(usual if one is None else one) / per for v, one in own.items()}
        yield from _by_vendor(settings, name, usual / per, limits, **labels)
    if settings.crawlers.mode != "full":
        # In these modes sidecars leave traffic unread or uncounted. With the limits below, alerts
        # would blame the vendors for it.
        return
    inspected = {vendor.name: vendor.inspect for vendor in settings.vendors}
    name = "proxy_vendor:opaque_connections_per_connections:threshold"
    limits = {v: UNREADABLE_SHARE for v, how in inspected.items() if how != "connections"}
    yield from _by_vendor(settings, name, UNREADABLE_SHARE, limits)
    outliving = last_scrape_seconds(settings) is not None
    uncounted = UNCOUNTED_SHARE if outliving else UNCOUNTED_SHARE_OF_SHORT_LIVES
    name = "proxy_vendor:uncounted_bytes_per_bytes:threshold"
    limits = {v: uncounted for v, how in inspected.items() if how == "passive"}
    yield from _by_vendor(settings, name, uncounted, limits)


def _by_vendor(
    settings: StackSettings, name: str, usual: float, limits: Mapping[str, float], **labels: str
) -> Iterator[Json]:
    """Yield the limit of each vendor that has another, then the one of all that have the usual.

    In this order: when a vendor gets a limit of its own, the rule of all ends its old series. That
    end would come first, and Prometheus refuses a second sample of the same moment. The vendor
    would have no limit for one evaluation, and its alerts would end and begin anew.
    """
    vendors = [vendor.name for vendor in settings.vendors]
    others = [vendor for vendor in vendors if limits.get(vendor) != usual]
    for vendor in others:
        if vendor in limits:
            expr = f"vector({limits[vendor]:.12g})"
            yield _record(settings, name, expr, proxy_vendor=vendor, **labels)
    if others != vendors:
        # Records of other clusters may be here too.
        where = f'cluster="{settings.cluster}"'
        where += f', proxy_vendor!~"{"|".join(sorted(others))}"' if others else ""
        yield _record(settings, name, f"{usual:.12g} * {VENDOR}{{{where}}}", **labels)
