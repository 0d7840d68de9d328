"""What the program asks istiod for, read as istiod would read it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from components.attribution.order import clusters_held, clusters_needed, filters_before
from components.attribution.outcome import RESPONSE_CODES, VENDOR_KEY, response_code
from components.attribution.render import envoy_filters, sidecar_spec
from components.attribution.stats import (
    OUTSIDE_CLUSTERS,
    SCRAPED_METRICS,
    bucket_annotation,
    expected_series,
    http_plugin_config,
    inclusion_regexps,
    opaque_plugin_config,
)
from settings.crawlers import Mode
from settings.destinations import Destination
from settings.vendors import AddressRange, Target, Vendor
from tests.attribution.filters import by_name, nested, values


def vendor(name: str, *cidrs: str | dict[str, str], **more: Any) -> Vendor:
    ranges = tuple(AddressRange.parse(cidr) for cidr in cidrs)
    return Vendor(name=name, cidrs=ranges, **more)


A = vendor("vendor-a", "10.1.0.0/16", "2001:db8::/32")
B = vendor("vendor-b", "10.2.0.0/16", "10.1.8.0/24")


F = vendor("vendor-f", "10.6.0.0/24", ports=(3128, "10000-10999"), http_ports=(3128,))
G = vendor("vendor-g", "10.6.0.0/24", "10.7.0.0/24", ports=("4000-4999",), http_ports=(4000,))
OUTER = vendor("vendor-h", "10.7.0.0/16")
SHOPS = Target(name="shops", hosts=("shop.example", "*.shop.example"))


def render(
    *vendors: Vendor,
    selector: dict[str, str] | None = None,
    targets: tuple[Target, ...] = (),
    timeout_after: int = 10,
    mode: Mode = "full",
) -> dict[str, Any]:
    return envoy_filters(
        vendors,
        targets=targets,
        timeout_after_seconds=timeout_after,
        selector=selector or {},
        mode=mode,
    )


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
            {"timeout_after": 11},
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


def dimensions(filters: dict[str, Any]) -> list[set[str]]:
    """The labels of the request counter, in each configuration of it."""
    return [
        set(metric["dimensions"])
        for extension in values(filters, "EXTENSION_CONFIG")
        for found in nested(extension, "metrics")
        for metric in found
        if metric.get("name") == "requests_total"
    ]


def test_a_target_is_a_label_only_where_one_is_configured():
    """A label that is always empty would still be on every series.

    All chains share one configuration: two that differ in an empty label would be one series, and
    lose counts.
    """
    pooled = vendor("vendor-h", "10.7.0.0/16", {"range": "10.8.8.0/24", "pool": "residential"})
    plain = {"proxy_vendor", "proxy_visibility", "proxy_outcome", "proxy_pool", "response_code"}
    for targets, labels in (((), plain), ((SHOPS,), plain | {"proxy_target"})):
        assert dimensions(render(A, G, pooled, targets=targets)) == [labels]


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


def test_every_known_code_is_itself_and_every_other_its_class():
    """`response_code` has a bounded set of values, whatever a vendor answers."""
    # Python's `and` and `or` choose as CEL's conditional, for no label is empty.
    expression = response_code().replace("!has(response.code)", "False")
    python = expression.replace(" ? ", " and ").replace(" : ", " or ")
    for code in range(0, 1000):
        listed = str(code) if code in RESPONSE_CODES or code == 0 else None
        expected = listed or (f"{code // 100}xx" if 100 <= code < 600 else "other")
        assert eval(python.replace("response.code", str(code))) == expected, code


@pytest.mark.parametrize(
    "config",
    [
        http_plugin_config(with_targets=True, timeout_after_seconds=10),
        opaque_plugin_config(),
    ],
    ids=["http", "opaque"],
)
def test_no_metric_gets_a_label_twice(config):
    """istio.stats writes both of two entries that name a label; Prometheus refuses the scrape."""
    named = [metric["name"] for metric in config["metrics"] if "name" in metric]
    assert len(named) == len(set(named))
    of_all = {
        label
        for metric in config["metrics"]
        if "name" not in metric
        for label in metric.get("dimensions", {})
    }
    for metric in config["metrics"]:
        if "name" in metric:
            assert not of_all & set(metric.get("dimensions", {})), metric["name"]


def test_what_istio_may_export_is_what_the_scrape_keeps():
    """The matcher admits each upstream statistic that is scraped, and the `;` is in its place."""
    patterns = [re.compile(p) for p in inclusion_regexps()]
    for metric in SCRAPED_METRICS:
        if metric.startswith("envoy_cluster_"):
            stat = metric.removeprefix("envoy_cluster_")
            for cluster in ("proxy-vendor_vendor-a", "proxy-destination_s3", *OUTSIDE_CLUSTERS):
                assert any(p.fullmatch(f"cluster.{cluster};.{stat}") for p in patterns)
    assert any(p.fullmatch("http.proxyobs;.lua.errors") for p in patterns)
    assert len(SCRAPED_METRICS) == len(set(SCRAPED_METRICS))
    assert any(p.fullmatch("cluster.BlackHoleCluster;.upstream_cx_none_healthy") for p in patterns)
    net = "cluster.outbound|7777||gw.vendor.test;"
    assert any(p.fullmatch(f"{net}.upstream_cx_total") for p in patterns)
    assert not any(p.fullmatch(f"{net}.upstream_cx_active") for p in patterns)
    # Envoy's own connection to istiod, and what a cluster without an endpoint never counts.
    for cluster in ("xds-grpc", "BlackHoleCluster"):
        assert not any(p.fullmatch(f"cluster.{cluster};.upstream_cx_total") for p in patterns)


def test_series_of_the_usual_stack_stay_below_the_documented_number():
    """Five vendors, eight buckets, no pools: at most 250 series a sidecar, 170 if native."""
    five = [vendor(f"vendor-{n}", f"10.{n}.0.0/16") for n in range(5)]
    buckets = [1, 2, 3, 4, 5, 6, 7, 8]
    assert 230 <= expected_series(five, buckets).total <= 250
    assert 150 <= expected_series(five, buckets, native_histograms=True).total <= 170


def test_pools_and_targets_multiply_the_request_counter():
    """A sidecar of many series is refused beforehand: the estimate knows what multiplies them."""
    buckets = [1, 2, 3]
    one = expected_series([A], buckets).total
    # 6 outcomes, 2 visibilities; each way bytes of 3 results in plain HTTP, and of tunnels.
    each = 6 * 2 + 2 * (3 + 1)
    assert expected_series([A], buckets, targets=1).total - one == each
    assert expected_series([A], buckets, targets=3).total - one == 3 * each
    store = Destination(name="store", cidrs=("10.20.0.0/16",))
    named = Destination(name="api", hosts=("api.store.example",))
    assert expected_series([A], buckets, destinations=[store]).total - one == 6
    assert expected_series([A], buckets, destinations=[store, named]).total - one == 2 * 6 + 1
    pooled = Vendor(
        name="vendor-p",
        cidrs=("10.8.0.0/16", {"range": "10.8.8.0/24", "pool": "residential"}),
    )
    assert expected_series([pooled], buckets, targets=3).total - one == each * 2 * 4 - each
    opaque = vendor("vendor-o", "10.9.0.0/16", inspect="connections")
    assert expected_series([opaque], buckets, targets=3) == expected_series([opaque], buckets)


@pytest.mark.parametrize("inspect", ["http", "passive", "connections"])
def test_the_mode_says_what_counts(inspect):
    """`expected` was that of `full` while the kill switch counted next to nothing."""
    own = vendor("vendor-p", "10.8.0.0/16", inspect=inspect)
    store = Destination(name="store", cidrs=("10.20.0.0/16",))

    def series(of, mode):
        return expected_series([of], [1, 2, 3], targets=1, destinations=[store], mode=mode)

    opaque = vendor("vendor-p", "10.8.0.0/16", inspect="connections")
    assert series(own, "observe") == series(opaque, "full")
    off = series(own, "off")
    assert (off.requests, off.setup_times) == (0, 0)
    # Six of the clusters of the vendor, the store and Istio; two or three of the sidecar.
    assert off.connections == 3 * 6 + 2 + (inspect == "http")


def test_a_passive_vendor_adds_socks_and_bytes():
    """`telemetry.seriesBudget` knows what the mode costs Prometheus."""
    buckets = [1, 2, 3]
    http, passive = (
        expected_series([vendor("vendor-p", "10.8.0.0/16", inspect=mode)], buckets, targets=1)
        for mode in ("http", "passive")
    )
    assert passive.requests * 2 == http.requests * 3
    assert passive.setup_times * 2 == http.setup_times * 3
    # Each way: three results of SOCKS by two targets. Only http has Lua's errors.
    assert passive.connections - http.connections == 2 * 3 * 2 - 1


def test_the_bucket_annotation_names_the_metric_as_istio_does():
    """Istio matches histogram settings by prefix of its custom namespace."""
    assert json.loads(bucket_annotation((50, 100))) == {
        "istiocustom.istio_proxy_setup_milliseconds": [50, 100],
        "wasmcustom.istio_proxy_setup_milliseconds": [50, 100],
    }


def test_the_sidecar_resource_shuts_out_other_namespaces():
    """A Service elsewhere on a vendor's port must not take the crawlers' connections."""
    assert sidecar_spec((), {}) == {"egress": [{"hosts": ["./*"]}]}
    assert sidecar_spec(("data/*",), {"app": "crawler"}) == {
        "workloadSelector": {"labels": {"app": "crawler"}},
        "egress": [{"hosts": ["./*", "data/*"]}],
    }
