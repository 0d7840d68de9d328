"""One vendor connection for each of the crawler's, and what one side sees when the other leaves.

The test is crawler and vendor at once, step by step, through real Envoy on the rendered chains.
docs/fidelity.md says what it means, in a row that names the test.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time

import pytest

from components.attribution.clusters import CONNECT_TIMEOUT
from lab.processes import children
from lab.system import ROOT, load_settings, rendered_envoy, start_envoy, wait_until_ready
from tests.lab.conftest import free_ports

ADDRESS = "127.1.0.10"
IDLE_SECONDS = 1
CONNECT_SECONDS = 1
AT_ONCE_SECONDS = 0.8  # less than any time-out in play
LIMIT_SECONDS = 10.0
QUIET_SECONDS = 0.2

DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
ASK = b"GET http://shop.test/%d HTTP/1.1\r\nHost: shop.test\r\n\r\n"
GET = ASK % 0
HALF_POST = b"POST http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\n\r\nhalf"
CONNECT = b"CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n\r\n"
SOCKS = b"\x05\x01\x00"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nok" % DATE
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n%b\r\n" % DATE
CLOSE = b"connection: close\r\n"
MIB = 1 << 20

KINDS = {"http": (GET, PAGE), "tunnel": (CONNECT, ESTABLISHED), "opaque": (SOCKS, b"\x05\x00")}


def own_answer(status, reason, *, closes=False):
    """Return what Envoy answers itself when the vendor fails it, with `date: now`."""
    body = b"upstream connect error or disconnect/reset before headers. reset reason: " + reason
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\ncontent-type: text/plain\r\n%b%b\r\n%b" % (
        *(status, len(body), b"date: now\r\n", CLOSE if closes else b"", body),
    )


def unavailable(reason, *, closes=False):
    return own_answer(b"503 Service Unavailable", reason, closes=closes)


LOST = b"connection termination"
REFUSED = b"remote connection failure"
UNREACHABLE = b"connection timeout"


def rendered(ports, folder):
    """Return the lab's Envoy with the time-outs that a test can wait for."""
    settings = load_settings(ports)
    vendors = tuple(
        vendor.model_copy(update={"idle_timeout": IDLE_SECONDS}) for vendor in settings.vendors
    )
    envoy = rendered_envoy(
        settings.model_copy(update={"vendors": vendors}), [ADDRESS], ports, folder
    )
    for cluster in envoy.bootstrap["static_resources"]["clusters"]:
        assert cluster["connect_timeout"] == CONNECT_TIMEOUT
        cluster["connect_timeout"] = f"{CONNECT_SECONDS}s"
    return envoy


@pytest.fixture(scope="module")
def quick_sidecar(tmp_path_factory):
    folder, ports = tmp_path_factory.mktemp("connections"), free_ports()
    with children() as family:
        start_envoy(family, rendered(ports, folder), folder)
        wait_until_ready(family, "envoy", f"http://127.0.0.1:{ports.envoy_admin}/ready")
        yield ports


class Parties:
    """Crawlers and a vendor; every socket closes with the block."""

    def __init__(self, ports, stack):
        self._ports = ports
        self._stack = stack
        self._listener = stack.enter_context(
            socket.create_server((ADDRESS, ports.vendor_upstream), backlog=256)
        )

    def crawler(self, sends, *, receive_buffer=None):
        """Connect a crawler, which sends at once."""
        crawler = self._stack.enter_context(socket.socket())
        if receive_buffer:
            crawler.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        crawler.settimeout(LIMIT_SECONDS)
        crawler.connect((ADDRESS, self._ports.vendor))
        crawler.sendall(sends)
        return crawler

    def vendor(self, expects):
        """Take the next vendor connection and what comes first on it."""
        self._listener.settimeout(LIMIT_SECONDS)
        vendor = self._stack.enter_context(self._listener.accept()[0])
        receive(vendor, expects)
        return vendor

    def asked(self, request):
        """Return crawler and vendor with a request that the vendor has not answered."""
        return self.crawler(request), self.vendor(request)

    def met(self, kind):
        """Return crawler and vendor after one good exchange."""
        request, answer = KINDS[kind]
        crawler, vendor = self.asked(request)
        answer_with(vendor, answer, crawler)
        return crawler, vendor

    def nobody_came(self):
        self._listener.settimeout(QUIET_SECONDS)
        with pytest.raises(TimeoutError):
            self._listener.accept()


@pytest.fixture
def parties(quick_sidecar):
    with contextlib.ExitStack() as stack:
        yield Parties(quick_sidecar, stack)


def receive(connection, expected):
    """Assert that exactly `expected` comes next."""
    received = b""
    connection.settimeout(LIMIT_SECONDS)
    while len(received) < len(expected):
        more = connection.recv(len(expected) - len(received))
        assert more, received
        received += more
    assert received == expected


def answer_with(vendor, answer, crawler):
    vendor.sendall(answer)
    receive(crawler, answer)


def left(connection, *, within=LIMIT_SECONDS):
    """Return (all that still comes, how the other side left it, after how many seconds)."""
    received, start = bytearray(), time.monotonic()
    how = "open"
    with contextlib.suppress(TimeoutError):
        try:
            while how == "open":
                connection.settimeout(max(start + within - time.monotonic(), 0.001))
                more = connection.recv(MIB)
                received += more
                how = how if more else "closed"
        except ConnectionResetError:
            how = "reset"
    return with_now(bytes(received)), how, time.monotonic() - start


def with_now(text):
    return re.sub(rb"\r\ndate: [^\r]+\r\n", b"\r\ndate: now\r\n", text)


def leave(connection, how):
    """Close; with "reset" by RST, as a killed process or a lost session does."""
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def assert_open(connection):
    assert left(connection, within=QUIET_SECONDS)[:2] == (b"", "open")


def assert_left(connection, how="closed", *, after=b"", within=AT_ONCE_SECONDS):
    received, ended, _ = left(connection, within=within)
    assert (received, ended) == (after, how)


BOTH_WAYS = pytest.mark.parametrize("how", ["closed", "reset"])


# One to one.


def test_a_hundred_crawler_connections_are_a_hundred_at_the_vendor(parties):
    """Each keeps its exit address; once the crawlers have left, none stays open."""
    crawlers = [parties.crawler(ASK % n) for n in range(100)]
    vendors = [parties.vendor(b"") for _ in crawlers]
    asked = {vendor.recv(MIB) for vendor in vendors}
    assert asked == {ASK % n for n in range(100)}
    for vendor in vendors:
        vendor.sendall(PAGE)
    for crawler in crawlers:
        receive(crawler, PAGE)
        crawler.close()
    last_left = time.monotonic()
    parties.nobody_came()
    for vendor in vendors:
        assert_left(vendor, within=IDLE_SECONDS + 10)
    seconds = time.monotonic() - last_left
    print(f"last of 100 vendor connections closed after {seconds:.2f} s, idleTimeout 1 s")
    assert seconds < IDLE_SECONDS + 10


def test_requests_of_one_connection_arrive_on_one_connection(parties):
    """A session stays on its exit address."""
    crawler, vendor = parties.met("http")
    for n in range(1, 5):
        crawler.sendall(ASK % n)
        receive(vendor, ASK % n)
        answer_with(vendor, PAGE, crawler)
    parties.nobody_came()


def test_pipelined_requests_arrive_in_order_on_one_connection(parties):
    """Envoy sends the next once the one before is answered."""
    crawler = parties.crawler(b"".join(ASK % n for n in range(5)))
    vendor = parties.vendor(ASK % 0)
    for n in range(1, 5):
        answer_with(vendor, PAGE, crawler)
        receive(vendor, ASK % n)
    answer_with(vendor, PAGE, crawler)
    parties.nobody_came()


@pytest.mark.parametrize("asked_to_close", [False, True])
@BOTH_WAYS
def test_an_idle_vendor_connection_outlives_its_crawler_by_idle_timeout(
    parties, how, asked_to_close
):
    """The price of 1:1: Envoy has no switch that closes the vendor's side with the crawler's."""
    if asked_to_close:
        crawler = parties.crawler(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        vendor = parties.vendor(GET)
        vendor.sendall(PAGE)
        assert_left(crawler, after=PAGE.replace(DATE, DATE + CLOSE))
    else:
        crawler, vendor = parties.met("http")
    leave(crawler, how)
    received, ended, seconds = left(vendor, within=IDLE_SECONDS + 10)
    print(f"closed {seconds:.2f} s after the crawler left, idleTimeout {IDLE_SECONDS} s")
    assert (received, ended) == (b"", "closed")
    assert seconds > IDLE_SECONDS / 2


# Tunnels and opaque connections.


@pytest.mark.parametrize("who", ["crawler", "vendor"])
@BOTH_WAYS
def test_a_tunnel_ends_at_once_on_both_sides(parties, who, how):
    """Whoever leaves, and however: the other sees an orderly close."""
    crawler, vendor = parties.met("tunnel")
    leaver, stayer = (crawler, vendor) if who == "crawler" else (vendor, crawler)
    leave(leaver, how)
    assert_left(stayer)


@pytest.mark.parametrize("who", ["crawler", "vendor"])
@BOTH_WAYS
def test_an_opaque_connection_ends_as_without_envoy(parties, who, how):
    """A close arrives as a close, a reset as a reset."""
    crawler, vendor = parties.met("opaque")
    leaver, stayer = (crawler, vendor) if who == "crawler" else (vendor, crawler)
    leave(leaver, how)
    assert_left(stayer, how)


@pytest.mark.parametrize("who", ["crawler", "vendor"])
def test_a_half_close_ends_a_tunnel(parties, who):
    """The other side sees a close, and so does whoever wanted to go on reading."""
    crawler, vendor = parties.met("tunnel")
    first, second = (crawler, vendor) if who == "crawler" else (vendor, crawler)
    first.shutdown(socket.SHUT_WR)
    assert_left(second)
    assert_left(first)


@pytest.mark.parametrize("who", ["crawler", "vendor"])
def test_a_half_close_passes_an_opaque_connection(parties, who):
    """The other direction goes on, as without Envoy."""
    crawler, vendor = parties.met("opaque")
    first, second = (crawler, vendor) if who == "crawler" else (vendor, crawler)
    first.shutdown(socket.SHUT_WR)
    assert_left(second)
    second.sendall(b"late")
    receive(first, b"late")
    second.close()
    assert_left(first)


@pytest.mark.parametrize("kind", ["close", "tunnel", "opaque"])
def test_a_crawler_that_reads_slowly_misses_nothing(parties, kind):
    """Envoy's default drops what a closed connection's crawler has not taken within a second."""
    # More than the sockets' buffers hold, or there would be nothing left in Envoy's own.
    content = b"x" * (4 * MIB)
    if kind == "close":
        request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b" % (len(content), DATE)
        answer, arrives = head + b"\r\n", head + CLOSE + b"\r\n"
        at_vendor = GET
    else:
        at_vendor, answer = KINDS[kind]
        request, arrives = at_vendor, answer
    crawler = parties.crawler(request, receive_buffer=64 << 10)
    vendor = parties.vendor(at_vendor)
    vendor.sendall(answer + content)
    vendor.close()
    time.sleep(1.5)
    received, how, _ = left(crawler)
    assert how == "closed"
    assert len(received) == len(arrives + content)
    assert received == arrives + content


@pytest.mark.parametrize(("kind", "arrives"), [("tunnel", "not all"), ("opaque", "all")])
def test_what_a_crawler_sent_right_before_it_closed(parties, kind, arrives):
    """A tunnel drops what a slow vendor has not taken yet: wait for an answer before closing."""
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
        time.sleep(0.001)
    assert received == sent if arrives == "all" else 0 < received < sent


# The crawler leaves in the middle.


@pytest.mark.parametrize("request_bytes", [GET, HALF_POST, CONNECT], ids=["GET", "POST", "CONNECT"])
@BOTH_WAYS
def test_a_crawler_that_leaves_unanswered_ends_the_vendors_connection(parties, request_bytes, how):
    """No leak, and the vendor can stop working for nobody."""
    crawler, vendor = parties.asked(request_bytes)
    leave(crawler, how)
    assert_left(vendor)


HALF_PAGE = PAGE.replace(b"Length: 2", b"Length: 9")
HALF_CHUNKED = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" % DATE


@pytest.mark.parametrize("answer", [HALF_PAGE, HALF_CHUNKED], ids=["length", "chunked"])
@BOTH_WAYS
def test_a_crawler_that_leaves_inside_an_answer_ends_the_vendors_connection(parties, answer, how):
    """No leak, and no bytes that nobody wants."""
    crawler, vendor = parties.asked(GET)
    answer_with(vendor, answer, crawler)
    leave(crawler, how)
    assert_left(vendor)


@BOTH_WAYS
def test_half_a_head_reaches_nobody(parties, how):
    """A request is sent on once its head is complete."""
    leave(parties.crawler(GET[:-1]), how)
    parties.nobody_came()


def test_a_crawler_that_ends_its_sending_side_with_its_request_gets_no_answer(parties):
    """Envoy takes the half-closed connection for abandoned; whether it asked is chance."""
    crawler = parties.crawler(GET)
    crawler.shutdown(socket.SHUT_WR)
    received, how, _ = left(crawler, within=AT_ONCE_SECONDS)
    assert received == b""
    assert how in ("closed", "reset")


# The vendor leaves.


@BOTH_WAYS
def test_a_vendor_that_closes_an_idle_connection_is_not_noticed(parties, how):
    """The crawler's connection stays; its next request goes out on another one."""
    crawler, vendor = parties.met("http")
    leave(vendor, how)
    assert_open(crawler)
    crawler.sendall(ASK % 1)
    answer_with(parties.vendor(ASK % 1), PAGE, crawler)


def test_a_vendor_that_says_close_is_closed_and_the_crawler_not_told(parties):
    """`Connection: close` in an answer is between Envoy and the vendor."""
    crawler, vendor = parties.asked(GET)
    vendor.sendall(PAGE.replace(DATE, DATE + b"Connection: close\r\n"))
    receive(crawler, PAGE)
    assert_left(vendor)
    crawler.sendall(ASK % 1)
    answer_with(parties.vendor(ASK % 1), PAGE, crawler)


@pytest.mark.parametrize(
    ("request_bytes", "closes"),
    [(GET, False), (HALF_POST, True), (CONNECT, True)],
    ids=["GET", "POST", "CONNECT"],
)
@BOTH_WAYS
def test_a_vendor_that_leaves_a_request_unanswered_is_a_503(parties, request_bytes, closes, how):
    """Without Envoy the crawler would see its own connection end; a request is not sent twice."""
    crawler, vendor = parties.asked(request_bytes)
    leave(vendor, how)
    if closes:
        assert_left(crawler, after=unavailable(LOST, closes=True))
    else:
        receive_own(crawler, unavailable(LOST))
        assert_open(crawler)
    parties.nobody_came()


def receive_own(crawler, expected):
    """Assert that an answer of Envoy's own comes next."""
    real_date = b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    received = b""
    size = len(expected.replace(b"date: now\r\n", real_date))
    crawler.settimeout(LIMIT_SECONDS)
    while len(received) < size:
        more = crawler.recv(size - len(received))
        assert more, received
        received += more
    assert with_now(received) == expected


@BOTH_WAYS
def test_a_vendor_that_leaves_inside_the_head_of_its_answer_is_a_502(parties, how):
    """As an answer that is no HTTP."""
    crawler, vendor = parties.asked(GET)
    vendor.sendall(PAGE[:30])
    time.sleep(QUIET_SECONDS)  # a reset would overtake it
    leave(vendor, how)
    receive_own(crawler, own_answer(b"502 Bad Gateway", b"protocol error"))
    assert_open(crawler)


@pytest.mark.parametrize("answer", [HALF_PAGE, HALF_CHUNKED], ids=["length", "chunked"])
@BOTH_WAYS
def test_a_vendor_that_leaves_inside_its_answer_ends_the_crawlers_connection(parties, answer, how):
    """The crawler gets what had come and an early end: never a last chunk that was not sent."""
    crawler, vendor = parties.asked(GET)
    answer_with(vendor, answer, crawler)
    leave(vendor, how)
    assert_left(crawler)


def test_a_vendor_that_answers_before_the_request_is_complete(parties):
    """The answer arrives with a `connection: close`, and both connections end."""
    crawler, vendor = parties.asked(HALF_POST)
    vendor.sendall(PAGE)
    assert_left(vendor)
    assert_left(crawler, after=PAGE.replace(DATE, DATE + CLOSE))


# The vendor is not there, or takes its time.


def test_a_refused_connection_is_a_503(quick_sidecar):
    """Connecting always succeeds: it is Envoy that answers."""
    assert_not_connected(quick_sidecar, REFUSED, within=AT_ONCE_SECONDS)


def test_an_unreachable_vendor_is_a_503_after_the_connect_timeout(quick_sidecar):
    """A full backlog swallows connections like a firewall that drops them."""
    address = (ADDRESS, quick_sidecar.vendor_upstream)
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deaf.bind(address)
        deaf.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        seconds = assert_not_connected(quick_sidecar, UNREACHABLE, within=LIMIT_SECONDS)
    assert seconds >= CONNECT_SECONDS * 0.9


def assert_not_connected(ports, reason, *, within):
    """Assert what each kind of crawler gets; return the seconds until the first had it."""
    with contextlib.ExitStack() as stack:
        get, connect, opaque = crawlers = [
            stack.enter_context(socket.create_connection((ADDRESS, ports.vendor))) for _ in KINDS
        ]
        for crawler, (request, _) in zip(crawlers, KINDS.values(), strict=True):
            crawler.sendall(request)
        start = time.monotonic()
        receive_own(get, unavailable(reason))
        seconds = time.monotonic() - start
        assert seconds < within
        assert_left(connect, after=unavailable(reason, closes=True))
        assert_left(opaque, "reset")
        assert_open(get)
    return seconds


def test_a_vendor_that_thinks_longer_than_idle_timeout_is_waited_for(parties):
    """The time-out counts only while no request is under way."""
    crawler, vendor = parties.asked(GET)
    time.sleep(IDLE_SECONDS * 2.5)
    answer_with(vendor, PAGE, crawler)


def test_a_crawler_that_thinks_longer_than_idle_timeout_gets_a_new_vendor_connection(parties):
    """Perhaps with another exit address; its own connection stays open."""
    crawler, vendor = parties.met("http")
    assert_left(vendor, within=IDLE_SECONDS + 10)
    crawler.sendall(ASK % 1)
    answer_with(parties.vendor(ASK % 1), PAGE, crawler)


def test_silent_tunnels_and_opaque_connections_stay(parties):
    """idleTimeout is not for them."""
    silent = [parties.met("tunnel"), parties.met("opaque")]
    time.sleep(IDLE_SECONDS * 2)
    for crawler, vendor in silent:
        vendor.sendall(b"still there")
        receive(crawler, b"still there")


def test_every_row_about_connections_has_its_test():
    """docs/fidelity.md names each test of this file once, in the row that it proves."""
    page = (ROOT / "docs" / "fidelity.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    named = [
        name for row in rows for name in re.findall(r"`(test_[a-z0-9_]+)`", row.split(" | ")[-1])
    ]
    here = {name for name in globals() if name.startswith("test_")} - {
        "test_every_row_about_connections_has_its_test"
    }
    assert here <= set(named)
    assert len(named) == len(set(named))
    for reason in (LOST, REFUSED, UNREACHABLE):
        assert f"reset reason: {reason.decode()}" in page
