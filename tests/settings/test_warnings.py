"""A preview says of which vendors a stack would see less than it could."""

from __future__ import annotations

import pytest

from deployment import stack_plan
from settings.loading import ROOT, load_stack_file, parse_settings
from settings.presets import preset_names
from settings.warnings import vendor_warnings

CIDRS = {"cidrs": ["203.0.113.0/24"]}
USUAL = "is not written, so HTTP is read on 80, 3128, 8000, 8080, 8888 alone"


def warnings(**keys):
    stack = {"cluster": "dev", "vendors": [{"name": "resi", **keys}]}
    return list(vendor_warnings(parse_settings(stack)))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (CIDRS, f"vendors[0].httpPorts: {USUAL}"),
        (
            {"hosts": [{"name": "gw.vendor.example", "ports": [9100]}], "httpPorts": [3128]},
            "vendors[0].hosts[0].ports: has no port of httpPorts",
        ),
        (
            {"hosts": ["us.proxy.iproyal.com"]},
            "vendors[0].hosts[0]: 'us.proxy.iproyal.com' looks like iproyal",
        ),
        (
            {"hosts": ["servercountry-us.brd.superproxy.io"]},
            "vendors[0].hosts[0]: 'servercountry-us.brd.superproxy.io' looks like bright-data",
        ),
        (
            {**CIDRS, "httpPorts": [3128, 8011]},
            "vendors[0].httpPorts[1]: 8011 looks like zyte",
        ),
        (
            {"preset": "netnut", "hosts": [{"name": "gw.netnut.net", "ports": [5959, 5995]}]},
            "vendors[0].hosts[0].ports[1]: 5995 is no port that NetNut is known for (80, 443, 5959,"
            " 9595)",
        ),
        (
            {"preset": "zyte", "httpPorts": [8011, 8080]},
            "vendors[0].httpPorts[1]: 8080 is no port that Zyte",
        ),
    ],
)
def test_what_would_not_be_seen_is_said(keys, said):
    """Each doubt once, with its place and what to do."""
    (warning,) = warnings(**keys)
    assert warning.startswith(said)
    assert "; " in warning


@pytest.mark.parametrize(
    "keys",
    [
        *({"preset": name} for name in preset_names()),
        {**CIDRS, "httpPorts": [9100]},
        {**CIDRS, "ports": [9100]},
        {**CIDRS, "inspect": "passive"},
        {**CIDRS, "inspect": "connections"},
        {**CIDRS, "preset": "webshare", "hosts": [], "httpPorts": [8800]},
        {"hosts": [{"name": "gw.vendor.example", "ports": [9100]}]},
        {"preset": "oxylabs", "hosts": [{"name": "gw.vendor.example", "ports": [7777]}]},
    ],
    ids=str,
)
def test_nothing_is_said_of_what_is_read(keys):
    """Who has written it down is not asked again, and a passive vendor is read on every port."""
    assert warnings(**keys) == []


def test_nothing_is_said_of_the_shipped_stacks():
    """They are quiet, with simulated vendors and with real ones, and so are the examples."""
    files = [*ROOT.glob("Pulumi.*.yaml"), *(ROOT / "docs" / "examples").glob("Pulumi.*.yaml")]
    assert len(files) > 2
    for file in files:
        assert list(vendor_warnings(load_stack_file(file))) == [], file


def test_a_preview_shows_them():
    """They are among the plan's warnings, which the program logs."""
    stack = {"cluster": "dev", "vendors": [{"name": "resi", **CIDRS}]}
    assert any(USUAL in one for one in stack_plan(parse_settings(stack)).warnings)
