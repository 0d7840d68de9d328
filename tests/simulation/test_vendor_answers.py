"""Every legal request gets a legal answer, of a proxy and of a target in a tunnel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from simulation.pages import MAX_BODY_BYTES
from tests.simulation.vendor_process import Client, VendorProcess, for_all_tests

BEHAVIOURS: dict[str, Any] = {
    **{name: {} for name in ("plain", "tunnel", "tls", "socks5", "clear", "uploads")},
}
WAYS = ["plain", "tunnel", "tls", "socks5", "clear"]
CHUNKED = "Transfer-Encoding: chunked\r\n"
vendors = for_all_tests(BEHAVIOURS)


class Way:
    """A connection on which requests are asked: to the proxy, or to a target behind it."""

    def __init__(self, client: Client, way: str) -> None:
        self.client = client
        self.start = "http://site.sim.test" if way in ("plain", "tls") else ""
        if way in ("tunnel", "clear"):
            assert client.connect().status == 200
        if way == "socks5":
            assert client.socks()[1] == 0
        if way in ("tunnel", "socks5"):
            client.wrap()

    def ask(self, path: str, **how: Any) -> Any:
        return self.client.ask(self.start + path, **how)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, vendors: VendorProcess) -> Iterator[Way]:
    with vendors.client(request.param, tls=request.param == "tls") as client:
        yield Way(client, request.param)


def test_page_is_of_the_size_its_path_says(way: Way) -> None:
    """/p/<bytes>, up to 4 MiB; 1,000 bytes for any other path. One connection for all."""
    asked = {"/p/0": 0, "/p/1": 1, "/p/70000?x=1": 70_000, "/": 1000, "/p/x": 1000}
    for path, size in {**asked, "/p/999999999": MAX_BODY_BYTES}.items():
        answer = way.ask(path)
        assert (answer.status, len(answer.body)) == (200, size)


def test_head_says_the_size_and_sends_nothing(way: Way) -> None:
    """The next answer on the connection begins where the head ends."""
    answer = way.ask("/p/5000", method="HEAD")
    assert (answer.headers["content-length"], answer.body) == ("5000", b"")
    assert len(way.ask("/p/60").body) == 60


@pytest.mark.parametrize(
    ("fields", "body", "size"),
    [
        ("Content-Length: 11\r\n", b"hello world", 11),
        ("content-length:  200000\r\n", b"x" * 200_000, 200_000),
        (CHUNKED, b"0\r\n\r\n", 0),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", 5),
        (CHUNKED, b"5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX: y\r\nZ: w\r\n\r\n", 15),
        (CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (100_000, b"y" * 100_000), 100_000),
        (CHUNKED, b"2\r\n\r\n\r\n2\r\n0\r\r\n0\r\n\r\n", 4),
    ],
)
def test_body_is_taken_to_its_end_and_counted(
    way: Way, fields: str, body: bytes, size: int
) -> None:
    """Whatever the body holds, the next request is found after it."""
    for method in ("POST", "PUT", "GET"):
        answer = way.ask("/p/70", method=method, fields=fields, body=body)
        assert (answer.status, len(answer.body)) == (200, 70)
        assert int(answer.headers.get("x-sim-received-bytes", 0)) == size
    assert len(way.ask("/p/8").body) == 8


@pytest.mark.parametrize("step", [1, 3])
def test_request_is_the_same_however_it_is_cut(vendors: VendorProcess, step: int) -> None:
    """Heads and chunks may come in pieces of any size."""
    raw = (
        b"POST http://site.sim.test/p/9 HTTP/1.1\r\n" + CHUNKED.encode() + b"\r\n"
        b"10\r\n0123456789abcdef\r\n1\r\n\r\r\n0\r\nA: b\r\n\r\n"
    )
    with vendors.client("plain") as client:
        for at in range(0, len(raw), step):
            client.send(raw[at : at + step])
        assert client.answer().headers["x-sim-received-bytes"] == "17"


def test_continue_is_said_before_the_body(way: Way) -> None:
    """`Expect: 100-continue` is answered, but not in HTTP/1.0 or once the body is there."""
    start = f"POST {way.start}/p/7 HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-Continue\r\n\r\n"
    way.client.send(start.encode())
    assert way.client.receive(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    way.client.send(b"body")
    assert way.client.answer().headers["x-sim-received-bytes"] == "4"
    way.client.send(start.encode() + b"body")
    assert way.client.answer().status == 200
    way.client.send(start.replace("HTTP/1.1", "HTTP/1.0").encode())
    way.client.send(b"body")
    assert way.client.receive(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    ("version", "fields", "stays", "said"),
    [
        ("1.1", "", True, None),
        ("1.1", "Connection: Keep-Alive\r\n", True, None),
        ("1.1", "Connection: close\r\n", False, "close"),
        ("1.1", "Connection: te, Close\r\n", False, "close"),
        ("1.0", "", False, "close"),
        ("1.0", "Connection: keep-alive\r\n", False, "close"),
    ],
)
def test_connection_stays_as_its_client_wants(
    way: Way, version: str, fields: str, stays: bool, said: str | None
) -> None:
    """Connections stay open by default in HTTP/1.1 alone."""
    answer = way.ask("/p/30", version=version, fields=fields)
    assert (answer.status, len(answer.body)) == (200, 30)
    assert answer.headers.get("connection") == said
    if stays:
        assert way.ask("/p/3").status == 200
    else:
        assert way.client.rest() == b""


def test_pipelined_requests_are_answered_in_order(way: Way) -> None:
    """Twenty requests at once are answered in order."""
    way.client.send(
        b"".join(
            f"GET {way.start}/p/{size} HTTP/1.1\r\n\r\n".encode() for size in range(0, 200, 10)
        )
    )
    assert [len(way.client.page()) for _ in range(20)] == list(range(0, 200, 10))


def test_upload_that_is_left_is_booked(vendors: VendorProcess) -> None:
    """A client that leaves during its upload has cancelled: one row, and no success."""
    with vendors.client("uploads") as client:
        client.send(b"POST http://site.sim.test/ HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
    assert vendors.counts("uploads") == {("http", "client_cancelled"): 1}


def test_target_may_be_reached_by_address(vendors: VendorProcess) -> None:
    """SOCKS5 with an IPv4 and an IPv6 address; commands but CONNECT are refused."""
    for address in (b"\x01\x7f\x00\x00\x01", b"\x04" + bytes(15) + b"\x01"):
        with vendors.client("socks5") as client:
            client.send(b"\x05\x01\x00\x05\x01\x00" + address + b"\x00\x50")
            assert client.receive(12)[:4] == b"\x05\x00\x05\x00"
            assert len(client.ask("/p/11").body) == 11
    for request in (b"\x05\x02\x00\x01" + bytes(6), b"\x05\x01\x00\x09" + bytes(6)):
        with vendors.client("socks5") as client:
            client.send(b"\x05\x01\x00" + request)
            assert client.receive(12)[2:4] == b"\x05\x07"
