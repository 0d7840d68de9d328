"""Limits, latency and wordings of simulated vendors."""

from __future__ import annotations

import math
import random
import re
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from simulation.proxy.answers import CAPTCHA_PAGE, DIALECTS
from simulation.proxy.plan import latency
from tests.simulation.vendor_process import (
    TIMEOUT_AFTER_SECONDS,
    Client,
    VendorProcess,
    for_all_tests,
)

RATE = 40.0
BEHAVIOURS: dict[str, Any] = {
    "rate": {"limits": {"requests_per_second": RATE}},
    "quota": {"limits": {"quota_bytes": 5000}},
    "late": {"latency_seconds": 0.06},
    "too-late": {"latency_seconds": 30},
    "words": {},
    "crawled": {
        "credentials": {"crawler": "PASSWORD_A"},
        "exits": {"count": 50},
        "limits": {"requests_per_second": 80},
        "latency_seconds": {"p50": 0.002, "p95": 0.01},
        "dialect": {"blocked": "captcha-page", "vendor-error": "522", "quota": "407-traffic"},
        "faults": {
            **{"target-error": 0.05, "vendor-error": 0.05, "blocked": 0.05},
            **{"quota": 0.05, "ban-page": 0.05, "refused-open": 0.05},
        },
    },
}
vendors = for_all_tests(BEHAVIOURS)


def statuses(client: Client, count: int) -> list[int]:
    """Return the statuses of so many requests that are sent at once."""
    client.send(b"GET http://site.sim.test/p/0 HTTP/1.1\r\n\r\n" * count)
    said, found = b"", list[bytes]()
    while len(found) < count or not said.endswith((b"\r\n\r\n", b"Requests\n")):
        said += client.socket.recv(65536)
        found = re.findall(rb"HTTP/1\.1 (\d{3}) ", said)
    return [int(status) for status in found]


def test_rate_lets_its_bucket_and_its_rate_through(vendors: VendorProcess) -> None:
    """A second's worth at once, then 40 a second; the rest are 429 that say when to come again."""
    with vendors.client("rate") as client:
        began = time.monotonic()
        seen = statuses(client, 100)
        time.sleep(0.25)
        seen += statuses(client, 100)
        passed = time.monotonic() - began
        answer = client.ask()
    allowed = seen.count(200)
    assert set(seen) == {200, 429}
    assert seen[:40] == [200] * 40
    assert RATE + RATE * 0.25 <= allowed <= RATE + RATE * passed + 1
    assert answer.status == 200 or answer.headers["retry-after"] == "1"
    rows = vendors.counts("rate")
    assert rows["http", "rate_limited"] == vendors.refusals("rate")["429"]
    assert sum(rows.values()) == len(seen) + 1


def test_quota_is_socket_bytes_and_can_be_topped_up(vendors: VendorProcess) -> None:
    """402 once 5,000 bytes have gone both ways; new limits begin a new count."""
    size = len(b"GET http://site.sim.test/p/900 HTTP/1.1\r\n\r\n") + 84 + 900
    with vendors.client("quota") as client:
        seen = [client.ask("http://site.sim.test/p/900").status for _ in range(8)]
        [line] = vendors.books("quota", settled=False)["wire"]
        paid = seen.count(200)
        assert seen == [200] * paid + [402] * (8 - paid)
        assert 5000 <= paid * size < 5000 + 1.2 * size
        assert line["bytes_sent"] + line["bytes_received"] > 5000
        vendors.change("quota", limits={"quota_bytes": 100})
        assert [client.ask().status for _ in range(2)] == [200, 402]
        vendors.change("quota", dialect={"quota": "407-traffic"})
        assert client.ask().status == 407
        vendors.change("quota", limits=None)
        assert client.ask().status == 200
    assert vendors.counts("quota") == {
        ("http", "success"): paid + 2,
        ("http", "quota_exhausted"): 10 - paid,
    }


@pytest.mark.parametrize("kind", ["http", "tunnel", "socks5"])
def test_latency_comes_before_the_answer(vendors: VendorProcess, kind: str) -> None:
    """In every protocol the answer is as late as the plan says."""
    with vendors.client("late") as client:
        began = time.monotonic()
        if kind == "socks5":
            assert client.socks()[1] == 0
        else:
            assert (client.connect() if kind == "tunnel" else client.ask()).status == 200
        assert time.monotonic() - began >= 0.06


def test_requests_behind_a_late_one_are_served_in_turn(vendors: VendorProcess) -> None:
    """Pipelining: three answers, each by its latency after the one before."""
    with vendors.client("late") as client:
        began = time.monotonic()
        client.send(b"GET http://site.sim.test/p/77 HTTP/1.1\r\n\r\n" * 3)
        assert [len(client.page()) for _ in range(3)] == [77] * 3
        assert time.monotonic() - began >= 0.18


def test_client_that_leaves_a_late_answer(vendors: VendorProcess) -> None:
    """A client that leaves before the time-out has cancelled; later it met a time-out."""
    for seconds, method in ((0.05, "GET"), (TIMEOUT_AFTER_SECONDS + 0.1, "GET"), (0.05, "CONNECT")):
        with vendors.client("too-late") as client:
            host = "http://site.sim.test/" if method == "GET" else "site.sim.test:443"
            client.send(f"{method} {host} HTTP/1.1\r\n\r\n".encode())
            time.sleep(seconds)
    assert vendors.counts("too-late") == {
        ("http", "client_cancelled"): 1,
        ("http", "timeout"): 1,
        ("tunnel", "client_cancelled"): 1,
    }


def test_latency_is_log_normal() -> None:
    """Median and 95th percentile of 4,000 draws are as given, at level 0.001; the seed is fixed."""
    drawn = latency({"p50": 0.2, "p95": 1.0})
    chance = random.Random(3)
    sample = sorted(drawn.draw(chance) for _ in range(4000))
    for share, value in ((0.5, 0.2), (0.95, 1.0)):
        below = sum(each <= value for each in sample)
        assert abs(below - 4000 * share) < 3.29 * math.sqrt(4000 * share * (1 - share))
    logarithms = [math.log(each) for each in sample]
    mean, deviation = math.log(0.2), math.log(5) / 1.6449
    fitted = statistics.NormalDist(mean, deviation)
    distance = max(abs(n / 4000 - fitted.cdf(each)) for n, each in enumerate(logarithms))
    assert distance < 1.95 / math.sqrt(4000)  # Kolmogorov and Smirnov
    assert latency(0.3).draw(chance) == 0.3


WORDS = [
    ("quota", "402", 402, {}, "quota_exhausted"),
    ("quota", "407-traffic", 407, {"x-sim-error": "traffic"}, "quota_exhausted"),
    ("policy", "402", 402, {"x-brd-err-code": "policy_"}, "policy"),
    ("policy", "403", 403, {"proxy-status": "sim; error=http_request_denied"}, "policy"),
    ("blocked", "403", 403, {}, "blocked"),
    ("blocked", "999", 999, {}, "blocked"),
    ("blocked", "ban-page", 200, {}, "success"),
    ("blocked", "captcha-page", 200, {}, "success"),
    ("vendor-error", "502-proxy-status", 502, {"proxy-status": "sim; error="}, "vendor_error"),
    ("vendor-error", "504-proxy-status", 504, {"proxy-status": "sim; error="}, "vendor_error"),
    ("vendor-error", "502", 502, {"x-brd-error": "peer"}, "vendor_error"),
    ("vendor-error", "522", 522, {"x-brd-error": "exit"}, "vendor_error"),
    ("vendor-error", "525", 525, {"x-brd-error": "no exit"}, "vendor_error"),
]


def test_every_wording_is_tested() -> None:
    """The table above has every wording that a plan can give."""
    known = {(key, word) for key, words in DIALECTS.items() for word in words}
    assert known == {(row[0], row[1]) for row in WORDS}


@pytest.mark.parametrize(("key", "word", "status", "headers", "outcome"), WORDS)
def test_dialect_words_a_refusal(
    vendors: VendorProcess, key: str, word: str, status: int, headers: dict[str, str], outcome: str
) -> None:
    """A fault that a host name asks for comes in the vendor's wording, plain and to a CONNECT."""
    vendors.change("words", dialect={key: word})
    before = vendors.counts("words")
    host = f"fault-{key}.sim.test"
    with vendors.client("words") as client:
        plain = client.ask(f"http://{host}/")
        tunnel = client.connect(host)
        assert (plain.status, tunnel.status) == (status, status)
        for answer in (plain, tunnel):
            for name, start in headers.items():
                assert answer.headers[name].startswith(start)
        if word == "captcha-page":
            assert plain.body == CAPTCHA_PAGE
            client.wrap()
            assert client.ask("/").body == CAPTCHA_PAGE
    after = vendors.counts("words")
    for visibility in ("http", "tunnel"):
        row = (visibility, outcome)
        assert after[row] == before.get(row, 0) + 1


def test_crawler_and_vendor_agree_under_every_rule(vendors: VendorProcess, tmp_path: Path) -> None:
    """Credentials, exits, rates, latency, dialects and faults at once: equal in every row."""
    mine = vendors.crawl("crawled", count=600, concurrency=16)
    rows = {(row["visibility"], row["outcome"]): row["count"] for row in mine["counts"]}
    assert rows == vendors.counts("crawled")
    assert sum(rows.values()) == 600
    assert {"rate_limited", "vendor_error", "quota_exhausted", "target_error", "success"} == {
        outcome for _, outcome in rows
    }
    books = vendors.books("crawled")
    wire = [(row["connections"], row["bytes_sent"], row["bytes_received"]) for row in mine["wire"]]
    assert wire == [
        (row["connections"], row["bytes_received"], row["bytes_sent"]) for row in books["wire"]
    ]
    assert books["exits"] == [{"sessions": 1, "used": 1}]
