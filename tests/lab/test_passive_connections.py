"""With `inspect: passive` a connection is as without a sidecar, and counted all the same.

The test is crawler and vendor at once, step by step, through real Envoy on the rendered chains.
"""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from lab.inspection import with_inspection
from lab.ports import Ports
from tests.lab.conftest import running_sidecar, until
from tests.lab.parties import (
    ADDRESS,
    ASK,
    CONNECT,
    DATE,
    GET,
    HALF_POST,
    IDLE_SECONDS,
    KINDS,
    LIMIT_SECONDS,
    MIB,
    PAGE,
    QUIET_SECONDS,
    SOCKS,
    Parties,
    answer_with,
    assert_left,
    assert_open,
    leave,
    left,
    receive,
)
from tests.lab.test_connections import with_short_idle_timeout
from tests.lab.test_server_first import listen_also, other_port

DEAD_ADDRESS = "127.1.0.99"
ONE_SHOTS = 1000
LATE_SECONDS = 1.2  # more than the time for which a listener filter would look
BANNER = b"220 mail.test ESMTP\r\n"

SOCKS_CONNECT = b"\x05\x01\x00\x03\x09shop.test\x01\xbb"
SOCKS_OPEN = b"\x05\x00\x00\x01" + bytes(6)
CLIENT_HELLO = b"\x16\x03\x01\x00\x05hello"
BOTH_WAYS = pytest.mark.parametrize("how", ["closed", "reset"])
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def passive(settings):
    return with_inspection(with_short_idle_timeout(settings), "passive")


def changed(envoy):
    listener, *_ = envoy.bootstrap["static_resources"]["listeners"]  # those of names follow
    # A filter that waits would do so for 15 s, and close the connection.
    assert "listener_filters_timeout" not in listener
    admin = envoy.bootstrap["admin"]["address"]["socket_address"]["port_value"]
    listen_also(listener, other_port(Ports(admin - 1)))
    return envoy


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory):
    with running_sidecar(
        tmp_path_factory.mktemp("passive"),
        changed,
        change_settings=passive,
        addresses=[ADDRESS, DEAD_ADDRESS],
    ) as own:
        yield own


@pytest.fixture
def parties(sidecar):
    with contextlib.ExitStack() as stack:
        yield Parties(sidecar.ports, stack)


@pytest.fixture
def counted(sidecar):
    """Wait for the counts since the test began: {(visibility, outcome, code): how many}."""
    before, opaque = sidecar.requests(), sidecar.opaque_connections("vendor-a")

    def since(*expected):
        def now():
            found = {key[1:]: n for key, n in (sidecar.requests() - before).items()}
            more = sidecar.opaque_connections("vendor-a") - opaque
            return found | ({"opaque": more} if more else {})

        with contextlib.suppress(AssertionError):
            until(lambda: sum(now().values()) >= len(expected), seconds=LIMIT_SECONDS)
        assert now() == {key: expected.count(key) for key in expected}

    return since


SUCCESS = ("http", "success", "200")
TUNNEL = ("tunnel", "success", "200")


# One to one.


def test_a_hundred_crawlers_are_a_hundred_vendor_connections_in_order(parties, counted):
    """Nothing is pooled, held back or overtaken: exit addresses stay with their crawlers."""
    crawlers = [parties.crawler(ASK % n) for n in range(100)]
    vendors = [parties.vendor(ASK % n) for n in range(100)]
    parties.nobody_came()
    for n, (crawler, vendor) in enumerate(zip(crawlers, vendors, strict=True)):
        answer_with(vendor, PAGE.replace(b"\r\n\r\n", b"\r\nX-N: %d\r\n\r\n" % n), crawler)
        crawler.sendall(ASK % (100 + n))
        receive(vendor, ASK % (100 + n))
        answer_with(vendor, PAGE, crawler)
    counted(*[SUCCESS] * 200)


def test_pipelined_requests_arrive_at_once(parties, counted):
    """As they were sent: the vendor decides when it answers which."""
    whole = b"".join(ASK % n for n in range(5))
    crawler, vendor = parties.asked(whole)
    answer_with(vendor, PAGE * 5, crawler)
    counted(*[SUCCESS] * 5)


def test_a_thousand_one_shots_leave_no_socket_at_the_vendor(sidecar, parties, counted):
    """Vendors limit the connections of a customer: each ends with its crawler's."""
    for _ in range(ONE_SHOTS):
        crawler, vendor = parties.met("http")
        crawler.close()
        assert_left(vendor)
        vendor.close()
    counted(*[SUCCESS] * ONE_SHOTS)
    active = "envoy_cluster_upstream_cx_active"
    assert sidecar.counter(active, cluster_name="proxy-vendor_vendor-a") == 0


@pytest.mark.parametrize("idle", [False, True])
@EVERY_KIND
@BOTH_WAYS
def test_a_crawlers_end_reaches_the_vendor_at_once(parties, kind, how, idle):
    """A close is a close and a reset a reset, also of a connection that was idle for long."""
    crawler, vendor = parties.met(kind)
    if idle:
        time.sleep(2 * IDLE_SECONDS)
        assert_open(vendor)  # so no time-out is what ends it
    leave(crawler, how)
    received, ended, seconds = left(vendor)
    print(f"{kind}, {how}: {1000 * seconds:.1f} ms")
    assert (received, ended) == (b"", how)


@EVERY_KIND
@BOTH_WAYS
def test_a_vendors_end_reaches_the_crawler_at_once(parties, kind, how):
    """A crawler whose idle connection the vendor closed must know before it asks again."""
    crawler, vendor = parties.met(kind)
    leave(vendor, how)
    assert_left(crawler, how)


def test_an_idle_connection_stays_and_is_used_again(parties, counted):
    """idleTimeout is not for passive vendors: nobody but the two ends closes."""
    crawler, vendor = parties.met("http")
    time.sleep(2.5 * IDLE_SECONDS)
    crawler.sendall(ASK % 1)
    receive(vendor, ASK % 1)
    answer_with(vendor, PAGE, crawler)
    counted(SUCCESS, SUCCESS)


# First bytes.


@pytest.mark.parametrize("port", ["http", "other"])
def test_a_vendor_that_speaks_first_is_not_waited_for(sidecar, parties, counted, port):
    """Nobody looks at first bytes before the connection is made, on any port."""
    started = time.monotonic()
    crawler = parties.crawler(b"", port=other_port(sidecar.ports) if port == "other" else None)
    vendor = parties.vendor(b"")
    vendor.sendall(BANNER)
    receive(crawler, BANNER)
    print(f"first byte after {1000 * (time.monotonic() - started):.1f} ms")
    crawler.close()
    vendor.close()
    counted("opaque")


LATE = {
    "http": (GET, PAGE, SUCCESS),
    "tunnel": (CONNECT, KINDS["tunnel"][1], TUNNEL),
    "socks": (SOCKS + SOCKS_CONNECT, b"\x05\x00" + SOCKS_OPEN, ("socks", "success", "0")),
    "opaque": (CLIENT_HELLO, b"\x15\x03\x01", "opaque"),
}


@pytest.mark.parametrize("early", [0, 1, 3])
@pytest.mark.parametrize("name", LATE)
def test_a_first_byte_that_comes_late_is_counted_by_what_it_is(parties, counted, name, early):
    """A crawler in a throttled pod may take a second to send, or to send on."""
    request, answer, key = LATE[name]
    crawler = parties.crawler(request[:early])
    time.sleep(LATE_SECONDS)
    crawler.sendall(request[early:])
    vendor = parties.vendor(request)
    answer_with(vendor, answer, crawler)
    crawler.close()
    vendor.close()
    counted(key)


def test_every_port_is_read(sidecar, parties, counted):
    """Vendors sell ports by the thousand; none has to be named in httpPorts."""
    crawler = parties.crawler(GET, port=other_port(sidecar.ports))
    answer_with(parties.vendor(GET), PAGE, crawler)
    counted(SUCCESS)


# Half-closes, slow readers.


def test_a_request_and_a_half_close_in_one_segment(parties, counted):
    """As `printf … | nc` sends it: carried, answered, counted."""
    crawler = parties.crawler(b"")
    crawler.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    crawler.sendall(GET)
    crawler.shutdown(socket.SHUT_WR)
    vendor = parties.vendor(GET)
    assert_left(vendor)
    vendor.sendall(PAGE)
    vendor.close()
    assert_left(crawler, after=PAGE)
    counted(SUCCESS)


@pytest.mark.parametrize("leaver_is", ["crawler", "vendor"])
@EVERY_KIND
def test_a_half_close_leaves_the_other_direction_open(parties, leaver_is, kind):
    """For as long as the other end likes."""
    first, second = parties.met(kind)[:: 1 if leaver_is == "crawler" else -1]
    first.shutdown(socket.SHUT_WR)
    assert_left(second)
    second.sendall(b"late")
    receive(first, b"late")
    second.close()
    assert_left(first)


@EVERY_KIND
def test_a_crawler_that_reads_slowly_misses_nothing(parties, kind):
    """And Envoy holds no more than its buffer for it."""
    content = b"x" * (4 * MIB)
    request, answer = KINDS[kind]
    if kind == "http":
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n" % (len(content), DATE)
    crawler = parties.crawler(request, receive_buffer=64 << 10)
    vendor = parties.vendor(request)
    vendor.sendall(answer + content)
    vendor.close()
    time.sleep(1.5)
    received, how, _ = left(crawler)
    assert how == "closed"
    assert len(received) == len(answer + content)
    assert received == answer + content


@EVERY_KIND
def test_what_a_crawler_sent_right_before_it_closed_arrives(parties, kind):
    """However slowly the vendor reads."""
    crawler, vendor = parties.met(kind)
    sent = 0
    crawler.settimeout(QUIET_SECONDS)
    with contextlib.suppress(TimeoutError):
        while True:
            sent += crawler.send(b"x" * MIB)
    crawler.close()
    received = 0
    vendor.settimeout(LIMIT_SECONDS)
    while more := vendor.recv(64 << 10):
        received += len(more)
    assert received == sent


# An end in the middle.

HALF_PAGE = PAGE.replace(b"Length: 2", b"Length: 9")


@pytest.mark.parametrize(
    ("request_bytes", "answer", "key"),
    [
        pytest.param(GET, b"", ("http", "reset", "0"), id="unanswered"),
        pytest.param(HALF_POST, b"", ("http", "reset", "0"), id="POST"),
        pytest.param(CONNECT, b"", ("tunnel", "reset", "0"), id="CONNECT"),
        pytest.param(GET, PAGE[:30], ("http", "reset", "0"), id="inside a head"),
        pytest.param(GET, HALF_PAGE, ("http", "reset", "200"), id="inside a body"),
        pytest.param(SOCKS, b"", ("socks", "reset", "0"), id="SOCKS5"),
    ],
)
@BOTH_WAYS
def test_a_vendor_that_leaves_a_request_is_no_answer(
    parties, counted, request_bytes, answer, key, how
):
    """The crawler sees what it would see without a sidecar: its connection ends."""
    crawler, vendor = parties.asked(request_bytes)
    answer_with(vendor, answer, crawler)
    leave(vendor, how)
    assert_left(crawler, how)
    counted(key)


@pytest.mark.parametrize(
    ("request_bytes", "key"),
    [
        pytest.param(GET, ("http", "client_cancelled", "0"), id="GET"),
        pytest.param(HALF_POST, ("http", "client_cancelled", "0"), id="POST"),
        pytest.param(CONNECT, ("tunnel", "client_cancelled", "0"), id="CONNECT"),
        pytest.param(SOCKS, ("socks", "client_cancelled", "0"), id="SOCKS5"),
    ],
)
@BOTH_WAYS
def test_a_crawler_that_leaves_ends_the_vendors_work(parties, counted, request_bytes, key, how):
    """No bytes are paid for a crawler that is gone."""
    crawler, vendor = parties.asked(request_bytes)
    leave(crawler, how)
    assert_left(vendor, how)
    # Until then it may still answer: a crawler's FIN is a half-close.
    vendor.close()
    counted(key)


# The vendor is not there.

REFUSED = {
    "http": (GET, ("http", "connect_failed", "0")),
    "tunnel": (CONNECT, ("tunnel", "connect_failed", "0")),
    "socks": (SOCKS, ("socks", "connect_failed", "0")),
    "opaque": (CLIENT_HELLO, "opaque"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_vendor_that_refuses_is_a_connection_that_ends(sidecar, counted, name):
    """Nobody answers in its place."""
    request, key = REFUSED[name]
    with socket.create_connection((DEAD_ADDRESS, sidecar.ports.vendor)) as crawler:
        crawler.sendall(request)
        received, how, _ = left(crawler)
    assert received == b""
    assert how in ("closed", "reset")
    counted(key)
