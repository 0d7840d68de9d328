"""The ranges that give simulated vendors their addresses, and nobody else one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settings.service_ranges import assignable, service_range, spare


@pytest.mark.parametrize(
    ("address", "network", "free"),
    [
        ("10.1.0.10", "10.1.0.8/30", ["10.1.0.9", "10.1.0.10"]),
        ("2001:db8::5", "2001:db8::4/126", ["2001:db8::5", "2001:db8::6", "2001:db8::7"]),
    ],
)
def test_what_kubernetes_can_give_of_four(address, network, free):
    """Not the network's own address, and of IPv4 not the last (ipallocator.go of Kubernetes)."""
    found = service_range(ip_address(address))
    assert str(found) == network
    assert [str(one) for one in assignable(found)] == free


def test_neighbours_need_no_spare():
    """Two vendors that share a range take its two addresses."""
    both = [ip_address("10.1.0.9"), ip_address("10.1.0.10")]
    assert spare(both) == ()
    assert [str(one) for one in spare(both[:1])] == ["10.1.0.10"]


@settings(deadline=None)
@given(st.sets(st.one_of(st.builds(IPv4Address, st.integers(2**24, 2**31)), st.ip_addresses(v=6))))
def test_nothing_is_left_for_others(addresses):
    """Whatever the ranges could give to other Services is taken, and nothing is taken twice."""
    left = spare(addresses)
    assert not addresses & set(left)
    assert len(set(left)) == len(left)
    for network in {service_range(address) for address in addresses}:
        assert set(assignable(network)) <= addresses | set(left)
    assert all(isinstance(one, IPv4Address | IPv6Address) for one in left)
