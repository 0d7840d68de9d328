"""Answers that vendors and sites send and strict parsers refuse, each under a short name.

Header names as in scrapy/scrapy#7290, urllib3/urllib3#950 and #1110, aio-libs/aiohttp#2624;
lengths and codings as in mitmproxy/mitmproxy#7786, #5423 and istio/istio#36711.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.lab.odd_exchanges import CHUNKED, DATE, EMPTY, HOST, OK_CHUNKS, answer, request
from tests.lab.odd_script import Odd, odd
from tests.lab.script import Ends, Turn

LENGTH_2 = b"Content-Length: 2\r\n"
CONNECT = request(b"shop.test:443", b"Host: shop.test:443\r\n", method=b"CONNECT")

STATUS_LINES = {
    "answer-line-no-reason": b"HTTP/1.1 200",
    "answer-line-spaces": b"HTTP/1.1  200 OK",
    "answer-line-tabs": b"HTTP/1.1\t200\tOK",
    "bad-status-2x0": b"HTTP/1.1 2x0 OK",
    "bad-status-20": b"HTTP/1.1 20 OK",
    "status-2000": b"HTTP/1.1 2000 OK",
    "bad-status-000": b"HTTP/1.1 000 Odd",
    "bad-status-099": b"HTTP/1.1 099 Odd",
    "status-600": b"HTTP/1.1 600 Odd",
    "status-999": b"HTTP/1.1 999 Request denied",
    "status-490": b"HTTP/1.1 490 No exit",
    "status-520": b"HTTP/1.1 520 Web server is returning an unknown error",
    "bad-status-negative": b"HTTP/1.1 -200 OK",
    "bad-status-glued": b"HTTP/1.1 200OK",
    "bad-status-none": b"HTTP/1.1",
    "answer-line-1.2": b"HTTP/1.2 200 OK",
    "answer-line-2.0": b"HTTP/2.0 200 OK",
    "answer-line-0.9": b"HTTP/0.9 200 OK",
    "bad-status-no-minor": b"HTTP/1 200 OK",
    "bad-status-lower-case": b"http/1.1 200 OK",
    "bad-status-icy": b"ICY 200 OK",
    "latin1-reason": b"HTTP/1.1 200 caf\xe9",
    "bad-status-nul": b"HTTP/1.1 200 a\x00b",
    "return-in-reason": b"HTTP/1.1 200 a\rb",
    "reason-of-70000": b"HTTP/1.1 200 " + b"x" * 70_000,
    "bad-status-empty-line": b"\r\nHTTP/1.1 200 OK",
    "bad-status-space-before": b" HTTP/1.1 200 OK",
}

HEADERS = {  # of an answer of two bytes
    "bad-answer-name-space-behind": b"X-XSS-Protection : 1\r\n",
    "bad-answer-name-space": b"Proxy Connection: keep-alive\r\n",
    "bad-answer-name-alone": b"Failed to open stream\r\n",
    "bad-answer-name-equals": b"X-XSS-Protection=1;\r\n",
    "bad-answer-name-empty": b": 1\r\n",
    "bad-answer-name-quoted": b'"Content-type": text/html\r\n',
    "bad-answer-name-curly-quoted": "‘access-control-allow-origin’: *\r\n".encode(),
    "bad-answer-name-cookie": b"activeLangId=English; userStatus=ok;Server: x\r\n",
    "bad-answer-name-status": b"Status 302: \r\n",
    "bad-answer-name-latin1": b"X-\xe9: 1\r\n",
    "bad-answer-name-brackets": b"X[A]: 1\r\n",
    "bad-answer-name-nul": b"X-\x00: 1\r\n",
    "bad-answer-name-pseudo": b":status: 200\r\n",
    "bad-answer-value-nul": b"X-A: a\x00b\r\n",
    "bad-answer-value-control": b"X-A: \x01\r\n",
    "bad-answer-value-del": b"X-A: \x7f\r\n",
    "answer-spaced-lone-return": b"X-A: a\rb\r\n",
    "answer-spaced-tab-fold": b"X-A: a\r\n\tb\r\n",
    "answer-spaced-empty": b"X-A:\r\n",
    "answer-spaced-not": b"X-A:1\r\n",
    "answer-value-of-100000": b"X-A: %b\r\n" % (b"v" * 100_000),
    "answer-name-of-9000": b"%b: 1\r\n" % (b"x" * 9000),
    "answer-900-headers": b"".join(b"X-%d: 1\r\n" % n for n in range(900)),
    "bad-answer-value-1100": b"".join(b"X-%d: 1\r\n" % n for n in range(1100)),
    "answer-20-cookies": b"".join(b"Set-Cookie: n%d=%d; Path=/\r\n" % (n, n) for n in range(20)),
    "answer-alt-svc": b'Alt-Svc: h3=":443"; ma=86400\r\n',
    "answer-proxy-status": b"Proxy-Status: sim; error=dns_error\r\n",
    "answer-hop-keep-alive": b"Keep-Alive: timeout=5, max=100\r\n",
    "answer-hop-proxy-connection": b"Proxy-Connection: keep-alive\r\n",
    "answer-hop-twice": b"Connection: close\r\nConnection: keep-alive\r\n",
    "answer-hop-upgrade": b"Upgrade: h2,h2c\r\n",
    "answer-trailer-announced": b"Trailer: X-T\r\n",
    "answer-named-by-us": b"X-Proxyobs-Setup-Milliseconds: 7\r\n",
    "answer-envoy-headers": b"X-Envoy-Attempt-Count: 1\r\nX-Envoy-Overloaded: true\r\n",
}

LENGTHS = {  # headers, body
    "answer-length-zeros": (b"Content-Length: 0000002\r\n", b"ok"),
    "bad-answer-length-twice": (LENGTH_2 + LENGTH_2, b"ok"),
    "bad-answer-length-list": (b"Content-Length: 2, 2\r\n", b"ok"),
    "bad-answer-length-different": (b"Content-Length: 1\r\n" + LENGTH_2, b"ok"),
    "bad-answer-length-plus": (b"Content-Length: +2\r\n", b"ok"),
    "answer-spaced-length": (b"Content-Length:   2  \r\n", b"ok"),
    "answer-chunk-upper-case": (b"Transfer-Encoding: Chunked\r\n", OK_CHUNKS),
    "bad-answer-coding-twice": (CHUNKED + CHUNKED, OK_CHUNKS),
    "bad-answer-coding-listed-twice": (b"Transfer-Encoding: chunked, chunked\r\n", OK_CHUNKS),
    "bad-answer-coding-gzip-chunked": (b"Transfer-Encoding: gzip, chunked\r\n", OK_CHUNKS),
    "bad-answer-coding-identity": (b"Transfer-Encoding: identity\r\n" + LENGTH_2, b"ok"),
    "answer-chunk-and-length": (CHUNKED + LENGTH_2, OK_CHUNKS),
    "answer-chunk-line-feeds": (CHUNKED, b"2\nok\n0\n\n"),
    "answer-chunk-zeros": (CHUNKED, b"00000002\r\nok\r\n00\r\n\r\n"),
    "answer-chunk-hex": (CHUNKED, b"a\r\n0123456789\r\n0\r\n\r\n"),
    "answer-chunk-space": (CHUNKED, b"2  \r\nok\r\n0\r\n\r\n"),
    "answer-chunk-extension": (CHUNKED, b'2;a="b"\r\nok\r\n0\r\n\r\n'),
    "answer-chunk-bad-size": (CHUNKED, b"zz\r\nok\r\n0\r\n\r\n"),
    "answer-chunk-too-long": (CHUNKED, b"2\r\nokX\r\n0\r\n\r\n"),
    "answer-chunk-none": (CHUNKED, b"0\r\n\r\n"),
    "answer-chunk-trailers": (CHUNKED, b"2\r\nok\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n"),
}

CLOSING = {  # headers, body; the vendor closes behind it
    "bad-answer-length-negative": (b"Content-Length: -1\r\n", b"ok"),
    "bad-answer-length-hex": (b"Content-Length: 0x2\r\n", b"ok"),
    "bad-answer-length-word": (b"Content-Length: two\r\n", b"ok"),
    "bad-answer-length-empty": (b"Content-Length:\r\n", b"ok"),
    "bad-answer-length-huge": (b"Content-Length: 99999999999999999999\r\n", b"ok"),
    "bad-answer-coding-gzip": (b"Transfer-Encoding: gzip\r\n", b"ok"),
    "bad-answer-coding-unknown": (b"Transfer-Encoding: xchunked\r\n", b"ok"),
    "bad-answer-coding-empty": (b"Transfer-Encoding:\r\n", b"ok"),
    "answer-too-short": (b"Content-Length: 9\r\n", b"ok"),
    "excess-bytes": (LENGTH_2, b"ok and more"),
    "answer-chunk-not-last": (CHUNKED, b"2\r\nok\r\n"),
    "answer-chunk-inside": (CHUNKED, b"9\r\nok"),
    "answer-chunk-no-end": (CHUNKED, b"2\r\nok\r\n0\r\n"),
    "until-close": (b"Connection: close\r\n", b"ok"),
    "until-close-empty": (b"Connection: close\r\n", b""),
}

BODILESS = {  # status line, headers, body, method
    "bad-204-length": (b"204 No Content", b"Content-Length: 5\r\n", b"", b"GET"),
    "bad-204-chunks": (b"204 No Content", CHUNKED, b"0\r\n\r\n", b"GET"),
    "205-length-0": (b"205 Reset Content", b"Content-Length: 0\r\n", b"", b"GET"),
    "304-content": (b"304 Not Modified", b"Content-Type: text/html\r\n", b"", b"GET"),
    "answer-chunk-head": (b"200 OK", CHUNKED, b"", b"HEAD"),
    "head-answer-404": (b"404 Not Found", b"Content-Length: 300\r\n", b"", b"HEAD"),
}

INTERIM = {
    "interim-three": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3,
    "100-unasked": b"HTTP/1.1 100 Continue\r\n\r\n",
    "100-with-headers": b"HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\n",
    "interim-199": b"HTTP/1.1 199 Odd\r\n\r\n",
    "interim-1.0": b"HTTP/1.0 100 Continue\r\n\r\n",
    "interim-length": b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
}

TO_CONNECT = {  # the whole answer to CONNECT, and how it ends
    "granted-1.0": (b"HTTP/1.0 200 Connection established\r\n\r\n", None),
    "granted-no-reason": (b"HTTP/1.1 200\r\n\r\n", None),
    "granted-201": (b"HTTP/1.1 201 Created\r\n%b\r\n" % DATE, None),
    "granted-204": (b"HTTP/1.1 204 No Content\r\n%b\r\n" % DATE, None),
    "granted-299": (b"HTTP/1.1 299 Odd\r\n%b\r\n" % DATE, None),
    "tunnel-length-5": (answer(headers=b"Content-Length: 5\r\n", body=b""), None),
    "granted-chunked": (answer(headers=CHUNKED, body=b""), None),
    "bad-tunnel-name": (answer(headers=b"Proxy Connection: keep-alive\r\n", body=b""), None),
    "bad-tunnel-colon": (answer(headers=b"Proxy-agent\r\n", body=b""), None),
    "granted-line-feeds": (b"HTTP/1.1 200 OK\n\n", None),
    "tunnel-proxy-agent": (answer(headers=b"Proxy-Agent: sim/1.0\r\n", body=b""), None),
    "granted-keep-alive": (answer(headers=b"Connection: keep-alive\r\n", body=b""), None),
    "granted-close": (answer(headers=b"Connection: close\r\n", body=b""), None),
    "tunnel-after-100": (b"HTTP/1.1 100 Continue\r\n\r\n" + EMPTY, None),
    "refused-101": (answer(b"101 Switching", b"", body=b""), "vendor"),
    "refused-302": (answer(b"302 Found", b"Location: /\r\nContent-Length: 0\r\n", body=b""), None),
    "refused-403": (answer(b"403 Forbidden"), None),
    "refused-407-chunks": (answer(b"407 Authenticate", CHUNKED, body=OK_CHUNKS), None),
    "refused-407-close": (answer(b"407 Authenticate", b"Connection: close\r\n"), "vendor"),
    "refused-502-empty": (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "vendor"),
    "no-http-connect": (b"no such host\r\n", "vendor"),
}


def _pieces() -> Iterator[tuple[str, Odd]]:
    """Answers cut where a reader might stumble."""
    whole, chunks = answer(), answer(headers=CHUNKED, body=OK_CHUNKS)
    yield "answer-byte-by-byte", odd(request(), _cut(whole, *range(1, len(whole))))
    yield "answer-chunk-byte-by-byte", odd(request(), _cut(chunks, *range(1, len(chunks))))
    end = whole.index(b"\r\n\r\n")
    for name, at in {"1": 1, "status": 10, "13": end + 1, "12": end + 2, "end": end + 4}.items():
        yield f"answer-cut-at-{name}", odd(request(), _cut(whole, at))
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    yield "apart-interim", odd(request(), (interim, whole))


def _cut(text: bytes, *places: int) -> tuple[bytes, ...]:
    starts = (0, *places)
    return tuple(text[a:b] for a, b in zip(starts, (*places, len(text)), strict=True))


def answers() -> dict[str, Odd]:
    found = {
        name: odd(request(), b"%b\r\n%b%b\r\nok" % (line, LENGTH_2, DATE))
        for name, line in STATUS_LINES.items()
    }
    found |= {name: odd(request(), answer(headers=LENGTH_2 + h)) for name, h in HEADERS.items()}
    found |= {
        name: odd(request(), answer(headers=head, body=body))
        for name, (head, body) in LENGTHS.items()
    }
    found |= {
        name: odd(request(), answer(headers=head, body=body), ends="vendor")
        for name, (head, body) in CLOSING.items()
    }
    found |= {
        name: odd(request(method=method), answer(status, head, body=body))
        for name, (status, head, body, method) in BODILESS.items()
    }
    found |= {name: odd(request(), before + answer()) for name, before in INTERIM.items()}
    for name, (text, ends) in TO_CONNECT.items():
        how: Ends = "vendor" if ends else "crawler"
        inside = [Turn(sends=(b"\x16\x03hello",), answers=(b"\x16\x03olleh",))]
        stands = name.startswith(("tunnel", "granted", "bad-tunnel"))
        found[name] = odd(CONNECT, text, *(inside if stands else []), ends=how, tunnel=stands)
    found |= dict(_pieces())
    post = request(method=b"POST", headers=HOST + b"Expect: 100-continue\r\n" + LENGTH_2)
    refused = answer(b"417 Expectation Failed", b"Content-Length: 0\r\n", body=b"")
    found["early-answer-417"] = odd(post, refused, ends="vendor")
    found["answer-spaced-line-feeds"] = odd(request(), answer().replace(b"\r\n", b"\n"))
    found["excess-answer"] = odd(request(), answer() + answer(), ends="vendor")
    found["no-http-text"] = odd(request(), b"no such host\r\n", ends="vendor")
    found["no-http-0.9"] = odd(request(), b"<html>ok</html>", ends="vendor")
    found["no-http-zeros"] = odd(request(), b"\x00" * 50, ends="vendor")
    return found
