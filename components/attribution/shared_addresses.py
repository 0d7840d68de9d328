"""How one filter chain tells vendors apart that share addresses and differ by port.

The chain matches the addresses alone. A `destination_port` in its match would reset every other
port's connections, for Envoy looks for the address first and does not go back. So the vendor is
computed for each connection, by CEL over `destination.port`:

- the vendor's name goes into filter state; a port of no vendor leaves it unset;
- an opaque connection's cluster is computed in the same way, or it is Istio's PassthroughCluster;
- an HTTP route matches the vendor's name in filter state, or leads to the unowned cluster.

A vendor that has its addresses to itself, on every port, has plain constants instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.attribution.clusters import cluster_name, unowned_cluster_name
from components.attribution.envoy import Json, filter_state
from components.attribution.groups import Group
from components.attribution.outcome import VENDOR_KEY
from settings.vendors import Vendor

TCP_PROXY_CLUSTER = "envoy.tcp_proxy.cluster"
"""Filter state from which tcp_proxy reads its cluster, before its own setting."""


def vendor_state(group: Group) -> Json:
    """Return the filter state that names the connection's vendor."""
    return filter_state(
        VENDOR_KEY, "envoy.string", _by_port(group, [vendor.name for vendor in group.vendors])
    )


def opaque_cluster(group: Group) -> Json:
    """Return the filter state that tells tcp_proxy the cluster; unset, its own setting holds."""
    names = _by_port(group, [cluster_name(vendor) for vendor in group.vendors])
    return filter_state(TCP_PROXY_CLUSTER, TCP_PROXY_CLUSTER, names)


def http_routes(group: Group) -> list[Json]:
    """Return the HTTP chain's routes, first match first."""
    routes: list[Json] = []
    for vendor in group.vendors:
        routes += routes_to(cluster_name(vendor), vendor if vendor.ports else None)
    return routes + (routes_to(unowned_cluster_name(group)) if group.leaves_ports_out else [])


def _by_port(group: Group, values: Sequence[str]) -> str:
    """Return a format string that yields the value of the vendor whose port it is, else nothing.

    Args:
        values: one for each of the group's vendors.
    """
    if not group.decides_by_port:
        return values[0]
    expression = "''"
    for vendor, value in reversed(list(zip(group.vendors, values, strict=True))):
        owned = " || ".join(
            f"(destination.port >= {span.first} && destination.port <= {span.last})"
            for span in sorted(vendor.ports)
        )
        expression = f"({owned}) ? '{value}' : ({expression})" if owned else f"'{value}'"
    return f"%CEL({expression})%"


def routes_to(cluster: str, vendor: Vendor | None = None) -> list[Json]:
    """Return the routes for tunnels and for other requests, limited to `vendor` if given."""
    connections: Json = {}
    if vendor:
        name = {"exact": vendor.name}
        connections = {"filter_state": [{"key": VENDOR_KEY, "string_match": name}]}
    # 0 s is no time-out: the crawler decides how long it waits for a slow vendor.
    action = {"cluster": cluster, "timeout": "0s", "idle_timeout": "0s"}
    return [
        {"match": {"connect_matcher": {}, **connections}, "route": dict(action)},
        {"match": {"prefix": "", **connections}, "route": dict(action)},
    ]
