"""Known destinations that are no vendor's: counted under their own names, and otherwise untouched.

Their filter chains pass bytes on, as Istio's catch-all would, to clusters that count them. They
take no part in the vendors' labels, and parse nothing. Envoy prefers the longest prefix, so a
destination may lie within a vendor's range and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from components.attribution.chains import prefix_ranges, tcp_proxy, vendor_constant
from components.attribution.clusters import ORIGINAL_DESTINATION, UNOWNED_IDLE_TIMEOUT, cluster
from components.attribution.envoy import LISTENER, Json, add, patch_listener
from components.attribution.groups import DESTINATION_PREFIX, by_address
from components.attribution.listener import named_listener_patches
from components.attribution.names import by_name, listener_name, name_lookup, name_states
from settings.destinations import Destination, ports_of
from settings.hosts import Host
from settings.values.addresses import IPNetwork


def destination_patches(destinations: Sequence[Destination]) -> dict[str, list[Json]]:
    """Return the patches by EnvoyFilter, one a destination: a chain has its cluster beside it."""
    return {
        f"proxy-destination-{destination.name}": [
            *(_of_addresses(destination) if destination.cidrs else ()),
            *(_of_names(destination) if destination.hosts else ()),
        ]
        for destination in sorted(destinations, key=lambda one: one.name)
    }


def _of_addresses(destination: Destination) -> Iterator[Json]:
    name = f"{DESTINATION_PREFIX}{destination.name}"
    yield add("CLUSTER", _cluster(name, destination, ORIGINAL_DESTINATION))
    chain = _chain(name, sorted(destination.cidrs, key=by_address), [tcp_proxy(name)])
    yield patch_listener("FILTER_CHAIN", "ADD", chain)


def _of_names(destination: Destination) -> Iterator[Json]:
    """Yield the patches for its names, in the way of a vendor's (names.py)."""
    name = f"{DESTINATION_PREFIX}names_{destination.name}"
    yield add("CLUSTER", _cluster(name, destination, by_name(name)))
    for host in sorted(destination.hosts, key=lambda one: one.name):
        listeners = [listener_name(host, port) for port in ports_of(host)]
        for listener in listeners:
            yield from named_listener_patches(listener, inspects=False)
        for listener in (LISTENER, *listeners):
            yield patch_listener("FILTER_CHAIN", "ADD", _named_chain(name, host), listener)


def _named_chain(cluster_name: str, host: Host) -> Json:
    filters = [
        vendor_constant(*name_states(host)),
        name_lookup(cluster_name),
        tcp_proxy(cluster_name),
    ]
    return _chain(f"{cluster_name}_{host.name}", [ip_network(host.address)], filters)


def _chain(name: str, networks: Sequence[IPNetwork], filters: list[Json]) -> Json:
    match = {"prefix_ranges": prefix_ranges(networks)}
    return {"name": name, "filter_chain_match": match, "filters": filters}


def _cluster(name: str, destination: Destination, discovery: Json) -> Json:
    """Return a cluster whose connections count as the destination's, by address or by name.

    The `;` ends the name for Istio's tag rules, as in a vendor's cluster. Nothing is parsed, so the
    idle time-out has no effect.
    """
    stat_name = f"{DESTINATION_PREFIX}{destination.name};"
    return cluster(name, stat_name, UNOWNED_IDLE_TIMEOUT, discovery)
