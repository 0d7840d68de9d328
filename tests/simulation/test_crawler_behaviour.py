"""The crawler's retries, sessions, bans, pacing and limits."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from simulation.crawler.admission import HostLimit
from simulation.crawler.http1 import Answer
from simulation.crawler.identity import Identity
from simulation.crawler.outcomes import Seen, asks_for_retry
from simulation.crawler.plan import Retries, Vendor
from simulation.crawler.reading import read_plan
from simulation.crawler.sequence import PlannedRequest
from tests.simulation.conftest import page_with
from tests.simulation.conftest import run as run_program

RETRIES = Retries(codes=frozenset({429, 503}), maximum=2, switch_vendor=False, errors=True)
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
        (answered(403), True),  # a ban code
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
    assert asks_for_retry(PLAIN, seen, RETRIES, frozenset({403})) is wanted


def test_some_counts_are_never_repeated() -> None:
    """The crawler never retries what it left itself, nor requests outside every vendor."""
    lost = Seen("left", Answer())
    assert not asks_for_retry(PLAIN._replace(fault="stall"), lost, RETRIES, frozenset())
    assert not asks_for_retry(PLAIN._replace(vendor=-1), lost, RETRIES, frozenset())
    quiet = Retries(codes=frozenset({429}), maximum=2, switch_vendor=False, errors=False)
    assert not asks_for_retry(PLAIN, lost, quiet, frozenset())
    assert asks_for_retry(PLAIN, answered(429), quiet, frozenset())


def rows(books: dict[str, Any]) -> dict[tuple[str, str, str], int]:
    return {
        (row["vendor"], row["visibility"], row["outcome"]): row["count"] for row in books["counts"]
    }


def test_every_retry_is_a_count_of_its_own(vendors: Any) -> None:
    """A request that is always refused is made three times, and both books have all of them."""
    bad = [{**vendors.vendors[0], "faults": {"rate-limited": 1}}]
    mine = vendors.crawl(count=20, vendors=bad, mix={"http": 0.5, "tunnel": 0.5}, retries={})
    assert rows(mine) == rows(vendors.settled_books())
    assert rows(mine) == {
        ("vendor-a", "http", "rate_limited"): 30,
        ("vendor-a", "tunnel", "rate_limited"): 30,
    }
    assert (mine["requests"], mine["attempts"]) == (20, 60)
    assert mine["retries"] == [
        {"vendor": "vendor-a", "protocol": "http", "count": 20},
        {"vendor": "vendor-a", "protocol": "tunnel", "count": 20},
    ]
    assert mine["unexpected"] == []


def test_retry_may_go_to_another_vendor(vendors: Any) -> None:
    """A vendor that refuses everything loses every request to the other one, at once."""
    first, second = vendors.vendors
    bad = [{**first, "faults": {"vendor-error": 1}}, second]
    mine = vendors.crawl(
        count=40, vendors=bad, mix={"tunnel": 1}, retries={"maximum": 1, "switch_vendor": True}
    )
    assert rows(mine) == rows(vendors.settled_books())
    assert rows(mine) == {
        ("vendor-a", "tunnel", "vendor_error"): 20,
        ("vendor-b", "tunnel", "success"): 40,
    }
    assert mine["retries"] == [{"vendor": "vendor-b", "protocol": "tunnel", "count": 20}]


def test_bans_are_counted_by_what_the_crawler_sees(vendors: Any) -> None:
    """The crawler counts ban pages with 200 and ban codes, also inside a tunnel."""
    faulty = [{**vendors.vendors[0], "faults": {"ban-page": 0.5, "blocked": 0.25}}]
    books = vendors.crawl(count=40, vendors=faulty, mix={"tunnel": 1}, ban_codes=[403])
    assert books["bans"] == [{"vendor": "vendor-a", "count": 30}]
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


@pytest.mark.parametrize(
    ("session", "lengths"),
    [
        ({"mode": "sticky", "requests": 5, "seconds": None}, [5, 5, 5, 5]),
        ({"mode": "sticky", "seconds": 7}, [7, 7, 6]),
        ({"mode": "sticky", "requests": 3, "seconds": 2}, [2] * 10),
        ("sticky", [20]),
    ],
)
def test_sticky_session_lives_as_long_as_planned(session: object, lengths: list[int]) -> None:
    """A session ends by its requests or its seconds; the test makes a request a second."""
    identity = Identity(vendor_with(password_env="LOGIN", session=session), random.Random(1))
    users = [identity.login(float(now)).user for now in range(20)]
    assert [len(list(same)) for _, same in itertools.groupby(users)] == lengths
    assert all(re.fullmatch(r"me-session-[0-9a-f]{8}", user) for user in users)


def test_several_sessions_take_turns_and_a_ban_ends_one() -> None:
    """A ban replaces one session and leaves the others."""
    session = {"mode": "sticky", "sessions": 3, "user": "{user};s={id}"}
    identity = Identity(vendor_with(password_env="LOGIN", session=session), random.Random(1))
    first = [identity.login(0) for _ in range(3)]
    assert [identity.login(0) for _ in range(3)] == first
    assert len({login.user for login in first}) == 3
    assert first[0].user.startswith("me;s=")
    identity.renew(first[1])
    second = [identity.login(0) for _ in range(3)]
    assert (second[0], second[2]) == (first[0], first[2])
    assert second[1] != first[1]
    assert [identity.login(0) for _ in range(3)] == second


def test_host_has_no_more_than_its_slots_and_others_go_on() -> None:
    """Waiting requests get their turn in order; an idle host takes no memory."""

    async def scene() -> None:
        slots = HostLimit(2)
        assert slots.take(1) is slots.take(1) is slots.take(2) is None
        third, fourth = slots.take(1), slots.take(1)
        assert third is not None
        assert fourth is not None
        third.cancel()  # its worker was told to stop
        slots.give(1)
        assert fourth.done()
        assert not fourth.cancelled()
        slots.give(1)
        assert slots.take(1) is None
        for host in (1, 1, 2):
            slots.give(host)
        assert slots._busy == {}
        assert slots._waiting == {}

    asyncio.run(scene())


@pytest.fixture
def proxy() -> Iterator[Callable[[Callable[[socket.socket], None]], dict[str, Any]]]:
    """A vendor that treats each connection as the given function does, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(treat: Callable[[socket.socket], None]) -> None:
            def one(connection: socket.socket) -> None:
                with connection:
                    treat(connection)

            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=[connection], daemon=True).start()

        def start(treat: Callable[[socket.socket], None]) -> dict[str, Any]:
            threading.Thread(target=serve, args=[treat], daemon=True).start()
            return {"name": "peer", "address": "127.0.0.1", "port": listener.getsockname()[1]}

        yield start


def exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := connection.recv(size - len(found))):
        found += data
    return found


def test_host_slots_hold_on_the_wire(vendors: Any, proxy: Any) -> None:
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
            answer = b"HTTP/1.1 200 OK\r\nX-Sim-Vendor: a\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(answer)

    books = vendors.crawl(
        count=30,
        concurrency=8,
        vendors=[proxy(treat)],
        mix={"http": 1},
        hosts={"count": 1},
        per_host_concurrency=2,
    )
    assert (most[0], books["in_flight_most"], books["requests"]) == (2, 2, 30)


LOGIN = b"\x01\x02me\x06secret"


@pytest.mark.parametrize(("good", "end"), [(True, "answered"), (False, "auth_failed")])
def test_socks5_shows_user_and_password(vendors: Any, proxy: Any, good: bool, end: str) -> None:
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
            vendors=[{**proxy(treat), "socks5_auth": True, "user": "me", "password_env": "PW"}],
            mix={"socks5": 1},
        )
    )
    books = json.loads(run(path, PW="secret"))
    assert books["opaque"][0]["connections"] == 6
    if good:
        assert (books["unexpected"], books["notes"]) == ([], [])
    else:
        row = {"vendor": "peer", "intended": "socks5", "seen": end, "count": 6}
        assert books["unexpected"] == [row]
        assert books["notes"] == [
            "peer: refuses the credentials, 6 times: check user and password_env"
        ]


def run(path: Any, **environment: str) -> str:
    done = run_program("crawler", "--json", "--plan", str(path), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_each_vendor_gets_its_own_credentials(vendors: Any, proxy: Any) -> None:
    """A vendor's variable overrides the plan's; sticky logins name their session."""
    seen: Counter[str] = Counter()

    def treat(connection: socket.socket) -> None:
        while data := connection.recv(4096):
            found = re.search(rb"Proxy-Authorization: Basic (\S+)", data)
            assert found
            seen[base64.b64decode(found[1]).decode()] += 1
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Sim-Vendor: a\r\nContent-Length: 0\r\n\r\n")

    peer = proxy(treat)
    several = [
        peer,
        {**peer, "user": "you", "password_env": "YOURS"},
        {
            **peer,
            "user": "she",
            "password_env": "HERS",
            "session": {"mode": "sticky", "requests": 5},
        },
    ]
    plan = vendors.plan(count=30, vendors=several, mix={"http": 1}, password_env="OURS")
    run(vendors.write(plan), OURS="we:1", YOURS="2", HERS="3")
    sticky = {login: count for login, count in seen.items() if login.startswith("she-session-")}
    assert (seen["we:1"], seen["you:2"]) == (10, 10)
    assert sorted(sticky.values()) == [5, 5]
    assert all(login.endswith(":3") for login in sticky)


def test_vendor_that_is_not_simulated_speaks_for_itself(vendors: Any, proxy: Any) -> None:
    """Without X-Sim-Vendor an answer counts by its status, in every protocol that shows one."""

    def treat(connection: socket.socket) -> None:
        while connection.recv(4096):
            connection.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

    peer = {**proxy(treat), "simulated": False}
    books = vendors.crawl(
        count=8, vendors=[peer], mix={"http": 0.5, "tunnel": 0.5}, max_gb_per_day=1
    )
    assert rows(books) == {("peer", "http", "auth_failed"): 4, ("peer", "tunnel", "auth_failed"): 4}


LARGE = {"sizes_bytes": [[0.5, 50_000]]}


def wait_for_answers(vendors: Any, tunnels: int) -> None:
    """Wait until the vendor has as many tunnels open, each with a large page on its way."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        books = json.loads(vendors.get("/books"))
        sent = sum(row["bytes_sent"] for row in books["wire"])
        if books["open"] == tunnels and sent > tunnels * 50_000:
            return
        time.sleep(0.02)
    raise AssertionError(books)


def test_held_tunnels_stay_open_and_end_with_the_run(vendors: Any) -> None:
    """After the answer a tunnel stands; a signal ends it at once, and it counts as a success."""
    plan = vendors.plan(
        count=40,
        concurrency=40,
        mix={"tunnel": 1},
        target=LARGE,
        tunnel_hold_seconds=60,
        duration_seconds=90,
    )
    crawler = vendors.start_crawler(plan, "--json")
    wait_for_answers(vendors, 40)
    asked = time.monotonic()
    crawler.send_signal(signal.SIGINT)
    said, complaints = crawler.communicate(timeout=5)
    assert time.monotonic() - asked < 2
    assert (crawler.returncode, complaints) == (0, "")
    books = json.loads(said)
    assert rows(books) == {
        ("vendor-a", "tunnel", "success"): 20,
        ("vendor-b", "tunnel", "success"): 20,
    }
    assert books["true"] == [
        {"vendor": name, "outcome": "true_success", "count": 20}
        for name in ("vendor-a", "vendor-b")
    ]
    assert books["partial"] is False  # every request of the plan was made
    assert books["latency"][0]["most_seconds"] < 5  # the holding is no latency


def test_held_tunnel_that_is_lost_is_reported(vendors: Any) -> None:
    """The sidecar saw a success, and the crawler's truth is a reset."""
    plan = vendors.plan(
        count=4,
        mix={"tunnel": 1},
        target=LARGE,
        vendors=vendors.vendors[:1],
        tunnel_hold_seconds=60,
    )
    crawler = vendors.start_crawler(plan, "--json")
    wait_for_answers(vendors, 4)
    vendors.process.send_signal(signal.SIGTERM)
    vendors.process.wait(timeout=3)  # a second signal would meet it at its very end
    said, complaints = crawler.communicate(timeout=5)
    assert complaints == ""
    assert json.loads(said)["true"] == [{"vendor": "vendor-a", "outcome": "true_reset", "count": 4}]


def test_open_arrival_keeps_its_pace_whatever_is_answered(vendors: Any, proxy: Any) -> None:
    """A vendor that takes 0.2 s still gets 60 requests a second."""

    def treat(connection: socket.socket) -> None:
        while connection.recv(4096):
            time.sleep(0.2)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Sim-Vendor: a\r\nContent-Length: 0\r\n\r\n")

    peer = proxy(treat)
    books = vendors.crawl(
        count=None,
        vendors=[peer],
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
        count=None, vendors=[peer], mix={"http": 1}, concurrency=2, duration_seconds=0.5
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
    books = json.loads(crawler.communicate(timeout=5)[0])
    assert books["in_flight_most"] == 10
    assert books["start_lag"]["count"] == 40
    assert 0.4 < books["start_lag"]["most_seconds"] < 2
    assert "\n# TYPE crawler_arrival_lag_seconds histogram\n" in exposition
    assert "\n# TYPE crawler_start_lag_seconds gauge\n" in exposition
    assert '\ncrawler_arrival_lag_seconds_bucket{le="+Inf"} ' in exposition
    assert '\ncrawler_wire_bytes_total{vendor="vendor-a",protocol="http",direction="sent"} ' in (
        exposition
    )


def test_thinking_makes_a_closed_crawler_slower(vendors: Any) -> None:
    """Two workers that think 0.05 s after each count make at most twenty counts in 0.5 s."""
    books = vendors.crawl(
        count=None, concurrency=2, think_seconds=0.05, duration_seconds=0.5, mix={"http": 1}
    )
    assert 4 <= books["requests"] <= 20
