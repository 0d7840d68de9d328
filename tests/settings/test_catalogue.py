"""The catalogue answers as `ipaddress` would, if asked about every range in turn."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.catalogue import Catalogue, Route
from settings.loading import ROOT, load_stack_file
from settings.model import Vendor
from settings.values import AddressRange, parse_network


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
ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
)


@given(networks=NETWORKS, strangers=st.lists(ADDRESSES, max_size=5), data=st.data())
def test_longest_prefix_as_brute_force_finds_it(networks, strangers, data):
    """No address goes to another vendor than Envoy's trie would give it."""
    routes = [
        Route(network=one, vendor=f"vendor-{index % 3}", pool="")
        for index, one in enumerate(networks)
    ]
    inside = [one[data.draw(st.integers(0, one.num_addresses - 1))] for one in networks] + [
        edge for one in networks for edge in (one[0], one[-1])
    ]
    catalogue = Catalogue(routes)
    for address in [*inside, *strangers]:
        covering = sorted(
            (route for route in routes if address in route.network),
            key=lambda route: -route.network.prefixlen,
        )
        assert list(catalogue.covering(address)) == covering
        assert catalogue.find(address) == (covering[0] if covering else None)
        assert catalogue.find(str(address)) == catalogue.find(address)


@given(networks=NETWORKS)
def test_overlaps_are_the_nested_pairs_of_different_vendors(networks):
    """Every shared address is told, and nothing else."""
    routes = [
        Route(network=one, vendor=f"vendor-{index % 3}", pool="")
        for index, one in enumerate(networks)
    ]
    expected = {
        (inner, outer)
        for inner in routes
        for outer in routes
        if inner.network.version == outer.network.version
        and inner.network != outer.network
        and inner.network.subnet_of(outer.network)
        and inner.vendor != outer.vendor
    }
    found = Catalogue(routes).overlaps()
    assert {(one.inner, one.outer) for one in found} == expected
    assert len(found) == len(expected)


def test_an_overlap_says_who_wins():
    """An operator reads which vendor an address counts for."""
    catalogue = Catalogue.of(load_stack_file(ROOT / "lab" / "Pulumi.lab.yaml").vendors)
    assert [str(one) for one in catalogue.overlaps()] == [
        "127.1.8.0/24 of vendor-d lies inside 127.1.0.0/16 of vendor-a; "
        "its addresses count as vendor-d"
    ]


def test_pools_and_single_addresses_of_the_lab():
    """A vendor's own nested range names the pool; a range of one address covers that one."""
    catalogue = Catalogue.of(load_stack_file(ROOT / "lab" / "Pulumi.lab.yaml").vendors)
    found = {
        address: catalogue.find(address)
        for address in ("127.2.1.1", "127.2.200.1", "127.4.0.77", "127.4.0.78", "127.1.8.9")
    }
    assert {
        address: (route.vendor, route.pool) if route else None for address, route in found.items()
    } == {
        "127.2.1.1": ("vendor-b", ""),
        "127.2.200.1": ("vendor-b", "residential"),
        "127.4.0.77": ("vendor-e", ""),
        "127.4.0.78": None,
        "127.1.8.9": ("vendor-d", ""),
    }


def test_what_is_no_address_is_an_error_not_unknown():
    """A typing mistake must not look like an address outside every range."""
    with pytest.raises(ValueError):
        Catalogue(()).find("10.1.0.10:3128")


def test_ten_thousand_ranges_cost_a_look_up_little():
    """A look-up probes prefix lengths, not ranges: well under a linear search's milliseconds."""
    cidrs = [AddressRange(parse_network(f"10.{n // 256}.{n % 256}.0/24")) for n in range(10_000)]
    vendor = Vendor(name="vendor-a", cidrs=tuple(cidrs))
    catalogue = Catalogue.of([vendor])
    addresses = [ip_address(f"10.{n // 256}.{n % 256}.7") for n in range(0, 20_000, 7)]
    start = time.perf_counter()
    hits = sum(catalogue.find(address) is not None for address in addresses)
    seconds_each = (time.perf_counter() - start) / len(addresses)
    assert hits == sum(n < 10_000 for n in range(0, 20_000, 7))
    assert seconds_each < 0.0005  # measured 1 µs; a linear search takes some 5 ms
