"""What the passive module would refuse, or cut, in a cluster is refused at preview."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from components.attribution import guard
from components.attribution.guard import refuse_undeployable
from settings.vendors import AddressRange, Vendor
from tests.attribution.test_guard import PASSIVE, PASSIVE_BY_PORT, findings, render
from tools.find import find


@pytest.fixture(scope="module")
def envoy():
    return find("envoy")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda plugin: plugin.pop("fail_open"), "fail_open and no failure_policy"),
        (lambda plugin: plugin.update(fail_open=False), "fail_open and no failure_policy"),
        (lambda plugin: plugin.update(failure_policy="FAIL_OPEN"), "fail_open and no"),
        (
            lambda plugin: plugin["vm_config"]["code"]["local"].update(inline_bytes="AGFzbQ=="),
            "wasm/passive.wasm: is not the module whose sum is in wasm/passive.wasm.sha256",
        ),
    ],
)
def test_a_module_that_could_cut_connections_or_is_not_ours(spoil, complaint):
    """A trap of it would cut every open connection of a worker; Envoy itself takes it."""
    filters = render(PASSIVE)
    spoil(filters["proxy-passive"]["configPatches"][0]["patch"]["value"]["typed_config"]["config"])
    (finding,) = findings((PASSIVE,), filters)
    assert complaint in finding


def test_a_chain_whose_module_none_sends():
    """Its connections would pass, and nothing of them would be counted."""
    filters = render(PASSIVE_BY_PORT)
    del filters["proxy-passive"]
    (finding,) = findings((PASSIVE_BY_PORT,), filters)
    assert "_passive asks for proxy_observability.passive, which none sends" in finding


@pytest.mark.parametrize("spoilt", ["configuration", "code"])
def test_a_module_or_a_configuration_that_does_not_load(envoy, spoilt):
    """A running sidecar would keep the old one, a new one would count nothing of any vendor."""
    filters = render(PASSIVE)
    (patch,) = filters["proxy-passive"]["configPatches"]
    plugin = patch["patch"]["value"]["typed_config"]["config"]
    if spoilt == "code":
        plugin["vm_config"]["code"]["local"]["inline_bytes"] = "AGFzbQ=="
    else:
        plugin["configuration"]["value"] += "nonsense\n"
    assert list(guard._refused_by_envoy(envoy, filters, {})) == [
        "EnvoyFilters: the passive module does not load in Envoy, or refuses its configuration; "
        "this is a defect of the program, report it"
    ]


def test_more_headers_than_the_module_tells_apart(envoy):
    """It would refuse all of its configuration, and new sidecars would count no passive vendor."""

    def stack(*headers: str) -> tuple[Vendor, ...]:
        rules = tuple({"status": 400, "header": name, "outcome": "blocked"} for name in headers)
        return (Vendor(name="vendor-w", cidrs=("10.1.0.0/16",), outcomes=rules, inspect="passive"),)

    many = stack("x" * 63, *(f"x-{n}" for n in range(127)))
    refuse_undeployable(many, render(*many), envoy)
    more = stack("x" * 64, *(f"x-{n}" for n in range(128)))
    assert findings(more, render(*more)) == [
        "vendors[0].outcomes: 129 different headers and texts, and the passive module tells 128 "
        "apart; remove some, or write inspect: http",
        "vendors[0].outcomes: xxxxxxxxxxxxxxxxxxxx… has 64 characters, and the passive module "
        "reads names of 63; remove the rule",
    ]


def test_a_text_that_the_module_never_finds(envoy):
    """It keeps the start of a line. A text of more than 4 KB would be refused with all the rest."""

    def stack(text: str) -> tuple[Vendor, ...]:
        rule = {"status": 407, "header": "x-error", "contains": text, "outcome": "blocked"}
        return (
            Vendor(name="vendor-w", cidrs=("10.1.0.0/16",), outcomes=(rule,), inspect="passive"),
        )

    refuse_undeployable(stack("x" * 993), render(*stack("x" * 993)), envoy)
    assert findings(stack("x" * 994), render(*stack("x" * 994))) == [
        "vendors[0].outcomes: xxxxxxxxxxxxxxxxxxxx… has 994 characters, and the passive module "
        "reads 1000 of a header; write a part of the text",
    ]


def test_more_pools_than_the_module_tells_apart(envoy):
    """It would refuse all of its configuration, as with too many headers."""

    def stack(count: int) -> tuple[Vendor, ...]:
        nested = AddressRange.parse({"range": "10.0.0.0/8", "pool": "pool-0"})
        network = ip_network("10.1.0.0/16")
        ranges = (AddressRange(ip_network(f"{network[n]}/32"), f"pool-{n}") for n in range(count))
        return (PASSIVE.model_copy(update={"cidrs": (nested, *ranges), "products": ()}),)

    refuse_undeployable(stack(4095), render(*stack(4095)), envoy)
    assert findings(stack(4096), render(*stack(4096))) == [
        "vendors: 4096 pools and products of passive vendors, and the passive module "
        "tells 4095 apart; give several ranges one pool",
    ]
