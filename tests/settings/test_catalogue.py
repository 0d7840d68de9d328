"""The catalogue answers as `ipaddress` would, if asked about every range in turn."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.catalogue import Catalogue, Route
from settings.values.addresses import PortRange, parse_network
from settings.vendors import AddressRange, Vendor, http_ports_of, inspected_ports


def network(version: int, number: int, length: int):
    bits = 32 if version == 4 else 128
    kept = (number >> (bits - length)) << (bits - length)
    return ip_network((kept, length))


# Few leading bits, so that ranges nest and addresses hit them.
V4 = st.tuples(
    st.just(4), st.integers(0, 2**32 - 1).map(lambda n: n & 0x0FFFFFFF), st.integers(1, 32)
)
V6 = st.tuples(st.just(6), st.integers(0, 2**128 - 1).map(lambda n: n >> 4), st.integers(1, 128))
NETWORKS = st.lists(st.one_of(V4, V6).map(lambda args: network(*args)), unique=True, max_size=30)
PORT_RANGES = st.tuples(st.integers(1, 40), st.integers(0, 6)).map(
    lambda one: PortRange(one[0], one[0] + one[1])
)
ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
)


# Four vendors with disjoint ports, one with every port; small ports, so that they are hit.
PORTS_OF = {
    "vendor-a": (PortRange(1, 2), PortRange(5, 5)),
    "vendor-b": (PortRange(3, 4),),
    "vendor-c": (PortRange(6, 8), PortRange(10, 11)),
    "vendor-d": (PortRange(9, 9),),
}


@st.composite
def routes_by_port(draw) -> list[Route]:
    """Ranges that nest: each is one vendor's with every port, or is shared by some of four."""
    routes = []
    for one in draw(NETWORKS):
        sharing = draw(st.sets(st.sampled_from([*PORTS_OF]), max_size=4))
        holders = {name: PORTS_OF[name] for name in sorted(sharing)} or {"vendor-e": ()}
        routes += [
            Route(network=one, vendor=name, pool=f"pool-{len(routes)}", ports=ports)
            for name, ports in holders.items()
        ]
    return routes


def edges(routes) -> list[IPv4Address | IPv6Address]:
    networks = [route.network for route in routes]
    return [each[n] for each in networks for n in (0, each.num_addresses // 2, -1)]


@given(routes=routes_by_port(), strangers=st.lists(ADDRESSES, max_size=3))
def test_longest_prefix_that_has_the_port_as_brute_force_finds_it(routes, strangers):
    """A port that an inner vendor has not is the next outer one's that has it."""
    catalogue = Catalogue(routes)
    for address in [*edges(routes), *strangers]:
        covering = [route for route in routes if address in route.network]
        found = catalogue.covering(str(address))
        assert {*found} == {*covering}
        lengths = [route.network.prefixlen for route in found]
        assert lengths == sorted(lengths, reverse=True)
        for port in [None, *range(13)]:
            having = [
                route
                for route in covering
                if not route.ports or any(port in range(p.first, p.last + 1) for p in route.ports)
            ]
            longest = max(having, key=lambda route: route.network.prefixlen, default=None)
            assert catalogue.find(address, port) == longest


@given(routes=routes_by_port())
def test_candidates_decide_as_the_whole_catalogue_does(routes):
    """What a chain knows of its ranges is enough for each of their connections."""
    catalogue = Catalogue(routes)
    for network in {route.network for route in routes}:
        candidates = catalogue.candidates(network)
        names = [candidate.vendor for candidate in candidates]
        assert len(names) == len(set(names))
        assert all(candidate.ports for candidate in candidates[:-1])
        lengths = [candidate.network.prefixlen for candidate in candidates]
        assert lengths == sorted(lengths, reverse=True)
        same = (route for route in routes if route.network.version == network.version)
        around = Catalogue(route for route in same if network.subnet_of(route.network))
        for port in [None, *range(13)]:
            taken = next((candidate for candidate in candidates if candidate.has(port)), None)
            assert taken == around.find(network[0], port)


def vendor_with(**keys) -> Vendor:
    return Vendor(name="vendor-a", cidrs=("10.1.0.0/16",), **keys)


@pytest.mark.parametrize(
    ("keys", "ports"),
    [
        ({}, "80 3128 8000 8080 8888"),
        ({"ports": (3128, "8000-8100")}, "3128 8000 8080"),
        ({"ports": ("10000-10999",)}, "10000-10999"),
        ({"ports": ("10000-10999",), "http_ports": ("10000-10099",)}, "10000-10099"),
        ({"http_ports": (9000, "3128-3130")}, "9000 3128-3130"),
        ({"inspect": "connections", "http_ports": (9000,)}, ""),
    ],
)
def test_where_a_vendor_wants_http_looked_for(keys, ports):
    """The default is what of it is the vendor's, or else all; what is written stays."""
    assert " ".join(map(str, http_ports_of(vendor_with(**keys)))) == ports


@given(st.lists(st.lists(PORT_RANGES, min_size=1, max_size=4), min_size=1, max_size=4))
def test_inspected_ports_are_the_union(listed):
    """Sorted, joined where they touch, and no port more or less."""
    vendors = [vendor_with(http_ports=(one,)) for ports in listed for one in ports]
    found = inspected_ports(vendors)
    assert {p for one in found for p in range(one.first, one.last + 1)} == {
        p for ports in listed for one in ports for p in range(one.first, one.last + 1)
    }
    assert all(a.last + 1 < b.first for a, b in pairwise(found))


def test_what_is_no_address_is_an_error_not_unknown():
    """A typing mistake must not look like an address outside every range."""
    with pytest.raises(ValueError):
        Catalogue(()).find("10.1.0.10:3128")


def test_ten_thousand_ranges_cost_a_look_up_little():
    """A look-up probes prefix lengths, not ranges: there is one of each."""
    cidrs = [AddressRange(parse_network(f"10.{n // 256}.{n % 256}.0/24")) for n in range(10_000)]
    vendor = Vendor(name="vendor-a", cidrs=tuple(cidrs))
    catalogue = Catalogue.of([vendor])
    addresses = [ip_address(f"10.{n // 256}.{n % 256}.7") for n in range(0, 20_000, 7)]
    hits = sum(catalogue.find(address) is not None for address in addresses)
    assert hits == sum(n < 10_000 for n in range(0, 20_000, 7))
    assert len(catalogue._levels[4]) == 1  # one probe: 1 µs, where a linear search took 5 ms
