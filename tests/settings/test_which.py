"""`make which`: whose address is it, in which chain, and who else covers it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ipaddress import ip_address, ip_network

import pytest

from components.attribution.render import envoy_filters
from settings.loading import ROOT, load_stack_file
from settings.which import main

LAB = ROOT / "lab" / "Pulumi.lab.yaml"


@pytest.fixture
def lab(monkeypatch):
    monkeypatch.setenv("STACK_FILE", str(LAB))


def ask(capsys, *arguments: str):
    """(exit code, the JSON on standard output, the lines on standard error)."""
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, json.loads(out), err.splitlines()


@pytest.mark.parametrize(
    ("address", "vendor", "covered_by", "chain"),
    [
        ("127.1.0.10", "vendor-a", "127.1.0.0/16", "proxy-vendor_vendor-a_7_http"),
        ("127.1.0.10:3128", "vendor-a", "127.1.0.0/16", "proxy-vendor_vendor-a_7_http"),
        ("127.1.0.10:1080", "vendor-a", "127.1.0.0/16", "proxy-vendor_vendor-a_7_opaque"),
        ("127.4.0.77:3128", "vendor-e", "127.4.0.77/32", "proxy-vendor_vendor-e_7_http"),
        ("[::1]:3128", "vendor-h", "::1/128", "proxy-vendor_vendor-h_5_http"),
        ("127.7.0.10:3128", "vendor-i", "127.7.0.0/16", "proxy-vendor_vendor-i_3_opaque"),
    ],
)
def test_an_address_of_one_vendor(capsys, lab, address, vendor, covered_by, chain):
    """Where a vendor has all ports, the port decides only what is looked into."""
    assert ask(capsys, address, "--stack", "lab") == (
        0,
        {
            "vendor": vendor,
            "range": covered_by,
            "pool": None,
            "chain": chain,
            "status": 0,
            "findings": [],
        },
        [],
    )


@pytest.mark.parametrize("address", ["127.9.9.9:3128", "8.8.8.8", "[2001:db8::1]:3128", "::2"])
def test_an_address_outside_every_range(capsys, lab, address):
    """Outside is an answer, not an error: that traffic keeps Istio's own way."""
    status, found, _ = ask(capsys, address, "--stack", "lab")
    assert status == 0
    assert found == {
        "vendor": "outside",
        "range": None,
        "pool": None,
        "chain": None,
        "status": 0,
        "findings": [],
    }


def test_nested_ranges_name_who_else_covers_the_address(capsys, lab):
    """The longer prefix wins, and the loser is told."""
    _, found, _ = ask(capsys, "127.1.8.9:3128", "--stack", "lab")
    assert found["vendor"] == "vendor-d"
    assert found["overlaps"] == [{"vendor": "vendor-a", "range": "127.1.0.0/16", "pool": None}]
    _, found, _ = ask(capsys, "127.2.200.1:3128", "--stack", "lab")
    assert (found["vendor"], found["pool"]) == ("vendor-b", "residential")
    assert found["overlaps"] == [{"vendor": "vendor-b", "range": "127.2.0.0/16", "pool": None}]


def test_a_vendor_that_is_not_inspected_has_the_opaque_chain(capsys, monkeypatch, tmp_path):
    """`inspect: connections` gives a vendor no HTTP chain; IPv6 is no exception."""
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(
        "config:\n  proxy-observability:cluster: x\n  proxy-observability:vendors:\n"
        "    - {name: vendor-a, cidrs: ['2001:db8::/32'], inspect: connections}\n"
    )
    monkeypatch.setenv("STACK_FILE", str(path))
    for address in ("[2001:db8::1]:3128", "2001:db8::1"):
        _, found, _ = ask(capsys, address, "--stack", "x")
        assert found["chain"] == "proxy-vendor_vendor-a_7_opaque"


def test_the_port_decides_where_vendors_share_an_address(capsys, lab):
    """One gateway, two vendors; a port of neither is outside, in the same chain."""
    found = {}
    for port in (3128, 3140, 3149, 3150):
        _, answer, _ = ask(capsys, f"127.6.0.10:{port}", "--stack", "lab")
        found[port] = (answer["vendor"], answer["range"], answer["chain"])
    chain = "proxy-vendor_vendor-f.vendor-g_7"
    assert found == {
        3128: ("vendor-f", "127.6.0.0/24", f"{chain}_http"),
        3140: ("vendor-g", "127.6.0.0/24", f"{chain}_http"),
        3149: ("vendor-g", "127.6.0.0/24", f"{chain}_http"),
        3150: ("outside", None, f"{chain}_opaque"),
    }


def test_an_address_held_by_port_needs_its_port(capsys, lab):
    """Either answer would be wrong for half of the connections."""
    status, found, errors = ask(capsys, "127.6.0.10", "--stack", "lab")
    assert status == found["status"] == 2
    assert errors == [
        "ADDRESS: '127.6.0.10' is one that vendors hold by port (vendor-f, vendor-g); "
        "add the port, like :3128"
    ]


def test_ports_within_and_around_another_vendors_range(capsys, monkeypatch, tmp_path):
    """Inside, other ports stay the outer vendor's; around, an inner vendor of all ports decides."""
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(
        "config:\n  proxy-observability:cluster: x\n  proxy-observability:vendors:\n"
        "    - {name: outer, cidrs: [10.0.0.0/8]}\n"
        "    - {name: ported, cidrs: [10.1.0.0/16], ports: [3128]}\n"
        "    - {name: inner, cidrs: [10.1.1.0/24]}\n"
    )
    monkeypatch.setenv("STACK_FILE", str(path))
    vendors = {}
    for address in ("10.1.0.1:3128", "10.1.0.1:3129", "10.1.1.1", "10.1.1.1:3128", "10.2.0.1"):
        status, found, _ = ask(capsys, address, "--stack", "x")
        vendors[address] = found["vendor"]
        assert status == 0
    assert list(vendors.values()) == ["ported", "outer", "inner", "inner", "outer"]
    _, found, errors = ask(capsys, "10.1.0.1", "--stack", "x")
    assert "(ported, outer)" in errors[0]


@pytest.mark.parametrize(
    "address", ["127.1.0.10", "127.1.8.9", "127.2.200.1", "127.6.0.1", "127.7.0.1", "[::1]"]
)
@pytest.mark.parametrize("port", [3128, 3145, 1])
def test_chains_are_named_as_they_are_rendered(capsys, lab, address, port):
    """The name is what an operator looks for in the sidecar's configuration."""
    filters = envoy_filters(load_stack_file(LAB).vendors, patience_seconds=1, selector={})
    rendered = {
        patch["patch"]["value"]["name"]: patch["patch"]["value"]["filter_chain_match"]
        for spec in filters.values()
        for patch in spec["configPatches"]
        if patch["applyTo"] == "FILTER_CHAIN"
    }
    _, found, _ = ask(capsys, f"{address}:{port}", "--stack", "lab")
    match = rendered[found["chain"]]
    ip = ip_address(address.strip("[]"))
    prefixes = [f"{one['address_prefix']}/{one['prefix_len']}" for one in match["prefix_ranges"]]
    assert any(ip in ip_network(prefix) for prefix in prefixes)
    assert ("application_protocols" in match) is found["chain"].endswith("_http")


@pytest.mark.parametrize(
    "address", ["", "proxy.example.com:3128", "10.1.0.10:99999", "10.1.0.0/16"]
)
def test_what_is_no_address_could_not_run(capsys, lab, address):
    """A mistyped address is not `unknown`."""
    status, found, errors = ask(capsys, address, "--stack", "lab")
    assert status == found["status"] == 2
    assert found["vendor"] is None
    assert found["findings"] == errors
    assert errors[0].startswith("ADDRESS: ")


def test_a_stack_without_a_file_could_not_run(capsys, monkeypatch):
    """A mistyped stack is told which there are."""
    monkeypatch.delenv("STACK_FILE", raising=False)
    status, _, errors = ask(capsys, "10.1.0.10", "--stack", "prd")
    assert status == 2
    assert errors == [
        "Pulumi.prd.yaml: there is no such file; there are Pulumi.dev.yaml, Pulumi.prod.yaml"
    ]


def test_a_wrong_stack_is_a_defect_a_finding_a_line(capsys, monkeypatch, tmp_path):
    """Every mistake of the stack is on standard error, one a line."""
    wrong = tmp_path / "Pulumi.dev.yaml"
    wrong.write_text(
        "config:\n  proxy-observability:cluster: Dev\n"
        "  proxy-observability:vendors: [{name: vendor-a, cidrs: [10.1.0.0/33]}]\n"
    )
    monkeypatch.setenv("STACK_FILE", str(wrong))
    status, found, errors = ask(capsys, "10.1.0.10", "--stack", "dev")
    assert status == found["status"] == 1
    assert errors == found["findings"]
    assert [one.partition(": ")[0] for one in errors] == ["cluster", "vendors[0].cidrs[0]"]


def test_out_holds_the_same_json(capsys, lab, tmp_path):
    """A program reads which.json; folders are made as needed."""
    folder = tmp_path / "new" / "folder"
    _, found, _ = ask(capsys, "127.1.8.9", "--stack", "lab", "--out", str(folder))
    assert json.loads((folder / "which.json").read_text()) == found


def test_as_a_program():
    """The command behind `make which`, from another folder's point of view."""
    done = subprocess.run(
        [sys.executable, "-m", "settings.which", "10.2.9.1:3128", "--stack", "prod"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "STACK_FILE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["vendor"] == "vendor-b"


@pytest.mark.parametrize("stack", ["..", "../prod", "a/b", "", "x y"])
def test_what_is_no_stacks_name_could_not_run(capsys, monkeypatch, stack):
    """A name with a path in it would read, or write, somewhere else."""
    monkeypatch.delenv("STACK_FILE", raising=False)
    status, _, errors = ask(capsys, "10.1.0.10", "--stack", stack)
    assert (status, len(errors)) == (2, 1)
    assert errors[0].endswith("is no stack's name; use letters, digits, '-', '_' and '.'")


def test_an_ipv4_address_in_ipv6_form_is_that_address(capsys, lab):
    """The sidecar takes it so, and so does the Lua script."""
    _, found, _ = ask(capsys, "[::ffff:127.1.0.10]:3128", "--stack", "lab")
    assert found["vendor"] == "vendor-a"


def test_a_folder_that_cannot_be_written_could_not_run(capsys, lab, tmp_path):
    """OUT names a file: said in a line, with the code for it."""
    (tmp_path / "out").write_text("")
    status, _, errors = ask(capsys, "127.1.0.10", "--stack", "lab", "--out", str(tmp_path / "out"))
    assert status == 2
    assert errors[0].startswith("OUT: cannot be written: ")
