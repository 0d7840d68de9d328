"""Simulated vendors: what of the rendered configuration is another one than a real vendor's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.attribution.guard import refuse_undeployable
from components.attribution.names import service_entries
from components.attribution.render import envoy_filters
from components.attribution.simulators import Simulator
from settings.vendors import Vendor
from tools.find import find

A = Vendor(name="vendor-a", cidrs=("10.1.0.0/16", "2001:db8::/32"))
F = Vendor(name="vendor-f", cidrs=("10.6.0.0/24",), ports=(3128,))
G = Vendor(name="vendor-g", cidrs=("10.6.0.0/24",), ports=("4000-4999",))
P = Vendor(name="vendor-p", cidrs=("10.8.0.0/16",), inspect="passive")
NAMED = {"name": "gw.vendor.test", "ports": (80, 1080), "virtual_address": "240.241.0.1"}
N = Vendor(name="vendor-n", cidrs=("10.9.0.0/16",), hosts=(NAMED,))
Q = Vendor(
    name="vendor-q",
    hosts=({**NAMED, "name": "q.test", "virtual_address": "240.241.0.2"},),
    inspect="passive",
)


def render(*vendors: Vendor, simulated: tuple[Vendor, ...] = ()) -> dict[str, Any]:
    simulators = {
        one.name: Simulator(host=f"{one.name}.simulated.svc", port=3128) for one in simulated
    }
    return envoy_filters(vendors, timeout_after_seconds=10, selector={}, simulators=simulators)


def patches(filters: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """Return every patch by what it adds, and where."""
    return {
        (
            patch["applyTo"],
            json.dumps(patch.get("match", {})),
            patch["patch"].get("value", {}).get("name", json.dumps(patch["patch"])),
        ): patch
        for spec in filters.values()
        for patch in spec["configPatches"]
    }


@pytest.mark.parametrize("vendors", [(A,), (F, G), (P,)], ids=lambda vendors: vendors[0].name)
def test_by_address_only_the_cluster_is_another(vendors: tuple[Vendor, ...]) -> None:
    """Chains and scripts stay: a vendor that becomes real, or simulated, has no connection cut."""
    real, simulated = (patches(render(*vendors, simulated=s)) for s in ((), vendors[:1]))
    assert real.keys() == simulated.keys()
    (changed,) = [key for key in real if real[key] != simulated[key]]
    before, after = (one[changed]["patch"]["value"] for one in (real, simulated))
    assert before["alt_stat_name"] == after["alt_stat_name"]
    assert before.keys() - after.keys() == set()


@pytest.mark.parametrize("simulated", [(A, F, P, N, Q), (N,), (Q, G)])
def test_the_guard_and_envoy_take_them(simulated: tuple[Vendor, ...]) -> None:
    vendors = (A, F, G, P, N, Q)
    filters = render(*vendors, simulated=simulated)
    refuse_undeployable(vendors, filters, find("envoy"), entries=service_entries(vendors))
