"""INSPECT=: which vendors the lab's sidecar reads how."""

from __future__ import annotations

import pytest

from lab.endpoints import endpoints
from lab.inspection import INSPECTIONS, with_inspection
from lab.plan import crawler_plan, vendor_plan
from lab.ports import Ports
from lab.system import load_settings
from tests.lab.conftest import run_lab

PORTS = Ports()  # nothing listens here


def modes(name):
    return {vendor.name: vendor.inspect for vendor in load_settings(PORTS, name).vendors}


@pytest.mark.parametrize("name", INSPECTIONS)
def test_a_vendor_of_connections_alone_stays_one(name):
    """It is in the lab so that opaque chains have traffic in every mode."""
    assert modes(name).pop("vendor-i") == "connections"


def test_a_mix_has_both_and_the_same_on_one_address():
    """Vendors on one address have one filter chain."""
    mixed = modes("mixed")
    assert {mixed[f"vendor-{letter}"] for letter in "abcdefgh"} == {"http", "passive"}
    assert mixed["vendor-f"] == mixed["vendor-g"]
    counts = list(mixed.values())
    assert min(counts.count("http"), counts.count("passive")) >= 3
    assert set(modes("http").values()) == {"http", "connections"}
    assert set(modes("passive").values()) == {"passive", "connections"}


def test_without_it_the_stack_file_decides():
    """Its own default is the program's."""
    settings = load_settings(PORTS)
    assert with_inspection(settings, "") == settings
    assert modes("") == modes("http")


def test_the_plans_say_what_is_visible():
    """Else generator and vendors would count what the sidecar cannot."""
    where = endpoints(load_settings(PORTS, "passive").vendors, PORTS)
    crawler = crawler_plan(
        where, PORTS, timeout_after_seconds=1, count=9, requests_per_second=None, seed=1
    )
    visible = {vendor["name"]: vendor["visible"] for vendor in crawler["vendors"]}
    assert set(visible.values()) == {"passive", "connections"}
    for listening in vendor_plan(where, PORTS, 1)["listen"]:
        if listening["vendor"] != "outside":
            assert listening["visible"] == visible[listening["vendor"]]
    # Envoy rejects nothing that it does not parse.
    assert not any("rejected" in vendor["faults"] for vendor in crawler["vendors"])


@pytest.mark.parametrize("module", ["demo", "demo_check", "audit"])
def test_a_mode_that_nobody_knows_is_one_line(module):
    """Code 2: nothing ran."""
    ended = run_lab(module, "--inspect", "lua")
    line = "INSPECT: 'lua' is unknown; use http, passive or mixed\n"
    assert (ended.returncode, ended.stderr) == (2, line)
