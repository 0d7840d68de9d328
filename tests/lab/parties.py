"""Crawlers and a vendor on both sides of an Envoy, played step by step."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time

import pytest

ADDRESS = "127.1.0.10"
IDLE_SECONDS = 1
CONNECT_SECONDS = 1
LIMIT_SECONDS = 30.0
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


class Parties:
    """Crawlers and a vendor; every socket closes with the block."""

    def __init__(self, ports, stack):
        self._ports = ports
        self._stack = stack
        self._listener = stack.enter_context(
            socket.create_server((ADDRESS, ports.vendor_upstream), backlog=256)
        )

    def crawler(self, sends, *, receive_buffer=None, port=None):
        """Connect a crawler, which sends at once; the port is the usual one of HTTP proxies."""
        crawler = self._stack.enter_context(socket.socket())
        if receive_buffer:
            crawler.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        crawler.settimeout(LIMIT_SECONDS)
        crawler.connect((ADDRESS, port or self._ports.vendor))
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


def assert_left(connection, how="closed", *, after=b""):
    received, ended, _ = left(connection)
    assert (received, ended) == (after, how)


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
