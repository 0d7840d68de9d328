"""Addresses and names that belong to somebody else after an edit; pure.

The address space is cut wherever a range of either side begins or ends. Within a piece every
address has the same owners before and the same after, so that one look-up tells for all of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range

from settings.catalogue import OUTSIDE, Catalogue, Route
from settings.stack import StackSettings
from settings.values.addresses import IPAddress, IPNetwork, PortRange

ALL_PORTS = PortRange(1, 65535)
DESTINATION = "destination "
"""Before a destination's name: a vendor may not have it, for a space is in it."""

Owner = tuple[str, str]
"""Who gets a connection, and its pool; `outside` where nobody has the address."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """Addresses that one owner had and another one gets."""

    before: Owner
    after: Owner
    ports: PortRange
    networks: tuple[IPNetwork, ...]
    """Sorted; as few as there can be."""

    @property
    def addresses(self) -> int:
        return sum(network.num_addresses for network in self.networks)


@dataclass(frozen=True, kw_only=True)
class NameMove:
    """A name whose owner changes; an owner is empty where the stack has no such name."""

    name: str
    before: str
    after: str
    was_retired: bool
    is_retired: bool


def moves(before: StackSettings, after: StackSettings) -> tuple[Move, ...]:
    """Return the addresses that change vendor, pool or destination; `name_moves` has names."""
    sides = _catalogue(before), _catalogue(after)
    pieces: dict[tuple[Owner, Owner, PortRange], list[tuple[IPAddress, IPAddress]]] = {}
    for first, last in _pieces(route.network for side in sides for route in side.routes):
        covering = tuple(side.covering(first) for side in sides)
        for ports in _ports(route for routes in covering for route in routes):
            owners = tuple(_owner(routes, ports.first) for routes in covering)
            if owners[0] != owners[1]:
                pieces.setdefault((owners[0], owners[1], ports), []).append((first, last))
    return tuple(
        Move(before=old, after=new, ports=ports, networks=tuple(_networks(spans)))
        for (old, new, ports), spans in sorted(pieces.items())
    )


def name_moves(before: StackSettings, after: StackSettings) -> tuple[NameMove, ...]:
    """Return the names that are new, gone, another owner's, or retired."""
    old, new = _names(before), _names(after)
    found = []
    for name in sorted(old.keys() | new.keys()):
        owner, retired = old.get(name, ("", False))
        next_owner, next_retired = new.get(name, ("", False))
        if (owner, retired) != (next_owner, next_retired):
            found.append(
                NameMove(
                    name=name,
                    before=owner,
                    after=next_owner,
                    was_retired=retired,
                    is_retired=next_retired,
                )
            )
    return tuple(found)


def _catalogue(settings: StackSettings) -> Catalogue:
    vendors = [
        Route(
            network=block.network,
            vendor=vendor.name,
            pool=block.pool,
            ports=tuple(sorted(vendor.ports)),
        )
        for vendor in settings.vendors
        for block in vendor.cidrs
    ]
    destinations = [
        Route(network=network, vendor=f"{DESTINATION}{one.name}", pool="")
        for one in settings.destinations
        for network in one.cidrs
    ]
    return Catalogue([*vendors, *destinations])


def _names(settings: StackSettings) -> dict[str, tuple[str, bool]]:
    named = {
        host.name: (vendor.name, host.retired)
        for vendor in settings.vendors
        for host in vendor.hosts
    }
    return named | {
        host.name: (f"{DESTINATION}{one.name}", host.retired)
        for one in settings.destinations
        for host in one.hosts
    }


def _pieces(networks: Iterable[IPNetwork]) -> Iterator[tuple[IPAddress, IPAddress]]:
    """Yield the first and the last address between each two borders of ranges."""
    borders: dict[int, set[int]] = {4: set(), 6: set()}
    for network in networks:
        first = int(network.network_address)
        borders[network.version] |= {first, first + network.num_addresses}
    for version, numbers in borders.items():
        address = IPv4Address if version == 4 else IPv6Address
        in_order = sorted(numbers)
        for first, end in itertools.pairwise(in_order):
            yield address(first), address(end - 1)


def _ports(routes: Iterable[Route]) -> Iterator[PortRange]:
    """Yield the parts of all ports within which no route makes a difference."""
    borders = {ALL_PORTS.first, ALL_PORTS.last + 1}
    for route in routes:
        for ports in route.ports:
            borders |= {ports.first, ports.last + 1}
    in_order = sorted(borders)
    for first, end in itertools.pairwise(in_order):
        yield PortRange(first, end - 1)


def _owner(covering: Sequence[Route], port: int) -> Owner:
    """Return who gets a connection; the longest prefix comes first in `covering`."""
    if covering and covering[0].vendor.startswith(DESTINATION):
        return covering[0].vendor, ""
    for route in covering:
        if not route.vendor.startswith(DESTINATION) and route.has(port):
            return route.vendor, route.pool
    return OUTSIDE, ""


def _networks(spans: Iterable[tuple[IPAddress, IPAddress]]) -> Iterator[IPNetwork]:
    joined: list[tuple[IPAddress, IPAddress]] = []
    for first, last in spans:
        if joined and joined[-1][1].version == first.version and joined[-1][1] + 1 == first:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    for first, last in joined:
        yield from summarize_address_range(ip_address(first), ip_address(last))
