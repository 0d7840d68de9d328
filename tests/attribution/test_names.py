"""Vendors by name: what a name brings to Envoy and Istio, and what an edit of one leaves alone."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest

from components.attribution.guard import envoy_here, refuse_undeployable
from components.attribution.names import dns_caches, service_entries
from components.attribution.outcome import VENDOR_KEY
from components.attribution.standalone import (
    apply_filters,
    istio_base,
    validation_bootstrap,
    with_resolver,
)
from components.attribution.stats import expected_series
from settings.hosts import VIRTUAL_RANGE, virtual_address
from settings.loading import SettingsError
from settings.vendors import Vendor
from tests.attribution.filters import by_name, nested, render, values
from tools.find import find

STATE_KEYS = ["envoy.upstream.dynamic_host", "envoy.upstream.dynamic_port"]
GATEWAY: dict[str, Any] = {
    "name": "gw.vendor.test",
    "ports": (7777, 1080),
    "virtual_address": "240.241.0.1",
}
OTHER = {"name": "us.vendor.test", "ports": (80,), "pool": "us", "virtual_address": "240.241.0.2"}


def named(*hosts: Any, **more: Any) -> Vendor:
    # On 1080 no HTTP is read.
    return Vendor(name="vendor-n", hosts=hosts, http_ports=(80, 7777), **more)


ALL_MODES = [named(GATEWAY, OTHER, inspect=mode) for mode in ("http", "passive", "connections")]


def chains_by_listener(filters: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for spec in filters.values():
        for patch in spec["configPatches"]:
            if patch["applyTo"] == "FILTER_CHAIN":
                listener = patch["match"]["listener"]["name"]
                found.setdefault(listener, []).append(patch["patch"]["value"]["name"])
    return found


def of_listener(filters: dict[str, Any], name: str, apply_to: str) -> list[Any]:
    return [
        patch["patch"]["value"]
        for spec in filters.values()
        for patch in spec["configPatches"]
        if patch["applyTo"] == apply_to and patch["match"].get("listener") == {"name": name}
    ]


@pytest.mark.parametrize(
    ("mode", "parsed", "other"),
    [
        ("http", ["http", "opaque"], ["opaque"]),
        ("passive", ["passive"], ["passive"]),
        ("connections", ["opaque"], ["opaque"]),
    ],
)
def test_a_name_has_its_chains_in_each_of_its_listeners(mode, parsed, other):
    """virtualOutbound serves ports that nobody lists; a listed port has a listener of its own."""
    filters = render(named(GATEWAY, OTHER, inspect=mode))
    gateway, us = "proxy-vendor_vendor-n_gw.vendor.test", "proxy-vendor_vendor-n_us.vendor.test"
    assert chains_by_listener(filters) == {
        "virtualOutbound": [f"{chain}_{kind}" for chain in (gateway, us) for kind in parsed],
        "240.241.0.1_7777": [f"{gateway}_{kind}" for kind in parsed],
        "240.241.0.1_1080": [f"{gateway}_{kind}" for kind in other],
        "240.241.0.2_80": [f"{us}_{kind}" for kind in parsed],
    }
    for chain in values(filters, "FILTER_CHAIN"):
        (prefix,) = chain["filter_chain_match"]["prefix_ranges"]
        address = "240.241.0.1" if "gw." in chain["name"] else "240.241.0.2"
        assert prefix == {"address_prefix": address, "prefix_len": 32}


def test_a_listed_port_has_an_inspector_where_http_is_read():
    """Without it all would be opaque; with it, on other ports a greeting would wait for it."""
    filters = render(ALL_MODES[0])
    merged = {"listener_filters_timeout": "1s", "continue_on_listener_filters_timeout": True}
    for port, inspected in ((7777, True), (1080, False)):
        listener = f"240.241.0.1_{port}"
        found = [one["name"] for one in of_listener(filters, listener, "LISTENER_FILTER")]
        assert found == (["envoy.filters.listener.http_inspector"] if inspected else [])
        (changes,) = of_listener(filters, listener, "LISTENER")
        assert (changes.items() >= merged.items()) is inspected
    # A name on listed ports leaves the listener of everybody as it was.
    outbound = "virtualOutbound"
    assert len(of_listener(filters, outbound, "LISTENER_FILTER")) == 1
    assert not nested(of_listener(filters, outbound, "LISTENER"), "listener_filters_timeout")


def test_unlisted_ports_are_inspected_in_virtual_outbound():
    """A range has no listener of its own."""
    host = {**GATEWAY, "ports": (7777, "10000-10999"), "allow_unlisted_ports": True}
    _, inspector = of_listener(render(named(host)), "virtualOutbound", "LISTENER_FILTER")
    ports = {"destination_port_range": {"start": 10000, "end": 11000}}
    assert inspector["filter_disabled"] == {"not_match": ports}


@pytest.mark.parametrize("vendor", ALL_MODES, ids=lambda vendor: vendor.inspect)
def test_every_chain_says_where_it_leads(vendor):
    """The cluster resolves what the connection says; the port is the one the crawler chose."""
    filters = render(vendor)
    (cluster,) = values(filters, "CLUSTER")
    (cache,) = dns_caches(cluster)
    assert (cluster["name"], cluster["alt_stat_name"]) == (
        "proxy-names_vendor-n",
        "proxy-vendor_vendor-n;",
    )
    assert cluster["connection_pool_per_downstream_connection"] is True
    for chain in values(filters, "FILTER_CHAIN"):
        states = chain["filters"][0]["typed_config"]["on_new_connection"]
        assert [state["object_key"] for state in states] == [VENDOR_KEY, *STATE_KEYS]
        assert nested(states, "inline_string")[1:] == [
            f"{'gw' if 'gw.' in chain['name'] else 'us'}.vendor.test.",
            "%DOWNSTREAM_LOCAL_PORT%",
        ]
        assert set(nested(chain, "cluster")) == {"proxy-names_vendor-n"}
        if not chain["name"].endswith("_http"):
            *_, lookup, tcp_proxy = chain["filters"]
            assert tcp_proxy["name"] == "envoy.filters.network.tcp_proxy"
            assert lookup["name"] == "envoy.filters.network.sni_dynamic_forward_proxy"
            assert dns_caches(lookup) == [cache]


def test_other_settings_of_a_cache_are_another_cache(monkeypatch):
    """Envoy refuses changed settings under a name in use, the whole listener with them."""
    (before,) = dns_caches(values(render(named(GATEWAY)), "CLUSTER"))
    monkeypatch.setattr("components.attribution.names._ENTRIES", 100)
    (after,) = dns_caches(values(render(named(GATEWAY)), "CLUSTER"))
    assert before["name"] != after["name"]
    assert (before.pop("name")[:20], after["max_hosts"]) == ("proxy-names_vendor-n", 100)


@pytest.mark.parametrize("mode", ["http", "passive", "connections"])
def test_a_further_name_changes_no_chain_that_is_there(mode):
    """So it ends no tunnel; nor does a pool, which travels apart."""
    before = render(named(GATEWAY, inspect=mode))
    for hosts in ((GATEWAY, OTHER), (OTHER, {**GATEWAY, "pool": "new"})):
        after = render(named(*hosts, inspect=mode))
        assert values(after, "CLUSTER") == values(before, "CLUSTER")
        for listener, names in chains_by_listener(before).items():
            chains = of_listener(after, listener, "FILTER_CHAIN")
            kept = [chain for chain in chains if chain["name"] in names]
            assert kept == of_listener(before, listener, "FILTER_CHAIN")
            for kind in ("LISTENER", "LISTENER_FILTER"):
                assert of_listener(after, listener, kind) == of_listener(before, listener, kind)


def test_addresses_and_names_of_one_vendor_stand_beside_each_other():
    """Each kind has its cluster, and a name changes nothing for the addresses."""
    both = Vendor(name="vendor-n", cidrs=("10.1.0.0/16",), hosts=(GATEWAY,))
    alone = Vendor(name="vendor-n", cidrs=("10.1.0.0/16",))
    filters = render(both)
    clusters = by_name(filters, "CLUSTER")
    assert list(clusters) == ["proxy-vendor_vendor-n", "proxy-names_vendor-n"]
    assert {one["alt_stat_name"] for one in clusters.values()} == {"proxy-vendor_vendor-n;"}
    for name, chain in by_name(render(alone), "FILTER_CHAIN").items():
        assert by_name(filters, "FILTER_CHAIN")[name] == chain
    refuse_undeployable([both], filters, find("envoy"), entries=service_entries([both]))


def test_a_name_alone_has_a_virtual_address_for_good():
    """Another one would leave each running crawler with an address that nobody knows."""
    assert str(virtual_address("gw.vendor.test")) == "240.241.180.233"
    assert virtual_address("gw.vendor.test") in VIRTUAL_RANGE
    (entry,) = service_entries([Vendor(name="vendor-n", hosts=("gw.vendor.test",))]).values()
    assert entry["addresses"] == ["240.241.180.233"]
    assert [port["number"] for port in entry["ports"]] == [80, 3128, 8000, 8080, 8888]


def test_what_istio_is_told_of_a_name():
    """Of several answers one that accepts is taken, and no search list is asked."""
    vendor = named(GATEWAY, {**OTHER, "retired": True})
    assert service_entries([vendor]) == {
        "proxy-name-gw.vendor.test": {
            "hosts": ["gw.vendor.test"],
            "addresses": ["240.241.0.1"],
            "location": "MESH_EXTERNAL",
            "resolution": "DNS_ROUND_ROBIN",
            "exportTo": ["."],
            "endpoints": [{"address": "gw.vendor.test."}],
            "ports": [
                {"number": 1080, "name": "tcp-1080", "protocol": "TCP"},
                {"number": 7777, "name": "tcp-7777", "protocol": "TCP"},
            ],
        }
    }
    assert len(service_entries([vendor], with_retired=True)) == 2
    assert render(vendor) == render(named(GATEWAY, OTHER))  # chains stay for who has the address


def test_a_listed_port_is_a_series():
    """Of each sidecar, used or not."""
    few, more = (
        expected_series([named(*hosts)], [1, 2]).total
        for hosts in ((GATEWAY,), (GATEWAY, {**OTHER, "pool": None, "ports": (80, 81, 82)}))
    )
    assert more - few == 3


def test_pools_by_name_reach_lua():
    """The address that Envoy tells the script is the virtual one."""
    script = json.dumps(by_name(render(ALL_MODES[0]), "EXTENSION_CONFIG"))
    assert "240.241.0.2/32 vendor-n us" in script
    passive = json.dumps(by_name(render(ALL_MODES[1]), "EXTENSION_CONFIG"))
    assert "pool vendor-n 240.241.0.2/32 us" in passive


@pytest.mark.parametrize("vendor", ALL_MODES, ids=lambda vendor: vendor.inspect)
@pytest.mark.parametrize("access_logs", [False, True])
def test_envoy_takes_it(vendor, access_logs):
    """Chains, clusters and Istio's own listeners, in an Envoy of the sidecars' version."""
    six = {"name": "six.vendor.test", "ports": (80,), "virtual_address": "2001:2:0:f1::1"}
    stack = [vendor, Vendor(name="vendor-6", hosts=(six,), inspect=vendor.inspect)]
    filters, entries = render(*stack, access_logs=access_logs), service_entries(stack)
    assert "2001:2:0:f1::1_80" in chains_by_listener(filters)
    envoy = find("envoy")
    assert envoy == envoy_here()
    refuse_undeployable(stack, filters, envoy, entries=entries)
    validated = validation_bootstrap(filters, entries)["static_resources"]
    nets = {one["name"] for one in validated["clusters"] if one.get("type") == "LOGICAL_DNS"}
    assert nets == {
        *("outbound|7777||gw.vendor.test", "outbound|1080||gw.vendor.test"),
        *("outbound|80||us.vendor.test", "outbound|80||six.vendor.test"),
    }


def test_another_dns_server_is_asked_for_everything():
    """The lab's names are known to its own server alone."""
    filters, entries = render(*ALL_MODES[:1]), service_entries(ALL_MODES[:1])
    base = istio_base([("127.0.0.1", 15001)], entries)
    applied = with_resolver(apply_filters(filters, base), "127.0.0.1", 5353)
    resolvers = nested([applied.clusters, applied.chains], "typed_dns_resolver_config")
    assert len(resolvers) == 3 + 6  # Istio's clusters; our cluster, and each opaque chain
    server = {"socket_address": {"address": "127.0.0.1", "port_value": 5353}}
    assert all(one["typed_config"]["resolvers"] == [server] for one in resolvers)
    assert len({json.dumps(one) for one in dns_caches([applied.clusters, applied.chains])}) == 1


def without(filters: dict[str, Any], drop: Any) -> dict[str, Any]:
    return {
        name: {**spec, "configPatches": [p for p in spec["configPatches"] if not drop(p)]}
        for name, spec in filters.items()
    }


def is_chain(patch: dict[str, Any], listener: str, kind: str = "") -> bool:
    return (
        patch["applyTo"] == "FILTER_CHAIN"
        and patch["match"]["listener"]["name"] == listener
        and patch["patch"]["value"]["name"].endswith(kind)
    )


def spoilt(what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rendered filters and ServiceEntries of a name, with one mistake."""
    filters, entries = render(named(GATEWAY)), service_entries([named(GATEWAY)])
    chain = next(c for c in values(filters, "FILTER_CHAIN") if c["name"].endswith("_opaque"))
    match what:
        case "a listener without chains":
            filters = without(filters, lambda patch: is_chain(patch, "240.241.0.1_7777"))
        case "a listener without its opaque chain":
            filters = without(filters, lambda p: is_chain(p, "240.241.0.1_7777", "_opaque"))
        case "no chains in virtualOutbound":
            filters = without(filters, lambda patch: is_chain(patch, "virtualOutbound"))
        case "no ServiceEntry":
            entries = {}
        case "no cluster":
            filters = without(filters, lambda patch: patch["applyTo"] == "CLUSTER")
        case "no name in a connection":
            del chain["filters"][0]["typed_config"]["on_new_connection"][1]
        case "no look-up":
            del chain["filters"][-2]
        case "another cache":
            dns_caches(chain)[0]["max_hosts"] = 7
    return filters, entries


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("a listener without chains", "listener 240.241.0.1_7777 has no chain for gw.vendor.test"),
        ("a listener without its opaque chain", "has no chain beside it for what is not HTTP"),
        ("no chains in virtualOutbound", "listener virtualOutbound has no chain for gw.vendor"),
        ("no ServiceEntry", "240.241.0.1_1080 is patched, and no ServiceEntry has Istio make"),
        ("no cluster", "leads to cluster proxy-names_vendor-n, which none adds"),
        ("no name in a connection", "must write name and port into a connection"),
        ("no look-up", "does not look the name up before its TCP proxy does"),
        ("another cache", "and its cluster have different DNS caches"),
    ],
)
def test_parts_that_do_not_fit_are_not_deployed(what, said):
    """Each would reset connections, or lose the vendor, only in the cluster."""
    filters, entries = spoilt(what)
    with pytest.raises(SettingsError) as refused:
        refuse_undeployable([named(GATEWAY)], filters, None, entries=entries)
    assert any(said in finding for finding in refused.value.findings)
    assert all(finding.isprintable() for finding in refused.value.findings)


def test_each_name_is_stored_apart():
    """So a further name, of however many ports, leaves all that is there as it is."""
    hosts = tuple({"name": f"gw-{n}.vendor.test", "ports": tuple(range(1, 21))} for n in range(6))
    filters = render(Vendor(name="vendor-n", hosts=hosts))
    parts = {f"proxy-vendor-vendor-n.chain-gw-{n}.vendor.test" for n in range(6)}
    assert filters.keys() >= parts
    assert max(len(json.dumps(spec)) for spec in filters.values()) < 750_000
    fewer = render(Vendor(name="vendor-n", hosts=hosts[:5]))
    assert fewer == {name: filters[name] for name in fewer}
    assert filters.keys() - fewer.keys() == {"proxy-vendor-vendor-n.chain-gw-5.vendor.test"}
    assert ip_network("240.241.0.0/16") == VIRTUAL_RANGE
