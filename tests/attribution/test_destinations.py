"""`destinations`: counted beside the vendors, and nothing of the vendors' for them."""

from __future__ import annotations

import json

import pytest

from components.attribution.guard import refuse_undeployable
from components.attribution.names import service_entries
from components.attribution.order import filters_before
from components.attribution.render import envoy_filters
from settings.destinations import Destination
from settings.loading import SettingsError
from settings.vendors import Vendor
from tests.attribution.filters import by_name, values
from tools.find import find

A = Vendor(name="vendor-a", cidrs=("10.1.0.0/16", "10.20.8.0/24"))
S3 = Destination(name="s3", cidrs=("2001:db8::/32", "10.20.0.0/16", "10.1.8.0/24"))
NAMED = Destination(name="api", hosts=({"name": "api.store.example", "ports": [443, 8443]},))
QUEUE = Destination(name="queue", cidrs=("10.30.0.7",))


def render(*destinations, **more):
    return envoy_filters(
        (A,), destinations=destinations, timeout_after_seconds=10, selector={}, **more
    )


def test_a_destination_is_one_chain_and_the_cluster_beside_it():
    """Nothing is parsed, labelled or cut; a chain without its cluster would cut all of it."""
    plain, filters = render(access_logs=True), render(S3, QUEUE, access_logs=True)
    added = {name: filters[name] for name in filters.keys() - plain.keys()}
    assert {name: filters[name] for name in plain} == plain
    assert sorted(added) == ["proxy-destination-queue", "proxy-destination-s3"]

    (chain,) = values({"": added["proxy-destination-s3"]}, "FILTER_CHAIN")
    ranges = chain["filter_chain_match"]["prefix_ranges"]
    assert [f"{one['address_prefix']}/{one['prefix_len']}" for one in ranges] == [
        *("10.1.8.0/24", "10.20.0.0/16", "2001:db8::/32")
    ]
    (proxy,) = chain["filters"]
    assert proxy["typed_config"] == {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "proxyobs",
        "cluster": "proxy-destination_s3",
        "idle_timeout": "0s",
    }
    (cluster,) = values({"": added["proxy-destination-s3"]}, "CLUSTER")
    assert cluster["alt_stat_name"] == f"{cluster['name']};" == "proxy-destination_s3;"
    assert cluster["type"] == "ORIGINAL_DST"
    (limits,) = cluster["circuit_breakers"]["thresholds"]
    assert set(limits.values()) == {4294967295}
    assert filters_before(filters)["proxy-destination-s3"] == ()


def test_their_order_in_the_stack_file_does_not_show():
    """Else istiod would send it all again, and Envoy drain what did not change."""
    turned = S3.model_copy(update={"cidrs": S3.cidrs[::-1]})
    assert json.dumps(render(S3, QUEUE)) == json.dumps(render(QUEUE, turned))


def test_a_name_has_a_chain_in_each_listener_that_it_is_reached_through():
    """As a vendor's names do, and without a look at what they say: an address may be missing."""
    filters = render(NAMED)
    chains = [
        (patch["match"]["listener"]["name"], patch["patch"]["value"]["name"])
        for patch in filters["proxy-destination-api"]["configPatches"]
        if patch["applyTo"] == "FILTER_CHAIN"
    ]
    name, where = "proxy-destination_names_api", NAMED.hosts[0].address
    assert chains == [
        (listener, f"{name}_api.store.example")
        for listener in ("virtualOutbound", f"{where}_443", f"{where}_8443")
    ]
    (cluster,) = values({"": filters["proxy-destination-api"]}, "CLUSTER")
    assert (cluster["name"], cluster["alt_stat_name"]) == (name, "proxy-destination_api;")
    assert values({"": filters["proxy-destination-api"]}, "LISTENER_FILTER") == []


def test_envoy_takes_destinations_within_vendors_and_around_them():
    """Their ranges overlap, and Envoy refuses a listener with the same one twice."""
    entries = service_entries((A,), (NAMED, S3))
    assert list(entries) == ["proxy-name-api.store.example"]
    refuse_undeployable((A,), render(S3, QUEUE, NAMED), find("envoy"), entries=entries)


def test_a_destination_without_its_cluster_is_refused():
    filters = render(S3)
    del filters["proxy-destination-s3"]["configPatches"][0]
    with pytest.raises(SettingsError, match="leads to cluster proxy-destination_s3, which none"):
        refuse_undeployable((A,), filters, None)


def test_ipv6_ranges_fill_the_look_up_with_the_vendors():
    """Envoy's trie is one: new pods would not start."""
    many = tuple(f"2001:db8:{n:x}::/64" for n in range(4001))
    stack = [Destination(name=f"d{n}", cidrs=many[n * 1000 : (n + 1) * 1000]) for n in range(5)]
    with pytest.raises(SettingsError, match="4001 IPv6 ranges together"):
        refuse_undeployable((A,), render(*stack), None)
    assert by_name(render(*stack[:4]), "CLUSTER").keys() >= {"proxy-destination_d3"}
