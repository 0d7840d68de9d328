"""What istiod gets for vendors with `inspect: passive`."""

from __future__ import annotations

import json

from components.attribution.passive import EXTENSION, module_configuration
from components.attribution.render import SPLIT_ABOVE_BYTES
from settings.vendors import Target, Vendor
from tests.attribution.filters import by_name, render, values

P = Vendor(
    name="vendor-p",
    cidrs=("10.1.0.0/16", {"range": "10.1.8.0/24", "pool": "residential"}, "2001:db8::/32"),
    outcomes=(
        {"status": 407, "header": "X-Error", "contains": "traffic left: 0", "outcome": "blocked"},
        {"status": 407, "header": "X-Ban", "outcome": "blocked"},
        {"status": 503, "connect": False, "outcome": "rate_limited"},
        {"status": 502, "connect": True, "outcome": "policy"},
    ),
    products=({"user": "*-zone-mob*", "name": "mobile"}, {"user": "acme", "name": "residential"}),
    inspect="passive",
)
Q = Vendor(name="vendor-q", cidrs=("10.2.0.0/16",), ports=(3128,), inspect="passive")
HTTP = Vendor(
    name="vendor-h",
    cidrs=({"range": "10.3.0.0/16", "pool": "mobile"},),
    outcomes=({"status": 404, "outcome": "blocked"},),
)
SHOPS = Target(name="shops", hosts=("shop.example", "*.shop.example"))


def test_the_module_reads_every_port_and_every_protocol():
    """One chain for each part of the ranges, by address alone; no inspector holds a byte back."""
    filters = render(P)
    assert set(by_name(filters, "FILTER_CHAIN")) == {
        "proxy-vendor_vendor-p_3_passive",
        "proxy-vendor_vendor-p_7_passive",
    }
    for chain in values(filters, "FILTER_CHAIN"):
        assert list(chain["filter_chain_match"]) == ["prefix_ranges"]
        assert [one["name"] for one in chain["filters"]] == [
            "envoy.filters.network.set_filter_state",
            EXTENSION,
            "envoy.filters.network.tcp_proxy",
        ]
    assert [one["name"] for one in values(filters, "LISTENER_FILTER")] == [
        "envoy.filters.listener.original_dst"
    ]


def test_all_chains_ask_for_one_module():
    """It travels once, whatever the number of vendors and chains; other modes do without it."""
    filters = render(P, Q, HTTP)
    (module,) = filters["proxy-passive"]["configPatches"]
    assert module["applyTo"] == "EXTENSION_CONFIG"
    assert module["patch"]["value"]["name"] == EXTENSION
    plugin = module["patch"]["value"]["typed_config"]["config"]
    assert plugin["fail_open"] is True
    assert "failure_policy" not in plugin
    assert "proxy-passive" not in render(HTTP)


def test_what_a_rule_changes_no_chain_has():
    """Rules, pools, hosts and `timeoutAfter` travel with the module: a new one cuts no tunnel."""
    cidrs = tuple(str(entry.network) for entry in P.cidrs)
    before = render(Vendor(name="vendor-p", cidrs=cidrs, inspect="passive"))
    after = render(P, targets=(SHOPS,), timeout_after_seconds=20)
    for kind in ("FILTER_CHAIN", "CLUSTER", "LISTENER", "LISTENER_FILTER"):
        assert values(before, kind) == values(after, kind)
    assert values(before, "EXTENSION_CONFIG") != values(after, "EXTENSION_CONFIG")


def test_the_module_is_told_of_passive_vendors():
    """Each kind of line, as `wasm/` reads it. The longest prefix decides, pool or not."""
    lines = module_configuration((Q, HTTP, P), (SHOPS,), 10).splitlines()
    first, second, codes, *rest = lines
    assert (first, second) == ("timeout_after 10000", "with_targets")
    assert codes.startswith("codes 200 204 206 ")
    assert [line for line in rest if not line.startswith(("answer ", "socks ", "result "))] == [
        "rule vendor-p 407 407 any x-error blocked traffic left: 0",
        "rule vendor-p 407 407 any x-ban blocked",
        "rule vendor-p 503 503 plain - rate_limited",
        "rule vendor-p 502 502 tunnel - policy",
        "pool vendor-p 10.1.0.0/16 -",
        "pool vendor-p 10.1.8.0/24 residential",
        "pool vendor-p 2001:db8::/32 -",
        "product vendor-p *-zone-mob* mobile",
        "product vendor-p acme residential",
        "target *.shop.example shops",
        "target shop.example shops",
    ]
    assert "with_targets" not in module_configuration((P,), (), 10)


def test_the_order_of_vendors_and_targets_changes_nothing():
    """An edit that only moves lines of the stack file pushes nothing to sidecars."""
    news = Target(name="news", hosts=("news.example",))
    assert render(P, Q, targets=(SHOPS, news)) == render(Q, P, targets=(news, SHOPS))


def test_thousands_of_ranges_fit_into_one_object():
    """The module's EnvoyFilter cannot be split. Only a vendor with pools has its ranges in it."""
    cidrs = [
        {"range": f"10.{high}.{low}.0/24", "pool": "residential"}
        for high in range(20)
        for low in range(250)
    ]
    pooled = Vendor(name="vendor-p", cidrs=tuple(cidrs), inspect="passive")
    assert len(json.dumps(render(pooled)["proxy-passive"])) < SPLIT_ABOVE_BYTES
    plain = Vendor(name="vendor-p", cidrs=tuple(one["range"] for one in cidrs), inspect="passive")
    assert "\npool " not in module_configuration((plain,), (), 10)
