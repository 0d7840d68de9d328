"""Presets: every file is good, and a stack that names one is the vendor written out."""

from __future__ import annotations

import pytest
import yaml

from deployment import stack_plan
from settings import presets
from settings.loading import SettingsError, parse_settings
from settings.presets import PresetError, preset, preset_names, read_preset
from settings.presets_pages import PAGES, pages

GOOD = {
    "title": "Example",
    "vendor": {"hosts": ["gw.vendor.example"]},
    "gateways": [{"name": "gw.vendor.example", "ports": [7777], "speaks": "HTTP"}],
    "user": "a name",
    "answers": [{"status": 407, "meaning": "auth_failed", "text": "no login", "source": "errors"}],
    "billing": "per GB",
    "usage": "none",
    "sources": {"errors": {"page": "https://vendor.example/errors", "read": "2026-11"}},
}


def stack(*vendors):
    return {"cluster": "dev", "vendors": list(vendors)}


def findings(*vendors):
    with pytest.raises(SettingsError) as refused:
        parse_settings(stack(*vendors))
    return refused.value.findings


def test_the_vendors_people_pay_have_one():
    """A preset that is lost would be refused in the stacks that name it."""
    assert set(preset_names()) >= {
        *("bright-data", "decodo", "iproyal", "netnut", "oxylabs", "soax", "webshare", "zyte")
    }


@pytest.mark.parametrize("name", preset_names())
def test_a_name_and_a_preset_are_a_whole_vendor(name):
    """Three words in a stack are the vendor of the file, keys and values."""
    (vendor,) = parse_settings(stack({"name": "resi", "preset": name})).vendors
    assert vendor.preset == name
    written = {"name": "resi", **preset(name).vendor}
    (same,) = parse_settings(stack(written)).vendors
    assert vendor.model_copy(update={"preset": None}) == same
    assert vendor.hosts


@pytest.mark.parametrize("inspect", ["http", "passive", "connections"])
def test_all_presets_can_be_deployed_together(inspect):
    """Their names share no address, their rules and products are refused by nobody."""
    vendors = [{"name": name, "preset": name, "inspect": inspect} for name in preset_names()]
    few = {"crawlers": {"expectedPods": 100}}
    crawlers = stack_plan(parse_settings(stack(*vendors) | few)).crawlers
    assert {f"proxy-vendor-{name}" for name in preset_names()} <= crawlers.filters.keys()


@pytest.mark.parametrize("name", preset_names())
def test_a_presets_names_and_ports_are_known_gateways(name):
    """The preview's guess at a vendor, and its warning of ports, know what the preset writes."""
    own = preset(name)
    for host in own.example().hosts:
        assert own.knows(host.name)
        assert {ports.first for ports in host.ports} <= {
            port.first for gateway in own.gateways for port in gateway.ports
        }
    assert any(port in ports for port in range(65536) for ports in own.example().http_ports)


@pytest.mark.parametrize("name", preset_names())
def test_an_example_of_products_is_accepted(name):
    """Who copies it from the page has products."""
    if products := preset(name).products:
        own = [one.model_dump() for one in products]
        (vendor,) = parse_settings(stack({"name": "a", "preset": name, "products": own})).vendors
        assert vendor.products == products


def test_a_key_of_the_stack_replaces_the_presets_whole():
    """Hosts are not added up: who lists names knows which."""
    own = {
        "name": "resi",
        "preset": "netnut",
        "hosts": [{"name": "gw.netnut.net", "ports": [5959]}],
        "outcomes": [{"status": 490, "outcome": "blocked"}],
    }
    (vendor,) = parse_settings(stack(own)).vendors
    assert [host.name for host in vendor.hosts] == ["gw.netnut.net"]
    assert [rule.outcome for rule in vendor.outcomes] == ["blocked"]
    assert vendor.products == preset("netnut").example().products


def test_addresses_stand_beside_the_names_or_alone():
    """`hosts: []` is for a list of addresses: dialect and ports of the preset, without names."""
    own = {"name": "list", "preset": "webshare", "cidrs": ["203.0.113.0/24"]}
    (beside,) = parse_settings(stack(own)).vendors
    assert [entry.host for entry in beside.ranges] == ["", "p.webshare.io"]
    (alone,) = parse_settings(stack({**own, "hosts": []})).vendors
    assert len(alone.ranges) == 1
    assert alone.outcomes == beside.outcomes


def test_an_unknown_preset_is_refused_with_the_closest():
    """One finding: what the preset would have given is not missed as well."""
    (finding,) = findings({"name": "resi", "preset": "brightdata"})
    assert finding.startswith("vendors[0].preset: 'brightdata' is no preset; write bright-data (")
    assert finding.endswith(", webshare, zyte)")
    (finding,) = findings({"name": "resi", "preset": "smartproxy"})
    assert "'smartproxy' is no preset; write decodo (" in finding
    (finding,) = findings({"name": "resi", "preset": "acme"})
    assert "remove it and write hosts or cidrs" in finding
    (finding,) = findings({"name": "resi", "preset": 7})
    assert finding.startswith("vendors[0].preset: 7 is not text")


def test_a_finding_about_a_key_of_the_preset_says_so():
    """The operator would look for `httpPorts` in a file that does not have it."""
    found = findings({"name": "a", "preset": "zyte", "ports": [3128], "hosts": []})
    assert (
        "vendors[0].httpPorts[0]: (of preset zyte) 8011 is not among the vendor's ports (3128); "
        "remove it, or add it to ports"
    ) in found


def test_a_vendor_without_a_preset_is_as_written():
    """Nothing is looked up for it, whatever its name."""
    own = {"name": "netnut", "cidrs": ["203.0.113.0/24"]}
    (vendor,) = parse_settings(stack(own)).vendors
    assert (vendor.outcomes, vendor.hosts, vendor.products) == ((), (), ())


@pytest.mark.parametrize(
    "part", ["status", "colour", "elsewhere", "httpPort", "own", "terms", "price"]
)
def test_a_bad_file_is_refused_with_its_path(tmp_path, part):
    """Who writes a preset learns in which file and at which key it is wrong."""
    answer = GOOD["answers"][0]
    changes = {
        "status": {"answers": [{**answer, "status": 99}]},
        "colour": {"colour": "blue"},
        "elsewhere": {"answers": [{**answer, "source": "elsewhere"}]},
        "httpPort": {"vendor": {**GOOD["vendor"], "httpPort": [1]}},
        "terms": {"terms": {"perGB": {"unit": "MB"}}},
        "price": {"terms": {"perGB": {"price": 8.4, "unit": "GB"}}},
        "own": {"vendor": {**GOOD["vendor"], "name": "x"}},
    }
    file = tmp_path / "presets" / "example.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump(GOOD))
    assert read_preset(file).title == "Example"
    file.write_text(yaml.safe_dump({**GOOD, **changes[part]}))
    with pytest.raises(PresetError) as refused:
        read_preset(file)
    text = str(refused.value)
    assert text.startswith("presets/example.yaml: ")
    assert part in text
    assert text.isprintable()


def test_a_stack_that_names_a_bad_file_is_refused(tmp_path, monkeypatch):
    """The finding is one of the stack's, and no traceback."""
    (tmp_path / "broken.yaml").write_text("title: [")
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    monkeypatch.setattr(presets, "preset_names", lambda: ("broken",))
    assert any(
        "broken.yaml: cannot be read" in one for one in findings({"name": "a", "preset": "broken"})
    )


def test_the_pages_are_those_of_the_presets():
    """A page whose preset is gone would go on promising it."""
    assert set(PAGES.glob("*.md")) == set(pages())
