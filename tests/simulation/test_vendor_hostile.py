"""No client can make a vendor raise, grow, or keep others waiting."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
from typing import Any

import pytest

from simulation.crawler.tls import tls_context
from tests.simulation.vendor_process import Client, VendorProcess, for_all_tests

EVERY = {
    "credentials": {"crawler": "PASSWORD_A"},
    "exits": {"count": 4, "session_seconds": 0.01},
    "limits": {"requests_per_second": 50},
    "latency_seconds": 0.001,
    "faults": {"reset": 0.1, "stall": 0.1, "garbage": 0.1, "reset-inside": 0.1},
}
BEHAVIOURS: dict[str, Any] = {
    **{name: {} for name in ("bad", "loris", "greedy", "noise")},
    "noise-ruled": EVERY,
    "late": {"latency_seconds": 1},
}
ABSOLUTE = b"http://site.sim.test/p/9"
vendors = for_all_tests(BEHAVIOURS)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET " + ABSOLUTE + b" HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 70_000, 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET " + ABSOLUTE + b" SPDY/9\r\n\r\n", 400),
        (b"POST " + ABSOLUTE + b" HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST " + ABSOLUTE + b" HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (
            b"POST " + ABSOLUTE + b" HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            b"POST " + ABSOLUTE + b" HTTP/1.1\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST " + ABSOLUTE + b" HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST " + ABSOLUTE + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST " + ABSOLUTE + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"POST " + ABSOLUTE + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
        (
            b"POST " + ABSOLUTE + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 2000,
            400,
        ),
        (
            b"POST "
            + ABSOLUTE
            + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + b"A: b\r\n" * 20_000,
            400,
        ),
        (b"GET /no-absolute-url HTTP/1.1\r\n\r\n", 400),
        (b"GET http:/// HTTP/1.1\r\n\r\n", 400),
        (b"GET http://fault-unknown.sim.test/ HTTP/1.1\r\n\r\n", 400),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_bad_request_gets_its_status(
    vendors: VendorProcess, raw: bytes, status: int, tls: bool
) -> None:
    """A bad request gets its status, and ends the connection if its own end is unclear."""
    with vendors.client("bad", tls=tls) as client:
        with contextlib.suppress(ConnectionError):
            client.send(raw)
        answer = client.answer()
        assert answer.status == status
        if b"http:///" not in raw and b"no-absolute" not in raw and b"unknown" not in raw:
            assert answer.headers["connection"] == "close"
    assert {outcome for _, outcome in vendors.counts("bad")} <= {"target_error"}


def test_slow_clients_hold_their_own_connections_only(vendors: VendorProcess) -> None:
    """While sixty clients send a byte now and then, another is served."""
    starts = [b"GET http://a.test/ HT", b"\x05\x03\x00", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP"]
    starts.append(b"POST http://a.test/ HTTP/1.1\r\nContent-Length: 9\r\n\r\n1")
    starts.append(b"POST http://a.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1")
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(vendors.client("loris")) for _ in range(60)]
        for number, client in enumerate(slow):
            client.send(starts[number % len(starts)])
        for _ in range(5):
            for number, client in enumerate(slow):
                client.send(b"\x00" if number % len(starts) in (1, 2) else b"1")
            assert vendors.one("loris").status == 200
    rows = vendors.counts("loris")
    assert rows["http", "success"] == 5


def flood(client: Client, piece: bytes, most: int) -> None:
    """Send without ever reading, until the other side takes no more."""
    client.socket.settimeout(0.3)
    with contextlib.suppress(TimeoutError, ConnectionError):
        for _ in range(most):
            client.send(piece)


@pytest.mark.parametrize(
    "piece",
    [
        b"GET http://site.sim.test/p/4000000 HTTP/1.1\r\n\r\n" * 500,
        b"POST http://site.sim.test/ HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"
        + b"x" * 100_000,
        b"POST http://site.sim.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"ffffffffff\r\n"
        + b"x" * 100_000,
        b"GET /" + b"x" * 200_000,
    ],
    ids=["pages", "body", "chunk", "head"],
)
def test_client_that_never_reads_costs_little_memory(vendors: VendorProcess, piece: bytes) -> None:
    """Four clients that never read cost less than 48 MiB."""
    before = vendors.resident_bytes()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(vendors.client("greedy"))
            flood(client, piece, 12)
        assert vendors.one("greedy").status == 200
        assert vendors.resident_bytes() - before < 48 * 1024 * 1024


def test_requests_behind_one_that_waits_are_not_hoarded(vendors: VendorProcess) -> None:
    """A flood of requests while the first one's answer is late stays in the kernel."""
    before = vendors.resident_bytes()
    with vendors.client("late") as client:
        flood(client, b"GET http://site.sim.test/ HTTP/1.1\r\n\r\n" * 10_000, 100)
        assert vendors.resident_bytes() - before < 16 * 1024 * 1024


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    session = tls_context().wrap_bio(ssl.MemoryBIO(), outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def starts() -> list[bytes]:
    login = b"Proxy-Authorization: Basic Y3Jhd2xlci1zZXNzaW9uLXg6aHVzaA==\r\n"
    get = b"GET http://site.sim.test/p/3000 HTTP/1.1\r\n" + login + b"\r\n"
    tunnel = b"CONNECT site.sim.test:443 HTTP/1.1\r\n" + login + b"\r\n"
    chunks = b"POST http://site.sim.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    socks = b"\x05\x01\x02\x01\x07crawler\x04hush\x05\x01\x00\x03\x09site.test\x00\x50"
    return [
        *(get * 3, tunnel + b"GET /p/9 HTTP/1.1\r\n\r\n"),
        *(client_hello(), tunnel + client_hello(), b"PRI * HTTP/3.0\r\n\r\n", b"\0" * 70_000),
        *(chunks + login + b"\r\n5\r\nhello\r\n0\r\n\r\n" + get, socks + get),
    ]


@pytest.mark.parametrize("name", ["noise", "noise-ruled"])
def test_noise_neither_raises_nor_stays(vendors: VendorProcess, name: str) -> None:
    """Requests with bytes flipped, cut out or doubled leave no traceback and no connection."""
    chance = random.Random(23)
    for number in range(250):
        bad = bytearray(chance.choice(starts()))
        for _ in range(chance.randint(0, 5)):
            at = chance.randrange(len(bad))
            kind = chance.randrange(3)
            if kind == 0:
                bad[at] = chance.randrange(256)
            elif kind == 1:
                del bad[at : at + chance.randint(1, 9)]
            else:
                bad[at:at] = bad[at : at + chance.randint(1, 40)]
            bad = bad or bytearray(b"x")
        with vendors.client(name) as client, contextlib.suppress(OSError):
            client.send(bytes(bad))
            if number % 2:
                client.socket.shutdown(socket.SHUT_WR)
                client.socket.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    client.rest()
    books = vendors.books(name)
    assert sum(row["connections"] for row in books["wire"]) == 250
    assert vendors.one("noise").status == 200
