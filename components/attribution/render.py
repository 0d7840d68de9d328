"""The data path as EnvoyFilters: what istiod is asked to add to a crawler's sidecar.

`proxy-observability` prepares the outbound listener once. `proxy-vendor-<name>` holds all of one
vendor: its cluster, and for each part of its ranges the Lua and a pair of filter chains, so a
chain never arrives without its cluster. Vendors that share addresses have one more together,
`proxy-shared-<names>`; a vendor of thousands of ranges has its chains in objects of their own.

No chain of Istio's is replaced: when a patch stops matching, traffic takes Istio's own
catch-all, unattributed and unharmed. A Sidecar resource narrows what else the crawlers' sidecars
know of the mesh.

Each setting says what would happen without it; the experiments behind them are summed up in
docs/architecture.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.attribution.groups import CLUSTER_PREFIX, Chain, Group, groups
from components.attribution.lua import attribution_script
from components.attribution.outcome import METADATA, SETUP_KEY, VENDOR_KEY
from components.attribution.stats import (
    HTTP_STAT_PREFIX,
    PASSTHROUGH,
    http_plugin_config,
    opaque_plugin_config,
)
from settings.values import PortRange
from settings.vendors import Target, Vendor, inspected_ports

Json = dict[str, Any]

LISTENER = "virtualOutbound"

# Releases whose sidecars take the filter chains (tests/mesh). A sidecar of another release keeps
# Istio's own configuration: an Envoy that refused one setting of the listener would keep its pod
# from starting. `SIDECAR_VERSIONS` is a regular expression over the sidecar's own version.
ISTIO_RELEASES = ("1.30", "1.31")
SIDECAR_VERSIONS = "^1\\.(30|31)\\b"
LISTENER_FILTER_NAME = "proxy-observability"
CONNECT_TIMEOUT = "10s"
SETUP_HEADER = "x-proxyobs-setup-milliseconds"
"""Inside Envoy only; a vendor's own header of that name would not reach the crawler."""

MAX_HEADERS = 1000
MAX_HEADERS_KIB = 8192  # Envoy's upper bound; its default of 60 answers 431 to large cookies
_UNLIMITED = 4294967295

# A vendor's object above this is split, chain by chain. etcd takes 1.5 MiB
# (its --max-request-bytes); half of it leaves room for what the API server adds.
SPLIT_ABOVE_BYTES = 750_000

_TYPE = "type.googleapis.com/envoy"
_LUA_TYPE = f"{_TYPE}.extensions.filters.http.lua.v3.Lua"


def envoy_filters(
    vendors: Sequence[Vendor],
    *,
    targets: Sequence[Target] = (),
    patience_seconds: int,
    selector: Mapping[str, str],
) -> dict[str, Json]:
    """Return the spec of each EnvoyFilter by its name.

    Args:
        vendors: the stack's vendors; their order does not show in the result.
        targets: groups of crawled sites, for the label `proxy_target`.
        patience_seconds: see `outcome.proxy_outcome`.
        selector: labels of the pods it is for; empty means the whole namespace.
    """
    patches = {LISTENER_FILTER_NAME: _listener_patches(vendors)} | {
        _vendor_filter(vendor): [_patch("CLUSTER", "ADD", _cluster(vendor), listener=False)]
        for vendor in sorted(vendors, key=lambda vendor: vendor.name)
    }
    for group in groups(vendors):
        for name, of_group in _group_patches(group, targets, patience_seconds).items():
            patches[name] = [*patches.get(name, []), *of_group]
    workloads = {"workloadSelector": {"labels": dict(selector)}} if selector else {}
    return {
        name: {**workloads, "priority": 10, "configPatches": of_it}
        for name, of_it in patches.items()
    }


def clusters_needed(spec: Json) -> dict[str, set[str]]:
    """Return the clusters that each filter chain of an EnvoyFilter leads to, by the chain's name.

    A chain without one of them would answer 503 to a request that used to pass.
    """
    found: dict[str, set[str]] = {}
    for patch in spec["configPatches"]:
        if patch["applyTo"] == "FILTER_CHAIN":
            chain = patch["patch"]["value"]
            found[chain["name"]] = set(_clusters_named(chain["filters"])) - {PASSTHROUGH}
    return found


def clusters_held(spec: Json) -> set[str]:
    """Return the clusters that an EnvoyFilter adds."""
    return {
        patch["patch"]["value"]["name"]
        for patch in spec["configPatches"]
        if patch["applyTo"] == "CLUSTER"
    }


def filters_before(filters: Mapping[str, Json]) -> dict[str, tuple[str, ...]]:
    """Return, for each EnvoyFilter, those that must be there first: they hold its clusters."""
    holder = {name: of for of, spec in filters.items() for name in clusters_held(spec)}
    return {
        name: tuple(
            sorted(
                {
                    holder[cluster]
                    for needed in clusters_needed(spec).values()
                    for cluster in needed
                    if cluster in holder
                }
                - {name}
            )
        )
        for name, spec in filters.items()
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


def _vendor_filter(vendor: Vendor) -> str:
    return f"proxy-vendor-{vendor.name}"


def _patch(apply_to: str, operation: str, value: Json, *, listener: bool = True) -> Json:
    match: Json = {"context": "SIDECAR_OUTBOUND", "proxy": {"proxyVersion": SIDECAR_VERSIONS}}
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


def _any_port(ports: Sequence[PortRange]) -> Json:
    # Envoy's end is exclusive.
    rules = [{"destination_port_range": {"start": one.first, "end": one.last + 1}} for one in ports]
    # Envoy refuses an or_match of fewer than two.
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}


def _group_patches(
    group: Group, targets: Sequence[Target], patience_seconds: int
) -> dict[str, list[Json]]:
    """Return a group's patches by the EnvoyFilter they go into."""
    if len(group.vendors) == 1:
        name = _vendor_filter(group.vendors[0])
    else:
        name = f"proxy-shared-{group.name}"
    clusters = []
    if group.leaves_ports_out:
        clusters = [_patch("CLUSTER", "ADD", _unowned_cluster(group), listener=False)]
    chains = {
        chain.number: _chain_patches(group, chain, targets, patience_seconds)
        for chain in group.chains
    }
    if len(json.dumps(list(chains.values()))) > SPLIT_ABOVE_BYTES:
        own = {name: clusters} if clusters else {}
        return own | {f"{name}.chain-{number}": its for number, its in chains.items()}
    return {name: [*clusters, *(patch for its in chains.values() for patch in its)]}


def _chain_patches(
    group: Group, chain: Chain, targets: Sequence[Target], patience_seconds: int
) -> list[Json]:
    patches = []
    if group.parses_http:
        lua = _lua_extension(group, chain, targets)
        http = _http_chain(group, chain, bool(targets), patience_seconds)
        patches = [
            _patch("EXTENSION_CONFIG", "ADD", lua, listener=False),
            _patch("FILTER_CHAIN", "ADD", http),
        ]
    return [*patches, _patch("FILTER_CHAIN", "ADD", _opaque_chain(group, chain))]


def _prefix_ranges(chain: Chain) -> list[Json]:
    return [
        {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}
        for network in chain.networks
    ]


def _by_port(group: Group, texts: Sequence[str]) -> str:
    """Return a format that yields the text of the vendor whose port it is, else nothing.

    `texts` is one for each of the group's vendors. Of one vendor that has every port it is the
    bare text: nothing is evaluated for a connection.
    """
    if not group.decides_by_port:
        return texts[0]
    expression = "''"
    for vendor, text in reversed(list(zip(group.vendors, texts, strict=True))):
        owned = " || ".join(
            f"(destination.port >= {ports.first} && destination.port <= {ports.last})"
            for ports in sorted(vendor.ports)
        )
        expression = f"({owned}) ? '{text}' : ({expression})" if owned else f"'{text}'"
    return f"%CEL({expression})%"


def _filter_state(key: str, factory: str, value: str) -> Json:
    return {
        "object_key": key,
        "factory_key": factory,
        "format_string": {"text_format_source": {"inline_string": value}},
        "skip_if_empty": True,  # nobody's port: the key stays absent
    }


def _vendor_constant(group: Group, *more: Json) -> Json:
    """Name the vendor in the connection: holds for TLS, failed connects, and if Lua fails."""
    name = _by_port(group, [vendor.name for vendor in group.vendors])
    return {
        "name": "envoy.filters.network.set_filter_state",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.network.set_filter_state.v3.Config",
            "on_new_connection": [_filter_state(VENDOR_KEY, "envoy.string", name), *more],
        },
    }


def _stats(config: Json) -> Json:
    # Whole, not by Telemetry API: that and other EnvoyFilters do not reach an added chain.
    return {"name": "istio.stats", "typed_config": config}


def _http_chain(group: Group, chain: Chain, with_targets: bool, patience_seconds: int) -> Json:
    return {
        "name": f"{chain.name}_http",
        "filter_chain_match": {
            "prefix_ranges": _prefix_ranges(chain),
            # Not h2c: matched as HTTP it would reach the vendor as HTTP/1.1.
            "application_protocols": ["http/1.0", "http/1.1"],
        },
        "filters": [
            _vendor_constant(group),
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": _connection_manager(
                    group,
                    chain,
                    http_plugin_config(
                        group, with_targets=with_targets, patience_seconds=patience_seconds
                    ),
                ),
            },
        ],
    }


def _opaque_chain(group: Group, chain: Chain) -> Json:
    cluster, constants = cluster_name(group.vendors[0]), []
    if group.decides_by_port:
        # tcp_proxy reads its cluster from this key; without it, nobody's port is Istio's.
        key = "envoy.tcp_proxy.cluster"
        named = _by_port(group, [cluster_name(vendor) for vendor in group.vendors])
        cluster, constants = PASSTHROUGH, [_filter_state(key, key, named)]
    return {
        "name": f"{chain.name}_opaque",
        "filter_chain_match": {"prefix_ranges": _prefix_ranges(chain)},
        "filters": [
            _vendor_constant(group, *constants),
            _stats(opaque_plugin_config()),
            {
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": "proxyobs",
                    "cluster": cluster,
                    # Envoy's default cuts a silent connection after an hour; the vendor and the
                    # crawler are the ones to decide that.
                    "idle_timeout": "0s",
                },
            },
        ],
    }


def _connection_manager(group: Group, chain: Chain, stats: Json) -> Json:
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
        # Envoy's default holds back by a second the end of a tunnel that the vendor closed, and
        # drops what a crawler that pauses for longer has not read by then.
        "delayed_close_timeout": "0s",
        "max_request_headers_kb": MAX_HEADERS_KIB,
        "common_http_protocol_options": {"idle_timeout": "0s", "max_headers_count": MAX_HEADERS},
        "http_protocol_options": {
            "accept_http_10": True,
            "allow_custom_methods": True,  # else a method Envoy does not know gets 400
            "allow_chunked_length": True,  # else 400; Transfer-Encoding wins, as RFC 9112 says
            "enable_trailers": True,
            # Offers that nobody need take up, such as TLS/1.2: else 403. Not websocket's.
            "ignore_http_11_upgrade": [{"safe_regex": {"regex": "[^wW].*"}}],
            "header_key_format": _preserve_case(),
        },
        "upgrade_configs": [{"upgrade_type": "CONNECT"}, {"upgrade_type": "websocket"}],
        "http_filters": [
            _lua_by_discovery(chain),
            _setup_time(),
            _stats(stats),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
        "route_config": {
            "name": f"{CLUSTER_PREFIX}{group.name}",
            "validate_clusters": False,
            "request_headers_to_remove": ["x-forwarded-proto"],
            "virtual_hosts": [
                {
                    "name": "any",
                    "domains": ["*"],
                    "routes": _routes(group),
                    "response_headers_to_add": [
                        {
                            "header": {"key": SETUP_HEADER, "value": "%RESPONSE_DURATION%"},
                            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                        }
                    ],
                }
            ],
        },
    }


def _setup_time() -> Json:
    """Note the time from a request's start to its answer, and take it out of the answer again.

    CEL cannot say it of a CONNECT, and a Lua hook for the answer costs a request a tenth of its
    CPU. Here the router writes Envoy's own figure into a header, and this filter moves it into
    metadata before anybody else sees it.
    """
    return {
        "name": "envoy.filters.http.header_to_metadata",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.http.header_to_metadata.v3.Config",
            "response_rules": [
                {
                    "header": SETUP_HEADER,
                    "on_header_present": {
                        "metadata_namespace": METADATA,
                        "key": SETUP_KEY,
                        "type": "NUMBER",
                    },
                    "remove": True,
                }
            ],
        },
    }


def _routes(group: Group) -> list[Json]:
    if not group.decides_by_port:
        return _routes_to(cluster_name(group.vendors[0]))
    routes: list[Json] = []
    for vendor in group.vendors:
        routes += _routes_to(cluster_name(vendor), vendor if vendor.ports else None)
    return routes + (_routes_to(_unowned_name(group)) if group.leaves_ports_out else [])


def _routes_to(cluster: str, vendor: Vendor | None = None) -> list[Json]:
    """Return the routes of tunnels and of all else, of `vendor`'s connections alone if given."""
    of: Json = {}
    if vendor:
        of = {"filter_state": [{"key": VENDOR_KEY, "string_match": {"exact": vendor.name}}]}
    # 0 s: a slow vendor is the crawler's to give up on, not ours.
    action = {"cluster": cluster, "timeout": "0s", "idle_timeout": "0s"}
    return [
        {"match": {"connect_matcher": {}, **of}, "route": dict(action)},
        {"match": {"prefix": "", **of}, "route": dict(action)},
    ]


def _lua_by_discovery(chain: Chain) -> Json:
    """Have the script sent apart from the listener.

    Inline, a script that does not compile leaves a new pod without its outbound listener; sent
    apart it costs labels only, and an edit cuts no connection.
    """
    return {
        "name": _lua_name(chain),
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


def _lua_extension(group: Group, chain: Chain, targets: Sequence[Target]) -> Json:
    script = attribution_script(group.vendors, chain, targets)
    return {
        "name": _lua_name(chain),
        "typed_config": {
            "@type": _LUA_TYPE,
            "default_source_code": {"inline_string": script},
        },
    }


def _lua_name(chain: Chain) -> str:
    return f"{chain.name}_lua"


def _cluster(vendor: Vendor) -> Json:
    # The `;` ends the name for Istio's tag rules; without it the vendor would become part of the
    # metric's name.
    name = cluster_name(vendor)
    return _original_destination(name, f"{name};", f"{vendor.idle_timeout}s")


def _unowned_cluster(group: Group) -> Json:
    """Return where HTTP to nobody's port goes: as faithful as a vendor's, counted as Istio's.

    Istio's own PassthroughCluster would pool the connections and rewrite the requests.
    """
    return _original_destination(_unowned_name(group), f"{PASSTHROUGH};", "30s")


def _unowned_name(group: Group) -> str:
    return f"proxy-unowned_{group.name}"


def _original_destination(name: str, stat_name: str, idle_timeout: str) -> Json:
    return {
        "name": name,
        "alt_stat_name": stat_name,
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


def _clusters_named(node: Any) -> list[str]:
    """Return every cluster that a filter's configuration may send to."""
    if isinstance(node, list):
        return [name for item in node for name in _clusters_named(item)]
    if not isinstance(node, dict):
        return []
    if node.get("object_key") == "envoy.tcp_proxy.cluster":
        text = node["format_string"]["text_format_source"]["inline_string"]
        return [part for part in text.split("'")[1::2] if part]
    own = [node["cluster"]] if isinstance(node.get("cluster"), str) else []
    return own + [name for value in node.values() for name in _clusters_named(value)]


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
