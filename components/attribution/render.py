"""The data path as EnvoyFilters: what istiod is asked to add to a crawler's sidecar.

Two kinds. `proxy-observability` prepares the outbound listener once; `proxy-vendor-<name>`
holds all of one vendor (cluster, Lua, filter chains), so a chain never arrives without its
cluster. No chain of Istio's is replaced: when a patch stops matching, traffic takes Istio's own
catch-all, unattributed and unharmed. A Sidecar resource narrows what else the crawlers' sidecars
know of the mesh.

Each setting says what would happen without it; the experiments behind them are summed up in
docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.attribution.lua import attribution_script
from components.attribution.outcome import VENDOR_KEY
from components.attribution.stats import (
    CLUSTER_PREFIX,
    HTTP_STAT_PREFIX,
    http_plugin_config,
    opaque_plugin_config,
)
from settings.model import Vendor, inspected_ports

Json = dict[str, Any]

LISTENER = "virtualOutbound"
LISTENER_FILTER_NAME = "proxy-observability"
CONNECT_TIMEOUT = "10s"
MAX_HEADERS = 1000
MAX_HEADERS_KIB = 8192  # Envoy's upper bound; its default of 60 answers 431 to large cookies
_UNLIMITED = 4294967295

_TYPE = "type.googleapis.com/envoy"
_LUA_TYPE = f"{_TYPE}.extensions.filters.http.lua.v3.Lua"


def envoy_filters(
    vendors: Sequence[Vendor], *, patience_seconds: int, selector: Mapping[str, str]
) -> dict[str, Json]:
    """Return the spec of each EnvoyFilter by its name.

    Args:
        vendors: the stack's vendors; their order does not show in the result.
        patience_seconds: see `outcome.proxy_outcome`.
        selector: labels of the pods it is for; empty means the whole namespace.
    """
    specs = {LISTENER_FILTER_NAME: _listener_patches(vendors)} | {
        f"proxy-vendor-{vendor.name}": _vendor_patches(vendor, patience_seconds)
        for vendor in sorted(vendors, key=lambda vendor: vendor.name)
    }
    workloads = {"workloadSelector": {"labels": dict(selector)}} if selector else {}
    return {
        name: {**workloads, "priority": 10, "configPatches": patches}
        for name, patches in specs.items()
    }


def sidecar_spec(egress_hosts: Sequence[str], selector: Mapping[str, str]) -> Json:
    """Return the spec of the crawlers' Sidecar resource.

    Without it a Service or ServiceEntry of any namespace on a vendor's port becomes a listener
    of the crawler's, which takes the connection before our chains see it: CONNECT gets 404.
    The mesh's own policy for unknown destinations stays in force.

    Args:
        egress_hosts: services of other namespaces to keep, as `namespace/host`. Not even
            istiod's namespace is among them by itself: an ingress gateway there has port 80.
        selector: as in `envoy_filters`; without one it is the namespace's only Sidecar.
    """
    workloads = {"workloadSelector": {"labels": dict(selector)}} if selector else {}
    return {**workloads, "egress": [{"hosts": ["./*", *egress_hosts]}]}


def cluster_name(vendor: Vendor) -> str:
    return f"{CLUSTER_PREFIX}{vendor.name}"


def chain_name(vendor: Vendor, kind: str) -> str:
    """Return the name of a vendor's filter chain; `kind` is `http` or `opaque`."""
    return f"{CLUSTER_PREFIX}{vendor.name}_{kind}"


def _patch(apply_to: str, operation: str, value: Json, *, listener: bool = True) -> Json:
    match: Json = {"context": "SIDECAR_OUTBOUND"}
    if listener:
        match["listener"] = {"name": LISTENER}
    return {
        "applyTo": apply_to,
        "match": match,
        "patch": {"operation": operation, "value": value},
    }


def _listener_patches(vendors: Sequence[Vendor]) -> list[Json]:
    ports = inspected_ports(vendors)
    original_dst = {
        "name": "envoy.filters.listener.original_dst",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.listener.original_dst.v3.OriginalDst"
        },
    }
    # First, or the inspector's port predicate would see 15001 and never look.
    patches = [_patch("LISTENER_FILTER", "INSERT_FIRST", original_dst)]
    if ports:
        inspector = {
            "name": "envoy.filters.listener.http_inspector",
            "typed_config": {
                "@type": f"{_TYPE}.extensions.filters.listener.http_inspector.v3.HttpInspector"
            },
            # Everywhere else a server that speaks first (SMTP, MySQL) would wait for the
            # inspector's time-out before its banner got through.
            "filter_disabled": {"not_match": _any_port(ports)},
        }
        patches.append(_patch("LISTENER_FILTER", "ADD", inspector))
        # The net below it: Envoy's default closes a silent connection after 15 s.
        patience = {"listener_filters_timeout": "1s", "continue_on_listener_filters_timeout": True}
        patches.append(_patch("LISTENER", "MERGE", patience))
    return patches


def _any_port(ports: Sequence[int]) -> Json:
    rules = [{"destination_port_range": {"start": port, "end": port + 1}} for port in ports]
    # Envoy refuses an or_match of fewer than two.
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}


def _vendor_patches(vendor: Vendor, patience_seconds: int) -> list[Json]:
    patches = [_patch("CLUSTER", "ADD", _cluster(vendor), listener=False)]
    if vendor.inspect == "http":
        patches += [
            _patch("EXTENSION_CONFIG", "ADD", _lua_extension(vendor), listener=False),
            _patch("FILTER_CHAIN", "ADD", _http_chain(vendor, patience_seconds)),
        ]
    return [*patches, _patch("FILTER_CHAIN", "ADD", _opaque_chain(vendor))]


def _prefix_ranges(vendor: Vendor) -> list[Json]:
    networks = sorted(
        (entry.network for entry in vendor.cidrs),
        key=lambda network: (network.version, int(network.network_address), network.prefixlen),
    )
    return [
        {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}
        for network in networks
    ]


def _vendor_constant(vendor: Vendor) -> Json:
    """Name the vendor in the connection: holds for TLS, failed connects, and if Lua fails."""
    return {
        "name": "envoy.filters.network.set_filter_state",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.network.set_filter_state.v3.Config",
            "on_new_connection": [
                {
                    "object_key": VENDOR_KEY,
                    "factory_key": "envoy.string",
                    "format_string": {"text_format_source": {"inline_string": vendor.name}},
                }
            ],
        },
    }


def _stats(config: Json) -> Json:
    # Whole, not by Telemetry API: that and other EnvoyFilters do not reach an added chain.
    return {"name": "istio.stats", "typed_config": config}


def _http_chain(vendor: Vendor, patience_seconds: int) -> Json:
    return {
        "name": chain_name(vendor, "http"),
        "filter_chain_match": {
            "prefix_ranges": _prefix_ranges(vendor),
            # Not h2c: matched as HTTP it would reach the vendor as HTTP/1.1.
            "application_protocols": ["http/1.0", "http/1.1"],
        },
        "filters": [
            _vendor_constant(vendor),
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": _connection_manager(vendor, patience_seconds),
            },
        ],
    }


def _opaque_chain(vendor: Vendor) -> Json:
    return {
        "name": chain_name(vendor, "opaque"),
        "filter_chain_match": {"prefix_ranges": _prefix_ranges(vendor)},
        "filters": [
            _vendor_constant(vendor),
            _stats(opaque_plugin_config()),
            {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": "proxyobs",
                    "cluster": cluster_name(vendor),
                    # Envoy's default cuts a silent connection after an hour; the vendor and the
                    # crawler are the ones to decide that.
                    "idle_timeout": "0s",
                },
            },
        ],
    }


def _connection_manager(vendor: Vendor, patience_seconds: int) -> Json:
    """Parse HTTP and change nothing of it that can be left alone."""
    return {
        "@type": (
            f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": HTTP_STAT_PREFIX,
        "normalize_path": False,
        "merge_slashes": False,
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "skip_xff_append": True,
        "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",  # else the crawler's own is removed
        "server_header_transformation": "PASS_THROUGH",
        "proxy_100_continue": True,  # else Envoy answers 100 itself and strips Expect
        "stream_idle_timeout": "0s",
        "max_request_headers_kb": MAX_HEADERS_KIB,
        "common_http_protocol_options": {"idle_timeout": "0s", "max_headers_count": MAX_HEADERS},
        "http_protocol_options": {
            "accept_http_10": True,
            "allow_custom_methods": True,  # else a method Envoy does not know gets 400
            "allow_chunked_length": True,  # else 400; Transfer-Encoding wins, as RFC 9112 says
            "enable_trailers": True,
            "header_key_format": _preserve_case(),
        },
        "upgrade_configs": [{"upgrade_type": "CONNECT"}, {"upgrade_type": "websocket"}],
        "http_filters": [
            _lua_by_discovery(vendor),
            _stats(http_plugin_config(vendor, patience_seconds)),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
        "route_config": {
            "name": cluster_name(vendor),
            "validate_clusters": False,
            "request_headers_to_remove": ["x-forwarded-proto"],
            "virtual_hosts": [{"name": "any", "domains": ["*"], "routes": _routes(vendor)}],
        },
    }


def _routes(vendor: Vendor) -> list[Json]:
    # 0 s: a slow vendor is the crawler's to give up on, not ours.
    action = {"cluster": cluster_name(vendor), "timeout": "0s", "idle_timeout": "0s"}
    return [
        {"match": {"connect_matcher": {}}, "route": dict(action)},
        {"match": {"prefix": ""}, "route": dict(action)},
    ]


def _lua_by_discovery(vendor: Vendor) -> Json:
    """Have the script sent apart from the listener.

    Inline, a script that does not compile leaves a new pod without its outbound listener; sent
    apart it costs labels only, and an edit cuts no connection.
    """
    return {
        "name": _lua_name(vendor),
        "config_discovery": {
            "config_source": {
                "ads": {},
                "initial_fetch_timeout": "3s",
                "resource_api_version": "V3",
            },
            "type_urls": [_LUA_TYPE],
            "default_config": {
                "@type": _LUA_TYPE,
                "default_source_code": {"inline_string": "-- nothing to tell\n"},
            },
        },
    }


def _lua_extension(vendor: Vendor) -> Json:
    return {
        "name": _lua_name(vendor),
        "typed_config": {
            "@type": _LUA_TYPE,
            "default_source_code": {"inline_string": attribution_script(vendor)},
        },
    }


def _lua_name(vendor: Vendor) -> str:
    return f"{CLUSTER_PREFIX}{vendor.name}_lua"


def _cluster(vendor: Vendor) -> Json:
    idle_timeout = f"{vendor.idle_timeout}s"
    return {
        "name": cluster_name(vendor),
        # The `;` ends the name for Istio's tag rules; without it the vendor would become part
        # of the metric's name.
        "alt_stat_name": f"{cluster_name(vendor)};",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": CONNECT_TIMEOUT,
        # Envoy's defaults refuse the 1,025th connection; Istio's own clusters have these.
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _UNLIMITED,
                    "max_pending_requests": _UNLIMITED,
                    "max_requests": _UNLIMITED,
                    "max_retries": _UNLIMITED,
                }
            ]
        },
        # One vendor connection for each of the crawler's: sessions stay on their exit address.
        # It leaks without the idle time-out below (Envoy does not close the vendor's side).
        "connection_pool_per_downstream_connection": True,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {
                    "idle_timeout": idle_timeout,
                    "max_headers_count": MAX_HEADERS,
                    "max_response_headers_kb": MAX_HEADERS_KIB,
                },
                "explicit_http_config": {
                    "http_protocol_options": {
                        "send_fully_qualified_url": True,  # else the vendor gets origin-form
                        "allow_chunked_length": True,  # else 502, and the vendor is blamed
                        "enable_trailers": True,
                        "header_key_format": _preserve_case(),
                    }
                },
            }
        },
    }


def _preserve_case() -> Json:
    return {
        "stateful_formatter": {
            "name": "preserve_case",
            "typed_config": {
                "@type": (
                    f"{_TYPE}.extensions.http.header_formatters.preserve_case.v3"
                    ".PreserveCaseFormatterConfig"
                ),
                "forward_reason_phrase": True,
            },
        }
    }
