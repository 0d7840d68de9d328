"""What the crawler concludes from bytes, without a socket."""

from __future__ import annotations

import pytest

from simulation.crawler.faults import FAULTS
from simulation.crawler.http1 import Answer
from simulation.crawler.outcomes import Seen, visible_outcome
from simulation.crawler.sequence import PlannedRequest
from simulation.pages import BAN_MARK
from simulation.proxy.answers import BAN_PAGE, action_of
from simulation.proxy.connection import GARBAGE
from simulation.proxy.requests import Request, parse_request


def answer(raw: bytes, *, connect: bool = False, step: int = 0) -> Answer:
    found = Answer(connect=connect)
    for start in range(0, len(raw), step or len(raw)):
        found.feed(memoryview(raw)[start : start + (step or len(raw))])
    return found


def planned(fault: str, protocol: str = "http") -> PlannedRequest:
    return PlannedRequest(0, protocol, fault, 100, 0)


UNAVAILABLE = Seen("answered", answer(b"HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nno!"))
BAD_GATEWAY = Seen("answered", answer(b"HTTP/1.1 502 No\r\ncontent-length: 3\r\n\r\nno!"))
REFUSAL = Seen("answered", answer(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"))


@pytest.mark.parametrize("protocol", ["http", "tunnel"])
@pytest.mark.parametrize(
    ("fault", "seen", "outcome"),
    [
        # An answer without X-Sim-Vendor is the sidecar's: the request's intent decides.
        ("reset", UNAVAILABLE, "reset"),
        ("close", UNAVAILABLE, "reset"),
        ("garbage", UNAVAILABLE, "unexpected"),
        ("garbage", BAD_GATEWAY, "bad_answer"),
        ("garbage", Seen("garbage", Answer()), "bad_answer"),
        ("garbage", Seen("lost", Answer()), "unexpected"),
        ("dead", UNAVAILABLE, "connect_failed"),
        ("", UNAVAILABLE, "unexpected"),
        ("slow", UNAVAILABLE, "unexpected"),
        ("rate-limited", UNAVAILABLE, "unexpected"),
        ("rejected", UNAVAILABLE, "unexpected"),
        ("rejected", REFUSAL, "rejected"),
        ("rate-limited", REFUSAL, "unexpected"),
        ("", REFUSAL, "unexpected"),
        # What the crawler itself does needs no intent; it leaves before or after the sidecar.
        ("", Seen("left", Answer(), 0.05), "client_cancelled"),
        ("", Seen("left", Answer(), 1.2), "timeout"),
        ("", Seen("refused", Answer()), "connect_failed"),
        # A connection that its peer closed while idle is no failure of the vendor.
        ("", Seen("lost", Answer()), "unexpected"),
        ("reset", Seen("lost", Answer()), "reset"),
        # Nor is a machine that has no more ports.
        ("dead", Seen("local", Answer()), "unexpected"),
    ],
)
def test_outcome_of_what_no_vendor_answered(
    fault: str, seen: Seen, outcome: str, protocol: str
) -> None:
    assert visible_outcome(planned(fault, protocol), seen, 1) == outcome


@pytest.mark.parametrize("step", [0, 1, 7])
def test_answer_is_the_same_however_it_is_cut_into_pieces(step: int) -> None:
    """Status, vendor, error and ban page are found in any fragmentation."""
    head = b"HTTP/1.1 200 OK\r\nx-sim-VENDOR: a\r\nProxy-Status: x\r\nConnection: close\r\n"
    raw = head + b"Content-Length: %d\r\n\r\n" % len(BAN_PAGE) + BAN_PAGE
    found = answer(raw, step=step)
    assert (found.status, found.by_vendor, found.error) == (200, True, b"x")
    assert (found.banned, found.closes, found.garbage) == (True, True, False)


@pytest.mark.parametrize("step", [0, 1, 3])
def test_chunks_end_an_answer_that_names_no_length(step: int) -> None:
    """Envoy hands on an answer that its connection ended in chunks, and keeps the crawler's."""
    raw = b"HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n0\r\n\r\nA\r\n"
    found = Answer()
    pieces = raw + b"0123456789\r\n0\r\n\r\n"
    ends = [
        found.feed(memoryview(pieces)[start : start + (step or len(pieces))])
        for start in range(0, len(pieces), step or len(pieces))
    ]
    assert ends[-1]
    assert not any(ends[:-1])
    assert (found.status, found.garbage, found.endless) == (502, False, False)


@pytest.mark.parametrize("connect", [True, False])
def test_refused_connect_is_whole_however_its_connection_ends(connect: bool) -> None:
    """Envoy often leaves out the last chunk when a vendor refuses and closes behind the head."""
    raw = b"HTTP/1.1 502 Bad\r\nX-Sim-Vendor: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answer(raw, connect=connect).endless == connect


def test_chunk_without_a_size_is_garbage() -> None:
    """A chunk without a size ends the answer as garbage at once."""
    assert answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n").garbage


@pytest.mark.parametrize("raw", [GARBAGE, b"\x15\x03\x01", b"HTTP/1.1 abc\r\n\r\n", b"SSH-2"])
def test_bytes_that_are_no_http_are_garbage(raw: bytes) -> None:
    """Garbage is recognised at once instead of by a time-out."""
    assert answer(raw).garbage


def test_the_two_programs_agree_on_faults_and_bans() -> None:
    """The programs do not import each other, so a test compares their faults."""
    for fault in FAULTS.keys() - {"dead", "rejected"}:  # they reach no vendor
        request = Request(b"GET", f"fault-{fault}.sim.test", b"/p/9", True, 0, False)
        assert b"400" not in action_of(fault, request, missing=True).status
    assert BAN_PAGE.startswith(BAN_MARK)


@pytest.mark.parametrize(
    ("head", "host", "path"),
    [
        (b"GET http://Site-1.sim.test/p/9 HTTP/1.1", "site-1.sim.test", b"/p/9"),
        (b"GET http://site-1.sim.test:8080 HTTP/1.1", "site-1.sim.test", b""),
        (b"CONNECT fault-reset.sim.test:443 HTTP/1.1", "fault-reset.sim.test", b""),
        (b"GET / HTTP/1.1", "", b"/"),
        (b"GET http://[2001:DB8::1]/p/9 HTTP/1.1", "2001:db8::1", b"/p/9"),
        (b"CONNECT [2001:db8::1]:443 HTTP/1.1", "2001:db8::1", b""),
    ],
)
def test_vendor_reads_the_host_it_is_asked_for(head: bytes, host: str, path: bytes) -> None:
    """Absolute form, CONNECT and origin form; the port and the case do not matter."""
    request = parse_request(head)
    assert request
    assert (request.host, request.path) == (host, path)
