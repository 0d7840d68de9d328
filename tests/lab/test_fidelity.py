"""Bytes to and from the vendor stay as the crawler and the vendor wrote them.

Each case is a request and an answer, sent through real Envoy on the rendered chains and compared
at the other side byte for byte. A case with a change asserts exactly that change;
docs/fidelity.md says what it means, in a row that names the case.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from dataclasses import dataclass

import pytest

from lab.system import ROOT

HOST = b"Host: shop.test\r\n"
DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
NOW = b"date: now\r\n"
EVERY_BYTE = bytes(range(256))
QUIET_SECONDS = 0.05  # nothing more comes: looked for after everything expected has arrived

Replacements = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`request_becomes` and `answer_becomes` replace bytes of what was written, in order.

    Where Envoy adds a date of its own, the answer becomes one with `NOW`.
    """

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


def connects(
    sent: bytes,
    more: bytes = b"Host: shop.test:443\r\n",
    *becomes: tuple[bytes, bytes],
    version: bytes = b"HTTP/1.1",
    answer_becomes: Replacements = (),
    closes: bool = False,
) -> Case:
    return Case(
        request=request(b"shop.test:443", more, method=b"CONNECT", version=version),
        answer=sent,
        closes=closes,
        request_becomes=becomes,
        answer_becomes=answer_becomes,
    )


def posts(more: bytes, body: bytes, *becomes: tuple[bytes, bytes], method: bytes = b"POST") -> Case:
    sent = request(headers=HOST + more, method=method, body=body)
    return Case(request=sent, answer=answer(), request_becomes=becomes)


MANY = b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(200))
CHUNKED = b"Transfer-Encoding: chunked\r\n"
NO_LENGTH = (b"\r\n\r\n", b"\r\ncontent-length: 0\r\n\r\n")
DROPPED = b""
CLOSES = (DATE, DATE + b"connection: close\r\n")
HOPS = b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n"
FOR_ENVOY = b"".join(  # what Envoy would take for orders to itself
    b"X-Envoy-%b: 1\r\n" % name
    for name in (
        *(b"Internal", b"Retry-On", b"Retry-Grpc-On", b"Max-Retries", b"Upstream-Alt-Stat-Name"),
        *(b"Upstream-RQ-Timeout-MS", b"Upstream-RQ-Per-Try-Timeout-MS", b"Force-Trace"),
        *(b"Upstream-RQ-Timeout-Alt-Response", b"Expected-RQ-Timeout-MS", b"IP-Tags"),
        *(b"Original-URL", b"Hedge-On-Per-Try-Timeout", b"Retriable-Status-Codes"),
        *(b"Retriable-Header-Names", b"Upstream-Stream-Duration-MS"),
    )
)

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
    "80 KB of cookies": headers(HOST + b"Cookie: a=%b\r\n" % (b"x" * 4000) * 20),
    "tab in a value": headers(HOST + b"X-A: a\tb\r\n"),
    "proxies' own headers": headers(
        HOST + b"X-Forwarded-Client-Cert: a\r\nX-Forwarded-Port: 1\r\nX-Real-IP: b\r\n"
        b"X-Envoy-External-Address: c\r\nX-Envoy-Original-Path: d\r\nMax-Forwards: 1\r\n"
    ),
    "odd expectation": headers(HOST + b"Expect: something\r\n"),
    "conditional": headers(HOST + b'If-None-Match: "x"\r\nUpgrade-Insecure-Requests: 1\r\n'),
    "host not first": headers(
        b"X-A: 1\r\n" + HOST + b"X-B: 2\r\n", (b"X-A: 1\r\n" + HOST, HOST + b"X-A: 1\r\n")
    ),
    "host of another site": headers(b"Host: other.test\r\n", (b"other.test", b"shop.test")),
    "host with a port": headers(b"Host: shop.test:80\r\n", (b"shop.test:80", b"shop.test")),
    "no host": headers(b"X-A: 1\r\n", (b"X-A: 1\r\n", b"host: shop.test\r\nX-A: 1\r\n")),
    "two equal hosts": headers(HOST + HOST, (HOST + HOST, HOST)),
    "one name in two cases": headers(HOST + b"X-A: 1\r\nx-a: 2\r\n", (b"x-a", b"X-A")),
    "spaces around a value": headers(HOST + b"X-A:   v  \r\n", (b"   v  ", b" v")),
    "no space before a value": headers(HOST + b"X-A:1\r\n", (b"X-A:1", b"X-A: 1")),
    "folded value": headers(HOST + b"X-A: a\r\n b\r\n", (b"a\r\n b", b"a b")),
    "bare line feeds": Case(
        request=b"GET http://shop.test/ HTTP/1.1\nHost: shop.test\n\n",
        answer=answer(),
        request_becomes=((b"1.1\n", b"1.1\r\n"), (b"test\n\n", b"test\r\n\r\n")),
    ),
    "empty value": headers(HOST + b"X-A:\r\n", (b"X-A:", b"X-A: ")),
    "keep-alive": headers(
        HOST + b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
        (b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", DROPPED),
    ),
    "proxy-connection": headers(
        HOST + b"Proxy-Connection: keep-alive\r\n", (b"Proxy-Connection: keep-alive\r\n", DROPPED)
    ),
    "TE with codings": headers(HOST + b"TE: trailers, gzip\r\n", (b"trailers, gzip", b"trailers")),
    "connection close": Case(
        request=request(headers=HOST + b"Connection: close\r\n"),
        answer=answer(),
        request_becomes=((b"Connection: close\r\n", DROPPED),),
        answer_becomes=(CLOSES,),
    ),
    "a header named by connection": headers(
        HOST + b"Connection: X-Hop\r\nX-Hop: 1\r\n", (b"Connection: X-Hop\r\nX-Hop: 1\r\n", DROPPED)
    ),
    "x-forwarded-proto": headers(
        HOST + b"X-Forwarded-Proto: https\r\n", (b"X-Forwarded-Proto: https\r\n", DROPPED)
    ),
    "orders to Envoy": headers(HOST + FOR_ENVOY, (FOR_ENVOY, DROPPED)),
    "TLS upgrade": headers(
        HOST + b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
        (b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n", DROPPED),
    ),
    "h2c upgrade": headers(
        HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            DROPPED,
        ),
    ),
    # HTTP/1.0.
    "HTTP/1.0": Case(
        request=request(version=b"HTTP/1.0"),
        answer=answer(),
        request_becomes=((b"HTTP/1.0", b"HTTP/1.1"),),
        answer_becomes=((b"HTTP/1.1", b"HTTP/1.0"), CLOSES),
    ),
    "HTTP/1.0 kept alive": Case(
        request=request(headers=HOST + b"Connection: keep-alive\r\n", version=b"HTTP/1.0"),
        answer=answer(),
        request_becomes=((b"HTTP/1.0", b"HTTP/1.1"), (b"Connection: keep-alive\r\n", DROPPED)),
        answer_becomes=((b"HTTP/1.1", b"HTTP/1.0"), (DATE, DATE + b"connection: keep-alive\r\n")),
    ),
    "HTTP/1.0 and a chunked answer": Case(
        request=request(version=b"HTTP/1.0"),
        answer=answer(headers=CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"),
        request_becomes=((b"HTTP/1.0", b"HTTP/1.1"),),
        answer_becomes=(
            (b"HTTP/1.1", b"HTTP/1.0"),
            (CHUNKED, DROPPED),
            CLOSES,
            (b"2\r\nok\r\n0\r\n\r\n", b"ok"),
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
    "POST without a body": Case(
        request=request(method=b"POST"), answer=answer(), request_becomes=(NO_LENGTH,)
    ),
    "QUERY": posts(b"Content-Type: text/plain\r\nContent-Length: 2\r\n", b"q?", method=b"QUERY"),
    "body": posts(b"Content-Length: 11\r\n", b"hello world"),
    "empty body": posts(b"Content-Length: 0\r\n", b""),
    "1 MiB body": posts(b"Content-Length: 1048576\r\n", EVERY_BYTE * 4096),
    "GET with a body": posts(b"Content-Length: 3\r\n", b"abc", method=b"GET"),
    "one chunk": posts(CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
    "chunks": posts(
        CHUNKED, b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", (b"5\r\nhello\r\n6\r\n", b"b\r\nhello")
    ),
    "chunk extension": posts(CHUNKED, b"5;x=y\r\nhello\r\n0\r\n\r\n", (b"5;x=y", b"5")),
    "two lengths": posts(
        b"Content-Length: 5\r\n" + CHUNKED,
        b"2\r\nok\r\n0\r\n\r\n",
        (b"Content-Length: 5\r\n", DROPPED),
    ),
    "expectation of 100": Case(
        request=request(
            method=b"POST",
            headers=HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n",
            body=b"hi",
        ),
        answer=b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
    ),
    "request trailer": posts(CHUNKED, b"2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n", (b"X-T", b"x-t")),
    # Answers.
    "reason phrase": answers(answer(b"200 Fine By Me")),
    "204": answers(answer(b"204 No Content", b"", body=b"")),
    "304": answers(answer(b"304 Not Modified", b'ETag: "x"\r\n', body=b"")),
    "204 with a length": answers(
        answer(b"204 No Content", b"Content-Length: 0\r\n", body=b""),
        (b"Content-Length: 0\r\n", DROPPED),
    ),
    "304 with chunks": answers(answer(b"304 Not Modified", CHUNKED, body=b""), (CHUNKED, DROPPED)),
    "HEAD without a length": Case(
        request=request(method=b"HEAD"),
        answer=answer(headers=b"", body=b""),
        answer_becomes=((DATE, DATE + b"transfer-encoding: chunked\r\n"),),
    ),
    "no date": answers(answer(date=b""), (b"\r\n\r\n", b"\r\n" + NOW + b"\r\n")),
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
    "headers of another Envoy": answers(
        answer(headers=b"Content-Length: 2\r\nX-Envoy-Upstream-Service-Time: 5\r\n")
    ),
    "processing": answers(b"HTTP/1.1 102 Processing\r\n\r\n" + answer()),
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
    "hop-by-hop headers of an answer": answers(
        answer(headers=b"Content-Length: 2\r\n" + HOPS), (HOPS, DROPPED)
    ),
    "upgrade offered by an answer": answers(
        answer(headers=b"Content-Length: 2\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"),
        (b"Upgrade: h2c\r\nConnection: Upgrade\r\n", DROPPED),
    ),
    "a header named by an answer's connection": answers(
        answer(headers=b"Content-Length: 2\r\nX-Hop: 1\r\nConnection: X-Hop\r\n"),
        (b"Connection: X-Hop\r\n", DROPPED),
    ),
    "one name of an answer in two cases": answers(
        answer(headers=b"Content-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n"), (b"x-a", b"X-A")
    ),
    "folded value of an answer": answers(
        answer(headers=b"Content-Length: 2\r\nX-A: a\r\n b\r\n"), (b"a\r\n b", b"a b")
    ),
    "two lengths of an answer": answers(
        answer(headers=b"Content-Length: 5\r\n" + CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"),
        (b"Content-Length: 5\r\n" + CHUNKED + DATE, DATE + CHUNKED),
    ),
    "spaces in the answer": answers(
        answer(headers=b"Content-Length: 2\r\nX-A:   v  \r\n"), (b"   v  ", b" v")
    ),
    # Websockets.
    "websocket": Case(
        request=request(headers=HOST + WEBSOCKET),
        answer=b"HTTP/1.1 101 Switching Protocols\r\n%b%b\r\n\x81\x02ok" % (WEBSOCKET, DATE),
    ),
    "websocket refused": Case(
        request=request(headers=HOST + WEBSOCKET),
        answer=answer(b"403 Forbidden"),
        answer_becomes=(CLOSES,),
    ),
    "websocket answered with a page": Case(
        request=request(headers=HOST + WEBSOCKET),
        answer=answer(),
        answer_becomes=(
            (b"Content-Length: 2\r\n" + DATE, NOW + b"connection: close\r\ncontent-length: 0\r\n"),
            (b"\r\n\r\nok", b"\r\n\r\n"),
        ),
    ),
    # Tunnels: what goes on inside one is any bytes at all.
    "CONNECT": connects(
        b"HTTP/1.1 200 Connection established\r\n%b\r\n" % DATE,
        b"Host: shop.test:443\r\nuser-AGENT: x\r\nProxy-Authorization: Basic eDp5\r\n",
    ),
    "CONNECT with a length in its answer": connects(
        answer(body=b"", headers=b"Content-Length: 0\r\n")
    ),
    "CONNECT and a host without its port": connects(
        answer(headers=b"", body=b""),
        b"X-A: 1\r\n" + HOST,
        (b"X-A: 1\r\n" + HOST, b"Host: shop.test:443\r\nX-A: 1\r\n"),
    ),
    "CONNECT kept alive": connects(
        answer(headers=b"", body=b""),
        b"Host: shop.test:443\r\nProxy-Connection: keep-alive\r\n",
        (b"Proxy-Connection: keep-alive\r\n", DROPPED),
    ),
    "CONNECT of HTTP/1.0": connects(
        answer(version=b"HTTP/1.0", headers=b"", body=b""),
        b"X-A: 1\r\n",
        (b"HTTP/1.0\r\n", b"HTTP/1.1\r\nhost: shop.test:443\r\n"),
        version=b"HTTP/1.0",
    ),
    "CONNECT answered without a date": connects(
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        answer_becomes=((b"established\r\n", b"established\r\n" + NOW),),
    ),
    "CONNECT refused": connects(answer(b"502 Bad Gateway"), answer_becomes=(CLOSES,)),
}
CHANGED = [name for name, case in CASES.items() if case.request_becomes or case.answer_becomes]


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


@pytest.mark.parametrize("name", CASES)
def test_what_was_written_is_what_arrives(shared_sidecar, name):
    """A crawler cannot tell that its traffic is watched, but for the changes listed here."""
    case = CASES[name]
    assert exchange(shared_sidecar.ports, case) == (case.at_vendor, case.at_crawler)


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
        assert unchunked(arrived.split(b"\r\n\r\n", 1)[1]) == EVERY_BYTE * 4096


def unchunked(body):
    """Return the bytes of a chunked body; its last chunk must be there."""
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return whole
        whole += rest[:length]
        body = rest[length + 2 :]
    raise AssertionError("the last chunk is missing")


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


def test_where_nothing_is_parsed_nothing_changes(shared_sidecar):
    """The way out of every change: `inspect: connections`. All odd requests and answers in one."""
    case = Case(
        request=b"".join(CASES[name].request for name in CHANGED),
        answer=b"".join(CASES[name].answer for name in CHANGED),
        closes=True,
    )
    at_vendor, at_crawler = exchange(shared_sidecar.ports, case, address="127.7.0.10")
    assert (at_vendor, at_crawler) == (case.request, case.answer)


def test_there_are_enough_cases_and_most_change_nothing():
    """The list of exceptions stays the shorter part."""
    assert len(CASES) >= 60
    assert len(CHANGED) < len(CASES) / 2


def test_every_change_stands_in_the_page_and_every_row_has_its_case():
    """Whoever reads docs/fidelity.md knows all that is changed, and none of it is hearsay."""
    page = (ROOT / "docs" / "fidelity.md").read_text()
    changes = page.split("## What is changed", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in changes.splitlines() if line.startswith("| ") and "---" not in line]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[-1])]
    others = {name for name in named if name.startswith("test_")}
    assert sorted(set(named) - others) == sorted(CHANGED)
    assert len(named) == len(set(named))
    assert others <= set(globals())
