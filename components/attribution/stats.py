"""Which numbers leave a sidecar, and under which names.

By default Istio exports none of the statistics of an added cluster or filter chain.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.attribution.groups import CLUSTER_PREFIX, DESTINATION_PREFIX
from components.attribution.outcome import (
    BYTES_VISIBILITY,
    PROXY_POOL,
    PROXY_TARGET,
    PROXY_VENDOR,
    PROXY_VISIBILITY,
    REACHED_VENDOR,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    SETUP_IS_KNOWN,
    SETUP_MILLISECONDS,
    VENDOR_SPOKE,
    proxy_outcome,
    proxy_result,
    response_code,
)
from settings.crawlers import Mode
from settings.destinations import Destination, listed_names
from settings.vendors import Vendor, only_connections

PASSTHROUGH = "PassthroughCluster"
OUTSIDE_CLUSTERS = (PASSTHROUGH, "AllowAnyDynamicDNSCluster")
"""Istio's own clusters for destinations outside every vendor's range.

Which one takes a connection depends on the mesh's `outboundTrafficPolicy`: `ALLOW_ANY`, or
`ALLOW_ANY_DYNAMIC_DNS` (Istio 1.31, for HTTP). `REGISTRY_ONLY` has BLACK_HOLE.
"""
BLACK_HOLE = "BlackHoleCluster"
"""Istio's cluster without an endpoint: Envoy closes what `REGISTRY_ONLY` sends there."""
BLACK_HOLED = "upstream_cx_none_healthy"
"""The one statistic of BLACK_HOLE that counts its connections (seen on Envoy 1.40)."""
NET_CONNECTIONS = r"cluster\.outbound\|[0-9]+\|\|[a-z0-9.-]+;\.upstream_cx_total"
"""Connections of Istio's own cluster for a name's listed port, which our chains did not take. They
have the label `cluster_name="outbound|7777||gw.vendor.example"`. The names are not in it: a new one
would reach a pod only when it restarts."""
HTTP_STAT_PREFIX = "proxyobs;"
"""Istio's tag rules end the name at `;`, and their rule for HTTP admits no `-`."""

SETUP_METRIC = "proxy_setup_milliseconds"
BYTES = {"proxy_request_bytes_total": (REQUEST_BYTES, REACHED_VENDOR)} | {
    "proxy_response_bytes_total": (RESPONSE_BYTES, VENDOR_SPOKE)
}
"""Metric -> its value and when it has one, as CEL.

Istio's `request_bytes` and `response_bytes` are of what passes between crawler and Envoy instead:
with what reached no vendor, Envoy's own answers, and headers that Envoy takes off, such as
Proxy-Connection. They are histograms too, of which only the sum is of use."""
TCP_BYTES = {
    "istio_tcp_received_bytes_total": "istio_proxy_request_bytes_total",
    "istio_tcp_sent_bytes_total": "istio_proxy_response_bytes_total",
}
"""istio.stats' bytes of opaque connections -> their name in Prometheus. Istio's are as seen from
the crawler: what the sidecar received goes to the vendor."""

EXTRA_STAT_TAGS = (
    "proxy_vendor",
    "proxy_visibility",
    "proxy_outcome",
    "proxy_result",
    "proxy_pool",
    "proxy_target",
    "response_code",
    "source_workload",
    "source_workload_namespace",
)
"""Labels that a sidecar's bootstrap reads from the names of the passive module's metrics.

istio.stats hands Envoy its labels as such.
"""

# Labels that Istio would add. No rule reads them and each multiplies the series;
# destination_service would make one series for every crawled site.
REMOVED_TAGS = (
    "connection_security_policy",
    "destination_app",
    "destination_canonical_revision",
    "destination_canonical_service",
    "destination_cluster",
    "destination_principal",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_version",
    "destination_workload",
    "destination_workload_namespace",
    "grpc_response_status",
    "reporter",
    "request_protocol",
    "response_flags",
    "source_app",
    "source_canonical_revision",
    "source_canonical_service",
    "source_cluster",
    "source_principal",
    "source_version",
)
# A tunnel's duration is its lifetime, and bytes are counted as BYTES: no need for these histograms.
DROPPED_METRICS = ("request_bytes", "request_duration_milliseconds", "response_bytes")

# Statistics of Envoy's clusters that rules use. They move while a connection is open; istio_tcp_*
# appear when it closes.
UPSTREAM_STATS = (
    "upstream_cx_active",
    "upstream_cx_connect_fail",
    "upstream_cx_connect_timeout",
    "upstream_cx_rx_bytes_total",
    "upstream_cx_total",
    "upstream_cx_tx_bytes_total",
)

SCRAPED_METRICS = (
    *(f"envoy_cluster_{name}" for name in UPSTREAM_STATS),
    "envoy_http_lua_errors",
    "envoy_server_uptime",  # exported by every sidecar, whatever Istio is told
    *(f"istio_{name}" for name in BYTES),
    f"istio_{SETUP_METRIC}",  # as a native histogram, which has no parts
    f"istio_{SETUP_METRIC}_bucket",
    "istio_requests_total",
    "istio_tcp_connections_opened_total",
)
"""Every metric that Prometheus keeps of a sidecar: those that rules and boards use."""

# A custom metric of istio.stats has no standard label. Its name for the sidecar's own node is
# `node`; Istio's word for what cannot be read is `unknown`, as istio.stats has it by itself.
WORKLOAD = {
    "source_workload": "node.metadata['WORKLOAD_NAME']",
    "source_workload_namespace": "node.metadata['NAMESPACE']",
}


def http_plugin_config(*, with_targets: bool, timeout_after_seconds: int) -> dict[str, Any]:
    """Return istio.stats' PluginConfig for the chains that parse HTTP.

    `drop`, `tags_to_remove`, `dimensions` and `definitions` are documented in Istio's
    envoy/extensions/stats/config.proto. A custom metric has its own dimensions alone and is
    recorded for every request. Where it has no value its vendor is empty, and Prometheus drops that
    series as it scrapes.
    """
    target = {"proxy_target": PROXY_TARGET} if with_targets else {}
    return {
        "@type": "type.googleapis.com/stats.PluginConfig",
        "disable_host_header_fallback": True,
        # `int`: istio.stats reads 1e+06, as CEL prints a double of a million, as 0.
        "definitions": [
            {"name": SETUP_METRIC, "type": "HISTOGRAM", "value": f"int({SETUP_MILLISECONDS})"},
            # Without a type it is a counter; istiod leaves that default out of what it sends.
            *({"name": name, "value": value} for name, (value, _) in BYTES.items()),
        ],
        "metrics": [
            {"tags_to_remove": list(REMOVED_TAGS)},
            *({"name": name, "drop": True} for name in DROPPED_METRICS),
            {
                "name": "requests_total",
                "dimensions": {
                    "proxy_vendor": PROXY_VENDOR,
                    "proxy_visibility": PROXY_VISIBILITY,
                    "proxy_outcome": proxy_outcome(timeout_after_seconds),
                    "response_code": response_code(),
                    # In every chain: to Prometheus, one with an empty label and one without it
                    # would be one series.
                    "proxy_pool": PROXY_POOL,
                    **target,
                },
            },
            {
                "name": SETUP_METRIC,
                "dimensions": {
                    "proxy_vendor": f"({SETUP_IS_KNOWN}) ? ({PROXY_VENDOR}) : b''",
                    "proxy_visibility": f"({SETUP_IS_KNOWN}) ? ({PROXY_VISIBILITY}) : ''",
                },
            },
            *(
                {
                    "name": name,
                    "dimensions": {
                        "proxy_vendor": f"({has_value}) ? ({PROXY_VENDOR}) : b''",
                        "proxy_visibility": BYTES_VISIBILITY,
                        "proxy_result": proxy_result(timeout_after_seconds),
                        "proxy_pool": PROXY_POOL,
                        **target,
                        **WORKLOAD,
                    },
                }
                for name, (_, has_value) in BYTES.items()
            ),
        ],
    }


def opaque_plugin_config() -> dict[str, Any]:
    """Return istio.stats' PluginConfig for the opaque chains."""
    return {
        "@type": "type.googleapis.com/stats.PluginConfig",
        # Without it a timer of 5 s runs for each connection and reports nothing.
        "tcp_reporting_duration": "0s",
        "metrics": [
            {"tags_to_remove": list(REMOVED_TAGS)},
            {"name": "tcp_connections_closed_total", "drop": True},  # as opened: both at close
            {"dimensions": {"proxy_vendor": PROXY_VENDOR, "proxy_visibility": "'opaque'"}},
        ],
    }


def inclusion_regexps() -> list[str]:
    """Return the expressions of the statistics that a sidecar exports, without commas.

    A sidecar reads them as it starts, so a change reaches a pod when it restarts. Envoy matches the
    full names, before Istio's tag rules cut them at `;`.
    """
    names, outside = "|".join(UPSTREAM_STATS), "|".join(OUTSIDE_CLUSTERS)
    # Destinations also before a stack has any: the first one needs no restart then.
    own = rf"({CLUSTER_PREFIX}|{DESTINATION_PREFIX})[a-z0-9-]+"
    return [
        rf"cluster\.({own}|{outside});\.({names})",
        rf"cluster\.{BLACK_HOLE};\.{BLACK_HOLED}",
        rf"http\.{HTTP_STAT_PREFIX}\.lua\.errors",
        NET_CONNECTIONS,
    ]


def bucket_annotation(buckets: Sequence[int]) -> str:
    """Return the value of `sidecar.istio.io/statsHistogramBuckets` for bounds in milliseconds.

    Istio matches the keys as prefixes of the statistic's full name, which starts with its
    custom namespace.
    """
    # istio.stats' own, and the passive module's.
    names = (f"{namespace}.istio_{SETUP_METRIC}" for namespace in ("istiocustom", "wasmcustom"))
    return json.dumps({name: list(buckets) for name in names})


REQUEST_VISIBILITIES = {"http": 2, "passive": 3, "connections": 0}
"""How many visibilities requests have, by `inspect`: http and tunnel; socks if bytes are read."""


@dataclass(frozen=True, kw_only=True)
class SidecarSeries:
    """How many series Prometheus is expected to store for one sidecar."""

    requests: int
    setup_times: int
    connections: int
    """Connections, their bytes and connection failures, encrypted traffic included."""

    @property
    def total(self) -> int:
        return self.requests + self.setup_times + self.connections


def expected_series(
    vendors: Sequence[Vendor],
    buckets: Sequence[int],
    *,
    targets: int = 0,
    destinations: Sequence[Destination] = (),
    native_histograms: bool = False,
    mode: Mode = "full",
) -> SidecarSeries:
    """Estimate the series of a sidecar that uses every vendor.

    It counts six outcomes with one status code each, in every visibility of the vendor's `inspect`,
    and bytes of all three results:
    a busy sidecar in a bad hour, not the worst case. A native histogram is one series, however many
    buckets it has.

    Args:
        buckets: bounds of the set-up time's histogram, in milliseconds.
        targets: how many target groups there are; the group `other` comes on top.
        destinations: the known ones, which have connections and bytes alone.
        mode: `crawlers.mode`; in `off` only Envoy's own clusters count.
    """
    if mode == "observe":
        vendors = only_connections(vendors)
    outcomes, directions = 6, 2
    histogram = 1 if native_histograms else len(buckets) + 1  # le="+Inf"
    # The further cluster is PassthroughCluster. The rest are BLACK_HOLED, the uptime, Lua's errors.
    requests, setup_times = 0, 0
    connections = (1 + len(destinations)) * len(UPSTREAM_STATS) + _nets(vendors, destinations)
    connections += 2 + any(vendor.inspect == "http" for vendor in vendors)
    connections += len(vendors) * len(UPSTREAM_STATS)
    for vendor in vendors if mode != "off" else ():
        visibilities = REQUEST_VISIBILITIES[vendor.inspect]
        of_addresses = {entry.pool for entry in vendor.ranges}
        pools = len(of_addresses | {product.name for product in vendor.products})
        requests += visibilities * outcomes * pools * (targets + 1)
        setup_times += visibilities * histogram
        connections += 1  # opaque ones
        # Bytes: of each visibility by three results, but tunnels that stood are all delivered.
        parts = max(0, 3 * visibilities - 2)
        connections += directions * parts * pools * (targets + 1)
        # Opaque ones have no target and no user, and only the module knows the address's pool.
        connections += directions * (len(of_addresses) if vendor.inspect == "passive" else 1)
    return SidecarSeries(requests=requests, setup_times=setup_times, connections=connections)


def _nets(vendors: Sequence[Vendor], destinations: Sequence[Destination]) -> int:
    """Return the series of NET_CONNECTIONS, which Envoy exports before there is any connection."""
    listed = listed_names(vendors, destinations)
    return sum(len(ports) for host, ports in listed if not host.retired)
