"""Which ranges share a filter chain, and what a chain is called.

A group is all ranges that ask the same vendors in turn: nearly always one vendor's own, and one
more for each set of vendors that share addresses and differ by port. A group's ranges are spread
over chains by a hash of the range alone, so that an edit of one range touches one chain, whatever
else the stack holds: editing a chain ends its open connections, and only its.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby

from settings.catalogue import Catalogue, Route
from settings.values import IPNetwork
from settings.vendors import Vendor

CLUSTER_PREFIX = "proxy-vendor_"

# An edit ends an eighth of a large vendor's tunnels. A pair of chains costs every sidecar about
# half a megabyte and 13 ms of its start (docs/benchmarks.md), hence not more.
CHAINS = 8


@dataclass(frozen=True, kw_only=True)
class Group:
    """Vendors in the order in which a connection's port is offered to them, and their chains."""

    vendors: tuple[Vendor, ...]
    chains: tuple[Chain, ...]

    @property
    def name(self) -> str:
        return group_name(self.vendors)

    @property
    def parses_http(self) -> bool:
        return any(vendor.inspect == "http" for vendor in self.vendors)

    @property
    def leaves_ports_out(self) -> bool:
        """Whether some ports at these addresses are nobody's."""
        return bool(self.vendors[-1].ports)

    @property
    def decides_by_port(self) -> bool:
        return len(self.vendors) > 1 or self.leaves_ports_out


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A part of a group's ranges, served by one filter chain for HTTP and one for the rest.

    `routes` is everything that decides at these addresses, the ranges of enclosing vendors too.
    """

    number: int
    name: str
    networks: tuple[IPNetwork, ...]
    routes: tuple[Route, ...]


def groups(vendors: Sequence[Vendor]) -> tuple[Group, ...]:
    """Return the groups of a stack, sorted by name."""
    by_name = {vendor.name: vendor for vendor in vendors}
    catalogue = Catalogue.of(vendors)
    rungs_of = {route.network: catalogue.candidates(route.network) for route in catalogue.routes}
    found: dict[tuple[str, ...], list[IPNetwork]] = {}
    for network in sorted(rungs_of, key=by_address):
        found.setdefault(tuple(rung.vendor for rung in rungs_of[network]), []).append(network)
    return tuple(
        Group(
            vendors=(in_turn := tuple(by_name[name] for name in names)),
            chains=tuple(
                Chain(
                    number=number,
                    name=chain_name(in_turn, number),
                    networks=(its := tuple(networks_of_it)),
                    routes=tuple(
                        sorted(
                            {rung for network in its for rung in rungs_of[network]},
                            key=lambda route: (*by_address(route.network), route.vendor),
                        )
                    ),
                )
                # The sort is stable: within a chain, by address.
                for number, networks_of_it in groupby(
                    sorted(networks, key=chain_number), key=chain_number
                )
            ),
        )
        for names, networks in sorted(found.items())
    )


def group_name(vendors: Sequence[Vendor]) -> str:
    """Return the vendors' names joined by dots, which no vendor's name has."""
    return ".".join(vendor.name for vendor in vendors)


def chain_name(vendors: Sequence[Vendor], number: int) -> str:
    """Return what the names of a chain's pair of filter chains, and of its Lua, begin with."""
    return f"{CLUSTER_PREFIX}{group_name(vendors)}_{number}"


def chain_number(network: IPNetwork) -> int:
    """Return which of its group's chains the range is in: 0 to CHAINS - 1."""
    # Not a checksum: crc32 puts thirty neighbouring ranges into four chains.
    return blake2b(str(network).encode()).digest()[0] % CHAINS


def by_address(network: IPNetwork) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
