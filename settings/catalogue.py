"""Whose address is it? The vendors' ranges as a look-up table.

Envoy answers the same question with its own longest-prefix trie; this is the twin that
checks, reports and the command line use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from settings.values.addresses import IPNetwork, PortRange
from settings.vendors import Vendor

OUTSIDE = "outside"
"""What a connection to no vendor's address and port counts as; no vendor may have the name."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One range and whose it is.

    `pool` is empty when the stack names none, `ports` when every port is the vendor's.
    """

    network: IPNetwork
    vendor: str
    pool: str
    ports: tuple[PortRange, ...] = ()

    def has(self, port: int | None) -> bool:
        """Whether `port` is the vendor's here; None is one that nobody has for himself."""
        return not self.ports or (port is not None and any(port in own for own in self.ports))


@dataclass(frozen=True)
class _Level:
    """All ranges of one IP version and one prefix length, by the address's leading bits."""

    version: int
    shift: int  # how many bits of an address the prefix length leaves out
    routes: dict[int, tuple[Route, ...]]  # several where vendors differ by port


class Catalogue:
    """Every vendor's ranges.

    One dictionary for each prefix length in use: a look-up costs at most as many probes as
    there are lengths, however many ranges there are.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        def by_length(route: Route) -> tuple[int, int, int, str]:
            network = route.network
            address = int(network.network_address)
            return network.version, -network.prefixlen, address, route.vendor

        self.routes: tuple[Route, ...] = tuple(sorted(routes, key=by_length))
        """IPv4 before IPv6, longest prefix first, then by address and vendor."""
        levels: dict[tuple[int, int], _Level] = {}
        for route in self.routes:
            network = route.network
            shift = network.max_prefixlen - network.prefixlen
            level = levels.setdefault((network.version, shift), _Level(network.version, shift, {}))
            number = int(network.network_address) >> shift
            level.routes[number] = (*level.routes.get(number, ()), route)
        self._levels = {
            version: tuple(level for level in levels.values() if level.version == version)
            for version in (4, 6)
        }

    @classmethod
    def of(cls, vendors: Iterable[Vendor]) -> Catalogue:
        return cls(
            Route(
                network=block.network,
                vendor=vendor.name,
                pool=block.pool,
                ports=tuple(sorted(vendor.ports)),  # their order in the stack does not show
            )
            for vendor in vendors
            for block in vendor.ranges
        )

    def covering(self, address: str | IPv4Address | IPv6Address) -> tuple[Route, ...]:
        """Every range the address lies in, whatever its ports, longest prefix first.

        Raises:
            ValueError: `address` is not an IP address (no port, no brackets).
        """
        return tuple(self._covering(address))

    def find(
        self, address: str | IPv4Address | IPv6Address, port: int | None = None
    ) -> Route | None:
        """The range that decides: the longest prefix that covers the address and has the port.

        Without a port only ranges count that have all of them.

        Raises:
            ValueError: `address` is not an IP address (no port, no brackets).
        """
        return next((route for route in self._covering(address) if route.has(port)), None)

    def _covering(self, address: str | IPv4Address | IPv6Address) -> Iterator[Route]:
        ip = ip_address(address) if isinstance(address, str) else address
        number = int(ip)
        for level in self._levels[ip.version]:
            yield from level.routes.get(number >> level.shift, ())

    def candidates(self, network: IPNetwork) -> tuple[Route, ...]:
        """Return the routes to try in turn for an address whose longest prefix is `network`.

        Each vendor's nearest route, up to the first that has every port. The first route with the
        connection's port takes it; if no route has every port, some ports belong to no vendor.
        """
        found: dict[str, Route] = {}
        for route in self._covering(network.network_address):
            if route.network.prefixlen <= network.prefixlen:
                found.setdefault(route.vendor, route)
                if not route.ports:
                    break
        return tuple(found.values())
