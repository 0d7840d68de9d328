"""Odd but legal requests and answers, and what Envoy makes of them.

docs/fidelity.md says what each change means, in a row that names the case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HOST = b"Host: shop.test\r\n"
LENGTH = b"Content-Length: 2\r\n"
DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
NOW = b"date: now\r\n"
EVERY_BYTE = bytes(range(256))

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


def adds(more: bytes, *becomes: tuple[bytes, bytes]) -> Case:
    return headers(HOST + more, *becomes)


def loses(more: bytes) -> Case:
    return adds(more, (more, DROPPED))


def asks(*becomes: tuple[bytes, bytes], **line: bytes) -> Case:
    return Case(request=request(**line), answer=answer(), request_becomes=becomes)


def answers(sent: bytes, *becomes: tuple[bytes, bytes], closes: bool = False) -> Case:
    return Case(request=request(), answer=sent, answer_becomes=becomes, closes=closes)


def replies(more: bytes, *becomes: tuple[bytes, bytes], closes: bool = False) -> Case:
    return answers(answer(headers=LENGTH + more), *becomes, closes=closes)


def reply_loses(more: bytes, *, closes: bool = False) -> Case:
    return replies(more, (more, DROPPED), closes=closes)


def chunked(*becomes: tuple[bytes, bytes], more: bytes = b"", trailer: bytes = b"") -> Case:
    """An answer in chunks; Envoy moves `Transfer-Encoding` behind the date."""
    sent = answer(headers=more + CHUNKED, body=OK_CHUNKS[:-2] + trailer + b"\r\n")
    return answers(sent, (more + CHUNKED + DATE, DATE + CHUNKED), *becomes)


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
OK_CHUNKS = b"2\r\nok\r\n0\r\n\r\n"
ZERO_LENGTH = b"Content-Length: 0\r\n"
EMPTY = answer(headers=b"", body=b"")
IN_1_0, IN_1_1 = (b"HTTP/1.1", b"HTTP/1.0"), (b"HTTP/1.0", b"HTTP/1.1")
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
    "dot-segments": target(b"http://shop.test/a/../b/./c"),
    "double-slashes": target(b"http://shop.test//a//b"),
    "odd-mixture": target(b"http://shop.test/a/../b//c?%2F"),
    "escaped-slash": target(b"http://shop.test/a%2Fb%2f"),
    "broken-escape": target(b"http://shop.test/%zz%"),
    "odd-query": target(b"http://shop.test/?q=%2F&x=a+b&&=?"),
    "port": target(b"http://shop.test:8080/"),
    "default-port": target(b"http://shop.test:80/"),
    "https-scheme": target(b"https://shop.test/"),
    "IPv6-authority": target(b"http://[2001:db8::1]/"),
    "upper-case-host": target(b"http://SHOP.test/"),
    "long-path": target(b"http://shop.test/" + b"a" * 8000),
    "punctuation": target(b"http://shop.test/~!$&'()*+,;=:@-._"),
    "illegal-characters": target(b'http://shop.test/a[0]={x}|^`"<>\\'),
    "matrix-parameters": target(b"http://shop.test/a;jsessionid=1;b?c;d"),
    "target-upper-case-scheme": target(b"HTTP://shop.test/", (b"HTTP://", b"http://")),
    "target-no-path": target(b"http://shop.test", (b"shop.test HTTP", b"shop.test/ HTTP")),
    "target-user": target(b"http://user:pw@shop.test/", (b"user:pw@", DROPPED)),
    "origin-form": asks((b"/path", b"http://shop.test/path"), target=b"/path"),
    # Request headers.
    "host-in-odd-case": headers(b"hOsT: shop.test\r\n"),
    "case-of-names": adds(b"X-CuStOm: a\r\nx-other: b\r\nx_under: c\r\n"),
    "duplicates": adds(b"X-A: 1\r\nX-B: 2\r\nX-A: 3\r\n"),
    "cookies-on-two-lines": adds(b"Cookie: a=1\r\nCookie: b=2\r\n"),
    "forwarded": adds(b"X-Forwarded-For: 192.0.2.1\r\nVia: 1.1 me\r\nForwarded: for=x\r\n"),
    "request-id": adds(b"X-Request-ID: mine\r\n"),
    "TE": adds(b"TE: trailers\r\n"),
    "credentials": adds(b"Proxy-Authorization: Basic eDp5\r\nAuthorization: Bearer z\r\n"),
    "latin-1": adds(b"X-A: caf\xe9\r\n"),
    "UTF-8": adds("X-A: café\r\n".encode()),
    "16-KiB": adds(b"X-Big: " + b"v" * 16384 + b"\r\n"),
    "64-KiB": adds(b"X-Big: " + b"v" * 65536 + b"\r\n"),
    "200-headers": adds(MANY),
    "accept-encoding": adds(b"Accept-Encoding: gzip, br;q=0.5\r\nRange: bytes=0-1\r\n"),
    "80-KB-of-cookies": adds(b"Cookie: a=%b\r\n" % (b"x" * 4000) * 20),
    "tab-in-a-value": adds(b"X-A: a\tb\r\n"),
    "proxies-own-headers": adds(
        b"X-Forwarded-Client-Cert: a\r\nX-Forwarded-Port: 1\r\nX-Real-IP: b\r\n"
        b"X-Envoy-External-Address: c\r\nX-Envoy-Original-Path: d\r\nMax-Forwards: 1\r\n"
    ),
    "odd-expectation": adds(b"Expect: something\r\n"),
    "conditional": adds(b'If-None-Match: "x"\r\nUpgrade-Insecure-Requests: 1\r\n'),
    "other-host-not-first": headers(
        b"X-A: 1\r\n" + HOST + b"X-B: 2\r\n", (b"X-A: 1\r\n" + HOST, HOST + b"X-A: 1\r\n")
    ),
    "other-host-site": headers(b"Host: other.test\r\n", (b"other.test", b"shop.test")),
    "other-host-port": headers(b"Host: shop.test:80\r\n", (b"shop.test:80", b"shop.test")),
    "other-host-none": headers(b"X-A: 1\r\n", (b"X-A: 1\r\n", b"host: shop.test\r\nX-A: 1\r\n")),
    "other-host-twice": adds(HOST, (HOST + HOST, HOST)),
    "two-cases": adds(b"X-A: 1\r\nx-a: 2\r\n", (b"x-a", b"X-A")),
    "spaced-value": adds(b"X-A:   v  \r\n", (b"   v  ", b" v")),
    "spaced-not": adds(b"X-A:1\r\n", (b"X-A:1", b"X-A: 1")),
    "spaced-fold": adds(b"X-A: a\r\n b\r\n", (b"a\r\n b", b"a b")),
    "spaced-bare-feeds": Case(
        request=b"GET http://shop.test/ HTTP/1.1\nHost: shop.test\n\n",
        answer=answer(),
        request_becomes=((b"1.1\n", b"1.1\r\n"), (b"test\n\n", b"test\r\n\r\n")),
    ),
    "spaced-empty": adds(b"X-A:\r\n", (b"X-A:", b"X-A: ")),
    "hop-keep-alive": loses(b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"),
    "hop-proxy-connection": loses(b"Proxy-Connection: keep-alive\r\n"),
    "hop-te": adds(b"TE: trailers, gzip\r\n", (b"trailers, gzip", b"trailers")),
    "hop-close": Case(
        request=request(headers=HOST + b"Connection: close\r\n"),
        answer=answer(),
        request_becomes=((b"Connection: close\r\n", DROPPED),),
        answer_becomes=(CLOSES,),
    ),
    "hop-named": loses(b"Connection: X-Hop\r\nX-Hop: 1\r\n"),
    "for-envoy-proto": loses(b"X-Forwarded-Proto: https\r\n"),
    "for-envoy": loses(FOR_ENVOY),
    "hop-upgrade-tls": loses(b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n"),
    "hop-upgrade-h2c": loses(
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    ),
    # HTTP/1.0.
    "version-1.0": Case(
        request=request(version=b"HTTP/1.0"),
        answer=answer(),
        request_becomes=(IN_1_1,),
        answer_becomes=(IN_1_0, CLOSES),
    ),
    "version-1.0-kept-alive": Case(
        request=request(headers=HOST + b"Connection: keep-alive\r\n", version=b"HTTP/1.0"),
        answer=answer(),
        request_becomes=(IN_1_1, (b"Connection: keep-alive\r\n", DROPPED)),
        answer_becomes=(IN_1_0, (DATE, DATE + b"connection: keep-alive\r\n")),
    ),
    "version-1.0-chunks": Case(
        request=request(version=b"HTTP/1.0"),
        answer=answer(headers=CHUNKED, body=OK_CHUNKS),
        request_becomes=(IN_1_1,),
        answer_becomes=(IN_1_0, (CHUNKED, DROPPED), CLOSES, (OK_CHUNKS, b"ok")),
    ),
    # Methods and bodies.
    "DELETE": asks(method=b"DELETE"),
    "TRACE": asks(method=b"TRACE"),
    "HEAD": Case(request=request(method=b"HEAD"), answer=answer(body=b"")),
    "method-options": asks(NO_LENGTH, method=b"OPTIONS"),
    "method-unknown": asks(NO_LENGTH, method=b"BREW"),
    "method-post": asks(NO_LENGTH, method=b"POST"),
    "QUERY": posts(b"Content-Type: text/plain\r\nContent-Length: 2\r\n", b"q?", method=b"QUERY"),
    "body": posts(b"Content-Length: 11\r\n", b"hello world"),
    "empty-body": posts(b"Content-Length: 0\r\n", b""),
    "1-MiB-body": posts(b"Content-Length: 1048576\r\n", EVERY_BYTE * 4096),
    "GET-with-a-body": posts(b"Content-Length: 3\r\n", b"abc", method=b"GET"),
    "one-chunk": posts(CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
    "chunk-two": posts(
        CHUNKED, b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", (b"5\r\nhello\r\n6\r\n", b"b\r\nhello")
    ),
    "chunk-extension": posts(CHUNKED, b"5;x=y\r\nhello\r\n0\r\n\r\n", (b"5;x=y", b"5")),
    "chunk-and-length-before": posts(
        b"Content-Length: 5\r\n" + CHUNKED, OK_CHUNKS, (b"Content-Length: 5\r\n", DROPPED)
    ),
    "expectation-of-100": Case(
        request=request(
            method=b"POST", headers=HOST + b"Expect: 100-continue\r\n" + LENGTH, body=b"hi"
        ),
        answer=b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
    ),
    "request-trailer": posts(CHUNKED, b"2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n", (b"X-T", b"x-t")),
    # Answers.
    "reason-phrase": answers(answer(b"200 Fine By Me")),
    "204": answers(answer(b"204 No Content", b"", body=b"")),
    "304": answers(answer(b"304 Not Modified", b'ETag: "x"\r\n', body=b"")),
    "bodiless-204": answers(
        answer(b"204 No Content", ZERO_LENGTH, body=b""), (ZERO_LENGTH, DROPPED)
    ),
    "bodiless-304": answers(answer(b"304 Not Modified", CHUNKED, body=b""), (CHUNKED, DROPPED)),
    "bodiless-head": Case(
        request=request(method=b"HEAD"),
        answer=answer(headers=b"", body=b""),
        answer_becomes=((DATE, DATE + b"transfer-encoding: chunked\r\n"),),
    ),
    "answer-line-no-date": answers(answer(date=b""), (b"\r\n\r\n", b"\r\n" + NOW + b"\r\n")),
    "304-with-a-length": answers(answer(b"304 Not Modified", b"Content-Length: 500\r\n", body=b"")),
    "299": answers(answer(b"299 Odd")),
    "777": answers(answer(b"777 Odd")),
    "case-of-the-answers-names": answers(answer(headers=b"content-LENGTH: 2\r\nX-CaSe: y\r\n")),
    "two-cookies": replies(b"Set-Cookie: a\r\nSet-Cookie: b\r\n"),
    "1-MiB-answer": answers(answer(headers=b"Content-Length: 1048576\r\n", body=EVERY_BYTE * 4096)),
    "16-KiB-header-of-an-answer": replies(b"X-Big: " + b"v" * 16384 + b"\r\n"),
    "200-headers-of-an-answer": replies(MANY),
    "server-and-via": replies(b"Server: x\r\nVia: 1.1 v\r\n"),
    "407": answers(answer(b"407 No Login", LENGTH + b'Proxy-Authenticate: Basic realm="x"\r\n')),
    "headers-of-another-Envoy": replies(b"X-Envoy-Upstream-Service-Time: 5\r\n"),
    "processing": answers(b"HTTP/1.1 102 Processing\r\n\r\n" + answer()),
    "early-hints": answers(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer()),
    "latin-1-answer": replies(b"X-A: caf\xe9\r\n"),
    "encoded-answer": replies(b"Content-Encoding: gzip\r\n"),
    "answer-line-no-phrase": answers(answer(b"200 "), (b"200 ", b"200 OK")),
    "answer-chunk": chunked(),
    "answer-chunk-trailer": chunked((b"X-T", b"x-t"), trailer=b"X-T: 1\r\n"),
    "until-close-page": answers(
        answer(headers=b""),
        (DATE, DATE + b"transfer-encoding: chunked\r\n"),
        (b"\r\n\r\nok", b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        closes=True,
    ),
    "answer-line-1.0": answers(answer(version=b"HTTP/1.0"), IN_1_1, closes=True),
    "answer-hop-close": reply_loses(b"Connection: close\r\n", closes=True),
    "answer-hop-connection": reply_loses(b"Connection: keep-alive\r\n"),
    "answer-hop-by-hop": reply_loses(HOPS),
    "answer-hop-upgrade-offered": reply_loses(b"Upgrade: h2c\r\nConnection: Upgrade\r\n"),
    "answer-named-by-connection": replies(
        b"X-Hop: 1\r\nConnection: X-Hop\r\n", (b"Connection: X-Hop\r\n", DROPPED)
    ),
    "answer-two-cases": replies(b"X-A: 1\r\nx-a: 2\r\n", (b"x-a", b"X-A")),
    "answer-spaced-fold": replies(b"X-A: a\r\n b\r\n", (b"a\r\n b", b"a b")),
    "answer-chunk-and-length-before": chunked(more=b"Content-Length: 5\r\n"),
    "answer-spaced": replies(b"X-A:   v  \r\n", (b"   v  ", b" v")),
    # Websockets.
    "websocket": Case(
        request=request(headers=HOST + WEBSOCKET),
        answer=b"HTTP/1.1 101 Switching Protocols\r\n%b%b\r\n\x81\x02ok" % (WEBSOCKET, DATE),
    ),
    "refused-websocket": Case(
        request=request(headers=HOST + WEBSOCKET),
        answer=answer(b"403 Forbidden"),
        answer_becomes=(CLOSES,),
    ),
    "websocket-page": Case(
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
    "CONNECT-with-a-length-in-its-answer": connects(answer(body=b"", headers=ZERO_LENGTH)),
    "other-host-connect-port": connects(
        EMPTY, b"X-A: 1\r\n" + HOST, (b"X-A: 1\r\n" + HOST, b"Host: shop.test:443\r\nX-A: 1\r\n")
    ),
    "hop-connect": connects(
        EMPTY,
        b"Host: shop.test:443\r\nProxy-Connection: keep-alive\r\n",
        (b"Proxy-Connection: keep-alive\r\n", DROPPED),
    ),
    "version-connect-1.0": connects(
        answer(version=b"HTTP/1.0", headers=b"", body=b""),
        b"X-A: 1\r\n",
        (b"HTTP/1.0\r\n", b"HTTP/1.1\r\nhost: shop.test:443\r\n"),
        version=b"HTTP/1.0",
    ),
    "answer-line-no-date-connect": connects(
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        answer_becomes=((b"established\r\n", b"established\r\n" + NOW),),
    ),
    "refused": connects(answer(b"502 Bad Gateway"), answer_becomes=(CLOSES,)),
}
