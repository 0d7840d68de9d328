"""Every legal request gets a legal answer, of a proxy and of a target in a tunnel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from simulation.agreed import MAX_BODY_BYTES
from simulation.frames import H2_END_HEADERS, H2_END_STREAM, H2_PREFACE, H2_RST_STREAM, h2_frame
from simulation.proxy.hpack import Hpack, huffman_text
from simulation.proxy.http2 import Http2
from tests.simulation.house import Client, House, house

BEHAVIOURS: dict[str, Any] = {
    **{name: {} for name in ("plain", "tunnel", "tls", "socks5", "clear", "uploads")},
    "h2c": {"credentials": {"crawler": "PASSWORD_A"}, "exits": {"count": 9}},
    "h2c-late": {"latency_seconds": 0.05},
    "h2c-reset": {"faults": {"reset": 1}},
}
WAYS = ["plain", "tunnel", "tls", "socks5", "clear"]
CHUNKED = "Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("answers"), BEHAVIOURS) as found:
        yield found


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
def way(request: pytest.FixtureRequest, vendors: House) -> Iterator[Way]:
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
    """Whatever lies in it; the next request is found behind it."""
    for method in ("POST", "PUT", "GET"):
        answer = way.ask("/p/70", method=method, fields=fields, body=body)
        assert (answer.status, len(answer.body)) == (200, 70)
        assert int(answer.headers.get("x-sim-received-bytes", 0)) == size
    assert len(way.ask("/p/8").body) == 8


@pytest.mark.parametrize("step", [1, 3])
def test_request_is_the_same_however_it_is_cut(vendors: House, step: int) -> None:
    """Heads, chunk sizes and chunks in pieces of any size."""
    raw = (
        b"POST http://site.sim.test/p/9 HTTP/1.1\r\n" + CHUNKED.encode() + b"\r\n"
        b"10\r\n0123456789abcdef\r\n1\r\n\r\r\n0\r\nA: b\r\n\r\n"
    )
    with vendors.client("plain") as client:
        for at in range(0, len(raw), step):
            client.send(raw[at : at + step])
        assert client.answer().headers["x-sim-received-bytes"] == "17"


def test_continue_is_said_before_the_body(way: Way) -> None:
    """Expect: 100-continue; not to HTTP/1.0, not where the body is there already."""
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
        ("1.0", "Connection: keep-alive\r\n", True, "keep-alive"),
        ("1.0", "Proxy-Connection: Keep-Alive\r\n", True, "keep-alive"),
        ("1.0", "Connection: close\r\n", False, "close"),
    ],
)
def test_connection_stays_as_its_client_wants(
    way: Way, version: str, fields: str, stays: bool, said: str | None
) -> None:
    """HTTP/1.1 by default, HTTP/1.0 where it asks; who ends it says so, in TLS with a goodbye."""
    answer = way.ask("/p/30", version=version, fields=fields)
    assert (answer.status, len(answer.body)) == (200, 30)
    assert answer.headers.get("connection") == said
    if stays:
        assert way.ask("/p/3").status == 200
    else:
        assert way.client.rest() == b""


def test_pipelined_requests_are_answered_in_order(way: Way) -> None:
    """Twenty at once, of every size."""
    way.client.send(
        b"".join(
            f"GET {way.start}/p/{size} HTTP/1.1\r\n\r\n".encode() for size in range(0, 200, 10)
        )
    )
    assert [len(way.client.page()) for _ in range(20)] == list(range(0, 200, 10))


def test_upload_that_is_left_is_booked(vendors: House) -> None:
    """A sidecar has passed its head on: the client has cancelled. One row, and no success."""
    with vendors.client("uploads") as client:
        client.send(b"POST http://site.sim.test/ HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
    assert vendors.counts("uploads") == {("http", "client_cancelled"): 1}


def test_target_may_be_reached_by_address(vendors: House) -> None:
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


# HTTP/2


@pytest.mark.parametrize(
    ("coded", "text"),
    [  # RFC 7541, appendix C
        ("f1e3c2e5f23a6ba0ab90f4ff", b"www.example.com"),
        ("a8eb10649cbf", b"no-cache"),
        ("25a849e95ba97d7f", b"custom-key"),
        ("25a849e95bb8e8b4bf", b"custom-value"),
        ("d07abe941054d444a8200595040b8166e082a62d1bff", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        (
            "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ],
)
def test_huffman_code_is_the_standards(coded: str, text: bytes) -> None:
    """The examples of the RFC."""
    assert huffman_text(bytes.fromhex(coded)) == text


def test_dynamic_table_is_kept_as_the_standard_says() -> None:
    """The three requests of RFC 7541 C.4, which lean on each other, on one connection."""
    fields = Hpack()
    shared = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
    shared.append((b":authority", b"www.example.com"))
    assert fields.read(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")) == shared
    cached = [*shared, (b"cache-control", b"no-cache")]
    assert fields.read(bytes.fromhex("828684be5886a8eb10649cbf")) == cached
    assert fields.read(bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")) == [
        *((b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html")),
        *((b":authority", b"www.example.com"), (b"custom-key", b"custom-value")),
    ]


def test_dynamic_table_forgets_the_oldest() -> None:
    """Never above its room, which a block may make smaller; entries gone are not found."""
    fields = Hpack()
    entry = b"\x40\x01k\x7f\xd1\x0e" + b"v" * 2000
    for _ in range(50):
        fields.read(entry)
    assert len(fields.read(b"\xbe")) == len(fields.read(b"\xbf")) == 1
    assert fields.read(b"\xc0") == []
    assert fields.read(b"\x20\xbe") == []


def get(path: bytes, *, stream: int = 1, user: bytes = b"", flags: int = 0x5) -> bytes:
    block = b"\x82\x86\x41\x09site.test\x04%c%b" % (len(path), path)
    if user:
        block += b"\x0f\x22%c%b" % (len(user), user)
    return h2_frame(1, flags, stream, block)


def test_rules_hold_in_http2(vendors: House) -> None:
    """Credentials and exits of each stream; a refusal has its status and its headers."""
    right = b"Basic Y3Jhd2xlci1zZXNzaW9uLWg6aHVzaA=="  # crawler-session-h:hush
    with vendors.client("h2c") as client:
        client.send(H2_PREFACE + get(b"/p/9"))
        said = client.receive(9 + 9 + 110)
        assert b"\x08\x03407" in said
        assert b"proxy-authenticate" in said
        client.send(get(b"/p/9000", stream=3, user=right) + get(b"/p/1", stream=5, user=right))
        said = client.receive(9000)
    assert b"\x88" in said
    assert said.count(b"x-sim-exit") >= 1
    assert vendors.refusals("h2c") == {"407": 1}
    assert vendors.books("h2c")["exits"] == [{"sessions": 1, "used": 1}]


def test_http2_answers_late_and_out_of_turn(vendors: House) -> None:
    """All streams wait at the same time; more than a hundred are refused at once."""
    with vendors.client("h2c-late") as client:
        streams = range(1, 2 * 104, 2)
        client.send(H2_PREFACE + b"".join(get(b"/p/0", stream=n) for n in streams))
        said = client.receive(9 + 4 * 13)
        assert [said[9 + 13 * n + 3] for n in range(4)] == [H2_RST_STREAM] * 4
        answers = client.receive(100 * 60)
        assert answers.count(b"x-sim-vendor") >= 50


def test_fault_in_http2_ends_its_connection(vendors: House) -> None:
    """A reset is one of the connection: a sidecar sees no more of it."""
    with vendors.client("h2c-reset") as client:
        client.send(H2_PREFACE + get(b"/p/9"))
        with pytest.raises(ConnectionResetError):
            client.rest()


def test_http2_waits_for_the_body() -> None:
    """An upload gets room for as much again, and its answer at its end; one left gets none."""
    server = Http2(b"a")
    assert server.feed(get(b"/p/3", flags=0x4)) == b""
    room = (5).to_bytes(4, "big")
    both = h2_frame(8, 0, 0, room) + h2_frame(8, 0, 1, room)
    assert server.feed(h2_frame(0, 0, 1, b"hello")) == both
    assert server.feed(h2_frame(0, 1, 1, b"")).endswith(b"<!d")
    server.feed(get(b"/p/3", stream=3, flags=0x4) + h2_frame(3, 0, 3, bytes(4)))
    assert server.feed(h2_frame(0, 1, 3, b"")) == b""
    server.feed(get(b"/p/3", stream=5, flags=0x4))
    assert server.feed(h2_frame(1, 0x5, 5, b"")).endswith(b"<!d")  # trailers end it as well


def test_head_in_http2_has_no_body() -> None:
    """The size is told; the stream ends with the headers."""
    block = b"\x02\x04HEAD\x04\x06/p/700"
    said = Http2(b"a").feed(h2_frame(1, 0x5, 1, block))
    assert b"\x03700" in said
    assert said[4] == H2_END_HEADERS | H2_END_STREAM
