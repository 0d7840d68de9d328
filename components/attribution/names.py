"""Vendors by name: the connection's virtual address tells the name, and Envoy resolves it.

A ServiceEntry gives each name a virtual address and has Istio make a listener for each listed port.
The chains of that address write the name and the connection's port into the connection. A dynamic
forward proxy cluster reads both and connects to what the name resolves to at that moment. Which
addresses DNS gives, and who else has them, does not matter.

Without these chains Istio's own chain of the listener carries the connection. Without the
ServiceEntry, or the DNS proxy of the pod, the name has its real addresses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from components.attribution.clusters import cluster, cluster_name
from components.attribution.envoy import Json, extension, filter_state, mappings
from components.attribution.tls import tls_fields
from settings.destinations import Destination, listed_names
from settings.hosts import Host
from settings.vendors import Vendor

NAMED_CLUSTER_PREFIX = "proxy-names_"

HOST_KEY = "envoy.upstream.dynamic_host"
PORT_KEY = "envoy.upstream.dynamic_port"
"""Filter state that the cluster and `name_lookup` read before anything else."""

NAME_LOOKUP = "envoy.filters.network.sni_dynamic_forward_proxy"

# Each name and port that a pod uses has an entry of the cache until it is unused for 5 minutes.
# Envoy's default of 1,024 would refuse sticky ports.
_ENTRIES = 65535


def named_cluster_name(vendor: Vendor) -> str:
    return f"{NAMED_CLUSTER_PREFIX}{vendor.name}"


def named_cluster(vendor: Vendor) -> Json:
    """Return the cluster of a vendor's names; it counts with that of the vendor's addresses."""
    name = named_cluster_name(vendor)
    stat_name = f"{cluster_name(vendor)};"
    discovery = {**by_name(name), **tls_fields(vendor.tls)}
    return cluster(name, stat_name, f"{vendor.idle_timeout}s", discovery)


def by_name(cluster_name: str) -> Json:
    """Return the fields of a cluster that resolves the name in the connection's filter state."""
    config = extension(
        "envoy.clusters.dynamic_forward_proxy",
        "clusters.dynamic_forward_proxy.v3.ClusterConfig",
        # Without it Envoy refuses the cluster: it would want auto_sni, which asks for the crawled
        # site's name.
        allow_insecure_cluster_options=True,
        dns_cache_config=dns_cache(cluster_name),
    )
    return {"cluster_type": config}


def name_lookup(cluster_name: str) -> Json:
    """Return the network filter that resolves the name before the TCP proxy asks for it.

    Without it the first connection that is not HTTP, to a port that the pod has not used yet, is
    reset (seen on Envoy 1.39 and 1.40).
    """
    return extension(
        NAME_LOOKUP,
        "filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
        port_value=80,  # a port must be written; the one in filter state holds
        dns_cache_config=dns_cache(cluster_name),
    )


def dns_cache(cluster_name: str) -> Json:
    """Return the cache that a cluster and the chains that lead to it share.

    Envoy refuses other settings under a name that is in use, and with them the cluster and the
    listener. So the name has a hash of the settings.
    """
    settings: Json = {
        "dns_lookup_family": "ALL",
        "max_hosts": _ENTRIES,
        "dns_cache_circuit_breaker": {"max_pending_requests": _ENTRIES},
        # Envoy's 60 s would keep a name that failed failing for as long.
        "dns_refresh_rate": "5s",
        "dns_min_refresh_rate": "5s",
        "typed_dns_resolver_config": dns_resolver(),
    }
    digest = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return {"name": f"{cluster_name}.{digest[:8]}", **settings}


def dns_resolver(**more: Any) -> Json:
    """Return how names are asked for; `more` are other fields of it."""
    return extension(
        "envoy.network.dns_resolver.cares",
        "network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        **{
            "udp_max_queries": 100,
            # A pod's search list would make six questions of two.
            "dns_resolver_options": {"no_default_search_domain": True},
            **more,
        },
    )


def dns_caches(node: Any) -> list[Json]:
    """Return every DNS cache anywhere in a part of Envoy's configuration."""
    found = (one for one in mappings(node) if "dns_cache_config" in one)
    return [one["dns_cache_config"] for one in found]


def name_states(host: Host) -> list[Json]:
    """Return what a chain writes into its connections: where they go on to."""
    return [
        # The dot: with it no search list is tried.
        filter_state(HOST_KEY, HOST_KEY, f"{host.name}."),
        filter_state(PORT_KEY, PORT_KEY, "%DOWNSTREAM_LOCAL_PORT%"),
    ]


def listener_name(host: Host, port: int) -> str:
    """Return how Istio calls the listener of a listed port."""
    return f"{host.address}_{port}"


def service_entries(
    vendors: Sequence[Vendor],
    destinations: Sequence[Destination] = (),
    *,
    with_retired: bool = False,
) -> dict[str, Json]:
    """Return the spec of each ServiceEntry by its name.

    They are applied after the EnvoyFilters and removed before them: until then a name has its real
    addresses.

    Args:
        with_retired: whether names have one that the stack has retired.
    """
    return {
        f"proxy-name-{host.name}": _service_entry(host, ports)
        for host, ports in listed_names(vendors, destinations)
        if with_retired or not host.retired
    }


def _service_entry(host: Host, ports: Sequence[int]) -> Json:
    return {
        "hosts": [host.name],
        "addresses": [str(host.address)],
        "location": "MESH_EXTERNAL",
        # Envoy then connects to an answer that accepts. With DNS it would also send connections to
        # answers that refuse.
        "resolution": "DNS_ROUND_ROBIN",
        "exportTo": ["."],
        # The dot: without it every sidecar asks for each entry of its search list, for ever.
        "endpoints": [{"address": f"{host.name}."}],
        "ports": [{"number": port, "name": f"tcp-{port}", "protocol": "TCP"} for port in ports],
    }
