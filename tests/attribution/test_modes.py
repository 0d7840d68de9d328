"""`crawlers.mode`: what `off` and `observe` leave of a stack, and what they may not touch."""

from __future__ import annotations

from typing import Any

import pytest

from components.attribution.envoy import mappings
from components.attribution.guard import envoy_here, refuse_undeployable
from components.attribution.names import service_entries
from settings.vendors import Vendor, only_connections
from tests.attribution.filters import by_name, render, values, vendor
from tests.attribution.test_render import SHOPS, F, G

A = vendor(
    "vendor-a",
    {"range": "10.1.0.0/16", "pool": "mobile"},
    outcomes=({"status": 407, "outcome": "blocked"},),
    products=({"name": "mobile", "user": "mobile-*"},),
)
P = vendor("vendor-p", "10.8.0.0/16", inspect="passive")
R = vendor("vendor-r", "10.9.0.0/24", ports=(3128,), inspect="passive")
NAMED = Vendor(
    name="vendor-n",
    hosts=({"name": "gw.vendor.example", "ports": [3128], "allowUnlistedPorts": True},),
    http_ports=(3128,),
)
STACK = (A, F, G, P, R, NAMED)
MODES = ("full", "observe", "off")


def patches(filters: dict[str, Any], *kinds: str) -> list[tuple[str, Any]]:
    """Return the patches of some kinds, each with its EnvoyFilter, as istiod gets them."""
    return [
        (name, patch)
        for name, spec in filters.items()
        for patch in spec["configPatches"]
        if patch["applyTo"] in kinds
    ]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_can_be_deployed(mode):
    """In an incident the switch itself is not refused, by the program or by Envoy."""
    refuse_undeployable(
        STACK,
        render(*STACK, targets=(SHOPS,), mode=mode),
        envoy_here(),
        entries=service_entries(STACK),
        scripts_run=mode == "full",
    )


def test_off_changes_only_what_is_sent_apart():
    """A listener, chain or cluster that changed would end its connections, or let requests fail."""
    full, off = (render(*STACK, targets=(SHOPS,), mode=mode) for mode in ("full", "off"))
    kinds = {patch["applyTo"] for spec in full.values() for patch in spec["configPatches"]}
    kept = kinds - {"EXTENSION_CONFIG"}
    assert kept == {"LISTENER", "LISTENER_FILTER", "FILTER_CHAIN", "CLUSTER"}
    assert patches(off, *kept) == patches(full, *kept)
    assert list(off) == list(full)


def test_off_sends_every_filter_the_default_that_it_has_anyway():
    """What is missing delays a starting sidecar by 3 s; Envoy refuses a type that is not listed."""
    full, off = (render(*STACK, targets=(SHOPS,), mode=mode) for mode in ("full", "off"))
    asked = {
        one["name"]: one["config_discovery"]
        for one in mappings([*by_name(full, "FILTER_CHAIN").values()])
        if "config_discovery" in one
    }
    sent = by_name(off, "EXTENSION_CONFIG")
    assert sent.keys() == by_name(full, "EXTENSION_CONFIG").keys()
    assert {name: one["typed_config"] for name, one in sent.items()} == {
        name: one["default_config"] for name, one in asked.items()
    }
    for name, one in sent.items():
        assert one["typed_config"]["@type"] in asked[name]["type_urls"]


def test_observe_is_connections_for_each_vendor():
    """Nothing is parsed, whatever rules, pools and products the stack file keeps for later."""
    observe = render(*STACK, targets=(SHOPS,), mode="observe")
    written = render(*only_connections(STACK), targets=(SHOPS,))
    for kind in ("FILTER_CHAIN", "CLUSTER", "EXTENSION_CONFIG"):
        assert patches(observe, kind) == patches(written, kind)
    assert {name.rpartition("_")[2] for name in by_name(observe, "FILTER_CHAIN")} == {"opaque"}


def test_observe_changes_no_listener_and_no_cluster():
    """Another set of inspected ports would end every connection of the crawlers."""
    full, observe = (render(*STACK, mode=mode) for mode in ("full", "observe"))
    kinds = ("LISTENER", "LISTENER_FILTER")
    assert patches(observe, *kinds) == patches(full, *kinds)
    clusters = values(observe, "CLUSTER")
    assert [one for one in values(full, "CLUSTER") if one not in clusters] == []


def test_observe_keeps_the_chains_of_what_is_not_http():
    """TLS and SOCKS5 to a vendor, by address or by name, go on over the switch and back."""
    full, observe = (by_name(render(*STACK, mode=mode), "FILTER_CHAIN") for mode in MODES[:2])
    opaque = {name for name in full if name.endswith("_opaque")}
    assert {name: observe[name] for name in opaque} == {name: full[name] for name in opaque}
    assert {name.split("_")[1] for name in observe.keys() - opaque} == {"vendor-p", "vendor-r"}
