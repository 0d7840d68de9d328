"""The EnvoyFilters as a configuration for an Envoy without Istio.

Upstream Envoy has no istiod that applies patches, and but for `envoy-contrib` no `istio.stats`.
This module applies the patches to a listener shaped like Istio's `virtualOutbound`, and can put
Envoy's stats access logger, with the same labels and expressions, in the place of istio.stats. The
lab runs the result; the guard has Envoy validate it before anything is deployed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.attribution.clusters import UNLIMITED
from components.attribution.discovery import STATS_TYPE
from components.attribution.envoy import Json, extension, mappings
from components.attribution.names import dns_caches, dns_resolver
from components.attribution.stats import BLACK_HOLE, PASSTHROUGH

STAT_SCOPE = "lab"
"""Prefix of the statistics that replace istio.stats'; Envoy exports them as `envoy_lab_…`."""

WORKLOAD_TAGS = {"source_workload": "crawler", "source_workload_namespace": "crawlers"}
"""Labels that istio.stats reads from the pod's metadata."""

STANDS_FOR = "1.31.4"
"""Istio's version of the sidecar that is imitated; the patches' `proxyVersion` must match it."""


# A request whose head never completes meets no filter, so a mesh counts nothing. The access logger
# would: it writes an entry for every stream.
_HAS_HEAD = {
    "extension_filter": extension(
        "envoy.access_loggers.extension_filters.cel",
        "access_loggers.filters.cel.v3.ExpressionFilter",
        expression="has(request.method) || has(response.code)",
    )
}


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The result of the patches: listeners, clusters, and the extensions sent by ECDS."""

    listeners: dict[str, Json]
    """By name: `virtualOutbound`, and one for each listed port of a name."""
    clusters: list[Json]
    """The patches' and Istio's own."""
    extensions: list[Json]

    @property
    def chains(self) -> list[Json]:
        """Every filter chain of every listener."""
        return [chain for one in self.listeners.values() for chain in one["filter_chains"]]


def validation_bootstrap(filters: Mapping[str, Json], entries: Mapping[str, Json]) -> Json:
    """Return a configuration for `envoy --mode validate`, with each extension inside its filter.

    In that mode Envoy loads scripts, and has the passive module read its configuration.

    Args:
        filters: EnvoyFilter specs by name.
        entries: ServiceEntry specs by name, as from `names.service_entries`.
    """
    applied = apply_filters(filters, istio_base([("127.0.0.1", 15001)], entries))
    sent = {extension["name"]: extension["typed_config"] for extension in applied.extensions}
    for chain in applied.chains:
        replace_istio_stats(chain, sent)
        for one in filters_sent_apart(chain):
            del one["config_discovery"]
            one["typed_config"] = sent[one["name"]]
    for cluster in applied.clusters:
        if trusts_files_missing_here(cluster):
            del cluster["transport_socket"]
    return {
        "static_resources": {
            "listeners": list(applied.listeners.values()),
            "clusters": applied.clusters,
        }
    }


def trusts_files_missing_here(cluster: Json) -> bool:
    """Whether Envoy would refuse a cluster here alone: a Mac has no such file of CAs."""
    trusted = (one.get("trusted_ca", {}) for one in mappings(cluster))
    return any("filename" in one and not Path(one["filename"]).exists() for one in trusted)


def scripts_by_name(filters: Mapping[str, Json]) -> dict[str, str]:
    """Return each Lua script that istiod would send by ECDS, by the name of its filter."""
    return {
        name: config["default_source_code"]["inline_string"]
        for name, config in extensions_by_name(filters).items()
        if "default_source_code" in config
    }


def extensions_by_name(filters: Mapping[str, Json]) -> dict[str, Json]:
    """Return the configuration of each filter that istiod would send by ECDS."""
    return {
        patch["patch"]["value"]["name"]: patch["patch"]["value"]["typed_config"]
        for spec in filters.values()
        for patch in spec["configPatches"]
        if patch["applyTo"] == "EXTENSION_CONFIG"
    }


def istio_base(sockets: Sequence[tuple[str, int]], entries: Mapping[str, Json]) -> Applied:
    """Return what istiod sends a crawler's sidecar before any patch.

    Args:
        sockets: where `virtualOutbound` listens.
        entries: ServiceEntry specs by name. Each port of each has a listener, which does not listen
            on its address but has connections handed to it by `virtualOutbound`.
    """
    ports = [(entry, port["number"]) for entry in entries.values() for port in entry["ports"]]
    listeners = [base_listener(sockets), *(_net_listener(entry, port) for entry, port in ports)]
    return Applied(
        listeners={listener["name"]: listener for listener in listeners},
        clusters=[
            passthrough_cluster(),
            _black_hole_cluster(),
            *(_net_cluster(entry, port) for entry, port in ports),
        ],
        extensions=[],
    )


def apply_filters(filters: Mapping[str, Json], base: Applied) -> Applied:
    """Apply the patches to `base` as istiod would. Their order must not change the result."""
    applied = copy.deepcopy(base)
    for name in sorted(filters):
        for patch in filters[name]["configPatches"]:
            value = copy.deepcopy(patch["patch"]["value"])
            _refuse_stray(name, patch, applied)
            listener = applied.listeners.get(_listener_meant(patch), {})
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
                case ("NETWORK_FILTER", "MERGE"):
                    _add_access_logs(patch["match"]["listener"]["filterChain"], value, listener)
                case kind:
                    raise ValueError(f"EnvoyFilter {name}: cannot be applied: {kind}")
    return applied


def _listener_meant(patch: Json) -> str:
    return str(patch["match"].get("listener", {}).get("name", ""))


def _add_access_logs(where: Json, value: Json, listener: Json) -> None:
    """Merge access logs into a filter, as istiod does with the items of a list."""
    (chain,) = (one for one in listener["filter_chains"] if one["name"] == where["name"])
    own = next(one for one in chain["filters"] if one["name"] == where["filter"]["name"])
    own["typed_config"].setdefault("access_log", []).extend(value["typed_config"]["access_log"])


def _refuse_stray(name: str, patch: Json, applied: Applied) -> None:
    """Raise ValueError for a patch that istiod would silently apply elsewhere, or nowhere."""
    match = patch["match"]
    meant = match["context"] == "SIDECAR_OUTBOUND" and bool(
        re.search(match["proxy"]["proxyVersion"], STANDS_FOR)
    )
    if patch["applyTo"] in ("LISTENER", "LISTENER_FILTER", "FILTER_CHAIN"):
        meant = meant and match["listener"].keys() == {"name"}
        meant = meant and _listener_meant(patch) in applied.listeners
    if not meant:
        raise ValueError(f"EnvoyFilter {name}: {patch['applyTo']} is meant for {match}")


def base_listener(sockets: Sequence[tuple[str, int]]) -> Json:
    """Return a listener like Istio's `virtualOutbound`, with its catch-all, on these sockets."""
    first, *more = [
        {"socket_address": {"address": address, "port_value": port}} for address, port in sockets
    ]
    return {
        "name": "virtualOutbound",
        "address": first,
        "additional_addresses": [{"address": socket} for socket in more],
        "traffic_direction": "OUTBOUND",
        "listener_filters": [],
        "filter_chains": [
            {
                "name": "virtualOutbound-catchall-tcp",
                "filters": [_tcp_proxy_to(PASSTHROUGH)],
            }
        ],
    }


def _net_listener(entry: Json, port: int) -> Json:
    """Return Istio's listener for a port of a name, with its one chain for all that comes."""
    (address,) = entry["addresses"]
    return {
        "name": f"{address}_{port}",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "bind_to_port": False,
        "traffic_direction": "OUTBOUND",
        "listener_filters": [],
        "listener_filters_timeout": "0s",
        "filter_chains": [{"filters": [_tcp_proxy_to(net_cluster_name(entry["hosts"][0], port))]}],
    }


def net_cluster_name(host: str, port: int) -> str:
    """Return how Istio calls its own cluster for a port of a name."""
    return f"outbound|{port}||{host}"


def _net_cluster(entry: Json, port: int) -> Json:
    """Return Istio's cluster for a port of a name, which resolves for ever, used or not."""
    name = net_cluster_name(entry["hosts"][0], port)
    (endpoint,) = entry["endpoints"]
    socket = {"socket_address": {"address": endpoint["address"], "port_value": port}}
    return {
        "name": name,
        "alt_stat_name": f"{name};",
        "type": "LOGICAL_DNS",
        "dns_lookup_family": "ALL",
        "respect_dns_ttl": True,
        "dns_refresh_rate": "60s",
        "connect_timeout": "10s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket}}]}],
        },
        "circuit_breakers": {"thresholds": [dict(UNLIMITED)]},
    }


def with_resolver(applied: Applied, address: str, port: int) -> Applied:
    """Return `applied` with every name resolved by one DNS server, in place of the machine's."""
    server = {"socket_address": {"address": address, "port_value": port}}
    resolver = dns_resolver(resolvers=[server])
    changed = copy.deepcopy(applied)
    for cluster in changed.clusters:
        if cluster.get("type") == "LOGICAL_DNS":
            cluster["typed_dns_resolver_config"] = resolver
    for cache in dns_caches([changed.clusters, changed.chains]):
        cache["typed_dns_resolver_config"] = resolver
    return changed


def _tcp_proxy_to(cluster: str) -> Json:
    return extension(
        "envoy.filters.network.tcp_proxy",
        "filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=cluster,
        cluster=cluster,
    )


def _black_hole_cluster() -> Json:
    """Return Istio's cluster without an endpoint, whose one statistic every sidecar exports."""
    return {
        "name": BLACK_HOLE,
        "alt_stat_name": f"{BLACK_HOLE};",
        "type": "STATIC",
        "connect_timeout": "10s",
    }


def passthrough_cluster() -> Json:
    """Return a cluster that does what Istio's PassthroughCluster does."""
    return {
        "name": PASSTHROUGH,
        "alt_stat_name": f"{PASSTHROUGH};",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "10s",
    }


def replace_istio_stats(chain: Json, configs: Mapping[str, Json]) -> None:
    """Replace a chain's istio.stats by Envoy's stats access logger.

    Args:
        chain: a filter chain.
        configs: the configurations that istiod sends by ECDS, by name.
    """
    manager = _typed(chain["filters"], "envoy.filters.network.http_connection_manager")
    tcp_proxy = _typed(chain["filters"], "envoy.filters.network.tcp_proxy")
    if manager is not None:
        plugin = _take_stats(manager["http_filters"], configs)
        if plugin:
            logger = _stats_logger(_http_statistics(plugin)) | {"filter": _HAS_HEAD}
            manager.setdefault("access_log", []).append(logger)
    elif tcp_proxy is not None:
        plugin = _take_stats(chain["filters"], configs)
        if plugin:
            tcp_proxy.setdefault("access_log", []).append(_stats_logger(_tcp_statistics(plugin)))


def filters_sent_apart(chain: Json) -> list[Json]:
    """Return a chain's filters, network and HTTP, whose configuration istiod sends by ECDS."""
    manager = _typed(chain["filters"], "envoy.filters.network.http_connection_manager")
    found = [*chain["filters"], *(manager["http_filters"] if manager else [])]
    return [one for one in found if "config_discovery" in one]


def _typed(filters: Iterable[Json], name: str) -> Json | None:
    return next((f["typed_config"] for f in filters if f["name"] == name), None)


def _take_stats(filters: list[Json], configs: Mapping[str, Json]) -> Json | None:
    """Remove the filter whose configuration is istio.stats', and return that."""
    for position, candidate in enumerate(filters):
        config = configs.get(candidate["name"], {})
        if config.get("@type") == STATS_TYPE:
            del filters[position]
            return config
    return None


def _stats_logger(statistics: Json) -> Json:
    return extension(
        "envoy.access_loggers.stats",
        "access_loggers.stats.v3.Config",
        stats_scope={"prefix": STAT_SCOPE},
        **statistics,
    )


def _dimensions(plugin: Json, metric: str) -> dict[str, str]:
    """Return a metric's dimensions, label to CEL, collected as istio.stats does."""
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
    counters: list[Json] = [requests]
    histograms: list[Json] = []
    for definition in plugin["definitions"]:
        dimensions = _dimensions(plugin, definition["name"])
        # A custom metric of istio.stats carries its own dimensions only.
        workload = {name: value for name, value in WORKLOAD_TAGS.items() if name in dimensions}
        own = {
            "stat": {"name": f"istio_{definition['name']}", "tags": _tags(dimensions, workload)},
            "value_format": f"%CEL({definition['value']})%",
        }
        if definition.get("type") == "HISTOGRAM":
            histograms.append({**own, "unit": "Unspecified"})
        else:
            counters.append(own)
    return {"counters": counters, "histograms": histograms}


def _tcp_statistics(plugin: Json) -> Json:
    values: dict[str, Json] = {
        "tcp_connections_opened_total": {"value_fixed": 1},
        "tcp_sent_bytes_total": {"value_format": "%BYTES_SENT%"},
        "tcp_received_bytes_total": {"value_format": "%BYTES_RECEIVED%"},
    }
    tags = {name: _tags(_dimensions(plugin, name), WORKLOAD_TAGS) for name in values}
    return {
        "counters": [
            {"stat": {"name": f"istio_{name}", "tags": tags[name]}, **value}
            for name, value in values.items()
        ]
    }
