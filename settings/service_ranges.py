"""Which range a cluster must have so that a Service can get one address of a vendor's.

Kubernetes (1.33 and newer) gives a Service without an address any free one of any ServiceCIDR, in
no order: a whole vendor's range as ServiceCIDR holds Services of others at once (of a real API
server's next 30, 19), and their traffic would count as that vendor's. So a range is as small as
can be, four addresses, and what of them is no vendor's is taken too.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from settings.values.addresses import IPAddress, IPNetwork

ADDRESSES = 4  # of two, IPv4 has none to give: the first and the last are never a Service's


def service_range(address: IPAddress) -> IPNetwork:
    """Return the four addresses among which `address` is."""
    return ip_network((address, address.max_prefixlen - 2), strict=False)


def assignable(network: IPNetwork) -> tuple[IPAddress, ...]:
    """Return what a Service can get of such a range: not the first, of IPv4 not the last."""
    last = ADDRESSES - 1 if network.version == 4 else ADDRESSES
    return tuple(network[number] for number in range(1, last))


def spare(addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    """Return what the ranges of these addresses could give to Services of others, sorted."""
    taken = set(addresses)
    ranges = {service_range(address) for address in taken}
    found = {address for network in ranges for address in assignable(network)} - taken
    return tuple(sorted(found, key=lambda address: (address.version, int(address))))
