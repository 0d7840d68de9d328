"""The crawler's retries, sessions, bans, pacing and limits."""

from __future__ import annotations

import base64
import functools
import itertools
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from typing import Any

import pytest

from simulation.crawler.http1 import Answer
from simulation.crawler.identity import Identity
from simulation.crawler.outcomes import Seen, asks_for_retry
from simulation.crawler.plan import Retries, Vendor
from simulation.crawler.reading import read_plan
from simulation.crawler.sequence import PlannedRequest
from tests.simulation.conftest import OK, WAIT_SECONDS, answer_all, counts, crawl, page_with

RETRIES = Retries(codes=frozenset({429, 503}), maximum=2)
PLAIN = PlannedRequest(0, "http", "", 100, 0)


def answered(status: int, *, connect: bool = False, body: bytes = b"x" * 40) -> Seen:
    answer = Answer(connect=connect)
    head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    answer.feed(memoryview(head + body))
    return Seen("answered", answer)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (answered(200), False),
        (answered(404), False),
        (answered(429), True),
        (answered(403), False),
        (answered(200, body=b"<title>Access denied</title> and so on"), True),
        (answered(200, body=b"<title>Are you a robot?</title> and so on"), True),
        (answered(407), False),
        (answered(407, connect=True), True),  # Scrapy's TunnelError
        (Seen("refused", Answer()), True),
        (Seen("lost", Answer()), True),
        (Seen("left", Answer()), True),
        (Seen("garbage", Answer()), True),
        (Seen("answered", Answer()), False),  # SOCKS5 shows no status
        (Seen("auth_failed", Answer()), True),
        (answered(404)._replace(end="refused"), False),  # in TLS to the proxy
    ],
)
def test_what_is_sent_again(seen: Seen, wanted: bool) -> None:
    """The crawler retries listed statuses, bans, and requests without an answer."""
    assert asks_for_retry(PLAIN, seen, RETRIES) is wanted


def test_some_counts_are_never_repeated() -> None:
    """The crawler never retries what it left itself, nor requests outside every vendor."""
    lost = Seen("left", Answer())
    assert not asks_for_retry(PLAIN._replace(fault="stall"), lost, RETRIES)
    assert not asks_for_retry(PLAIN._replace(vendor=-1), lost, RETRIES)


def test_every_retry_is_a_count_of_its_own(vendors: Any) -> None:
    """A request that is always refused is made three times, and both books have all of them."""
    bad = [{**vendors.vendors[0], "faults": {"rate-limited": 1}}]
    mine = vendors.crawl(count=20, vendors=bad, mix={"http": 0.5, "tunnel": 0.5}, retries={})
    assert counts(mine) == counts(vendors.settled_books())
    assert counts(mine) == {
        ("vendor-a", "http", "rate_limited"): 30,
        ("vendor-a", "tunnel", "rate_limited"): 30,
    }
    assert (mine["requests"], mine["attempts"]) == (20, 60)
    assert mine["retries"] == [
        {"vendor": "vendor-a", "protocol": "http", "count": 20},
        {"vendor": "vendor-a", "protocol": "tunnel", "count": 20},
    ]
    assert mine["unexpected"] == []


def test_bans_are_counted_by_what_the_crawler_sees(vendors: Any) -> None:
    """The crawler counts ban pages with 200, also inside a tunnel."""
    faulty = [{**vendors.vendors[0], "faults": {"ban-page": 0.5, "blocked": 0.25}}]
    books = vendors.crawl(count=40, vendors=faulty, mix={"tunnel": 1})
    assert books["bans"] == [{"vendor": "vendor-a", "count": 20}]
    assert books["unexpected"] == []


def vendor_with(**keys: Any) -> Vendor:
    entry = {"name": "a", "address": "::1", "port": 1, **keys}
    return read_plan({"vendors": [entry]}, {"LOGIN": "me:se:cret"}).vendors[0]


def test_rotating_identity_is_always_the_same() -> None:
    """The vendor rotates; the password may hold a colon."""
    identity = Identity(vendor_with(password_env="LOGIN"), random.Random(1))
    logins = {identity.login(now) for now in range(10)}
    [login] = logins
    assert (login.user, login.password) == ("me", "se:cret")
    token = base64.b64encode(b"me:se:cret").decode()
    assert login.field == f"Proxy-Authorization: Basic {token}\r\n"


def test_sticky_session_ends_by_its_time_or_a_ban() -> None:
    """A session lasts ten minutes; a ban ends the session that met it, and no later one."""
    identity = Identity(vendor_with(password_env="LOGIN", session="sticky"), random.Random(1))
    first = identity.login(1)
    assert re.fullmatch(r"me-session-[0-9a-f]{8}", first.user)
    assert identity.login(600) is first
    second = identity.login(601)
    assert second.user != first.user
    identity.renew(first)
    assert identity.login(602) is second
    identity.renew(second)
    third = identity.login(603)
    assert third.user != second.user
    assert identity.login(1202) is third


def exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := connection.recv(size - len(found))):
        found += data
    return found


def test_host_slots_hold_on_the_wire(vendors: Any, peer: Any) -> None:
    """One site, eight workers, two slots: the vendor never sees more than two at once."""
    lock, now, most = threading.Lock(), [0], [0]

    def treat(connection: socket.socket) -> None:
        while connection.recv(4096):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.01)
            with lock:
                now[0] -= 1
            connection.sendall(OK)

    books = vendors.crawl(
        count=30,
        concurrency=8,
        vendors=[peer(treat)],
        mix={"http": 1},
        hosts={"count": 1},
        per_host_concurrency=2,
    )
    assert (most[0], books["in_flight_most"], books["requests"]) == (2, 2, 30)


LOGIN = b"\x01\x02me\x06secret"


@pytest.mark.parametrize(("good", "end"), [(True, "answered"), (False, "auth_failed")])
def test_socks5_shows_user_and_password(vendors: Any, peer: Any, good: bool, end: str) -> None:
    """The login follows RFC 1929; the proxy's answer may have an address of any kind."""
    replies = itertools.cycle(
        (b"\x01" + b"\0" * 4, b"\x04" + b"\0" * 16, b"\x03\x04host")  # IPv4, IPv6, a name
    )

    def treat(connection: socket.socket) -> None:
        assert exactly(connection, 3) == b"\x05\x01\x02"
        connection.sendall(b"\x05\x02")
        if exactly(connection, len(LOGIN)) != LOGIN or not good:
            connection.sendall(b"\x01\x01")
            return
        connection.sendall(b"\x01\x00")
        head = exactly(connection, 5)
        host = exactly(connection, head[4] + 2)[:-2].decode()
        sent, received = map(int, re.findall(r"\d+", host)[:2])
        connection.sendall(b"\x05\x00\x00" + next(replies) + b"\0\0")
        exactly(connection, sent)
        connection.sendall(b"x" * received)

    path = vendors.write(
        vendors.plan(
            count=6,
            vendors=[{**peer(treat), "socks5_auth": True, "password_env": "PW"}],
            mix={"socks5": 1},
        )
    )
    books = crawl(path, PW="me:secret")
    assert books["opaque"][0]["connections"] == 6
    if good:
        assert (books["unexpected"], books["notes"]) == ([], [])
    else:
        row = {"vendor": "peer", "intended": "socks5", "seen": end, "count": 6}
        assert books["unexpected"] == [row]
        assert books["notes"] == ["peer: refuses the credentials, 6 times: check password_env"]


def test_each_vendor_gets_its_own_credentials(vendors: Any, peer: Any) -> None:
    """A vendor's variable overrides the plan's; sticky logins name their session."""
    seen: Counter[str] = Counter()

    def treat(connection: socket.socket) -> None:
        while data := connection.recv(4096):
            found = re.search(rb"Proxy-Authorization: Basic (\S+)", data)
            assert found
            seen[base64.b64decode(found[1]).decode()] += 1
            connection.sendall(OK)

    place = peer(treat)
    several = [
        place,
        {**place, "password_env": "YOURS"},
        {**place, "password_env": "HERS", "session": "sticky"},
    ]
    plan = vendors.plan(count=30, vendors=several, mix={"http": 1}, password_env="OURS")
    crawl(vendors.write(plan), OURS="we:1", YOURS="you:2", HERS="she:3")
    sticky = {login: count for login, count in seen.items() if login.startswith("she-session-")}
    assert (seen["we:1"], seen["you:2"]) == (10, 10)
    [(login, count)] = sticky.items()
    assert (login.endswith(":3"), count) == (True, 10)


def test_vendor_that_is_not_simulated_speaks_for_itself(vendors: Any, peer: Any) -> None:
    """Without X-Sim-Vendor an answer counts by its status, in every protocol that shows one."""

    def treat(connection: socket.socket) -> None:
        while connection.recv(4096):
            connection.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

    real = {**peer(treat), "simulated": False}
    books = vendors.crawl(
        count=8, vendors=[real], mix={"http": 0.5, "tunnel": 0.5}, max_gb_per_day=1
    )
    assert counts(books) == {
        ("peer", "http", "auth_failed"): 4,
        ("peer", "tunnel", "auth_failed"): 4,
    }


def test_open_arrival_keeps_its_pace_whatever_is_answered(vendors: Any, peer: Any) -> None:
    """A vendor that takes 0.2 s still gets 60 requests a second."""
    late = peer(functools.partial(answer_all, after_seconds=0.2))
    books = vendors.crawl(
        count=None,
        vendors=[late],
        mix={"http": 1},
        requests_per_second=60,
        in_flight_cap=200,
        concurrency=1,
        duration_seconds=0.5,
    )
    assert books["requests"] == 30
    assert 10 <= books["in_flight_most"] <= 30
    assert books["start_lag"]["count"] == 30
    assert not books["partial"]
    closed = vendors.crawl(
        count=None, vendors=[late], mix={"http": 1}, concurrency=2, duration_seconds=0.5
    )
    assert 2 <= closed["requests"] <= 6
    assert closed["start_lag"] is None


def test_lag_of_a_full_crawler_is_reported(vendors: Any) -> None:
    """If the cap is too low, starts are late and none is lost; the metrics have their lag."""
    port = vendors.outside["port"]
    slow = [{**vendors.vendors[0], "faults": {"stall": 1}}]  # the crawler leaves after 0.24 s
    plan = vendors.plan(
        count=40,
        vendors=slow,
        mix={"http": 1},
        requests_per_second=200,
        in_flight_cap=10,
        concurrency=1,
        metrics_port=port,
    )
    crawler = vendors.start_crawler(plan, "--json")
    exposition = page_with(f"http://127.0.0.1:{port}/metrics", "crawler_requests_total{")
    books = json.loads(crawler.communicate(timeout=WAIT_SECONDS)[0])
    assert books["in_flight_most"] == 10
    assert books["start_lag"]["count"] == 40
    assert books["start_lag"]["most_seconds"] > 0.4
    assert "\n# TYPE crawler_arrival_lag_seconds histogram\n" in exposition
    assert "\n# TYPE crawler_start_lag_seconds gauge\n" in exposition
    assert '\ncrawler_arrival_lag_seconds_bucket{le="+Inf"} ' in exposition
    assert '\ncrawler_wire_bytes_total{vendor="vendor-a",protocol="http",direction="sent"} ' in (
        exposition
    )
