"""Two exchanges whose bytes are not the same each time; all others: `test_without_envoy`."""

from __future__ import annotations

import contextlib
import re
import socket
import threading

from tests.lab.exchange import Messages
from tests.lab.odd_exchanges import (
    CHUNKED,
    DATE,
    EVERY_BYTE,
    HOST,
    NOW,
    Case,
    answer,
    connects,
    request,
)

QUIET_SECONDS = 0.05  # after everything expected has arrived, nothing more may come


def exchange(ports, case, *, address="127.1.0.10", last=b""):
    """Send a case's request through Envoy; return what came to the vendor and to the crawler.

    `last` ends both messages where their lengths are not known beforehand.
    """
    at_vendor, at_crawler = bytearray(), bytearray()
    answered, compared = threading.Event(), threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection:
            _read(connection, len(case.at_vendor), at_vendor, last, wait=case.closes)
            connection.sendall(case.answer)
            answered.set()
            if not case.closes:  # else an early close would be the vendor's doing
                compared.wait(10)
                _read(connection, 0, at_vendor)

    with socket.create_server((address, ports.vendor_upstream)) as listener:
        listener.settimeout(10)
        vendor = threading.Thread(target=serve, daemon=True)
        vendor.start()
        with socket.create_connection((address, ports.vendor)) as crawler:
            crawler.sendall(case.request)
            _read(crawler, len(case.at_crawler), at_crawler, last)
        compared.set()
        vendor.join(10)
    assert answered.is_set()
    return bytes(at_vendor), _with_now(bytes(at_crawler))


def _read(connection, size, into, last=b"", *, wait=True):
    """Read until all is there or the other side closes; `wait` a moment for what is too much.

    All is `size` bytes, or what ends with `last`.
    """
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            whole = into.endswith(last) if last else len(into) >= size
            if whole and not wait:
                return
            connection.settimeout(QUIET_SECONDS if whole else 10)
            more = connection.recv(1 << 20)
            if not more:
                return
            into.extend(more)


def _with_now(text):
    """Replace the date that Envoy adds (its own are lower case) by a fixed word."""
    return re.sub(rb"\r\ndate: [^\r]+\r\n", b"\r\n" + NOW, text)


def test_a_long_body_in_chunks_arrives_whole(shared_sidecar):
    """Chunks may be cut anew, bytes not: 1 MiB each way."""
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (size, EVERY_BYTE * (size // 256)) for size in (256, 65_536, 982_784)
    )
    body = b"%b0\r\n\r\n" % chunks
    case = Case(
        request=request(headers=HOST + CHUNKED, method=b"POST", body=body),
        answer=answer(headers=CHUNKED, body=body),
    )
    at_vendor, at_crawler = exchange(shared_sidecar.ports, case, last=b"\r\n0\r\n\r\n")
    for arrived in (at_vendor, at_crawler):
        messages = Messages()
        messages.buffer += arrived
        head = messages.head()
        assert messages.take(head, None) == head + EVERY_BYTE * 4096


def test_a_refusal_without_a_length_arrives_in_chunks_perhaps_without_the_last(shared_sidecar):
    """Many proxies refuse CONNECT so and hang up; Envoy may take that for a broken answer."""
    case = connects(
        answer(b"407 Authenticate", b""),
        closes=True,
        answer_becomes=(
            (DATE, DATE + b"connection: close\r\ntransfer-encoding: chunked\r\n"),
            (b"\r\n\r\nok", b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ),
    )
    _, at_crawler = exchange(shared_sidecar.ports, case)
    assert at_crawler in (case.at_crawler, case.at_crawler.removesuffix(b"0\r\n\r\n"))
