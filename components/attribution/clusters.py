"""Where a filter chain sends connections on to: the clusters.

A vendor has one for its addresses and one for its names (names.py), or one for both where it is
simulated (simulators.py). All count under one name the vendor's bytes and connections while they
are open.
"""

from __future__ import annotations

from components.attribution.envoy import (
    BUFFER_BYTES,
    MAX_HEADERS,
    MAX_HEADERS_KIB,
    TYPE,
    Json,
    preserve_case,
)
from components.attribution.groups import CLUSTER_PREFIX, Group
from components.attribution.stats import PASSTHROUGH
from components.attribution.tls import tls_fields
from settings.vendors import Vendor

UNOWNED_CLUSTER_PREFIX = "proxy-unowned_"
CONNECT_TIMEOUT = "10s"
UNOWNED_IDLE_TIMEOUT = "30s"  # the vendors' default
_MOST = 4294967295
UNLIMITED = {
    "max_connections": _MOST,
    "max_pending_requests": _MOST,
    "max_requests": _MOST,
    "max_retries": _MOST,
}

ORIGINAL_DESTINATION: Json = {"type": "ORIGINAL_DST"}
"""To the address that the crawler asked for."""

# A vendor's machine that vanished is noticed after three minutes of silence, and the crawler's
# connection closed. Without it an open tunnel would stay for ever: the sidecar's kernel answers the
# crawler's own probes. A silent vendor is not cut, since its kernel answers, nor is one that cannot
# be reached for two minutes.
KEEPALIVE = {"keepalive_time": 60, "keepalive_interval": 15, "keepalive_probes": 9}


def cluster_name(vendor: Vendor) -> str:
    return f"{CLUSTER_PREFIX}{vendor.name}"


def unowned_cluster_name(group: Group) -> str:
    return f"{UNOWNED_CLUSTER_PREFIX}{group.name}"


def vendor_cluster(vendor: Vendor) -> Json:
    # The `;` ends the name for Istio's tag rules. Without it the vendor would become part of the
    # metric's name.
    name = cluster_name(vendor)
    discovery = {**ORIGINAL_DESTINATION, **tls_fields(vendor.tls)}
    return cluster(name, f"{name};", f"{vendor.idle_timeout}s", discovery)


def unowned_cluster(group: Group) -> Json:
    """Return the cluster for HTTP to a port that no vendor of the group owns.

    It forwards as faithfully as a vendor's cluster and counts as Istio's PassthroughCluster, which
    itself would pool the connections and rewrite the requests.
    """
    return cluster(
        unowned_cluster_name(group), f"{PASSTHROUGH};", UNOWNED_IDLE_TIMEOUT, ORIGINAL_DESTINATION
    )


def cluster(name: str, stat_name: str, idle_timeout: str, discovery: Json) -> Json:
    """Return a cluster that limits nothing and changes little of what it forwards.

    Args:
        stat_name: what its statistics are counted under; ends in `;`.
        discovery: the fields that say how it finds an address, and how it connects there.
    """
    return {
        "name": name,
        "alt_stat_name": stat_name,
        "lb_policy": "CLUSTER_PROVIDED",
        **discovery,
        "connect_timeout": CONNECT_TIMEOUT,
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "upstream_connection_options": {"tcp_keepalive": dict(KEEPALIVE)},
        # Envoy's defaults refuse connection 1,025; Istio's own clusters have these values.
        "circuit_breakers": {"thresholds": [dict(UNLIMITED)]},
        # Without it crawlers share connections to the vendor, and a session loses its exit
        # address. Envoy does not close the vendor's side when the crawler leaves, so connections
        # leak without the idle time-out below.
        "connection_pool_per_downstream_connection": True,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {
                    "idle_timeout": idle_timeout,
                    "max_headers_count": MAX_HEADERS,
                    "max_response_headers_kb": MAX_HEADERS_KIB,
                },
                "explicit_http_config": {
                    "http_protocol_options": {
                        "send_fully_qualified_url": True,  # else the vendor gets origin-form
                        "allow_chunked_length": True,  # else 502, and the vendor is blamed
                        "enable_trailers": True,  # else trailers are dropped
                        "header_key_format": preserve_case(),
                    }
                },
            }
        },
    }
