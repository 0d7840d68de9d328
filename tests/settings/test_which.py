"""`make which`: whose address is it, in which chain, and who else covers it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from components.attribution.render import envoy_filters
from settings.hosts import virtual_address
from settings.loading import ROOT, load_stack_file
from settings.which import main
from tests.attribution.filters import values
from tests.programs import run_to_end

LAB = ROOT / "lab" / "Pulumi.lab.yaml"
SHARED = "vendor-f.vendor-g_7"
NESTED = """
config:
  proxy-observability:cluster: x
  proxy-observability:vendors:
    - {name: outer, cidrs: [10.0.0.0/8]}
    - {name: ported, cidrs: [10.1.0.0/16], ports: [3128]}
    - {name: inner, cidrs: [10.1.1.0/24]}
    - {name: unread, cidrs: ['2001:db8::/32'], inspect: connections}
    - {name: read, cidrs: [10.3.0.0/16], inspect: passive}
"""


@pytest.fixture
def lab(monkeypatch):
    monkeypatch.setenv("STACK_FILE", str(LAB))


@pytest.fixture
def nested(monkeypatch, tmp_path):
    (tmp_path / "Pulumi.x.yaml").write_text(NESTED)
    monkeypatch.setenv("STACK_FILE", str(tmp_path / "Pulumi.x.yaml"))


def ask(capsys, *arguments: str):
    """(exit code, the JSON on standard output or None, the lines on standard error)."""
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, json.loads(out or "null"), err.splitlines()


def rendered():
    """Return what each chain of the stack file matches, by its name."""
    settings = load_stack_file(Path(os.environ["STACK_FILE"]))
    filters = envoy_filters(
        settings.vendors,
        destinations=settings.destinations,
        timeout_after_seconds=1,
        selector={},
        mode=settings.crawlers.mode,
    )
    return {one["name"]: one["filter_chain_match"] for one in values(filters, "FILTER_CHAIN")}


ONLY_BYTES = "connections and bytes only"


@pytest.mark.parametrize(
    ("mode", "chain"), [("off", "inner_4_http"), ("observe", "inner_4_opaque")]
)
def test_the_mode_is_told(monkeypatch, tmp_path, capsys, mode, chain):
    """Who wonders why nothing is counted asks for the address, and gets the chain that is there."""
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(f"{NESTED}  proxy-observability:crawlers: {{mode: {mode}}}\n")
    monkeypatch.setenv("STACK_FILE", str(file))
    _, found, _ = ask(capsys, "10.1.1.1:3128", "--stack", "x")
    assert found["chain"].endswith(chain)
    assert found["chain"] in rendered()
    assert found["note"] == f"crawlers.mode is {mode}: {ONLY_BYTES}"


@pytest.mark.parametrize(
    ("address", "vendor", "covered_by", "chain", "note"),
    [
        ("127.1.0.10", "vendor-a", "127.1.0.0/16", "vendor-a_7_http", None),
        ("127.1.0.10:3128", "vendor-a", "127.1.0.0/16", "vendor-a_7_http", None),
        ("[::ffff:127.1.0.10]:3128", "vendor-a", "127.1.0.0/16", "vendor-a_7_http", None),
        ("127.4.0.77:3128", "vendor-e", "127.4.0.77/32", "vendor-e_7_http", None),
        ("[::1]:3128", "vendor-h", "::1/128", "vendor-h_5_http", None),
        ("127.9.9.9:3128", "outside", None, None, None),
        ("8.8.8.8", "outside", None, None, None),
        ("[2001:db8::1]:3128", "outside", None, None, None),
        # One gateway, two vendors; a port of neither is outside, in the same chain.
        ("127.6.0.10:3128", "vendor-f", "127.6.0.0/24", f"{SHARED}_http", None),
        ("127.6.0.10:3149", "vendor-g", "127.6.0.0/24", f"{SHARED}_http", None),
        ("127.6.0.10:3150", "outside", None, f"{SHARED}_opaque", None),
        # Without the note a vendor would be deployed without outcomes, unnoticed.
        ("127.1.0.10:1080", "vendor-a", "127.1.0.0/16", "vendor-a_7_opaque",
         f"port 1080 is not in httpPorts: {ONLY_BYTES}"),
        ("127.7.0.10:3128", "vendor-i", "127.7.0.0/16", "vendor-i_3_opaque",
         f"inspect is connections: {ONLY_BYTES}"),
    ],
)  # fmt: skip
def test_an_address(capsys, lab, address, vendor, covered_by, chain, note):
    """Outside is an answer, not an error: that traffic keeps Istio's own way."""
    status, found, errors = ask(capsys, address, "--stack", "lab")
    assert (status, errors, found["status"], found["findings"]) == (0, [], 0, [])
    assert (found["vendor"], found["range"], found["pool"]) == (vendor, covered_by, None)
    assert found["chain"] == (f"proxy-vendor_{chain}" if chain else None)
    assert found.get("note") == note
    if covered_by:
        # The name is what an operator looks for in the sidecar's configuration.
        match = rendered()[found["chain"]]
        ranges = [f"{one['address_prefix']}/{one['prefix_len']}" for one in match["prefix_ranges"]]
        assert covered_by in ranges
        assert ("application_protocols" in match) is chain.endswith("_http")


def test_nested_ranges_name_who_else_covers_the_address(capsys, lab):
    """The longer prefix wins, and the other is named."""
    _, found, _ = ask(capsys, "127.1.8.9:3128", "--stack", "lab")
    assert found["vendor"] == "vendor-d"
    assert found["overlaps"] == [{"vendor": "vendor-a", "range": "127.1.0.0/16", "pool": None}]
    assert found["chain"] in rendered()
    _, found, _ = ask(capsys, "127.2.200.1:3128", "--stack", "lab")
    assert (found["vendor"], found["pool"]) == ("vendor-b", "residential")
    assert found["overlaps"] == [{"vendor": "vendor-b", "range": "127.2.0.0/16", "pool": None}]


@pytest.mark.parametrize(
    ("address", "vendor"),
    [
        ("10.1.0.1:3128", "ported"),
        ("10.1.0.1:3129", "outer"),
        ("10.1.1.1", "inner"),
        ("10.1.1.1:3128", "inner"),
        ("10.2.0.1", "outer"),
        ("2001:db8::1", "unread"),
    ],
)
def test_ports_within_and_around_another_vendors_range(capsys, nested, address, vendor):
    """Inside, other ports stay the outer vendor's; around, an inner vendor of all ports decides."""
    status, found, _ = ask(capsys, address, "--stack", "x")
    assert (status, found["vendor"]) == (0, vendor)


@pytest.mark.parametrize("address", ["10.3.0.1", "10.3.0.1:1", "10.3.0.1:3128"])
def test_a_passive_vendor_is_read_on_every_port(capsys, nested, address):
    """No port is left out; on one that others have in httpPorts, Envoy reads as well."""
    _, found, _ = ask(capsys, address, "--stack", "x")
    note = None
    if address.endswith(":3128"):
        note = (
            "port 3128 is in another vendor's httpPorts: Envoy reads a connection's first line, "
            "and resets some (docs/limits.md)"
        )
    assert (found["vendor"], found.get("note")) == ("read", note)
    assert found["chain"] == "proxy-vendor_read_7_passive"
    assert found["chain"] in rendered()


@pytest.mark.parametrize(
    ("address", "stack", "said"),
    [
        ("", "lab", "ADDRESS: '' is empty; write 10.1.0.10:3128, "),
        ("gateway", "lab", "ADDRESS: text of 7 characters is neither an address nor a full name;"),
        (
            "gw.vendor.example:1",
            "lab",
            "ADDRESS: 'gw.vendor.example:1' is no name of this stack; write it under the hosts of "
            "its vendor, or ask",
        ),
        ("gw.vendor.example:1:user:hunter2", "lab", "ADDRESS: text of 32 characters is a proxy"),
        (
            "http://gw.vendor.example:7777",
            "lab",
            "ADDRESS: 'http://gw.vendor.example:7777' is a URL; write 10.1.0.10:3128, ",
        ),
        ("b\u00fccher.example", "lab", "ADDRESS: 'b\u00fccher.example' is not written as DNS has"),
        (
            "us-pr.oxylabs.io",
            "lab",
            "ADDRESS: 'us-pr.oxylabs.io' is no name of this stack; give its "
            "vendor `preset: oxylabs`, or ask",
        ),
        ("10.1.0.10:99999", "lab", "ADDRESS: '10.1.0.10:99999' has a port that is not a number"),
        ("10.1.0.10:3128 ", "lab", "ADDRESS: '10.1.0.10:3128 ' begins or ends with a space;"),
        ("10.1.0.0/16", "lab", "ADDRESS: '10.1.0.0/16' is not an address; write"),
        (
            "127.6.0.10",
            "lab",
            "ADDRESS: '127.6.0.10' is one that vendors hold by port (vendor-f, vendor-g); add the "
            "port, like :3128",
        ),
        ("10.1.0.1", "../prod", "STACK: '../prod' is no stack's name; use letters, digits,"),
        ("10.1.0.1", "..", "STACK: '..' is no stack's name; use letters, digits,"),
    ],
)
def test_what_could_not_run(capsys, lab, address, stack, said):
    """A mistyped address is not `outside`, and a name with a path in it reads no other file."""
    status, found, errors = ask(capsys, address, "--stack", stack)
    assert (status, found) == (2, None)
    assert errors[0].startswith(said)


def test_a_wrong_stack_is_a_defect_a_finding_a_line(capsys, monkeypatch, tmp_path):
    """Every mistake of the stack is on standard error, one a line; a missing one could not run."""
    wrong = tmp_path / "Pulumi.dev.yaml"
    wrong.write_text(NESTED.replace("cluster: x", "cluster: X").replace("10.1.0.0/16", "10.1/16"))
    monkeypatch.setenv("STACK_FILE", str(wrong))
    status, found, errors = ask(capsys, "10.1.0.10", "--stack", "dev")
    assert (status, found) == (1, None)
    assert [one.partition(": ")[0] for one in errors] == ["cluster", "vendors[1].cidrs[0]"]
    monkeypatch.setenv("STACK_FILE", str(tmp_path / "Pulumi.prd.yaml"))
    assert ask(capsys, "10.1.0.10", "--stack", "prd")[0] == 2


@pytest.mark.parametrize(
    "unready",
    [
        "istio: {install: false}",
        "alertmanager: {receivers: [{name: a, kind: webhook}], critical: [a]}",
    ],
)
def test_what_other_sections_lack_stops_no_answer(capsys, monkeypatch, tmp_path, unready):
    """On the first day the ranges are known, and credentials and the mesh are not."""
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(f"{NESTED.rstrip()}\n  proxy-observability:{unready}\n")
    monkeypatch.setenv("STACK_FILE", str(file))
    status, found, errors = ask(capsys, "10.1.1.1", "--stack", "dev")
    assert (status, errors) == (0, [])
    assert (found["vendor"], found["stack"]) == ("inner", "dev")


def test_out_holds_the_same_json(capsys, lab, tmp_path):
    """A program reads which.json; folders are made; a file in the way is a finding."""
    folder = tmp_path / "new" / "folder"
    _, found, _ = ask(capsys, "127.1.8.9", "--stack", "lab", "--out", str(folder))
    assert json.loads((folder / "which.json").read_text()) == found
    blocked = str(folder / "which.json")
    status, _, errors = ask(capsys, "127.1.0.10", "--stack", "lab", "--out", blocked)
    assert status == 2
    assert errors[0].startswith("OUT: cannot be written: ")


BY_NAME = """
config:
  proxy-observability:cluster: x
  proxy-observability:vendors:
    - name: resi
      hosts:
        - {name: gw.resi.example, ports: [7777, 9000], pool: pool-of-name}
        - name: old.resi.example
          retired: true
          ports: [7777, 10000-10010]
          allowUnlistedPorts: true
      httpPorts: [7777]
      cidrs: [10.9.0.0/16]
      products: [{user: '*-zone-dc*', name: datacenter}, {user: 'acme', name: house}]
    - {name: quiet, hosts: [gw.quiet.example], inspect: connections}
  proxy-observability:destinations:
    - {name: s3, cidrs: [10.9.7.0/24], hosts: [s3.example.com]}
"""


@pytest.fixture
def by_name(monkeypatch, tmp_path):
    (tmp_path / "Pulumi.x.yaml").write_text(BY_NAME)
    monkeypatch.setenv("STACK_FILE", str(tmp_path / "Pulumi.x.yaml"))
    monkeypatch.delenv("PROXY_USER", raising=False)


CHAIN = "proxy-vendor_resi_gw.resi.example"
VIRTUAL = str(virtual_address("gw.resi.example"))
OLD = "the name is retired: DNS gives its real addresses again"


@pytest.mark.parametrize(
    ("address", "host", "pool", "chain", "note"),
    [
        ("gw.resi.example", "gw.resi.example", "pool-of-name", f"{CHAIN}_http", None),
        ("GW.Resi.example.:7777", "gw.resi.example", "pool-of-name", f"{CHAIN}_http", None),
        (f"{VIRTUAL}:7777", "gw.resi.example", "pool-of-name", f"{CHAIN}_http", None),
        ("gw.resi.example:9000", "gw.resi.example", "pool-of-name", f"{CHAIN}_opaque",
         f"port 9000 is not in httpPorts: {ONLY_BYTES}"),
        ("gw.resi.example:1", "gw.resi.example", "pool-of-name", f"{CHAIN}_opaque",
         f"port 1 is not in httpPorts: {ONLY_BYTES}; port 1 is not in the name's ports: add it "
         "there, or connections may fail"),
        ("old.resi.example:10003", "old.resi.example", None,
         "proxy-vendor_resi_old.resi.example_http",
         f"{OLD}; port 10003 is not listed by number: connections fail without our filters"),
        ("gw.quiet.example", "gw.quiet.example", None,
         "proxy-vendor_quiet_gw.quiet.example_opaque", f"inspect is connections: {ONLY_BYTES}"),
    ],
)  # fmt: skip
def test_a_name(capsys, by_name, address, host, pool, chain, note):
    """By its name in any case, or by its virtual address: the chain is the name's own."""
    status, found, errors = ask(capsys, address, "--stack", "x")
    assert (status, errors) == (0, [])
    assert (found["host"], found["pool"], found["chain"]) == (host, pool, chain)
    assert (found["visibility"], found.get("note")) == (chain.rpartition("_")[2], note)
    assert chain in rendered()


@pytest.mark.parametrize(
    ("address", "user", "product", "pool", "note"),
    [
        ("gw.resi.example", "me-zone-dc9", "datacenter", "datacenter", None),
        ("10.9.0.1:7777", "acme", "house", "house", None),
        ("gw.resi.example", "ACME", None, "pool-of-name", "no pattern of products fits this user"),
        ("gw.resi.example:9000", "acme", None, "pool-of-name",
         f"port 9000 is not in httpPorts: {ONLY_BYTES}; no request is read there, so no user and "
         "no product"),
    ],
)  # fmt: skip
def test_a_proxy_user(capsys, monkeypatch, by_name, address, user, product, pool, note):
    """The product is what the sidecar would make of the user, who is printed nowhere."""
    monkeypatch.setenv("PROXY_USER", user)
    status, found, errors = ask(capsys, address, "--stack", "x")
    assert (status, errors) == (0, [])
    assert (found["product"], found["pool"], found.get("note")) == (product, pool, note)
    assert user not in json.dumps(found)


def test_a_user_with_a_password_is_refused_unseen(capsys, monkeypatch, by_name):
    """As users paste it."""
    monkeypatch.setenv("PROXY_USER", "acme:hunter2")
    status, found, errors = ask(capsys, "gw.resi.example", "--stack", "x")
    assert (status, found) == (2, None)
    assert errors == ["PROXY_USER: has a ':' in it; write the user name alone, no password"]


@pytest.mark.parametrize("address", ["10.9.7.5:443", "s3.example.com:443", "s3.example.com"])
def test_a_known_destination(capsys, by_name, address):
    """It is no vendor's, though its range lies inside one."""
    _, found, _ = ask(capsys, address, "--stack", "x")
    assert (found["vendor"], found["destination"], found["visibility"]) == (None, "s3", "opaque")
    assert found["chain"] in rendered()
    _, found, _ = ask(capsys, "10.9.8.5:443", "--stack", "x")
    assert (found["vendor"], found["destination"]) == ("resi", None)


def test_make_gives_no_shell_the_address(by_name):
    """A pasted login with a quote or a back quote in it runs nothing, and is not printed."""
    done = run_to_end(
        *("make", "-s", "which", "STACK=x", "ADDRESS=10.0.0.1:80:user:`echo hunter2`\"'"),
        status=2,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )
    assert "ADDRESS: text of " in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
