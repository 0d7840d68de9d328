"""What the program asks istiod for, read as istiod would read it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from components.attribution.order import clusters_held, clusters_needed, filters_before
from components.attribution.outcome import VENDOR_KEY
from components.attribution.render import sidecar_spec
from settings.vendors import Target, Vendor
from tests.attribution.filters import by_name, nested, render, values, vendor

A = vendor("vendor-a", "10.1.0.0/16", "2001:db8::/32")
B = vendor("vendor-b", "10.2.0.0/16", "10.1.8.0/24")
F = vendor("vendor-f", "10.6.0.0/24", ports=(3128, "10000-10999"), http_ports=(3128,))
G = vendor("vendor-g", "10.6.0.0/24", "10.7.0.0/24", ports=("4000-4999",), http_ports=(4000,))
OUTER = vendor("vendor-h", "10.7.0.0/16")
SHOPS = Target(name="shops", hosts=("shop.example", "*.shop.example"))


def constants(chain: dict[str, Any]) -> dict[str, str]:
    """What a chain writes into its connections: key to format."""
    return {
        entry["object_key"]: entry["format_string"]["text_format_source"]["inline_string"]
        for entry in chain["filters"][0]["typed_config"]["on_new_connection"]
    }


def routes(chain: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(kind, vendor it is for, cluster) of each route in turn."""
    (hosts,) = nested(chain, "virtual_hosts")
    return [
        (
            "tunnel" if "connect_matcher" in route["match"] else "request",
            "".join(one["string_match"]["exact"] for one in route["match"].get("filter_state", [])),
            route["route"]["cluster"],
        )
        for route in hosts[0]["routes"]
    ]


def ranges_of(filters: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (chain["name"], f"{entry['address_prefix']}/{entry['prefix_len']}")
        for chain in values(filters, "FILTER_CHAIN")
        for entry in chain["filter_chain_match"]["prefix_ranges"]
    }


def test_every_range_has_a_chain_for_http_and_one_for_the_rest():
    """No range of the stack file is lost on its way to Envoy."""
    assert ranges_of(render(A, B)) == {
        (f"proxy-vendor_{name}_{kind}", cidr)
        for name, cidr in [
            ("vendor-a_3", "10.1.0.0/16"),
            ("vendor-a_7", "2001:db8::/32"),
            ("vendor-b_7", "10.1.8.0/24"),
            ("vendor-b_3", "10.2.0.0/16"),
        ]
        for kind in ("http", "opaque")
    }


def test_connections_only_means_that_nothing_is_parsed():
    """`inspect: connections` gives a vendor no HTTP chain, no Lua and no inspector."""
    filters = render(vendor("vendor-a", "10.1.0.0/16", inspect="connections"))
    assert list(by_name(filters, "FILTER_CHAIN")) == ["proxy-vendor_vendor-a_3_opaque"]
    assert list(by_name(filters, "EXTENSION_CONFIG")) == ["proxy_observability.opaque_stats"]
    assert [f["name"] for f in values(filters, "LISTENER_FILTER")] == [
        "envoy.filters.listener.original_dst"
    ]


@pytest.mark.parametrize(
    ("ports", "ranges"),
    [
        ((3128,), [(3128, 3129)]),
        ((8080, 3128), [(3128, 3129), (8080, 8081)]),
        (("10000-10999",), [(10000, 11000)]),
        (("3128-3129", 3130, "5000-5001"), [(3128, 3131), (5000, 5002)]),
        ((65535,), [(65535, 65536)]),
    ],
)
def test_http_is_looked_for_on_the_vendors_ports_only(ports, ranges):
    """A server-first protocol on any other port is never delayed; Envoy refuses a lone or_match."""
    filters = render(vendor("vendor-a", "10.1.0.0/16", http_ports=ports))
    first, *_ = filters["proxy-observability"]["configPatches"]
    original_dst, inspector = values(filters, "LISTENER_FILTER")
    # In the other order the inspector sees port 15001 and never looks.
    assert first["patch"] == {"operation": "INSERT_FIRST", "value": original_dst}
    assert original_dst["name"] == "envoy.filters.listener.original_dst"
    rules = [{"destination_port_range": {"start": start, "end": end}} for start, end in ranges]
    predicate = rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}
    assert inspector["filter_disabled"] == {"not_match": predicate}


POOL = {"range": "10.1.0.0/16", "pool": "mobile"}
RULES = ({"status": 407, "outcome": "blocked"},)
NEWS = Target(name="news", hosts=("news.example",))


@pytest.mark.parametrize(
    ("owner", "more", "changed"),
    [
        (vendor("vendor-a", POOL), {}, {"proxy-vendor_vendor-a_lua"}),
        (vendor("vendor-a", "10.1.0.0/16", outcomes=RULES), {}, {"proxy-vendor_vendor-a_lua"}),
        (
            vendor("vendor-a", "10.1.0.0/16"),
            {"targets": (SHOPS, NEWS)},
            {"proxy-vendor_vendor-a_lua", "proxy_observability.http_stats"},
        ),
        (
            vendor("vendor-a", "10.1.0.0/16"),
            {"timeout_after_seconds": 11},
            {"proxy_observability.http_stats"},
        ),
    ],
    ids=["first pool", "first rule", "first targets", "timeoutAfter"],
)
def test_what_travels_apart_no_chain_has(owner, more, changed):
    """An edit of what Envoy fetches by ECDS cuts no tunnel, and is pushed once."""
    before, after = render(vendor("vendor-a", "10.1.0.0/16")), render(owner, **more)
    for kind in ("FILTER_CHAIN", "CLUSTER", "LISTENER", "LISTENER_FILTER"):
        assert values(before, kind) == values(after, kind)
    old, new = (by_name(filters, "EXTENSION_CONFIG") for filters in (before, after))
    assert {name for name in new if old[name] != new[name]} == changed


def test_a_sidecar_without_its_labels_still_answers():
    """Envoy answers 500, or closes, where a filter has neither a configuration nor a default."""
    found = nested(list(by_name(render(A, F, G), "FILTER_CHAIN").values()), "config_discovery")
    assert len(found) > 6
    for each in found:
        assert each["default_config"]["@type"] in each["type_urls"]
        assert each["config_source"]["initial_fetch_timeout"] == "3s"


def test_vendors_of_one_range_have_one_chain_for_each_kind():
    """Two chains of one range are a listener that Envoy refuses."""
    filters = render(F, G, OUTER)
    assert ranges_of(filters) == {
        (f"proxy-vendor_{name}_{kind}", cidr)
        for name, cidr in [
            ("vendor-f.vendor-g_2", "10.6.0.0/24"),
            ("vendor-g.vendor-h_0", "10.7.0.0/24"),
            ("vendor-h_6", "10.7.0.0/16"),
        ]
        for kind in ("http", "opaque")
    }
    assert list(filters) == [
        "proxy-observability",
        "proxy-vendor-vendor-f",
        "proxy-vendor-vendor-g",
        "proxy-vendor-vendor-h",
        "proxy-labels",
        "proxy-shared-vendor-f.vendor-g",
        "proxy-shared-vendor-g.vendor-h",
    ]


OF_F = (
    "(destination.port >= 3128 && destination.port <= 3128)"
    " || (destination.port >= 10000 && destination.port <= 10999)"
)
OF_G = "(destination.port >= 4000 && destination.port <= 4999)"


A_ALONE, F_ALONE, F_G, G_OUTER = (
    f"proxy-vendor_{name}"
    for name in ("vendor-a_3", "vendor-f_2", "vendor-f.vendor-g_2", "vendor-g.vendor-h_0")
)


@pytest.mark.parametrize(
    ("vendors", "chain", "choice", "routed"),
    [
        # A constant costs a connection nothing.
        ((A,), A_ALONE, None, ["vendor-a"]),
        # The port of no vendor leaves both unset: Istio's own cluster, and no vendor's count.
        ((F,), F_ALONE, f"({OF_F}) ? 'vendor-f' : ('')", ["vendor-f", None]),
        (
            (F, G),
            F_G,
            f"({OF_F}) ? 'vendor-f' : (({OF_G}) ? 'vendor-g' : (''))",
            ["vendor-f", "vendor-g", None],
        ),
        # A vendor of every port has what the others leave.
        (
            (F, G, OUTER),
            G_OUTER,
            f"({OF_G}) ? 'vendor-g' : ('vendor-h')",
            ["vendor-g", "vendor-h"],
        ),
    ],
)
def test_the_port_chooses_vendor_and_cluster(vendors, chain, choice, routed):
    """Of vendors that share an address each gets its own count, connection and cluster."""
    filters = render(*vendors)
    chains = by_name(filters, "FILTER_CHAIN")
    opaque, http = chains[f"{chain}_opaque"], chains[f"{chain}_http"]
    named = f"%CEL({choice})%" if choice else routed[0]
    assert constants(http) == {VENDOR_KEY: named}
    tcp_cluster = opaque["filters"][-1]["typed_config"]["cluster"]
    if choice:
        clusters = choice.replace("'vendor-", "'proxy-vendor_vendor-")
        own = {VENDOR_KEY: named, "envoy.tcp_proxy.cluster": f"%CEL({clusters})%"}
        assert (constants(opaque), tcp_cluster) == (own, "PassthroughCluster")
    else:
        assert (constants(opaque), tcp_cluster) == ({VENDOR_KEY: named}, f"proxy-vendor_{named}")
    ports = {vendor.name: vendor.ports for vendor in vendors}
    unowned = f"proxy-unowned_{chain.removeprefix('proxy-vendor_').rpartition('_')[0]}"
    assert routes(http) == [
        (kind, name if name and ports[name] else "", f"proxy-vendor_{name}" if name else unowned)
        for name in routed
        for kind in ("tunnel", "request")
    ]
    assert (unowned in by_name(filters, "CLUSTER")) == (None in routed)
    for entry in opaque["filters"][0]["typed_config"]["on_new_connection"]:
        is_vendor = entry["object_key"] == VENDOR_KEY
        assert entry["factory_key"] == ("envoy.string" if is_vendor else "envoy.tcp_proxy.cluster")
        assert entry.get("skip_if_empty", False) == bool(choice)


def test_http_to_a_port_of_no_vendor_goes_on_as_it_is_and_counts_as_istios():
    """Istio's own cluster would pool the connections and rewrite the requests."""
    clusters = by_name(render(F, G), "CLUSTER")
    unowned = clusters["proxy-unowned_vendor-f.vendor-g"]
    same = {"name": "proxy-vendor_vendor-f", "alt_stat_name": "proxy-vendor_vendor-f;"}
    assert unowned["alt_stat_name"] == "PassthroughCluster;"
    assert unowned | same == clusters["proxy-vendor_vendor-f"]


@pytest.mark.parametrize("vendors", [(A, B), (F,), (F, G), (F, G, OUTER), (A, B, F, G, OUTER)])
def test_all_that_a_chain_needs_is_there_before_it(vendors):
    """A chain without its cluster answers 503; without its filters' configuration it waits."""
    filters = render(*vendors)
    before = filters_before(filters)
    assert before.keys() == filters.keys()
    for name, spec in filters.items():
        needed = {cluster for of in clusters_needed(spec).values() for cluster in of}
        assert len(clusters_needed(spec)) == len(values({name: spec}, "FILTER_CHAIN"))
        assert needed <= clusters_held(spec).union(
            *(clusters_held(filters[n]) for n in before[name])
        )
        assert name not in before[name]
        chains = values({name: spec}, "FILTER_CHAIN")
        asked = {
            each["name"]
            for chain in chains
            for each in [
                *chain["filters"],
                *(f for fs in nested(chain, "http_filters") for f in fs),
            ]
            if "config_discovery" in each
        }
        assert bool(asked) == bool(chains)
        holders = {each: filters[each] for each in (name, *before[name])}
        assert asked <= by_name(holders, "EXTENSION_CONFIG").keys()


def ten_thousand(name: str, **more: Any) -> Vendor:
    return vendor(name, *(f"10.{n // 200}.{n % 200}.1/32" for n in range(10_000)), **more)


def test_ten_thousand_shared_ranges_leave_no_object_without_content():
    """Split by chain; what the chains share is there before them."""
    filters = render(ten_thousand("vendor-f", ports=(3128,)), vendor("vendor-h", "10.0.0.0/8"))
    assert all(spec["configPatches"] for spec in filters.values())
    assert clusters_held(filters["proxy-shared-vendor-f.vendor-h"]) == set()
    assert filters_before(filters)["proxy-shared-vendor-f.vendor-h.chain-3"] == (
        "proxy-labels",
        "proxy-shared-vendor-f.vendor-h",
        "proxy-vendor-vendor-f",
        "proxy-vendor-vendor-h",
    )
    unowned = render(*(ten_thousand(name, ports=(n,)) for n, name in enumerate("fg", start=3128)))
    assert clusters_held(unowned["proxy-shared-f.g"]) == {"proxy-unowned_f.g"}
    assert filters_before(unowned)["proxy-shared-f.g.chain-0"] == (
        "proxy-labels",
        "proxy-shared-f.g",
        "proxy-vendor-f",
        "proxy-vendor-g",
    )


def test_the_order_of_the_stack_file_does_not_show():
    """Sorting a stack file is not a change of the data path."""
    ranges = B.model_copy(update={"cidrs": B.cidrs[::-1]})
    ports = F.model_copy(update={"ports": F.ports[::-1]})
    assert json.dumps(render(A, B, F, G)) == json.dumps(render(ranges, G, ports, A))


def test_a_selector_limits_every_filter():
    """A roll-out by label reaches the labelled pods and no other."""
    filters = render(A, B, selector={"app": "crawler"})
    assert all(s["workloadSelector"] == {"labels": {"app": "crawler"}} for s in filters.values())
    assert all("workloadSelector" not in spec for spec in render(A, B).values())


@pytest.mark.parametrize(
    ("sidecar", "patched"),
    [
        ("1.31.4", True),
        ("1.30.0", True),
        ("1.31.0-20260827124520", True),
        ("1.31-alpha.9f3c", True),
        ("1.29.6", False),
        ("1.32.0", False),
        ("1.310.0", False),
        ("11.31.0", False),
        ("2.31.0", False),
    ],
)
def test_only_sidecars_of_tested_releases_are_patched(sidecar, patched):
    """A sidecar that refused one setting would not start; untouched it passes its traffic."""
    patches = [patch for spec in render(A, B, F).values() for patch in spec["configPatches"]]
    versions = {patch["match"]["proxy"]["proxyVersion"] for patch in patches}
    assert [bool(re.search(version, sidecar)) for version in versions] == [patched]


def test_no_added_cluster_limits_or_pools_connections():
    """Envoy's defaults refuse connection 1,025 and mix crawlers' sessions."""
    for cluster in values(render(A, B), "CLUSTER"):
        (threshold,) = cluster["circuit_breakers"]["thresholds"]
        assert set(threshold.values()) == {4294967295}
        assert cluster["connection_pool_per_downstream_connection"] is True
        options = cluster["typed_extension_protocol_options"]
        (options,) = options.values()
        assert options["common_http_protocol_options"]["idle_timeout"] == "30s"
        assert cluster["alt_stat_name"] == f"{cluster['name']};"


def test_the_sidecar_resource_shuts_out_other_namespaces():
    """A Service elsewhere on a vendor's port must not take the crawlers' connections."""
    assert sidecar_spec((), {}) == {"egress": [{"hosts": ["./*"]}]}
    assert sidecar_spec(("data/*",), {"app": "crawler"}) == {
        "workloadSelector": {"labels": {"app": "crawler"}},
        "egress": [{"hosts": ["./*", "data/*"]}],
    }
