"""Generator, vendors and mesh agree, and what is broken on purpose is named."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.lab.conftest import run_lab

pytestmark = pytest.mark.long


def check(ports, tmp_path, count, *more):
    ended = run_lab(
        "demo_check",
        *("--count", str(count), "--port-base", str(ports.base), "--out", str(tmp_path)),
        *more,
    )
    report = json.loads((tmp_path / "demo-check.json").read_text())
    assert report["status"] == ended.returncode
    return ended, report


COUNTS = {"http": 8000, "passive": 8000, "mixed": 4000}
EVERY_MODE = pytest.mark.parametrize("inspect", COUNTS)
PASSIVE = {"http": "", "passive": "abcdefghjkl", "mixed": "bdfgjl"}  # those of the vendors
VENDORS = {f"vendor-{letter}" for letter in "abcdefghijkl"}


@EVERY_MODE
def test_every_count_is_exact_in_all_three_books(ports, tmp_path, inspect):
    """Generator, vendors and Prometheus hold the same number in every row, however it is read."""
    ended, report = check(ports, tmp_path, COUNTS[inspect], "--inspect", inspect)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert report["inspect"] == inspect
    passive = ", ".join(f"vendor-{letter}" for letter in PASSIVE[inspect])
    assert f"passive      {passive or 'no vendor'}\n" in ended.stdout
    rows = report["rows"]
    total = sum(row["generator"] for row in rows)
    assert total == COUNTS[inspect]
    assert f"attribution: {total} of {total} exact" in ended.stdout
    assert all(row["difference"] == 0 and row["cause"] is None for row in rows)
    assert all(
        row["vendor_books"] == row["generator"]
        or (row["vendor_books"] is None and row["outcome"] in ("connect_failed", "rejected"))
        for row in rows
    )

    def share(key, value):
        return sum(row["generator"] for row in rows if row[key] == value) / total

    assert {row["vendor"] for row in rows} == VENDORS
    assert share("visibility", "http") >= 0.4
    assert share("visibility", "tunnel") >= 0.4
    assert share("visibility", "opaque") >= 0.05
    assert all(share("vendor", vendor) >= 0.05 for vendor in VENDORS)
    assert {row["visibility"] for row in rows if row["vendor"] == "vendor-i"} == {"opaque"}
    assert set(report["protocols"]) == {"http", "tunnel", "tls", "socks5"}
    wire = [row for row in report["bytes"] if row["bytes"] == "wire"]
    assert len(wire) == 2 * len(VENDORS)  # a finding where mesh and vendor are 0.1 % apart
    assert "too short for rates" in ended.stdout
    # What 100,000 counts must show 500 times, 8,000 show 40 times.
    outcomes = {row["outcome"] for row in rows if row["visibility"] != "opaque"}
    frequent = [o for o in outcomes if share("outcome", o) >= 0.005]
    assert len(frequent) >= 13, sorted(outcomes - set(frequent))
    # Envoy rejects what it parses, and nothing else.
    assert ("rejected" in outcomes) == (inspect != "passive")
    read_socks = {row["vendor"] for row in rows if row["visibility"] == "socks"}
    assert read_socks == {f"vendor-{letter}" for letter in PASSIVE[inspect]}
    # What the module saw go by is what Envoy's sockets carried.
    assert {one["vendor"] for one in report["module_bytes"]} == read_socks

    assert_pools_agree(report["pools"], rows)

    # One address is in no range: its connections count as outside, and for no vendor.
    assert report["outside"]["generator"] == report["outside"]["mesh"] >= total // 100
    assert report["outside"]["difference"] == 0


def assert_pools_agree(pools, rows):
    """Four products on one port, one beside its gateway's pool, and a pool by range."""
    counts = Counter()
    for row in pools:
        assert row["difference"] == 0
        assert row["vendor_books"] in (row["generator"], None)
        counts[row["vendor"], row["pool"]] += row["generator"]
    products = [("vendor-j", name) for name in ("residential", "isp", "datacenter", "mobile")]
    others = [("vendor-k", "gateway"), ("vendor-k", "residential"), ("vendor-b", "residential")]
    assert set(counts) == {*products, *others}
    # The rarest has a weight of 1 in 11; some of its requests show no user.
    for vendor, pool in products:
        visible = sum(
            r["generator"] for r in rows if r["vendor"] == vendor and r["outcome"] != "connection"
        )
        assert counts[vendor, pool] >= visible / 20


@EVERY_MODE
@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("range", {"vendor-c": "counted as vendor-a", "vendor-a": "from vendor-c"}),
        ("outcome", {"vendor-b": "counted as rate_limited"}),
        ("drop", {"vendor-d": "never seen by Envoy"}),
    ],
)
def test_a_break_is_noticed_and_named(broken, named, ports, tmp_path, inspect):
    """A check that cannot fail proves nothing: it names the vendor, the difference, the cause."""
    ended, report = check(ports, tmp_path, 4000, "--break", broken, "--inspect", inspect)
    assert ended.returncode == 1
    for vendor, words in named.items():
        lines = [
            line for line in ended.stderr.splitlines() if line.startswith(vendor) and words in line
        ]
        assert lines, ended.stderr
        rows = [row for row in report["rows"] if row["vendor"] == vendor and row["difference"]]
        assert rows
        assert any(f"{row['difference']:+d}" in lines[0] for row in rows)
    exact = report["exact"], report["counts"]
    assert exact[0] < exact[1]
    assert f"attribution: {exact[0]} of {exact[1]} exact" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--break", "typo"), "BREAK: 'typo' is unknown; use range, outcome or drop"),
        (("--count", "abc"), "N: 'abc' is no number of counts; 100000 is customary"),
        (("--port-base", "x"), "PORT_BASE: 'x' is not a whole number; 3100 is usual"),
        (("--mix", "odd"), "MIX: 'odd' is unknown; use crawl or even"),
        (("--inspect", "lua"), "INSPECT: 'lua' is unknown; use http, passive or mixed"),
        (
            ("--count", "lamer:hunter2"),
            "N: text of 13 characters is no number of counts; 100000 is customary",
        ),
        (("--count", "0"), "N: '0' is no number of counts; 100000 is customary"),
        (("--port-base", "80"), "PORT_BASE: 80 is not between 1024 and 65435; choose another"),
    ],
)
def test_a_bad_argument_is_one_line_and_could_not_run(arguments, line):
    """Code 2 is not code 1: nothing was checked."""
    ended = run_lab("demo_check", *arguments)
    assert (ended.returncode, ended.stderr) == (2, line + "\n")
