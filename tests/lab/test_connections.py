"""One vendor connection for each of the crawler's, and what one side sees when the other leaves.

The test is crawler and vendor at once, step by step, through real Envoy on the rendered chains.
docs/fidelity.md says what it means, in a row that names the test.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.attribution.clusters import CONNECT_TIMEOUT
from lab.system import ROOT
from tests.lab.conftest import running_sidecar
from tests.lab.odd_exchanges import EVERY_BYTE
from tests.lab.parties import (
    ADDRESS,
    ASK,
    CLOSE,
    CONNECT,
    CONNECT_SECONDS,
    DATE,
    GET,
    HALF_POST,
    IDLE_SECONDS,
    KINDS,
    LIMIT_SECONDS,
    MIB,
    PAGE,
    QUIET_SECONDS,
    Parties,
    answer_with,
    assert_left,
    assert_open,
    leave,
    left,
    own_answer,
    receive,
    receive_own,
    unavailable,
)


def with_short_idle_timeout(settings):
    return with_idle_timeout(settings, IDLE_SECONDS)


def with_idle_timeout(settings, seconds):
    update = {"idle_timeout": seconds}
    vendors = tuple(vendor.model_copy(update=update) for vendor in settings.vendors)
    return settings.model_copy(update={"vendors": vendors})


def with_short_connect_timeout(envoy):
    for cluster in envoy.bootstrap["static_resources"]["clusters"]:
        assert cluster["connect_timeout"] == CONNECT_TIMEOUT
        cluster["connect_timeout"] = f"{CONNECT_SECONDS}s"
    return envoy


@pytest.fixture(scope="module")
def quick_sidecar(tmp_path_factory):
    """The ports of a sidecar with time-outs that a test can wait for."""
    with running_sidecar(
        tmp_path_factory.mktemp("connections"),
        with_short_connect_timeout,
        change_settings=with_short_idle_timeout,
        addresses=[ADDRESS],
    ) as sidecar:
        yield sidecar.ports


@pytest.fixture
def quick_parties(quick_sidecar):
    with contextlib.ExitStack() as stack:
        yield Parties(quick_sidecar, stack)


@pytest.fixture(scope="module")
def patient_sidecar(tmp_path_factory):
    """The ports of a sidecar without a time-out: an end that arrives was carried, however late."""
    with running_sidecar(
        tmp_path_factory.mktemp("patient"),
        change_settings=lambda settings: with_idle_timeout(settings, FOREVER_SECONDS),
        addresses=[ADDRESS],
    ) as sidecar:
        yield sidecar.ports


@pytest.fixture
def parties(patient_sidecar):
    with contextlib.ExitStack() as stack:
        yield Parties(patient_sidecar, stack)


FOREVER_SECONDS = 3600

LOST = b"connection termination"
REFUSED = b"remote connection failure"
UNREACHABLE = b"connection timeout"
BOTH_WAYS = pytest.mark.parametrize("how", ["closed", "reset"])


# One to one.


def test_a_hundred_crawler_connections_are_a_hundred_at_the_vendor(quick_parties):
    """Each keeps its exit address; once the crawlers have left, none stays open."""
    parties = quick_parties
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
        assert_left(vendor)
    seconds = time.monotonic() - last_left
    print(f"last of 100 vendor connections closed after {seconds:.2f} s, idleTimeout 1 s")


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
    quick_parties, how, asked_to_close
):
    """The price of 1:1: Envoy has no switch that closes the vendor's side with the crawler's."""
    parties, begun = quick_parties, time.monotonic()
    if asked_to_close:
        crawler = parties.crawler(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        vendor = parties.vendor(GET)
        vendor.sendall(PAGE)
        assert_left(crawler, after=PAGE.replace(DATE, DATE + CLOSE))
    else:
        crawler, vendor = parties.met("http")
    leave(crawler, how)
    received, ended, seconds = left(vendor)
    print(f"closed {seconds:.2f} s after the crawler left, idleTimeout {IDLE_SECONDS} s")
    assert (received, ended) == (b"", "closed")
    # The time-out begins with the answer, and a busy test may have left long after that. Envoy's
    # timers count from the begin of a turn of its loop, so they may end some milliseconds early.
    assert time.monotonic() - begun >= 0.9 * IDLE_SECONDS


# Bytes that are not the same each time; all others are in test_without_envoy.py.


def body_in_chunks(connection):
    """Read a message to its last chunk; return its body."""
    body = b""
    with connection.makefile("rb") as reader:
        while reader.readline() != b"\r\n":
            pass
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            assert reader.readline() == b"\r\n"
        assert reader.readline() == b"\r\n"
    return body


def test_a_long_body_in_chunks_arrives_whole(parties):
    """Chunks may be cut anew, bytes not: 1 MiB each way."""
    parts = [EVERY_BYTE * count for count in (1, 256, 3839)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    headers = b"%bTransfer-Encoding: chunked\r\n\r\n" % DATE
    post = b"POST http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n" + headers
    with ThreadPoolExecutor() as pool:
        crawler = parties.crawler(b"")
        pool.submit(crawler.sendall, post + chunks)
        vendor = parties.vendor(b"")
        assert body_in_chunks(vendor) == b"".join(parts)
        pool.submit(vendor.sendall, b"HTTP/1.1 200 OK\r\n" + headers + chunks)
        assert body_in_chunks(crawler) == b"".join(parts)


def test_a_refusal_without_a_length_arrives_in_chunks_perhaps_without_the_last(parties):
    """Many proxies refuse CONNECT so and hang up; Envoy may take that for a broken answer."""
    crawler, vendor = parties.asked(CONNECT)
    refusal = b"HTTP/1.1 407 Authenticate\r\n" + DATE
    vendor.sendall(refusal + b"\r\nok")
    vendor.close()
    whole = refusal + CLOSE + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    assert left(crawler)[0] in (whole, whole.removesuffix(b"0\r\n\r\n"))


# Tunnels and opaque connections.


@pytest.fixture(params=["crawler", "vendor"])
def leaver_is(request):
    return request.param


@pytest.mark.parametrize("kind", ["tunnel", "opaque"])
@BOTH_WAYS
def test_an_end_reaches_the_other_side_at_once(parties, leaver_is, how, kind):
    """A tunnel's other side sees an orderly close; an opaque one's sees what happened."""
    leaver, stayer = parties.met(kind)[:: 1 if leaver_is == "crawler" else -1]
    leave(leaver, how)
    assert_left(stayer, how if kind == "opaque" else "closed")


@pytest.mark.parametrize("kind", ["tunnel", "opaque"])
def test_a_half_close(parties, leaver_is, kind):
    """It ends a tunnel, for both; an opaque connection goes on in the other direction."""
    first, second = parties.met(kind)[:: 1 if leaver_is == "crawler" else -1]
    first.shutdown(socket.SHUT_WR)
    assert_left(second)
    if kind == "opaque":
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


@pytest.mark.parametrize(("kind", "may_lose"), [("tunnel", True), ("opaque", False)])
def test_what_a_crawler_sent_right_before_it_closed(parties, kind, may_lose):
    """A tunnel may drop what a slow vendor has not taken yet: wait for an answer before closing."""
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
    assert 0 < received <= sent if may_lose else received == sent


# The crawler leaves in the middle.


HALF_PAGE = PAGE.replace(b"Length: 2", b"Length: 9")
HALF_CHUNKED = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" % DATE
HALF_ANSWERS = pytest.mark.parametrize(
    "answer", [HALF_PAGE, HALF_CHUNKED], ids=["length", "chunked"]
)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(GET, b""), (HALF_POST, b""), (CONNECT, b""), (GET, HALF_PAGE), (GET, HALF_CHUNKED)],
    ids=["GET", "POST", "CONNECT", "inside an answer", "inside a chunked answer"],
)
@BOTH_WAYS
def test_a_crawler_that_leaves_ends_the_vendors_connection(parties, sent, answer, how):
    """No leak, and no work or bytes for a crawler that is gone."""
    crawler, vendor = parties.asked(sent)
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
    received, how, _ = left(crawler)
    assert received == b""
    assert how in ("closed", "reset")


# The vendor leaves.


@pytest.mark.parametrize("how", ["closed", "reset", "says close"])
def test_a_vendor_that_closes_between_requests_is_not_noticed(parties, how):
    """The crawler's connection stays; its next request goes out on another vendor connection."""
    crawler, vendor = parties.asked(GET)
    announced = b"Connection: close\r\n" if how == "says close" else b""
    vendor.sendall(PAGE.replace(DATE, DATE + announced))
    receive(crawler, PAGE)
    if announced:
        assert_left(vendor)
    else:
        leave(vendor, how)
    assert_open(crawler)
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


@BOTH_WAYS
def test_a_vendor_that_leaves_inside_the_head_of_its_answer_is_a_502(parties, how):
    """As an answer that is no HTTP."""
    crawler, vendor = parties.asked(GET)
    vendor.sendall(PAGE[:30])
    time.sleep(QUIET_SECONDS)  # a reset would overtake it
    leave(vendor, how)
    receive_own(crawler, own_answer(b"502 Bad Gateway", b"protocol error"))
    assert_open(crawler)


@HALF_ANSWERS
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
    assert_not_connected(quick_sidecar, REFUSED)


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
        seconds = assert_not_connected(quick_sidecar, UNREACHABLE)
    assert seconds >= CONNECT_SECONDS * 0.9


def assert_not_connected(ports, reason):
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
        assert_left(connect, after=unavailable(reason, closes=True))
        assert_left(opaque, "reset")
        assert_open(get)
    return seconds


def test_a_vendor_that_thinks_longer_than_idle_timeout_is_waited_for(quick_parties):
    """The time-out counts only while no request is under way."""
    crawler, vendor = quick_parties.asked(GET)
    time.sleep(IDLE_SECONDS * 2.5)
    answer_with(vendor, PAGE, crawler)


def test_a_crawler_that_thinks_longer_than_idle_timeout_gets_a_new_vendor_connection(quick_parties):
    """Perhaps with another exit address; its own connection stays open."""
    crawler, vendor = quick_parties.met("http")
    assert_left(vendor)
    crawler.sendall(ASK % 1)
    answer_with(quick_parties.vendor(ASK % 1), PAGE, crawler)


def test_silent_tunnels_and_opaque_connections_stay(quick_parties):
    """idleTimeout is not for them."""
    silent = [quick_parties.met("tunnel"), quick_parties.met("opaque")]
    time.sleep(IDLE_SECONDS * 2)
    for crawler, vendor in silent:
        vendor.sendall(b"still there")
        receive(crawler, b"still there")


def test_every_row_about_connections_has_its_test():
    """docs/fidelity.md names each test of this file once, in the row that it proves."""
    page = (ROOT / "docs" / "fidelity.md").read_text()
    rows = [line for line in page.splitlines() if " | " in line]
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
