"""Crawler and vendor count the same in every protocol, to the byte."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from simulation.crawler.faults import SOCKS_FAULTS
from simulation.crawler.tls import tls_context
from tests.simulation.conftest import counts, lines, saying

MIX = {"http": 0.3, "tunnel": 0.3, "tls": 0.2, "socks5": 0.2}


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param([f"127.12.8.{number}" for number in (10, 11, 12, 13, 99)], id="ipv4"),
        pytest.param(["::1"] * 5, id="ipv6"),
    ],
)
def test_both_books_agree_in_every_protocol(vendors: Any) -> None:
    """Counts, opaque connections and every byte of every socket; no protocol is left out."""
    mine = vendors.crawl(
        count=1000,
        concurrency=48,
        mix=MIX,
        vendors=[*vendors.vendors, vendors.hidden],
        outside=[{**vendors.outside, "share": 0.02}, {**vendors.outside, "share": 0.01}],
    )
    vendors_books = vendors.settled_books()
    assert mine["unexpected"] == []
    assert counts(mine) == counts(vendors_books)
    opaque = [*mine["opaque"], {"vendor": "outside", **mine["outside"]}]
    assert lines(opaque) == lines(vendors_books["opaque"], mirrored=True)
    theirs = lines(vendors_books["wire"], mirrored=True)
    assert theirs.pop(("outside", "socks5")) == lines(opaque)["outside", ""]
    assert lines(mine["wire"]) == theirs
    protocols = {(row["vendor"], row["protocol"]): row["count"] for row in mine["protocols"]}
    who = ("vendor-a", "vendor-b", "hidden")
    assert sorted(protocols) == sorted(itertools.product(who, MIX)) == sorted(theirs)
    assert sum(protocols.values()) + mine["outside"]["connections"] == 1000
    assert mine["outside"]["connections"] == 30
    for (name, protocol), count in protocols.items():
        reused = protocol == "http" and name != "hidden"
        assert (theirs[name, protocol][0] < count) if reused else theirs[name, protocol][0] == count


SOCKS_COUNTS = 20


@pytest.mark.parametrize("visible", ["passive"])
@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("fault", ["", *sorted(SOCKS_FAULTS.keys() - {"dead"})])
def test_socks5_has_outcomes_where_its_handshake_is_read(
    vendors: Any, fault: str, login: bool
) -> None:
    """Both sides name the same outcome, and TLS beside it stays an opaque connection."""
    vendor = {**vendors.vendors[0], "socks5_auth": login}
    mine = vendors.crawl(
        count=2 * SOCKS_COUNTS,
        timeout_after_seconds=0.5,
        mix={"socks5": 0.5, "tls": 0.5},
        vendors=[vendor | ({"faults": {fault: 1}} if fault else {})],
    )
    assert mine["unexpected"] == []
    outcome = SOCKS_FAULTS.get(fault, "success")
    expected = {("vendor-a", "socks", outcome): SOCKS_COUNTS}
    theirs = vendors.settled_books()
    assert counts(mine) == expected
    assert counts(theirs) == expected
    assert mine["opaque"][0]["connections"] == SOCKS_COUNTS
    assert lines(mine["opaque"]) == lines(theirs["opaque"], mirrored=True)
    if outcome not in ("client_cancelled", "timeout", "reset"):
        assert lines(mine["wire"]) == lines(theirs["wire"], mirrored=True)


def test_connections_alone_are_booked_where_no_more_is_visible(vendors: Any) -> None:
    """A plain request is one connection with its bytes, and has no outcome."""
    mix = {"http": 0.5, "tunnel": 0.5}
    mine = vendors.crawl(count=40, mix=mix, vendors=[vendors.hidden])
    assert (mine["counts"], mine["true"], mine["unexpected"]) == ([], [], [])
    [row] = mine["opaque"]
    assert row["connections"] == 40
    assert vendors.settled_books()["counts"] == []
    wire = list(lines(mine["wire"]).values())
    assert [line[0] for line in wire] == [20, 20]
    assert (row["bytes_sent"], row["bytes_received"]) == tuple(
        sum(line[column] for line in wire) for column in (1, 2)
    )


def test_opaque_connection_that_goes_wrong_is_unexpected(vendors: Any) -> None:
    """Each protocol tells an answer from a refusal, and books the connection all the same."""
    nowhere = {**vendors.hidden, "address": vendors.hidden["dead_address"]}
    books = vendors.crawl(count=20, mix=dict.fromkeys(MIX, 0.25), vendors=[nowhere])
    assert {(row["intended"], row["seen"], row["count"]) for row in books["unexpected"]} == {
        (protocol, "refused", 5) for protocol in MIX
    }
    assert (books["opaque"][0]["connections"], books["wire"]) == (20, [])


def test_answer_of_anybody_is_no_success_of_an_opaque_protocol(vendors: Any, peer: Any) -> None:
    """The crawler notices in every protocol that something else than the vendor answers."""
    entry = {
        **peer(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
        "visible": "connections",
    }
    books = vendors.crawl(count=20, mix=dict.fromkeys(MIX, 0.25), vendors=[entry])
    assert {(row["intended"], row["seen"], row["count"]) for row in books["unexpected"]} == {
        ("http", "refused", 5),
        ("tunnel", "lost", 5),
        ("tls", "lost", 5),
        ("socks5", "refused", 5),
    }


def test_rejected_request_never_reaches_the_vendor(vendors: Any, peer: Any) -> None:
    """A sidecar's 400 is as intended, and a vendor's answer is not."""
    sidecar = peer(saying(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"))
    plan = {"count": 6, "mix": {"http": 1}}
    books = vendors.crawl(**plan, vendors=[{**sidecar, "faults": {"rejected": 1}}])
    assert counts(books) == {("peer", "http", "rejected"): 6}
    assert books["unexpected"] == []
    books = vendors.crawl(**plan, vendors=[{**vendors.vendors[0], "faults": {"rejected": 1}}])
    assert counts(books) == {("vendor-a", "http", "success"): 6}
    row = {"vendor": "vendor-a", "intended": "rejected", "seen": "success", "count": 6}
    assert books["unexpected"] == [row]


def connect(vendors: Any, place: dict[str, Any] | None = None) -> socket.socket:
    where = place or vendors.vendors[0]
    return socket.create_connection((where["address"], where["port"]), timeout=5)


def received(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := sock.recv(65536)):
        found += data
    return found


def test_open_connections_are_on_the_wire_and_in_no_other_row(vendors: Any) -> None:
    """What a tunnel carries can be read while it is open; the opaque books wait for its end."""
    with connect(vendors) as sock:
        sock.sendall(b"\x05\x01\x00")
        assert received(sock, 2) == b"\x05\x00"
        books = json.loads(vendors.get("/books"))
        assert (books["open"], books["opaque"]) == (1, [])
        assert lines(books["wire"]) == {("vendor-a", "socks5"): (1, 2, 3)}
    books = vendors.settled_books()
    assert lines(books["wire"]) == {("vendor-a", "socks5"): (1, 2, 3)}
    assert lines(books["opaque"]) == {("vendor-a", ""): (1, 2, 3)}


@pytest.mark.parametrize("fault", ["refused-open", "vendor-error"])
@pytest.mark.parametrize("method", ["CONNECT", "GET"])
def test_refusal_without_a_length_ends_with_its_connection(
    vendors: Any, method: str, fault: str
) -> None:
    """`refused-open` answers 502 without a length, and closes to end the body."""
    host = f"fault-{fault}.sim.test"
    target = f"{host}:443" if method == "CONNECT" else f"http://{host}/"
    with connect(vendors) as sock:
        sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head, _, body = received(sock, 1).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert b"\r\nProxy-Status: " in head
        assert (b"Content-Length" in head) == (fault == "vendor-error")
        if fault == "refused-open":
            rest = b"".join(iter(lambda: sock.recv(65536), b""))
            assert body + rest == (b"" if method == "CONNECT" else b"502 Bad Gateway\n")
    visibility = "tunnel" if method == "CONNECT" else "http"
    books = vendors.settled_books()
    assert counts(books) == {("vendor-a", visibility, "vendor_error"): 1}
    assert [row["protocol"] for row in books["wire"]] == [visibility]


def test_tunnel_within_tls_to_the_proxy(vendors: Any) -> None:
    """CONNECT inside TLS opens a second session in the first, and stays one opaque connection."""
    context = tls_context()
    with context.wrap_socket(connect(vendors)) as outer:
        outer.sendall(b"CONNECT site.sim.test:443 HTTP/1.1\r\n\r\n")
        assert outer.recv(65536).startswith(b"HTTP/1.1 200 ")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inner = context.wrap_bio(incoming, outgoing)

        def step(do: Callable[[], Any]) -> Any:
            while True:
                try:
                    result = do()
                except ssl.SSLWantReadError:
                    outer.sendall(outgoing.read())
                    incoming.write(outer.recv(65536))
                else:
                    outer.sendall(outgoing.read())
                    return result

        step(inner.do_handshake)
        step(lambda: inner.write(b"GET /p/5000 HTTP/1.1\r\nHost: site.sim.test\r\n\r\n"))
        page = b""
        while len(page) < 5000:
            page += step(lambda: inner.read(16384))
    assert page.startswith(b"HTTP/1.1 200 OK\r\nX-Sim-Vendor: vendor-a\r\n")
    books = vendors.settled_books()
    assert (books["counts"], [row["connections"] for row in books["opaque"]]) == ([], [1])
    assert [row["protocol"] for row in books["wire"]] == ["tls"]
