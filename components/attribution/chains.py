"""What is in a vendor's pair of filter chains: what the sidecar does with a connection.

Envoy picks a chain by the destination address. It takes the HTTP chain where the inspector read
HTTP/1 in the first bytes, and the opaque chain for everything else:

    http    vendor constant -> HTTP connection manager: Lua -> answers -> istio.stats -> router
    opaque  vendor constant -> istio.stats -> TCP proxy

By name (names.py) the constants hold the name too, and the opaque chain looks it up before it
connects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from components.attribution.answers import http_answers, setup_header
from components.attribution.envoy import (
    MAX_HEADERS,
    MAX_HEADERS_KIB,
    Json,
    extension,
    preserve_case,
)
from components.attribution.groups import Chain, Group
from components.attribution.labels import http_stats, opaque_stats
from components.attribution.lua import lua_filter
from components.attribution.stats import HTTP_STAT_PREFIX
from components.attribution.upstream import Upstream
from settings.values.addresses import IPNetwork


def http_chain(group: Group, chain: Chain, upstream: Upstream) -> Json:
    return {
        "name": f"{chain.name}_http",
        "filter_chain_match": {
            "prefix_ranges": prefix_ranges(chain.networks),
            # Not h2c: matched as HTTP it would reach the vendor as HTTP/1.1.
            "application_protocols": ["http/1.0", "http/1.1"],
        },
        "filters": [
            vendor_constant(*upstream.states),
            _connection_manager(group, upstream),
        ],
    }


def opaque_chain(chain: Chain, upstream: Upstream) -> Json:
    return {
        "name": f"{chain.name}_opaque",
        "filter_chain_match": {"prefix_ranges": prefix_ranges(chain.networks)},
        "filters": [
            vendor_constant(*upstream.states, *upstream.opaque_states),
            opaque_stats(),
            *upstream.opaque_filters,
            tcp_proxy(upstream.cluster),
        ],
    }


def tcp_proxy(cluster: str, **more: Any) -> Json:
    """Return the filter that passes a connection's bytes on; `more` are further fields of it."""
    return extension(
        "envoy.filters.network.tcp_proxy",
        "filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix="proxyobs",
        cluster=cluster,
        # Envoy's default cuts a silent connection after an hour. Crawler and vendor decide that.
        idle_timeout="0s",
        **more,
    )


def prefix_ranges(networks: Iterable[IPNetwork]) -> list[Json]:
    return [
        {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}
        for network in networks
    ]


def vendor_constant(*states: Json) -> Json:
    """Return the filter that names the vendor in the connection.

    The name stays for TLS, for connections that fail, and where Lua fails.
    """
    return extension(
        "envoy.filters.network.set_filter_state",
        "filters.network.set_filter_state.v3.Config",
        on_new_connection=list(states),
    )


def _connection_manager(group: Group, upstream: Upstream) -> Json:
    """Return the filter that parses HTTP and changes as little of it as Envoy allows.

    docs/fidelity.md lists what is still changed.
    """
    return extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=HTTP_STAT_PREFIX,
        normalize_path=False,
        generate_request_id=False,  # the crawler's own stays
        forward_client_cert_details="ALWAYS_FORWARD_ONLY",  # else the crawler's header is removed
        server_header_transformation="PASS_THROUGH",
        proxy_100_continue=True,  # else Envoy answers 100 itself and removes Expect
        stream_idle_timeout="0s",
        # Envoy's default delays by a second the end of a tunnel that the vendor closed, and drops
        # what the crawler has not read by then.
        delayed_close_timeout="0s",
        max_request_headers_kb=MAX_HEADERS_KIB,
        common_http_protocol_options={"idle_timeout": "0s", "max_headers_count": MAX_HEADERS},
        http_protocol_options=_http_protocol_options(),
        upgrade_configs=[{"upgrade_type": "CONNECT"}, {"upgrade_type": "websocket"}],
        http_filters=[
            lua_filter(group),
            http_answers(),
            http_stats(),
            extension(
                "envoy.filters.http.router",
                "filters.http.router.v3.Router",
                suppress_envoy_headers=True,
            ),
        ],
        route_config=_route_config(upstream),
    )


def _http_protocol_options() -> Json:
    return {
        "accept_http_10": True,
        "allow_custom_methods": True,  # else 400 to a method that Envoy does not know
        "allow_chunked_length": True,  # else 400; Transfer-Encoding wins, as RFC 9112 says
        "enable_trailers": True,
        # Offers that a server may ignore, such as TLS/1.2. Without it they get 403. The expression
        # leaves websocket out.
        "ignore_http_11_upgrade": [{"safe_regex": {"regex": "[^wW].*"}}],
        "header_key_format": preserve_case(),
    }


def _route_config(upstream: Upstream) -> Json:
    return {
        "validate_clusters": False,
        "request_headers_to_remove": ["x-forwarded-proto"],
        "virtual_hosts": [
            {
                "name": "any",
                "domains": ["*"],
                "routes": upstream.routes,
                "response_headers_to_add": [setup_header()],
            }
        ],
    }
