"""Ranges in files of their own end where a stack's own do, and their mistakes at a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from settings import loading
from settings.loading import (
    MOST_CONFIG_BYTES,
    PROJECT,
    SettingsError,
    load_stack,
    load_stack_file,
    parse_settings,
    settings_of_config,
)
from settings.range_files import read_ranges
from settings.values.addresses import parse_network
from settings.vendors import AddressRange
from tests.certificates import Authority

FILE = "ranges/vendor-a.txt"
PULUMI_YAML = Path(__file__).parents[2] / "Pulumi.yaml"


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project of its own, with a folder for ranges."""
    monkeypatch.setattr(loading, "ROOT", tmp_path)
    (tmp_path / "ranges").mkdir()
    return tmp_path


def stack(*vendors: dict[str, object]) -> dict[str, object]:
    named = [{"name": f"vendor-{number}", **one} for number, one in enumerate(vendors)]
    return {"cluster": "dev", "vendors": named}


def written(root: Path, keys: dict[str, object]) -> Path:
    path = root / "Pulumi.dev.yaml"
    path.write_text(
        yaml.safe_dump({"config": {f"{PROJECT}:{key}": value for key, value in keys.items()}})
    )
    return path


def findings_of(root: Path, *vendors: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        load_stack_file(written(root, stack(*vendors)))
    return refused.value.findings


def test_a_file_is_read_as_it_is_described(root):
    """Comments, blank lines, pools, both IP versions, and what editors of Windows add."""
    (root / FILE).write_bytes(
        b"\xef\xbb\xbf# of vendor-a, f\xc3\xbcr alle\r\n\r\n"
        b"10.1.0.0/16\r\n10.1.8.0/24\t residential # homes\r\n10.2.0.7#one\r\n2001:db8::/32"
    )
    ranges, findings = read_ranges(FILE, root)
    assert findings == []
    assert [(str(one.network), one.pool, one.where) for one in ranges] == [
        ("10.1.0.0/16", "", f"{FILE}:3"),
        ("10.1.8.0/24", "residential", f"{FILE}:4"),
        ("10.2.0.7/32", "", f"{FILE}:5"),
        ("2001:db8::/32", "", f"{FILE}:6"),
    ]


def test_a_range_is_the_same_wherever_it_is_written(root):
    """Moving ranges into a file changes no object in the cluster."""
    (root / FILE).write_text("10.2.0.0/16\n10.1.8.0/24 residential\n")
    apart = parse_settings(stack({"cidrs": ["10.1.0.0/16"], "cidrsFile": FILE}))
    listed = ["10.1.0.0/16", "10.2.0.0/16", {"range": "10.1.8.0/24", "pool": "residential"}]
    assert apart.vendors[0].cidrs == parse_settings(stack({"cidrs": listed})).vendors[0].cidrs
    one = AddressRange(parse_network("10.1.0.0/16"))
    assert len({one, AddressRange(one.network, where=f"{FILE}:1")}) == 1


@pytest.mark.parametrize("more", [{}, {"cidrs": []}], ids=["without", "empty"])
def test_the_engine_and_the_stack_file_read_the_same_ranges(root, more, monkeypatch):
    """`pulumi up` runs somewhere else than `make render`, and finds the file at the root alike."""
    (root / FILE).write_text("10.1.0.0/16\n")
    read, handed, _ = load_stack(written(root, stack({"cidrsFile": FILE, **more})))
    monkeypatch.chdir("/")
    assert settings_of_config(handed, ()) == read
    assert [str(one.network) for one in read.vendors[0].cidrs] == ["10.1.0.0/16"]


def test_a_ca_is_the_same_by_path_and_as_text(root):
    """What stands between the certificates stays out of the cluster."""
    text = Authority().pem
    (root / "ca.pem").write_text(f"# the vendor's\n{text}")
    tls = {"originate": True, "sni": "gw.vendor.example"}
    read, as_text = (
        parse_settings(stack({"cidrs": ["10.1.0.0/16"], "tls": {**tls, "ca": ca}})).vendors[0].tls
        for ca in ("ca.pem", text)
    )
    assert read == as_text
    assert read.ca == text


LINES = {
    "10.1.0.0/33": "'10.1.0.0/33' is not a CIDR block; prefix length is at most 32",
    "10.4.0.0/16, 10.5.0.0/16": "text of 24 characters with a space holds several values; write "
    "each address or range by itself",
    "10.1.0.0 255.255.0.0": "text of 20 characters with a space is written with a netmask; write "
    "10.1.0.0/16",
    "10.0.0.8 - 10.0.0.15": "text of 20 characters with a space is written from-to; write "
    "10.0.0.8/29",
    "203.0.113.5\t8080": "text of 16 characters with a space is an address with a port; write the "
    "address alone, the port is for httpPorts",
    "203.0.113.5\t8080\tuser\thunter2": "text of 29 characters with a space is a proxy with its "
    "login; write the address alone (for a whole file run `cut -f1`), its port under httpPorts, "
    "and change the password if others can read this file",
    "203.0.113.5;8080;user;hunter2": "text of 29 characters is a proxy with its login; write the "
    "address alone (for a whole file run `cut -d';' -f1`), its port under httpPorts, and change "
    "the password if others can read this file",
    "IP Address,Port,Username,Password\r": "text of 33 characters with a space is the heading of a "
    "table; remove it, and write each address or range by itself",
    "gw.vendor.example": "'gw.vendor.example' is a host name, whose addresses change; write it "
    "under hosts, like hosts: [gw.vendor.example]",
    "hunter2": "text of 7 characters is not a CIDR block; write an IPv4 or IPv6 address and a "
    "prefix length, like 10.1.0.0/16",
    "10.3.0.0/16 Residential": "the pool behind '10.3.0.0/16' is not a DNS label; use 1 to 63 of "
    "a-z, 0-9 and '-', first and last no '-'",
    "10.6.0.0/16 residential and mobile": "'10.6.0.0/16' has more than a pool behind it; write one "
    "range a line, like 10.1.8.0/24 residential",
}


@pytest.mark.parametrize(("line", "said"), LINES.items())
def test_a_wrong_line_is_told_by_its_number(root, line, said):
    """Once, though two vendors name the file; a good line beside it hides nothing."""
    (root / FILE).write_text(f"10.9.0.0/16\n{line}\n")
    assert findings_of(root, {"cidrsFile": FILE}, {"cidrsFile": FILE}) == (f"{FILE}:2: {said}",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            None,
            "cannot be read (No such file or directory); write the path from the project's root",
        ),
        (b"# nothing\n", "holds no range; write one a line, like 10.1.0.0/16"),
        ("# für\n".encode("latin-1"), "is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_a_file_without_ranges_is_refused(root, content, said):
    """That the vendor has no range follows, and is no finding of its own."""
    if content is not None:
        (root / FILE).write_bytes(content)
    assert findings_of(root, {"cidrsFile": FILE}) == (f"vendors[0].cidrsFile: '{FILE}' {said}",)


@pytest.mark.parametrize("content", ['["10.1.0.0/16"]', '[\n  {"ip": "10.1.0.1"}\n]', '{"a": []}'])
def test_json_is_one_finding(root, content):
    """Each of its thousand lines would be a mistake of its own."""
    (root / FILE).write_text(content)
    said = (
        "is JSON; write each address or range by itself, without brackets, quotes and logins, "
        "one a line"
    )
    assert findings_of(root, {"cidrsFile": FILE}) == (f"{FILE}: {said}",)


def test_a_range_that_another_vendor_has_is_told_by_its_line(root):
    """Of a file that two vendors name the first five are enough."""
    (root / FILE).write_text("".join(f"10.1.{n}.0/24\n" for n in range(30)))
    found = findings_of(root, {"cidrsFile": FILE}, {"cidrsFile": FILE})
    assert len(found) == 6
    assert found[0].startswith(f"{FILE}:1: '10.1.0.0/24' is also in vendors[0].cidrsFile; keep")
    (found,) = findings_of(root, {"cidrsFile": FILE}, {"cidrs": ["10.1.7.0/24"]})
    assert found.startswith(f"vendors[1].cidrs[0]: '10.1.7.0/24' is also {FILE}:8; keep")


@pytest.mark.parametrize(
    ("own", "refusal"),
    [
        (None, "is empty; write a value, or remove it"),
        ("10.1.0.0/16", "'10.1.0.0/16' is not a list; write [a, b], or one '- item' a line"),
        ({}, "{} is not a list; write [a, b], or one '- item' a line"),
    ],
)
def test_a_good_file_does_not_hide_what_is_wrong_beside_it(root, own, refusal):
    """Nor does a bad one."""
    (root / FILE).write_text("10.2.0.0/16\n")
    assert findings_of(root, {"cidrs": own, "cidrsFile": FILE}) == (f"vendors[0].cidrs: {refusal}",)
    (root / FILE).unlink()
    first, second = findings_of(root, {"cidrs": own, "cidrsFile": FILE})
    assert first.startswith("vendors[0].cidrsFile: ")
    assert second == f"vendors[0].cidrs: {refusal}"


# A stack as large as the engine can hand over


def inline(count: int) -> dict[str, object]:
    return stack({"cidrs": [f"11.{n // 256}.{n % 256}.0/24" for n in range(count)]})


def test_a_stack_file_the_engine_cannot_hand_over_is_refused(root):
    """`make render` passed, and `pulumi preview` died of "argument list too long"."""
    path = written(root, inline(8000))
    with pytest.raises(SettingsError) as refused:
        load_stack_file(path)
    (finding,) = refused.value.findings
    assert finding.startswith("vendors: the stack file's configuration is 147 kB")
    assert finding.endswith("put long lists of ranges into files (vendors[].cidrsFile)")


def test_a_stack_file_of_thousands_of_ranges_is_taken(root):
    """As many as docs/configuration.md says."""
    assert len(load_stack_file(written(root, inline(6500))).vendors[0].cidrs) == 6500


def test_what_is_taken_fits_the_variable(root):
    """The largest stack that is not refused starts a program, with what the engine adds."""
    note = f"{PROJECT}:cluster"
    largest = "x" * (MOST_CONFIG_BYTES - len(loading.as_json({note: ""})))
    assert [*loading.too_large({note: largest})] == []
    assert [*loading.too_large({note: largest + "x"})] != []

    defaults = {
        name: json.dumps(entry.get("default", ""))
        for name, entry in yaml.safe_load(PULUMI_YAML.read_text())["config"].items()
    }
    whole = loading.as_json({**defaults, note: largest})
    start = [sys.executable, "-S", "-c", ""]
    assert subprocess.run(start, env={"PULUMI_CONFIG": whole}, check=False).returncode == 0
    room = 32 * os.sysconf("SC_PAGE_SIZE") - len("PULUMI_CONFIG=")
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(start, env={"PULUMI_CONFIG": "x" * room}, check=False)
