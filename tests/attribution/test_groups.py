"""Which ranges share a filter chain: every one in exactly one, and an edit touches one."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from components.attribution.groups import CHAINS, chain_number, groups
from settings.catalogue import OUTSIDE, Catalogue
from settings.values.addresses import parse_network
from settings.vendors import AddressRange, Vendor

PORTS = {"vendor-a": (3128, "4000-4999"), "vendor-b": ("5000-5999",), "vendor-c": ("6000-6999",)}
SAMPLE_PORTS = (3128, 4500, 5000, 6999, 7000)

# Two bytes of address, so that ranges nest and repeat.
NETWORKS = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(8, 32)).map(
    lambda one: ip_network(f"10.{one[0] & 3}.{one[1]}.0/{one[2]}", strict=False)
)
CIDRS = st.lists(NETWORKS, min_size=1, max_size=8, unique=True)


@st.composite
def vendors(draw) -> list[Vendor]:
    """Vendors by port that may share ranges, and one of every port that shares none of them."""
    chosen = {name: draw(CIDRS) for name in draw(st.sets(st.sampled_from([*PORTS])))}
    taken = {network for networks in chosen.values() for network in networks}
    whole = [network for network in draw(CIDRS) if network not in taken]
    made = [
        Vendor(name=name, cidrs=tuple(map(AddressRange, networks)), ports=PORTS[name])
        for name, networks in chosen.items()
    ]
    if whole:
        made.append(Vendor(name="vendor-d", cidrs=tuple(map(AddressRange, whole))))
    return draw(st.permutations(made))


@given(vendors())
def test_every_network_of_the_stack_is_in_exactly_one_chain(stack):
    """One in none would be unattributed; one in two is a listener that Envoy refuses."""
    counts = Counter(n for group in groups(stack) for c in group.chains for n in c.networks)
    assert set(counts) == {entry.network for vendor in stack for entry in vendor.cidrs}
    assert set(counts.values()) <= {1}


@given(vendors())
def test_a_chain_decides_as_the_whole_catalogue(stack):
    """Vendor and pool of each connection follow from the one chain that Envoy picks for it."""
    whole = Catalogue.of(stack)
    chain_of = {n: (g, c) for g in groups(stack) for c in g.chains for n in c.networks}
    for network in chain_of:
        for address in (network[0], network[-1]):
            longest = whole.covering(address)[0].network
            group, chain = chain_of[longest]
            for port in SAMPLE_PORTS:
                expected = whole.find(address, port)
                assert Catalogue(chain.routes).find(address, port) == expected
                assert expected or group.leaves_ports_out
                # What the group's expressions over the port come to.
                taker = next(
                    (
                        v.name
                        for v in group.vendors
                        if not v.ports or any(port in p for p in v.ports)
                    ),
                    OUTSIDE,
                )
                assert taker == (expected.vendor if expected else OUTSIDE)


@given(vendors(), st.randoms(use_true_random=False))
def test_the_order_of_vendors_and_ranges_does_not_show(stack, random):
    """Sorting a stack file is not a change of the data path."""
    shuffled = [
        vendor.model_copy(update={"cidrs": tuple(random.sample(vendor.cidrs, len(vendor.cidrs)))})
        for vendor in random.sample(stack, len(stack))
    ]
    assert [
        (group.name, chain.name, chain.networks, chain.routes)
        for group in groups(stack)
        for chain in group.chains
    ] == [
        (group.name, chain.name, chain.networks, chain.routes)
        for group in groups(shuffled)
        for chain in group.chains
    ]


def a_thousand(first: str = "10.0.0.0") -> list[str]:
    return [f"{ip_address(int(ip_address(first)) + 2 * n)}/32" for n in range(1000)]


def single(cidrs: list[str]) -> Vendor:
    return Vendor(name="vendor-a", cidrs=tuple(AddressRange(parse_network(c)) for c in cidrs))


def test_an_edit_of_one_range_changes_one_chain():
    """A range more or less ends the tunnels of an eighth of the vendor, not of all."""
    before = single(a_thousand())
    for cidrs in ([*a_thousand(), "10.9.0.1/32"], a_thousand()[1:], a_thousand()[:-1]):
        ((old,), (new,)) = (groups([one]) for one in (before, single(cidrs)))
        assert [c.name for c in old.chains] == [c.name for c in new.chains]
        changed = [
            set(a.networks) ^ set(b.networks)
            for a, b in zip(old.chains, new.chains, strict=True)
            if a != b
        ]
        assert [len(difference) for difference in changed] == [1]


def test_ranges_are_spread_evenly():
    """A chain of half of all ranges would make every edit a large one."""
    ((group,)) = groups([single(a_thousand())])
    sizes = [len(chain.networks) for chain in group.chains]
    assert len(sizes) == CHAINS
    assert max(sizes) < 1.5 * sum(sizes) / CHAINS


def test_a_range_keeps_its_chain_between_versions_of_the_program():
    """Another hash would end every open tunnel of every crawler at the next `up`."""
    kept = {"10.1.0.0/16": 3, "10.2.0.0/16": 3, "10.3.0.0/16": 7, "2001:db8::/32": 7}
    assert {text: chain_number(parse_network(text)) for text in kept} == kept
