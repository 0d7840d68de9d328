"""The laptop's Envoy: the rendered EnvoyFilters, applied as istiod would apply them.

`bootstrap` merges the very specs that the Pulumi program deploys into a listener shaped like
Istio's `virtualOutbound`. What a laptop cannot have is replaced by the stand-ins below, each
named in the demo's output; nothing else differs, and a test compares the two.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.ports import Ports

Json = dict[str, Any]

STAND_INS = (
    "iptables redirect -> listeners on loopback addresses",
    "the vendor's port -> another port of the same address",
    "istio.stats -> Envoy's stats access logger, same CEL",
    "istiod's ECDS -> the same Lua, from a watched file",
)

STAT_SCOPE = "lab"
"""First part of the stand-in statistics' names; exported as `envoy_lab_…`."""

WORKLOAD_TAGS = {"source_workload": "crawler", "source_workload_namespace": "crawlers"}
"""What istio.stats reads from the pod's own metadata."""

_TYPE = "type.googleapis.com/envoy"

# Istio's bootstrap, tools/packaging/common/envoy_bootstrap.json: with Envoy's default rules the
# cluster would be called envoy_cluster_name, and a lab would pass where a mesh fails.
_ISTIO_STATS_TAGS = [
    {"tag_name": "cluster_name", "regex": r"^cluster(\.(.+);)"},
    {
        "tag_name": "http_conn_manager_prefix",
        "regex": r"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)",
    },
    {"tag_name": "tcp_prefix", "regex": r"^tcp\.((.*?)\.)\w+?$"},
]


@dataclass(frozen=True, kw_only=True)
class LabEnvoy:
    """A bootstrap and the Lua that it reads by file discovery."""

    bootstrap: Json
    extensions: Mapping[str, Json]
    """ECDS discovery response by file name."""


def lab_envoy(
    filters: Mapping[str, Json],
    *,
    addresses: Sequence[str],
    ports: Ports,
    buckets: Sequence[int],
    stats_matcher: Mapping[str, Sequence[str]],
    extension_dir: Path,
) -> LabEnvoy:
    """Return what the laptop's Envoy runs.

    Args:
        filters: EnvoyFilter specs by name, as rendered for the stack.
        addresses: loopback addresses to listen on, standing for the redirect to 15001.
        ports: where things listen.
        buckets: histogram bounds in milliseconds.
        stats_matcher: the rendered `proxyStatsMatcher`.
        extension_dir: folder from which Envoy will read `extensions`.
    """
    parts = _apply(filters, _base_listener(addresses, ports))
    listener, clusters = parts.listener, [*parts.clusters, _passthrough_cluster()]
    _stand_in_for_redirect(listener)
    for cluster in clusters:
        cluster["original_dst_lb_config"] = {"upstream_port_override": ports.vendor_upstream}
    for chain in listener["filter_chains"]:
        _stand_in_for_istio_stats(chain)
        _stand_in_for_istiod(chain, extension_dir)
    return LabEnvoy(
        bootstrap={
            "node": {"id": "lab", "cluster": "lab"},
            "admin": {
                "address": {
                    "socket_address": {"address": "127.0.0.1", "port_value": ports.envoy_admin}
                }
            },
            "static_resources": {"listeners": [listener], "clusters": clusters},
            "stats_config": {
                "use_all_default_tags": False,
                "stats_tags": _ISTIO_STATS_TAGS,
                "stats_matcher": {"inclusion_list": {"patterns": _patterns(stats_matcher)}},
                "histogram_bucket_settings": [
                    {"match": {"prefix": f"{STAT_SCOPE}."}, "buckets": [float(b) for b in buckets]}
                ],
            },
        },
        extensions={
            f"{extension['name']}.json": _discovery_response(extension)
            for extension in parts.extensions
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Applied:
    listener: Json
    clusters: list[Json]
    extensions: list[Json]


def _apply(filters: Mapping[str, Json], listener: Json) -> _Applied:
    """Apply config patches in istiod's order: by name, all of one priority."""
    applied = _Applied(listener=listener, clusters=[], extensions=[])
    for name in sorted(filters):
        for patch in filters[name]["configPatches"]:
            value = copy.deepcopy(patch["patch"]["value"])
            match (patch["applyTo"], patch["patch"]["operation"]):
                case ("LISTENER_FILTER", "INSERT_FIRST"):
                    listener["listener_filters"].insert(0, value)
                case ("LISTENER_FILTER", "ADD"):
                    listener["listener_filters"].append(value)
                case ("LISTENER", "MERGE"):
                    listener.update(value)
                case ("FILTER_CHAIN", "ADD"):
                    listener["filter_chains"].append(value)
                case ("CLUSTER", "ADD"):
                    applied.clusters.append(value)
                case ("EXTENSION_CONFIG", "ADD"):
                    applied.extensions.append(value)
                case kind:
                    raise ValueError(f"EnvoyFilter {name}: the lab cannot apply {kind}")
    return applied


def _base_listener(addresses: Sequence[str], ports: Ports) -> Json:
    sockets = [
        {"socket_address": {"address": address, "port_value": ports.vendor}}
        for address in addresses
    ]
    return {
        "name": "virtualOutbound",
        "address": sockets[0],
        "additional_addresses": [{"address": socket} for socket in sockets[1:]],
        "traffic_direction": "OUTBOUND",
        "listener_filters": [],
        "filter_chains": [
            {
                "name": "virtualOutbound-catchall-tcp",
                "filters": [
                    {
                        "name": "envoy.filters.network.tcp_proxy",
                        "typed_config": {
                            "@type": f"{_TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                            "stat_prefix": "PassthroughCluster",
                            "cluster": "PassthroughCluster",
                        },
                    }
                ],
            }
        ],
    }


def _passthrough_cluster() -> Json:
    return {
        "name": "PassthroughCluster",
        "alt_stat_name": "PassthroughCluster;",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "10s",
    }


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


def _stand_in_for_istiod(chain: Json, extension_dir: Path) -> None:
    for http_filter in _http_filters(chain):
        if "config_discovery" in http_filter:
            file = extension_dir / f"{http_filter['name']}.json"
            http_filter["config_discovery"]["config_source"] = {
                "path_config_source": {
                    "path": str(file),
                    "watched_directory": {"path": str(extension_dir)},
                },
                "initial_fetch_timeout": "3s",
                "resource_api_version": "V3",
            }


def _stand_in_for_istio_stats(chain: Json) -> None:
    manager = _typed(chain["filters"], "envoy.filters.network.http_connection_manager")
    tcp_proxy = _typed(chain["filters"], "envoy.filters.network.tcp_proxy")
    if manager is not None:
        plugin = _take(manager["http_filters"], "istio.stats")
        if plugin:
            manager["access_log"] = [_stats_logger(_http_statistics(plugin))]
    elif tcp_proxy is not None:
        plugin = _take(chain["filters"], "istio.stats")
        if plugin:
            tcp_proxy["access_log"] = [_stats_logger(_tcp_statistics(plugin))]


def _http_filters(chain: Json) -> list[Json]:
    manager = _typed(chain["filters"], "envoy.filters.network.http_connection_manager")
    return [] if manager is None else list(manager["http_filters"])


def _typed(filters: Iterable[Json], name: str) -> Json | None:
    return next((f["typed_config"] for f in filters if f["name"] == name), None)


def _take(filters: list[Json], name: str) -> Json | None:
    for position, candidate in enumerate(filters):
        if candidate["name"] == name:
            return dict(filters.pop(position)["typed_config"])
    return None


def _stats_logger(statistics: Json) -> Json:
    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": STAT_SCOPE},
            **statistics,
        },
    }


def _dimensions(plugin: Json, metric: str) -> dict[str, str]:
    """Return a metric's own dimensions, label -> CEL, as istio.stats collects them."""
    result: dict[str, str] = {}
    for entry in plugin["metrics"]:
        if entry.get("name") in (None, metric):
            result |= entry.get("dimensions", {})
    return result


def _tags(dimensions: Mapping[str, str], constants: Mapping[str, str]) -> list[Json]:
    labels = {name: f"%CEL({expression})%" for name, expression in dimensions.items()}
    labels |= {name: f"%CEL('{value}')%" for name, value in constants.items()}
    return [{"name": name, "value_format": labels[name]} for name in sorted(labels)]


def _http_statistics(plugin: Json) -> Json:
    requests = {
        "stat": {
            "name": "istio_requests_total",
            "tags": _tags(_dimensions(plugin, "requests_total"), WORKLOAD_TAGS),
        },
        "value_fixed": 1,
    }
    histograms = [
        {
            "stat": {
                "name": f"istio_{definition['name']}",
                # A custom metric of istio.stats carries its own dimensions only.
                "tags": _tags(_dimensions(plugin, definition["name"]), {}),
            },
            "unit": "Unspecified",
            "value_format": f"%CEL({definition['value']})%",
        }
        for definition in plugin["definitions"]
    ]
    return {"counters": [requests], "histograms": histograms}


def _tcp_statistics(plugin: Json) -> Json:
    values: dict[str, Json] = {
        "tcp_connections_opened_total": {"value_fixed": 1},
        "tcp_sent_bytes_total": {"value_format": "%BYTES_SENT%"},
        "tcp_received_bytes_total": {"value_format": "%BYTES_RECEIVED%"},
    }
    counters = [
        {
            "stat": {
                "name": f"istio_{name}",
                "tags": _tags(_dimensions(plugin, name), WORKLOAD_TAGS),
            },
            **value,
        }
        for name, value in values.items()
    ]
    return {"counters": counters}


def _patterns(stats_matcher: Mapping[str, Sequence[str]]) -> list[Json]:
    ours = [{"safe_regex": {"regex": regex}} for regex in stats_matcher["inclusionRegexps"]]
    # `lab.` are the stand-in statistics; the listener's tell the lab when all has ended.
    return [*ours, {"prefix": f"{STAT_SCOPE}."}, {"prefix": "listener."}]


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
