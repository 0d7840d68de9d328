"""Do the sidecars count what the stack says, with the labels that rules and boards read?

The proof on Istio's own proxy: the tests run an upstream Envoy, in whose place of istio.stats
another filter stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from books.prometheus import Prometheus
from components.attribution.outcome import RESPONSE_CODES
from components.attribution.stats import SETUP_METRIC
from components.prometheus.relabel import HOST_LABEL
from components.prometheus.workloads import WORKLOAD
from money.results import RESULTS
from settings.catalogue import OUTSIDE
from settings.stack import StackSettings
from verify.check import Check

OF_TARGET = frozenset(
    {"__name__", "cluster", "namespace", "pod", "job", "instance", "team", WORKLOAD}
)
OF_WORKLOAD = frozenset({WORKLOAD, "source_workload_namespace"})
OF_VENDOR = frozenset({"proxy_vendor", "proxy_visibility"})

REQUESTS = "istio_requests_total"
SETUP = f"istio_{SETUP_METRIC}"
CONNECTIONS = "istio_tcp_connections_opened_total"
UPSTREAM = "envoy_cluster_upstream_cx_total"
BYTES = ("istio_proxy_request_bytes_total", "istio_proxy_response_bytes_total")

OUTCOMES = frozenset(
    (
        *("rejected", "connect_failed", "timeout", "reset", "client_cancelled", "auth_challenge"),
        *("auth_failed", "quota_exhausted", "rate_limited", "blocked", "policy", "vendor_error"),
        *("target_error", "success", "bad_answer"),
    )
)
CODES = frozenset((*map(str, RESPONSE_CODES), *(f"{n}xx" for n in range(1, 6)), "other", "0"))
VISIBILITIES = frozenset({"http", "tunnel", "opaque", "socks"})

FIX = "another release of Istio, other people's Telemetry, or that Prometheus makes it so"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's labels: those that each series has, and those that it may have.

    Prometheus keeps no empty label, so a label that can be empty is one that may be there.
    """

    name: str
    always: frozenset[str]
    perhaps: frozenset[str] = frozenset()


METRICS = (
    Metric(
        name=REQUESTS,
        always=OF_VENDOR | OF_WORKLOAD | {"proxy_outcome", "response_code"},
        perhaps=frozenset({"proxy_pool", "proxy_target"}),
    ),
    Metric(name=f"{SETUP}_bucket", always=OF_VENDOR | {"le"}),
    Metric(name=SETUP, always=OF_VENDOR),
    Metric(name=CONNECTIONS, always=OF_VENDOR | OF_WORKLOAD),
    *(
        Metric(
            name=name,
            always=OF_VENDOR | OF_WORKLOAD,
            perhaps=frozenset({"proxy_pool", "proxy_target", "proxy_result"}),
        )
        for name in BYTES
    ),
    Metric(
        name=UPSTREAM,
        always=frozenset({"proxy_vendor", "cluster_name"}),
        perhaps=frozenset({HOST_LABEL}),
    ),
)


def contract_check(prometheus: Prometheus, settings: StackSettings) -> Check:
    """Ask for the labels and values of the sidecars' series as they are now.

    Raises:
        PrometheusError: it does not answer.
    """
    findings = [*_vendors(prometheus, settings)]
    counted = [metric for metric in METRICS if prometheus.query(f"count({_series(metric.name)})")]
    names = {metric.name for metric in counted}
    mode = settings.crawlers.mode
    requests = any(one.inspect != "connections" for one in settings.vendors_as_read)
    if mode != "off" and REQUESTS not in names and requests:
        findings.append(
            "metrics: no request through a vendor is counted yet; send one (README.md), and ask "
            "again a minute later"
        )
    for metric in counted:
        findings += _labels(prometheus, metric)
    for name, label, allowed in _values(settings):
        if name in names:
            findings += _unknown_values(prometheus, name, label, allowed)
    if f"{SETUP}_bucket" in names:
        findings += _bounds(prometheus, settings.telemetry.buckets)
    said = "istio.stats as expected" if not findings else "not as expected"
    kept = "" if mode == "full" else f"; crawlers.mode is {mode}, which counts no request"
    return Check(name="metrics", said=f"{said} ({len(counted)} metrics){kept}", findings=findings)


def _series(name: str) -> str:
    return f'{name}{{job="sidecars", proxy_vendor!=""}}'


def _vendors(prometheus: Prometheus, settings: StackSettings) -> Iterator[str]:
    """Yield vendors without a cluster in any sidecar, and sidecars without any vendor's."""
    counted = prometheus.query(_by("proxy_vendor", UPSTREAM))
    found = {one["metric"]["proxy_vendor"] for one in counted}
    for vendor in settings.vendors:
        if vendor.name not in found:
            yield (
                f"metrics: no sidecar counts connections to {vendor.name}; see "
                "docs/runbooks/ProxyAttributionLost.md"
            )
    if settings.crawlers.selector:
        return  # pods of the namespace that are no crawlers have none
    ours = f'{UPSTREAM}{{job="sidecars", proxy_vendor!~"{OUTSIDE}"}}'
    without = prometheus.query(f'up{{job="sidecars"}} == 1 unless on (instance, pod) {ours}')
    if without:
        pods = sorted(one["metric"].get("pod", "") for one in without)
        yield (
            f"metrics: {len(pods)} sidecars have no vendor's cluster, {pods[0]} first: started "
            "before the stack, or of another release of Istio; restart them"
        )


def _by(label: str, metric: str) -> str:
    return f"count by ({label}) ({_series(metric)})"


def _labels(prometheus: Prometheus, metric: Metric) -> Iterator[str]:
    """Yield labels that are missing, and labels that no rule reads: each multiplies the series."""
    for label in sorted(metric.always):
        if prometheus.query(f'count({_series(metric.name)[:-1]}, {label}=""}})'):
            yield f"metrics: {metric.name} has series without {label}, which rules read; {FIX}"
    known = metric.always | metric.perhaps | OF_TARGET
    # Prometheus answers this from hours of series, so each label is asked for as of now.
    for label in sorted({*prometheus.get("labels", match=_series(metric.name))} - known):
        if prometheus.query(f'count({_series(metric.name)[:-1]}, {label}!=""}})'):
            yield f"metrics: {metric.name} has the label {label}, which no rule reads; {FIX}"


def _values(settings: StackSettings) -> Iterator[tuple[str, str, frozenset[str]]]:
    vendors = frozenset(vendor.name for vendor in settings.vendors)
    others = frozenset(one.name for one in settings.destinations) | {OUTSIDE}
    for metric in (REQUESTS, SETUP, f"{SETUP}_bucket", CONNECTIONS, *BYTES):
        yield metric, "proxy_vendor", vendors
        yield metric, "proxy_visibility", VISIBILITIES
    yield UPSTREAM, "proxy_vendor", vendors | others
    yield REQUESTS, "proxy_outcome", OUTCOMES
    yield REQUESTS, "response_code", CODES
    for name in BYTES:
        yield name, "proxy_result", frozenset(RESULTS)


def _unknown_values(
    prometheus: Prometheus, metric: str, label: str, allowed: frozenset[str]
) -> Iterator[str]:
    found = {one["metric"].get(label, "") for one in prometheus.query(_by(label, metric))}
    for value in sorted(found - allowed - {""}):
        # Istio's word for an expression that cannot be evaluated.
        reason = "an expression failed" if value == "unknown" else "the stack has no such value"
        yield f"metrics: {metric} has {label}={value[:60]!r}: {reason}; restart old sidecars first"


def _bounds(prometheus: Prometheus, buckets: tuple[int, ...]) -> Iterator[str]:
    found = prometheus.query(_by("le", f"{SETUP}_bucket"))
    bounds = sorted(float(one["metric"]["le"]) for one in found if "le" in one["metric"])
    wanted = [*map(float, buckets), float("inf")]
    if bounds != wanted:
        yield (
            f"metrics: {SETUP}_bucket has the bounds {', '.join(f'{one:g}' for one in bounds)} and "
            f"not those of telemetry.buckets ({', '.join(f'{one:g}' for one in wanted)}); restart "
            "sidecars that started before, or take that annotation from their pods (make verify)"
        )


def outside_by_workload(prometheus: Prometheus) -> dict[str, int]:
    """Return connections of the last hour to nobody's addresses, by "namespace/workload"."""
    series = f'{UPSTREAM}{{job="sidecars", proxy_vendor="{OUTSIDE}"}}'
    found = prometheus.query(f"sum by (namespace, {WORKLOAD}) (increase({series}[1h])) > 0")
    return {
        f"{one['metric'].get('namespace', '')}/{one['metric'].get(WORKLOAD, '')}": round(
            float(one["value"][1])
        )
        for one in found
    }
