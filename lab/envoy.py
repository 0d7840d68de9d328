"""The laptop's Envoy: the rendered EnvoyFilters, applied as istiod would apply them.

The specs that the Pulumi program deploys are merged into a listener shaped like Istio's
`virtualOutbound`. `stand_ins` replace what a laptop cannot have, and the demo prints them. Nothing
else differs, which a test proves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import IPPROTO_TCP
from typing import Any

from components.attribution.clusters import ORIGINAL_DESTINATION
from components.attribution.discovery import STATS_TYPE
from components.attribution.envoy import LISTENER
from components.attribution.standalone import (
    STAT_SCOPE,
    WORKLOAD_TAGS,
    apply_filters,
    filters_sent_apart,
    istio_base,
    replace_istio_stats,
    with_resolver,
)
from components.attribution.stats import EXTRA_STAT_TAGS, SETUP_METRIC
from lab import names
from lab.ports import Ports

Json = dict[str, Any]

STATS_STAND_IN = "istio.stats -> Envoy's stats access logger, same CEL"
STAND_INS = (
    "iptables redirect -> listeners on loopback addresses",
    "the vendor's port -> another port of the same address",
    STATS_STAND_IN,
    "istiod's ECDS -> the same Lua and Wasm, from watched files",
    "a refusal's round trip -> at dead addresses Envoy accepts with the crawler's first bytes",
    *names.STAND_INS,
)

NATIVE_SCOPE = "istiocustom"
"""Prefix of what istio.stats itself counts; Envoy exports it without (its istio_stats.cc)."""

# The passive module and istio.stats read a pod's labels there; pilot-agent writes them (Istio's
# pkg/model/proxy.go).
NODE_METADATA = {
    "WORKLOAD_NAME": WORKLOAD_TAGS["source_workload"],
    "NAMESPACE": WORKLOAD_TAGS["source_workload_namespace"],
}

# Linux's TCP_DEFER_ACCEPT, include/uapi/linux/tcp.h; Python knows it on Linux alone.
_DEFER_ACCEPT = {"level": IPPROTO_TCP, "name": 9, "int_value": 1, "state": "STATE_PREBIND"}

_TYPE = "type.googleapis.com/envoy"

# Istio's bootstrap, tools/packaging/common/envoy_bootstrap.json. Envoy's default rules would name
# the label envoy_cluster_name, and the lab would pass where a mesh fails.
_ISTIO_STATS_TAGS = [
    {"tag_name": "cluster_name", "regex": r"^cluster(\.(.+);)"},
    {
        "tag_name": "http_conn_manager_prefix",
        "regex": r"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)",
    },
    {"tag_name": "tcp_prefix", "regex": r"^tcp\.((.*?)\.)\w+?$"},
    {"tag_name": "response_code", "regex": r"_rq(_(\d{3}))$"},
    # One for each of `extraStatTags`.
    *({"tag_name": tag, "regex": rf"({tag}=\.=(.*?);\.;)"} for tag in EXTRA_STAT_TAGS),
]

# Istio's bootstrap, pkg/bootstrap/config.go, extractRuntimeFlags. Without them the lab would answer
# 400 to a fragment in a target, where a mesh cuts it off.
_ISTIO_RUNTIME = {
    "re2.max_program_size.error_level": "32768",
    "envoy.reloadable_features.http_reject_path_with_fragment": False,
    "envoy.reloadable_features.fixed_heap_use_allocated": True,
    "envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update": False,
}


def stand_ins(*, native_stats: bool) -> tuple[str, ...]:
    """Return what is replaced, for an Envoy that holds istio.stats or for another one."""
    return tuple(line for line in STAND_INS if not (native_stats and line == STATS_STAND_IN))


@dataclass(frozen=True, kw_only=True)
class LabEnvoy:
    """A bootstrap, and the Lua and Wasm that Envoy reads from files."""

    bootstrap: Json
    extensions: Mapping[str, Json]
    """ECDS discovery response by file name."""


def lab_envoy(
    filters: Mapping[str, Json],
    entries: Mapping[str, Json],
    *,
    sockets: Sequence[tuple[str, int]],
    upstream_ports: Mapping[str, int],
    ports: Ports,
    dead_addresses: Collection[str] = (),
    buckets: Sequence[int],
    inclusion_regexps: Sequence[str],
    extension_dir: Path,
    native_stats: bool,
) -> LabEnvoy:
    """Return what the laptop's Envoy runs.

    Args:
        filters: EnvoyFilter specs by name, as rendered for the stack.
        entries: ServiceEntry specs by name; each has a listener for each of its ports.
        sockets: loopback addresses and ports to listen on, for the redirect to 15001.
        upstream_ports: where the simulated vendors listen, by the name of the cluster; any other
            cluster goes to `ports.outside_upstream`.
        ports: where everything else listens.
        dead_addresses: those of `sockets` behind which nobody is.
        buckets: histogram bounds in milliseconds.
        inclusion_regexps: of the statistics that are exported.
        extension_dir: folder from which Envoy will read `extensions`.
        native_stats: the Envoy holds istio.stats, and nothing stands in for it.
    """
    parts = apply_filters(filters, istio_base(sockets, entries))
    parts = with_resolver(parts, *names.resolver(ports))
    listener, clusters = parts.listeners[LISTENER], parts.clusters
    _stand_in_for_redirect(listener)
    for one in parts.listeners.values():
        one.pop("bind_to_port", None)  # nothing hands a connection over to a name's listener
        _stand_in_for_distance(one, dead_addresses)
    for cluster in clusters:
        if cluster.get("type") == ORIGINAL_DESTINATION["type"]:
            port = upstream_ports.get(cluster["name"], ports.outside_upstream)
            cluster["original_dst_lb_config"] = {"upstream_port_override": port}
    configs = {extension["name"]: extension["typed_config"] for extension in parts.extensions}
    for chain in parts.chains:
        if not native_stats:
            replace_istio_stats(chain, configs)
        _stand_in_for_istiod(chain, extension_dir)
    scope = NATIVE_SCOPE if native_stats else STAT_SCOPE
    return LabEnvoy(
        bootstrap={
            "node": {"id": "lab", "cluster": "lab", "metadata": NODE_METADATA},
            "admin": {
                "address": {
                    "socket_address": {"address": "127.0.0.1", "port_value": ports.envoy_admin}
                }
            },
            "layered_runtime": {
                "layers": [
                    {"name": "global config", "static_layer": _ISTIO_RUNTIME},
                    {"name": "admin", "admin_layer": {}},
                ]
            },
            # Envoy merges histograms that often; with its 5 s a short window would miss them.
            "stats_flush_interval": "1s",
            "static_resources": {
                "listeners": list(parts.listeners.values()),
                "clusters": clusters,
            },
            "stats_config": {
                "use_all_default_tags": False,
                "stats_tags": _ISTIO_STATS_TAGS,
                "stats_matcher": {
                    "inclusion_list": {"patterns": _patterns(inclusion_regexps, scope)}
                },
                "histogram_bucket_settings": [
                    {"match": {"prefix": prefix}, "buckets": [float(b) for b in buckets]}
                    for prefix in (f"{scope}.", f"wasmcustom.istio_{SETUP_METRIC}")
                ],
            },
        },
        extensions={
            f"{extension['name']}.json": _discovery_response(extension)
            for extension in parts.extensions
            if native_stats or extension["typed_config"]["@type"] != STATS_TYPE
        },
    )


def _stand_in_for_redirect(listener: Json) -> None:
    listener["listener_filters"].insert(
        0,
        {
            "name": "envoy.filters.listener.set_filter_state",
            "typed_config": {
                "@type": f"{_TYPE}.extensions.filters.listener.set_filter_state.v3.Config",
                "on_accept": [
                    {
                        "object_key": "envoy.network.transport_socket.original_dst_address",
                        "format_string": {
                            "text_format_source": {"inline_string": "%DOWNSTREAM_LOCAL_ADDRESS%"}
                        },
                        "shared_with_upstream": "ONCE",
                    }
                ],
            },
        },
    )


def _stand_in_for_distance(listener: Json, dead_addresses: Collection[str]) -> None:
    """Have Envoy accept a connection to a dead address only with the crawler's first bytes.

    Across a network a refusal takes a round trip, and a crawler has sent its request by then. On
    loopback the refusal would come first, and a passive sidecar would have read nothing.
    """
    for one in listener.get("additional_addresses", ()):
        if one["address"]["socket_address"]["address"] in dead_addresses:
            one["socket_options"] = {"socket_options": [_DEFER_ACCEPT]}
    if listener["address"]["socket_address"]["address"] in dead_addresses:
        listener["socket_options"] = [_DEFER_ACCEPT]


def _stand_in_for_istiod(chain: Json, extension_dir: Path) -> None:
    for one in filters_sent_apart(chain):
        one["config_discovery"]["config_source"] = {
            "path_config_source": {
                "path": str(extension_dir / f"{one['name']}.json"),
                "watched_directory": {"path": str(extension_dir)},
            },
            "initial_fetch_timeout": "3s",
            "resource_api_version": "V3",
        }


def _patterns(inclusion_regexps: Sequence[str], scope: str) -> list[Json]:
    ours = [{"safe_regex": {"regex": regex}} for regex in inclusion_regexps]
    # Every sidecar exports `server` and `wasm` (Istio's pkg/bootstrap/config.go). `scope` has the
    # statistics of istio.stats, or in its place; by `listener.` the lab sees that all connections
    # ended.
    more = ("server.", "wasm", f"{scope}.", "listener.")
    return [*ours, *({"prefix": prefix} for prefix in more)]


def _discovery_response(extension: Json) -> Json:
    return {
        "version_info": "1",
        "resources": [
            {
                "@type": f"{_TYPE}.config.core.v3.TypedExtensionConfig",
                "name": extension["name"],
                "typed_config": extension["typed_config"],
            }
        ],
    }
