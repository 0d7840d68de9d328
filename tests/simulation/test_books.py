"""The crawler's books and the simulated vendors' agree where no sidecar is in between."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from simulation.crawler.faults import FAULTS, INSIDE
from tests.simulation.conftest import OK, WAIT_SECONDS, counts, lines, page_with

# Nobody but Envoy rejects, and no Envoy stands in between here.
TO_VENDORS = {fault: outcome for fault, outcome in FAULTS.items() if fault != "rejected"}
EVERY_FAULT = dict.fromkeys(TO_VENDORS, 0.03)


def test_both_books_agree_in_every_row_the_vendor_can_know(vendors: Any) -> None:
    """A mixed run with every fault leaves equal counts on both sides, and equal bytes."""
    faulty = [{**vendor, "faults": EVERY_FAULT} for vendor in vendors.vendors]
    mine = vendors.crawl(
        count=1500, vendors=faulty, concurrency=64, outside=[{**vendors.outside, "share": 0.05}]
    )
    vendors_books = vendors.settled_books()
    known = {key: n for key, n in counts(mine).items() if key[2] != "connect_failed"}
    assert known == counts(vendors_books)
    assert mine["unexpected"] == []
    opaque = [*mine["opaque"], {"vendor": "outside", **mine["outside"]}]
    assert lines(opaque) == lines(vendors_books["opaque"], mirrored=True)
    wire = lines(vendors_books["wire"], mirrored=True)
    del wire["outside", "socks5"]
    assert lines(mine["wire"]).keys() == wire.keys()
    assert all(line[1:] == wire[key][1:] for key, line in lines(mine["wire"]).items())
    total = sum(counts(mine).values()) + sum(row["connections"] for row in opaque)
    assert total == 1500


@pytest.mark.parametrize("protocol", ["http", "tunnel"])
def test_each_fault_yields_its_outcome(vendors: Any, protocol: str) -> None:
    """Every fault, by itself, is booked under the one outcome the table of outcomes gives it."""
    seen: dict[str, list[tuple[str, int]]] = {}
    truth: dict[str, list[str]] = {}
    expected = {}
    many = [{**vendors.vendors[0], "name": fault, "faults": {fault: 1}} for fault in TO_VENDORS]
    books = vendors.crawl(count=2 * len(many), vendors=many, mix={protocol: 1})
    for row in books["counts"]:
        assert row["visibility"] == protocol
        seen.setdefault(row["vendor"], []).append((row["outcome"], row["count"]))
    for row in books["true"]:
        truth.setdefault(row["vendor"], []).append(row["outcome"])
    for fault, outcome in TO_VENDORS.items():
        inside = protocol == "tunnel" and fault in INSIDE
        expected[fault] = [("success" if inside else outcome, 2)]
    assert seen == expected
    ban = {"ban-page": ["true_blocked"], "captcha-page": ["true_blocked"]}
    lost = {fault: ["true_reset"] for fault in ("reset-inside", "close-inside")}
    inner = {"target-error": ["true_target_error"], **lost}
    assert truth == (ban if protocol == "http" else {**ban, **inner})


def test_several_addresses_of_a_vendor_share_its_rows(vendors: Any) -> None:
    """Two entries of one name are one vendor in the books."""
    second = {**vendors.vendors[1], "name": "vendor-a"}
    books = vendors.crawl(count=20, vendors=[vendors.vendors[0], second], mix={"http": 1})
    assert counts(books) == {("vendor-a", "http", "success"): 20}


def test_connections_are_reused_as_often_as_asked(vendors: Any) -> None:
    """30 plain requests, one at a time and ten to a connection, are three connections."""
    vendors.crawl(
        count=30, concurrency=1, connection_reuse=10, mix={"http": 1}, vendors=vendors.vendors[:1]
    )
    assert vendors.settled_books()["connections"] == [{"vendor": "vendor-a", "count": 3}]


def test_connection_closed_while_idle_costs_no_count(vendors: Any, peer: Any) -> None:
    """A peer that closes a kept-alive connection between two requests meets a new one."""

    def answer_once(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(OK)
        time.sleep(0.1)

    place = {**peer(answer_once), "name": "a"}
    books = vendors.crawl(
        count=2, requests_per_second=2, concurrency=1, mix={"http": 1}, vendors=[place]
    )
    assert counts(books) == {("a", "http", "success"): 2}
    assert books["unexpected"] == []


def test_sigterm_ends_an_endless_run_with_books(vendors: Any, tmp_path: Path) -> None:
    """After a signal no request starts; those in flight are in both books."""
    path = tmp_path / "books.json"
    slow = [{**vendors.vendors[0], "faults": {"slow": 0.01}}]
    plan = vendors.plan(count=None, requests_per_second=400, vendors=slow)
    crawler = vendors.start_crawler(plan, "--books", str(path))
    vendors.wait_for(100)
    crawler.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    table, complaints = crawler.communicate(timeout=WAIT_SECONDS)
    print(f"ended after {time.monotonic() - asked:.1f} s")
    assert (crawler.returncode, complaints) == (0, "")
    assert table.startswith("vendor    visibility  outcome")
    books = json.loads(path.read_text())
    assert books["ended_seconds"] > books["started_seconds"]
    assert counts(books) == counts(vendors.settled_books())
    assert list(tmp_path.glob("books.json*")) == [path]


def test_metrics_say_what_the_books_say(vendors: Any) -> None:
    """Both programs serve Prometheus text, and the crawler its books while it runs."""
    port = vendors.outside["port"]
    plan = vendors.plan(count=None, requests_per_second=200, metrics_port=port)
    crawler = vendors.start_crawler(plan)
    base = f"http://127.0.0.1:{port}"
    labels = 'vendor="vendor-a",visibility="tunnel",outcome="success"'
    page_with(f"{base}/metrics", "\ncrawler_connections_total{")
    exposition = page_with(f"{base}/metrics", f"crawler_requests_total{{{labels}}} ")
    with urllib.request.urlopen(f"{base}/books") as answer:
        assert json.loads(answer.read())["ended_seconds"] is None
    crawler.send_signal(signal.SIGTERM)
    assert crawler.communicate(timeout=WAIT_SECONDS)[1] == ""
    for name in ("connections_total{", "bytes_total{", "in_flight ", "start_lag_seconds "):
        assert f"\ncrawler_{name}" in exposition
    assert vendors.settled_books()["open"] == 0
    said = vendors.get("/metrics")
    assert f"\nvendor_requests_total{{{labels}}} " in said
    assert "\nprocess_start_time_seconds " in said
    metrics = {line.partition(" ")[0]: line.rpartition(" ")[2] for line in said.splitlines()}
    for row in vendors.settled_books()["wire"]:
        who = f'vendor="{row["vendor"]}",protocol="{row["protocol"]}"'
        for direction in ("sent", "received"):
            key = f'vendor_wire_bytes_total{{{who},direction="{direction}"}}'
            assert metrics[key] == str(row[f"bytes_{direction}"])
    for row in vendors.settled_books()["opaque"]:
        key = f'vendor_opaque_connections_total{{vendor="{row["vendor"]}"}}'
        assert metrics[key] == str(row["connections"])
    assert vendors.get("/healthz") == "ok\n"
