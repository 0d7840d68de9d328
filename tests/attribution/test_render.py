"""What the program asks istiod for, read as istiod would read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.attribution.outcome import RESPONSE_CODES, response_code
from components.attribution.render import envoy_filters, sidecar_spec
from components.attribution.stats import (
    SCRAPED_METRICS,
    bucket_annotation,
    expected_series_per_sidecar,
    proxy_stats_matcher,
)
from settings.model import Vendor
from settings.values import AddressRange, parse_network


def vendor(name: str, *cidrs: str, **more: Any) -> Vendor:
    ranges = tuple(AddressRange(network=parse_network(cidr), pool="") for cidr in cidrs)
    return Vendor(name=name, cidrs=ranges, **more)


A = vendor("vendor-a", "10.1.0.0/16", "2001:db8::/32")
B = vendor("vendor-b", "10.2.0.0/16", "10.1.8.0/24")


def render(*vendors: Vendor, selector: dict[str, str] | None = None) -> dict[str, Any]:
    return envoy_filters(vendors, patience_seconds=10, selector=selector or {})


def values(filters: dict[str, Any], apply_to: str) -> list[dict[str, Any]]:
    return [
        patch["patch"]["value"]
        for spec in filters.values()
        for patch in spec["configPatches"]
        if patch["applyTo"] == apply_to
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
            ("vendor-a", "10.1.0.0/16"),
            ("vendor-a", "2001:db8::/32"),
            ("vendor-b", "10.1.8.0/24"),
            ("vendor-b", "10.2.0.0/16"),
        ]
        for kind in ("http", "opaque")
    }


def test_a_chain_never_arrives_without_its_cluster_and_its_lua():
    """One object holds all of a vendor: half of it would send requests nowhere."""
    for name, spec in render(A, B).items():
        text = json.dumps(spec)
        if "FILTER_CHAIN" in text:
            clusters = {c["name"] for c in values({name: spec}, "CLUSTER")}
            extensions = {e["name"] for e in values({name: spec}, "EXTENSION_CONFIG")}
            assert set(_all(spec, "cluster")) == clusters
            assert {f["name"] for f in _all(spec, "http_filters")[0][:1]} == extensions


def test_connections_only_means_that_nothing_is_parsed():
    """`inspect: connections` gives a vendor no HTTP chain, no Lua and no inspector."""
    filters = render(vendor("vendor-a", "10.1.0.0/16", inspect="connections"))
    assert [c["name"] for c in values(filters, "FILTER_CHAIN")] == ["proxy-vendor_vendor-a_opaque"]
    assert not values(filters, "EXTENSION_CONFIG")
    assert [f["name"] for f in values(filters, "LISTENER_FILTER")] == [
        "envoy.filters.listener.original_dst"
    ]


@pytest.mark.parametrize(
    ("ports", "predicate"),
    [
        ((3128,), {"destination_port_range": {"start": 3128, "end": 3129}}),
        (
            (8080, 3128),
            {
                "or_match": {
                    "rules": [
                        {"destination_port_range": {"start": 3128, "end": 3129}},
                        {"destination_port_range": {"start": 8080, "end": 8081}},
                    ]
                }
            },
        ),
    ],
)
def test_http_is_looked_for_on_the_vendors_ports_only(ports, predicate):
    """A server-first protocol on any other port is never delayed; Envoy refuses a lone or_match."""
    filters = render(vendor("vendor-a", "10.1.0.0/16", http_ports=ports))
    inspector = values(filters, "LISTENER_FILTER")[1]
    assert inspector["filter_disabled"] == {"not_match": predicate}


def test_original_dst_runs_before_the_inspector():
    """In the other order the inspector's port predicate sees 15001 and never looks."""
    listener = render(A)["proxy-observability"]["configPatches"]
    order = [(p["patch"]["operation"], p["patch"]["value"].get("name")) for p in listener]
    assert order[:2] == [
        ("INSERT_FIRST", "envoy.filters.listener.original_dst"),
        ("ADD", "envoy.filters.listener.http_inspector"),
    ]


def test_the_edit_of_one_range_is_one_line_of_lua_and_one_range_of_the_chains():
    """What a reviewer sees in a preview is what was edited."""
    edited = B.model_copy(
        update={
            "cidrs": (AddressRange(network=parse_network("10.2.128.0/17"), pool=""), B.cidrs[1])
        }
    )
    before, after = render(A, B), render(A, edited)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == ["proxy-vendor-vendor-b"]
    assert {cidr for _, cidr in ranges_of(before) ^ ranges_of(after)} == {
        "10.2.0.0/16",
        "10.2.128.0/17",
    }
    old, new = (
        values(f, "EXTENSION_CONFIG")[1]["typed_config"]["default_source_code"]["inline_string"]
        for f in (before, after)
    )
    assert len(old.splitlines()) == len(new.splitlines())
    assert sum(a != b for a, b in zip(old.splitlines(), new.splitlines(), strict=True)) == 1


def test_the_order_of_the_stack_file_does_not_show():
    """Sorting a stack file is not a change of the data path."""
    reordered = B.model_copy(update={"cidrs": B.cidrs[::-1]})
    assert json.dumps(render(A, B)) == json.dumps(render(reordered, A))


def test_a_selector_limits_every_filter():
    """A roll-out by label reaches the labelled pods and no other."""
    filters = render(A, B, selector={"app": "crawler"})
    assert all(s["workloadSelector"] == {"labels": {"app": "crawler"}} for s in filters.values())
    assert all("workloadSelector" not in spec for spec in render(A, B).values())


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
    expression = response_code()
    for code in range(0, 1000):
        listed = str(code) if code in RESPONSE_CODES or code == 0 else None
        expected = listed or (f"{code // 100}xx" if 100 <= code < 600 else "other")
        assert _evaluate(expression, code) == expected, code


def test_what_istio_may_export_is_what_the_scrape_keeps():
    """The matcher admits each upstream statistic that is scraped, and the `;` is in its place."""
    import re

    patterns = [re.compile(p) for p in proxy_stats_matcher()["inclusionRegexps"]]
    for metric in SCRAPED_METRICS:
        if metric.startswith("envoy_cluster_"):
            stat = metric.removeprefix("envoy_cluster_")
            for cluster in ("proxy-vendor_vendor-a", "PassthroughCluster"):
                assert any(p.fullmatch(f"cluster.{cluster};.{stat}") for p in patterns)
    assert any(p.fullmatch("http.proxyobs;.lua.errors") for p in patterns)
    assert len(SCRAPED_METRICS) == len(set(SCRAPED_METRICS))
    assert not any(p.fullmatch("cluster.xds-grpc;.upstream_cx_total") for p in patterns)


def test_series_of_the_usual_stack_stay_below_the_documented_number():
    """Five vendors, eight buckets, no pools: at most 230 series a sidecar."""
    five = [vendor(f"vendor-{n}", f"10.{n}.0.0/16") for n in range(5)]
    assert 200 <= expected_series_per_sidecar(five, [1, 2, 3, 4, 5, 6, 7, 8]) <= 230


def test_the_bucket_annotation_names_the_metric_as_istio_does():
    """Istio matches histogram settings by prefix of its custom namespace."""
    assert json.loads(bucket_annotation((50, 100))) == {
        "istiocustom.istio_proxy_setup_milliseconds": [50, 100]
    }


def test_the_sidecar_resource_shuts_out_other_namespaces():
    """A Service elsewhere on a vendor's port must not take the crawlers' connections."""
    assert sidecar_spec((), {}) == {"egress": [{"hosts": ["./*"]}]}
    assert sidecar_spec(("data/*",), {"app": "crawler"}) == {
        "workloadSelector": {"labels": {"app": "crawler"}},
        "egress": [{"hosts": ["./*", "data/*"]}],
    }


def _all(node: Any, key: str) -> list[Any]:
    """Return every value of `key` anywhere in a JSON tree."""
    if isinstance(node, dict):
        own = [node[key]] if key in node else []
        return own + [found for child in node.values() for found in _all(child, key)]
    if isinstance(node, list):
        return [found for child in node for found in _all(child, key)]
    return []


def _evaluate(expression: str, code: int) -> str:
    """Walk the conditionals as CEL would; Envoy's own reading is tested in tests/lab."""
    while not expression.startswith("'"):
        condition, rest = expression.split(" ? ", 1)
        if rest.startswith("("):
            depth = 0
            position = 0
            while not (position and depth == 0):
                depth += {"(": 1, ")": -1}.get(rest[position], 0)
                position += 1
            position -= 1
            first, second = rest[1:position], rest[position + 4 :]
        else:
            first, second = rest.split(" : ", 1)
        second = second[1:-1] if second.startswith("(") else second
        if condition == "!has(response.code)":
            holds = False
        else:
            python = condition.replace("response.code", str(code))
            holds = bool(eval(python, {"__builtins__": {}}))
        expression = first if holds else second
    return expression.strip("'")
