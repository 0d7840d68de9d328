"""Where a chain leads: its clusters, and what they read from the connection.

There are three kinds of chains: of one vendor's addresses, of addresses that vendors share
(shared_addresses.py), and of a name (names.py). Where the vendor is simulated, the first two have
another cluster of the same name (simulators.py), and a name's chain leads there too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from components.attribution.clusters import cluster_name
from components.attribution.envoy import Json
from components.attribution.groups import Chain, Group
from components.attribution.names import name_lookup, name_states, named_cluster_name
from components.attribution.shared_addresses import (
    http_routes,
    opaque_cluster,
    routes_to,
    vendor_state,
)
from components.attribution.stats import PASSTHROUGH
from components.attribution.tls import tls_states


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """What the filter chains of one `Chain` have from where it leads."""

    cluster: str
    """The cluster of connections that are not parsed."""
    routes: list[Json]
    """The routes of parsed requests, first match first."""
    states: list[Json]
    """What the first filter of each chain writes into a connection."""
    opaque_states: list[Json] = field(default_factory=list)
    """What it writes beside, where nothing is parsed."""
    opaque_filters: list[Json] = field(default_factory=list)
    """Filters right before the TCP proxy."""


def upstream_of(group: Group, chain: Chain, *, simulated: bool = False) -> Upstream:
    """Return where a chain leads.

    Args:
        simulated: whether the group's first vendor is.
    """
    (vendor, *_), states = group.vendors, [vendor_state(group)]
    if chain.host:
        cluster = cluster_name(vendor) if simulated else named_cluster_name(vendor)
        return Upstream(
            cluster=cluster,
            routes=routes_to(cluster),
            states=[*states, *name_states(chain.host), *tls_states(vendor.tls, chain.host)],
            opaque_filters=[] if simulated else [name_lookup(cluster)],
        )
    if group.decides_by_port:
        return Upstream(
            cluster=PASSTHROUGH,
            routes=http_routes(group),
            states=states,
            opaque_states=[opaque_cluster(group)],
        )
    cluster = cluster_name(vendor)
    return Upstream(cluster=cluster, routes=routes_to(cluster), states=states)
