"""Whose address is it? The vendors' ranges as a look-up table.

Envoy answers the same question with its own longest-prefix trie; this is the twin that
checks, reports and the command line use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from settings.model import Vendor

UNKNOWN = "unknown"
"""What an address outside every range belongs to; no vendor may have the name."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One range and whose it is; `pool` is empty when the stack names none."""

    network: IPv4Network | IPv6Network
    vendor: str
    pool: str


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Two vendors' ranges, one inside the other: the inner one gets its addresses."""

    inner: Route
    outer: Route

    def __str__(self) -> str:
        return (
            f"{self.inner.network} of {self.inner.vendor} lies inside {self.outer.network} of "
            f"{self.outer.vendor}; its addresses count as {self.inner.vendor}"
        )


@dataclass(frozen=True)
class _Level:
    """All ranges of one IP version and one prefix length, by the address's leading bits."""

    version: int
    shift: int  # how many bits of an address the prefix length leaves out
    routes: dict[int, Route]


class Catalogue:
    """Every vendor's ranges.

    One dictionary for each prefix length in use: a look-up costs at most as many probes as
    there are lengths, however many ranges there are.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        def by_length(route: Route) -> tuple[int, int, int]:
            network = route.network
            return network.version, -network.prefixlen, int(network.network_address)

        self.routes: tuple[Route, ...] = tuple(sorted(routes, key=by_length))
        """IPv4 before IPv6, longest prefix first, then by address."""
        levels: dict[tuple[int, int], _Level] = {}
        for route in self.routes:
            network = route.network
            shift = network.max_prefixlen - network.prefixlen
            level = levels.setdefault((network.version, shift), _Level(network.version, shift, {}))
            # The same range twice is refused before this; should it come, the first one stays.
            level.routes.setdefault(int(network.network_address) >> shift, route)
        self._levels = {
            version: tuple(level for level in levels.values() if level.version == version)
            for version in (4, 6)
        }

    @classmethod
    def of(cls, vendors: Iterable[Vendor]) -> Catalogue:
        return cls(
            Route(network=block.network, vendor=vendor.name, pool=block.pool)
            for vendor in vendors
            for block in vendor.cidrs
        )

    def covering(self, address: str | IPv4Address | IPv6Address) -> tuple[Route, ...]:
        """Every range the address lies in, longest prefix first.

        Raises:
            ValueError: `address` is not an IP address (no port, no brackets).
        """
        ip = ip_address(address)
        number = int(ip)
        found = (level.routes.get(number >> level.shift) for level in self._levels[ip.version])
        return tuple(route for route in found if route)

    def find(self, address: str | IPv4Address | IPv6Address) -> Route | None:
        """The range that decides: the longest prefix that covers the address.

        Raises:
            ValueError: `address` is not an IP address (no port, no brackets).
        """
        ip = ip_address(address)
        number = int(ip)
        for level in self._levels[ip.version]:
            if route := level.routes.get(number >> level.shift):
                return route
        return None

    def overlaps(self) -> tuple[Overlap, ...]:
        """Every pair of ranges of different vendors, one inside the other; allowed, but told."""
        return tuple(
            Overlap(inner=inner, outer=outer)
            for inner in self.routes
            for outer in self.covering(inner.network.network_address)
            if outer.network.prefixlen < inner.network.prefixlen and outer.vendor != inner.vendor
        )
