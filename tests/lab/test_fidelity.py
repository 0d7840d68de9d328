"""Bytes to and from the vendor stay as the crawler and the vendor wrote them.

Each case is a request and an answer, sent through real Envoy on the rendered chains and compared
at the other side byte for byte. A case with a change asserts exactly that change; docs/limits.md
says what it means.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from dataclasses import dataclass

import pytest

HOST = b"Host: shop.test\r\n"
DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
EVERY_BYTE = bytes(range(256))
QUIET_SECONDS = 0.05  # nothing more comes: looked for after everything expected has arrived

Replacements = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`request_becomes` and `answer_becomes` replace bytes of what was written, in order."""

    request: bytes
    answer: bytes
    closes: bool = False
    """The vendor closes after its answer."""
    request_becomes: Replacements = ()
    answer_becomes: Replacements = ()

    @property
    def at_vendor(self) -> bytes:
        return _replaced(self.request, self.request_becomes)

    @property
    def at_crawler(self) -> bytes:
        return _replaced(self.answer, self.answer_becomes)


def _replaced(text: bytes, replacements: Replacements) -> bytes:
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def request(
    target: bytes = b"http://shop.test/",
    headers: bytes = HOST,
    *,
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
    body: bytes = b"",
) -> bytes:
    return b"%b %b %b\r\n%b\r\n%b" % (method, target, version, headers, body)


def answer(
    status: bytes = b"200 OK",
    headers: bytes = b"Content-Length: 2\r\n",
    *,
    version: bytes = b"HTTP/1.1",
    date: bytes = DATE,
    body: bytes = b"ok",
) -> bytes:
    return b"%b %b\r\n%b%b\r\n%b" % (version, status, headers, date, body)


def target(text: bytes, *becomes: tuple[bytes, bytes]) -> Case:
    host = re.sub(rb"^.*@", b"", text.split(b"//", 1)[1].split(b"/", 1)[0])
    sent = request(text, b"Host: " + host + b"\r\n")
    return Case(request=sent, answer=answer(), request_becomes=becomes)


def headers(text: bytes, *becomes: tuple[bytes, bytes]) -> Case:
    return Case(request=request(headers=text), answer=answer(), request_becomes=becomes)


def answers(sent: bytes, *becomes: tuple[bytes, bytes], closes: bool = False) -> Case:
    return Case(request=request(), answer=sent, answer_becomes=becomes, closes=closes)


def posts(more: bytes, body: bytes, *becomes: tuple[bytes, bytes], method: bytes = b"POST") -> Case:
    sent = request(headers=HOST + more, method=method, body=body)
    return Case(request=sent, answer=answer(), request_becomes=becomes)


MANY = b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(200))
CHUNKED = b"Transfer-Encoding: chunked\r\n"
NO_LENGTH = (b"\r\n\r\n", b"\r\ncontent-length: 0\r\n\r\n")
DROPPED = b""

CASES = {
    # Targets: absolute form, as written.
    "dot segments": target(b"http://shop.test/a/../b/./c"),
    "double slashes": target(b"http://shop.test//a//b"),
    "odd mixture": target(b"http://shop.test/a/../b//c?%2F"),
    "escaped slash": target(b"http://shop.test/a%2Fb%2f"),
    "broken escape": target(b"http://shop.test/%zz%"),
    "odd query": target(b"http://shop.test/?q=%2F&x=a+b&&=?"),
    "port": target(b"http://shop.test:8080/"),
    "default port": target(b"http://shop.test:80/"),
    "https scheme": target(b"https://shop.test/"),
    "IPv6 authority": target(b"http://[2001:db8::1]/"),
    "upper-case host": target(b"http://SHOP.test/"),
    "long path": target(b"http://shop.test/" + b"a" * 8000),
    "punctuation": target(b"http://shop.test/~!$&'()*+,;=:@-._"),
    "illegal characters": target(b'http://shop.test/a[0]={x}|^`"<>\\'),
    "matrix parameters": target(b"http://shop.test/a;jsessionid=1;b?c;d"),
    "upper-case scheme": target(b"HTTP://shop.test/", (b"HTTP://", b"http://")),
    "no path": target(b"http://shop.test", (b"shop.test HTTP", b"shop.test/ HTTP")),
    "user in authority": target(b"http://user:pw@shop.test/", (b"user:pw@", DROPPED)),
    "origin form": Case(
        request=request(b"/path"),
        answer=answer(),
        request_becomes=((b"/path", b"http://shop.test/path"),),
    ),
    # Request headers.
    "host in odd case": headers(b"hOsT: shop.test\r\n"),
    "case of names": headers(HOST + b"X-CuStOm: a\r\nx-other: b\r\nx_under: c\r\n"),
    "duplicates": headers(HOST + b"X-A: 1\r\nX-B: 2\r\nX-A: 3\r\n"),
    "cookies on two lines": headers(HOST + b"Cookie: a=1\r\nCookie: b=2\r\n"),
    "forwarded": headers(
        HOST + b"X-Forwarded-For: 192.0.2.1\r\nVia: 1.1 me\r\nForwarded: for=x\r\n"
    ),
    "request id": headers(HOST + b"X-Request-ID: mine\r\n"),
    "TE": headers(HOST + b"TE: trailers\r\n"),
    "credentials": headers(
        HOST + b"Proxy-Authorization: Basic eDp5\r\nAuthorization: Bearer z\r\n"
    ),
    "latin-1": headers(HOST + b"X-A: caf\xe9\r\n"),
    "UTF-8": headers(HOST + "X-A: café\r\n".encode()),
    "16 KiB": headers(HOST + b"X-Big: " + b"v" * 16384 + b"\r\n"),
    "64 KiB": headers(HOST + b"X-Big: " + b"v" * 65536 + b"\r\n"),
    "200 headers": headers(HOST + MANY),
    "accept-encoding": headers(HOST + b"Accept-Encoding: gzip, br;q=0.5\r\nRange: bytes=0-1\r\n"),
    "conditional": headers(HOST + b'If-None-Match: "x"\r\nUpgrade-Insecure-Requests: 1\r\n'),
    "host not first": headers(
        b"X-A: 1\r\n" + HOST + b"X-B: 2\r\n", (b"X-A: 1\r\n" + HOST, HOST + b"X-A: 1\r\n")
    ),
    "host of another site": headers(b"Host: other.test\r\n", (b"other.test", b"shop.test")),
    "host with a port": headers(b"Host: shop.test:80\r\n", (b"shop.test:80", b"shop.test")),
    "no host": headers(b"X-A: 1\r\n", (b"X-A: 1\r\n", b"host: shop.test\r\nX-A: 1\r\n")),
    "one name in two cases": headers(HOST + b"X-A: 1\r\nx-a: 2\r\n", (b"x-a", b"X-A")),
    "spaces around a value": headers(HOST + b"X-A:   v  \r\n", (b"   v  ", b" v")),
    "no space before a value": headers(HOST + b"X-A:1\r\n", (b"X-A:1", b"X-A: 1")),
    "empty value": headers(HOST + b"X-A:\r\n", (b"X-A:", b"X-A: ")),
    "keep-alive": headers(
        HOST + b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
        (b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", DROPPED),
    ),
    "proxy-connection": headers(
        HOST + b"Proxy-Connection: keep-alive\r\n", (b"Proxy-Connection: keep-alive\r\n", DROPPED)
    ),
    "a header named by connection": headers(
        HOST + b"Connection: X-Hop\r\nX-Hop: 1\r\n", (b"Connection: X-Hop\r\nX-Hop: 1\r\n", DROPPED)
    ),
    "x-forwarded-proto": headers(
        HOST + b"X-Forwarded-Proto: https\r\n", (b"X-Forwarded-Proto: https\r\n", DROPPED)
    ),
    "h2c upgrade": headers(
        HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            DROPPED,
        ),
    ),
    # Methods and bodies.
    "DELETE": Case(request=request(method=b"DELETE"), answer=answer()),
    "TRACE": Case(request=request(method=b"TRACE"), answer=answer()),
    "HEAD": Case(request=request(method=b"HEAD"), answer=answer(body=b"")),
    "OPTIONS": Case(
        request=request(method=b"OPTIONS"), answer=answer(), request_becomes=(NO_LENGTH,)
    ),
    "unknown method": Case(
        request=request(method=b"BREW"), answer=answer(), request_becomes=(NO_LENGTH,)
    ),
    "body": posts(b"Content-Length: 11\r\n", b"hello world"),
    "empty body": posts(b"Content-Length: 0\r\n", b""),
    "1 MiB body": posts(b"Content-Length: 1048576\r\n", EVERY_BYTE * 4096),
    "GET with a body": posts(b"Content-Length: 3\r\n", b"abc", method=b"GET"),
    "one chunk": posts(CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
    "chunks": posts(
        CHUNKED, b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", (b"5\r\nhello\r\n6\r\n", b"b\r\nhello")
    ),
    "chunk extension": posts(CHUNKED, b"5;x=y\r\nhello\r\n0\r\n\r\n", (b"5;x=y", b"5")),
    "request trailer": posts(CHUNKED, b"2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n", (b"X-T", b"x-t")),
    # Answers.
    "reason phrase": answers(answer(b"200 Fine By Me")),
    "204": answers(answer(b"204 No Content", b"", body=b"")),
    "304": answers(answer(b"304 Not Modified", b'ETag: "x"\r\n', body=b"")),
    "304 with a length": answers(answer(b"304 Not Modified", b"Content-Length: 500\r\n", body=b"")),
    "299": answers(answer(b"299 Odd")),
    "777": answers(answer(b"777 Odd")),
    "case of the answer's names": answers(answer(headers=b"content-LENGTH: 2\r\nX-CaSe: y\r\n")),
    "two cookies": answers(
        answer(headers=b"Content-Length: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n")
    ),
    "1 MiB answer": answers(answer(headers=b"Content-Length: 1048576\r\n", body=EVERY_BYTE * 4096)),
    "16 KiB header of an answer": answers(
        answer(headers=b"Content-Length: 2\r\nX-Big: " + b"v" * 16384 + b"\r\n")
    ),
    "200 headers of an answer": answers(answer(headers=b"Content-Length: 2\r\n" + MANY)),
    "server and via": answers(answer(headers=b"Content-Length: 2\r\nServer: x\r\nVia: 1.1 v\r\n")),
    "407": answers(
        answer(
            b"407 Proxy Authentication Required",
            b'Content-Length: 2\r\nProxy-Authenticate: Basic realm="x"\r\n',
        )
    ),
    "early hints": answers(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer()),
    "latin-1 answer": answers(answer(headers=b"Content-Length: 2\r\nX-A: caf\xe9\r\n")),
    "encoded answer": answers(answer(headers=b"Content-Length: 2\r\nContent-Encoding: gzip\r\n")),
    "no reason phrase": answers(answer(b"200 "), (b"200 ", b"200 OK")),
    "chunked answer": answers(
        answer(headers=CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"),
        (CHUNKED + DATE, DATE + CHUNKED),
    ),
    "trailer of an answer": answers(
        answer(headers=CHUNKED, body=b"2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"),
        (CHUNKED + DATE, DATE + CHUNKED),
        (b"X-T", b"x-t"),
    ),
    "answer that ends with its connection": answers(
        answer(headers=b""),
        (DATE, DATE + b"transfer-encoding: chunked\r\n"),
        (b"\r\n\r\nok", b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        closes=True,
    ),
    "HTTP/1.0 answer": answers(
        answer(version=b"HTTP/1.0"), (b"HTTP/1.0", b"HTTP/1.1"), closes=True
    ),
    "answer that says close": answers(
        answer(headers=b"Content-Length: 2\r\nConnection: close\r\n"),
        (b"Connection: close\r\n", DROPPED),
        closes=True,
    ),
    "answer that says keep-alive": answers(
        answer(headers=b"Content-Length: 2\r\nConnection: keep-alive\r\n"),
        (b"Connection: keep-alive\r\n", DROPPED),
    ),
    "spaces in the answer": answers(
        answer(headers=b"Content-Length: 2\r\nX-A:   v  \r\n"), (b"   v  ", b" v")
    ),
    # Tunnels: the refusals; what goes on inside one is any bytes at all.
    "CONNECT refused": Case(
        request=request(b"shop.test:443", b"Host: shop.test:443\r\n", method=b"CONNECT"),
        answer=answer(b"502 Bad Gateway"),
        answer_becomes=((DATE, DATE + b"connection: close\r\n"),),
    ),
}


@contextlib.contextmanager
def scripted_vendor(address, port, case):
    """Take one connection, read the expected request, answer; yields all that came.

    The connection stays until the block ends, since an early close would be the vendor's doing.
    """
    received = bytearray()
    done = threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection:
            _read(connection, len(case.at_vendor), received)
            connection.sendall(case.answer)
            if not case.closes:
                done.wait(10)
                _read(connection, 0, received)

    with socket.create_server((address, port)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield received
        done.set()
        thread.join(10)


def _read(connection, size, into, *, seconds=10.0):
    """Read until `into` has `size` bytes and a moment of silence, or the other side closes."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            connection.settimeout(seconds if len(into) < size else QUIET_SECONDS)
            more = connection.recv(1 << 20)
            if not more:
                return
            into.extend(more)


@pytest.mark.parametrize("name", CASES)
def test_what_was_written_is_what_arrives(shared_sidecar, name):
    """A crawler cannot tell that its traffic is watched, but for the changes listed here."""
    case, ports = CASES[name], shared_sidecar.ports
    with scripted_vendor("127.1.0.10", ports.vendor_upstream, case) as at_vendor:
        at_crawler = bytearray()
        with socket.create_connection(("127.1.0.10", ports.vendor)) as crawler:
            crawler.sendall(case.request)
            _read(crawler, len(case.at_crawler), at_crawler)
    assert bytes(at_vendor) == case.at_vendor
    assert bytes(at_crawler) == case.at_crawler


def test_there_are_enough_cases_and_most_change_nothing():
    """The list of exceptions stays the shorter part."""
    changed = [n for n, case in CASES.items() if case.request_becomes or case.answer_becomes]
    assert len(CASES) >= 60
    assert len(changed) < len(CASES) / 2
