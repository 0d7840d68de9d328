"""Which ranges share a filter chain, and how a chain is named.

A group is the set of ranges whose connections the same vendors may claim, in the same order. Nearly
every group is one vendor's own ranges; vendors that share addresses and differ by port form one
more. A group's ranges are spread over chains by a hash of the range alone. So the edit of a range
changes one chain, whatever else is in the stack, and ends the open connections of that chain alone.
A name's virtual address has a chain of its own, so that a further name ends no connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_network
from itertools import groupby

from settings.catalogue import Catalogue, Route
from settings.hosts import Host
from settings.values.addresses import IPNetwork
from settings.vendors import Vendor

CLUSTER_PREFIX = "proxy-vendor_"
DESTINATION_PREFIX = "proxy-destination_"
"""How the clusters and chains of `destinations` begin (destinations.py)."""

# With eight chains an edit ends an eighth of a large vendor's tunnels. There are not more because
# each pair of chains costs every sidecar about half a megabyte and 13 ms of its start
# (docs/benchmarks.md).
CHAINS = 8


@dataclass(frozen=True, kw_only=True)
class Group:
    """Vendors in the order in which they may claim a connection by its port, and their chains."""

    vendors: tuple[Vendor, ...]
    chains: tuple[Chain, ...]

    @property
    def name(self) -> str:
        return _joined(self.vendors)

    @property
    def parses_http(self) -> bool:
        return any(vendor.inspect == "http" for vendor in self.vendors)

    @property
    def is_passive(self) -> bool:
        """Whether a Wasm module reads these connections; the vendors of a group agree on it."""
        return self.vendors[0].inspect == "passive"

    @property
    def leaves_ports_out(self) -> bool:
        """Whether no vendor owns some of the ports at these addresses."""
        return bool(self.vendors[-1].ports)

    @property
    def decides_by_port(self) -> bool:
        return len(self.vendors) > 1 or self.leaves_ports_out


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A part of a group's ranges: one filter chain for HTTP and one for the rest, or a passive one.

    `routes` are all ranges that decide about these addresses, those of enclosing vendors included.
    """

    part: str
    """Its number within the group, or the name of its host. No other chain of the group has it."""
    name: str
    """The beginning of the names of its filter chains."""
    networks: tuple[IPNetwork, ...]
    routes: tuple[Route, ...]
    host: Host | None = None
    """The name whose virtual address this is; None for addresses of the vendor's machines."""


def groups(vendors: Sequence[Vendor]) -> tuple[Group, ...]:
    """Return the groups of a stack, sorted by name."""
    vendor_by_name = {vendor.name: vendor for vendor in vendors}
    catalogue = Catalogue.of(vendors)
    deciding = {route.network: catalogue.candidates(route.network) for route in catalogue.routes}
    networks_by_vendors: dict[tuple[str, ...], list[IPNetwork]] = {}
    for network in sorted(deciding, key=by_address):
        names = tuple(route.vendor for route in deciding[network])
        networks_by_vendors.setdefault(names, []).append(network)
    found = []
    for names, networks in sorted(networks_by_vendors.items()):
        in_order = tuple(vendor_by_name[name] for name in names)
        found.append(Group(vendors=in_order, chains=_chains(in_order, networks, deciding)))
    return tuple(found)


def _chains(
    vendors: Sequence[Vendor],
    networks: Sequence[IPNetwork],
    deciding: Mapping[IPNetwork, tuple[Route, ...]],
) -> tuple[Chain, ...]:
    """Spread a group's networks over its chains.

    Args:
        networks: sorted by address; so are those of each chain, since the sort below is stable.
        deciding: for each network the routes that decide about its addresses.
    """
    hosts = {ip_network(host.address): host for vendor in vendors for host in vendor.hosts}

    def part(network: IPNetwork) -> str:
        return hosts[network].name if network in hosts else str(chain_number(network))

    chains = []
    for own_part, members in groupby(sorted(networks, key=part), key=part):
        chain_networks = tuple(members)
        routes = {route for network in chain_networks for route in deciding[network]}
        chains.append(
            Chain(
                part=own_part,
                name=f"{CLUSTER_PREFIX}{_joined(vendors)}_{own_part}",
                networks=chain_networks,
                routes=tuple(sorted(routes, key=lambda r: (*by_address(r.network), r.vendor))),
                host=hosts.get(chain_networks[0]),
            )
        )
    return tuple(chains)


def _joined(vendors: Sequence[Vendor]) -> str:
    """Return the vendors' names joined by dots, which a vendor's name cannot contain."""
    return ".".join(vendor.name for vendor in vendors)


def chain_number(network: IPNetwork) -> int:
    """Return which of its group's chains a range is in: 0 to CHAINS - 1."""
    # A checksum would not do: crc32 puts thirty neighbouring ranges into four chains.
    return blake2b(str(network).encode()).digest()[0] % CHAINS


def by_address(network: IPNetwork) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
