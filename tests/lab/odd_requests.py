"""Requests that crawlers send and strict parsers refuse, each under a short name.

Kinds come from public bug reports of proxies and crawlers, from `tests/lab/hostile.py`, and from
the grammar: each rule of RFC 9112 broken once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.lab.odd_exchanges import CHUNKED, EMPTY, HOST, OK_CHUNKS, answer, request
from tests.lab.odd_script import Odd, odd

LENGTH_2 = b"Content-Length: 2\r\n"

LINES = {  # the whole first line
    "odd-line-utf8": "GET http://shop.test/é HTTP/1.1".encode(),
    "odd-line-latin1": b"GET http://shop.test/\xe9 HTTP/1.1",
    "odd-line-space": b"GET http://shop.test/a b HTTP/1.1",
    "odd-line-tab": b"GET http://shop.test/a\tb HTTP/1.1",
    "odd-line-nul": b"GET http://shop.test/a\x00b HTTP/1.1",
    "odd-line-del": b"GET http://shop.test/a\x7fb HTTP/1.1",
    "odd-line-control": b"GET http://shop.test/a\x01b HTTP/1.1",
    "bad-host-underscore": b"GET http://my_shop.test/ HTTP/1.1",
    "target-fragment": b"GET http://shop.test/#top HTTP/1.1",
    "target-fragment-query": b"GET http://shop.test/a?b#top HTTP/1.1",
    "scheme-ftp": b"GET ftp://shop.test/ HTTP/1.1",
    "scheme-ws": b"GET ws://shop.test/ HTTP/1.1",
    "odd-line-javascript": b"GET javascript:alert(1) HTTP/1.1",
    "query-after-host": b"GET http://shop.test?x=1 HTTP/1.1",
    "options-star": b"OPTIONS * HTTP/1.1",
    "scheme-none": b"GET * HTTP/1.1",
    "bad-host-missing": b"GET http:///x HTTP/1.1",
    "odd-line-one-slash": b"GET http:/shop.test/ HTTP/1.1",
    "odd-line-no-slashes": b"GET http:shop.test HTTP/1.1",
    "odd-line-no-scheme": b"GET shop.test/ HTTP/1.1",
    "origin-form-slashes": b"GET //shop.test/ HTTP/1.1",
    "trailing-dot": b"GET http://shop.test./ HTTP/1.1",
    "bad-host-port-empty": b"GET http://shop.test:/ HTTP/1.1",
    "bad-host-port-99999": b"GET http://shop.test:99999/ HTTP/1.1",
    "bad-host-port-letters": b"GET http://shop.test:8a/ HTTP/1.1",
    "odd-line-idn-host": "GET http://bücher.test/ HTTP/1.1".encode(),
    "bad-host-percent": b"GET http://%73hop.test/ HTTP/1.1",
    "bad-host-star": b"GET http://*.test/ HTTP/1.1",
    "odd-line-backslash": b"GET http://shop.test\\a/ HTTP/1.1",
    "hyphen-host": b"GET http://-shop-.test/ HTTP/1.1",
    "two-dots-host": b"GET http://a..b/ HTTP/1.1",
    "bad-host-zone": b"GET http://[fe80::1%25lo]/ HTTP/1.1",
    "bad-host-bare-ipv6": b"GET http://2001:db8::1/ HTTP/1.1",
    "number-host": b"GET http://2130706433/ HTTP/1.1",
    "bad-host-two-users": b"GET http://a@b@shop.test/ HTTP/1.1",
    "path-of-60000": b"GET http://shop.test/%b HTTP/1.1" % (b"a" * 60_000),
    "line-of-70000": b"GET http://shop.test/%b HTTP/1.1" % (b"a" * 70_000),
    "line-of-300000": b"GET http://shop.test/%b HTTP/1.1" % (b"a" * 300_000),
    "method-lower-case": b"get http://shop.test/ HTTP/1.1",
    "method-mixed-case": b"Get http://shop.test/ HTTP/1.1",
    "query-untyped": b"QUERY http://shop.test/ HTTP/1.1",
    "method-propfind": b"PROPFIND http://shop.test/ HTTP/1.1",
    "method-m-search": b"M-SEARCH http://shop.test/ HTTP/1.1",
    "method-purge": b"PURGE http://shop.test/ HTTP/1.1",
    "method-punctuated": b"G!#$%&'*+-.^_`|~T http://shop.test/ HTTP/1.1",
    "odd-line-method-brackets": b"(GET) http://shop.test/ HTTP/1.1",
    "odd-line-method-latin1": b"G\xc9T http://shop.test/ HTTP/1.1",
    "method-of-64": b"A" * 64 + b" http://shop.test/ HTTP/1.1",
    "method-of-1000": b"A" * 1000 + b" http://shop.test/ HTTP/1.1",
    "spaced-twice": b"GET  http://shop.test/ HTTP/1.1",
    "spaced-twice-behind": b"GET http://shop.test/  HTTP/1.1",
    "spaced-tabs": b"GET\thttp://shop.test/\tHTTP/1.1",
    "odd-line-space-first": b" GET http://shop.test/ HTTP/1.1",
    "spaced-behind": b"GET http://shop.test/ HTTP/1.1 ",
    "line-before-empty": b"\r\nGET http://shop.test/ HTTP/1.1",
    "line-before-feed": b"\nGET http://shop.test/ HTTP/1.1",
    "version-1.2": b"GET http://shop.test/ HTTP/1.2",
    "odd-line-http-1.10": b"GET http://shop.test/ HTTP/1.10",
    "version-2.0": b"GET http://shop.test/ HTTP/2.0",
    "odd-line-http-lower-case": b"GET http://shop.test/ http/1.1",
    "odd-line-no-minor": b"GET http://shop.test/ HTTP/1",
    "odd-line-other-protocol": b"GET http://shop.test/ ICY/1.0",
    "odd-line-no-target": b"GET HTTP/1.1",
}

HEADERS = {  # behind a Host
    "bad-name-space-behind": b"X-A : 1\r\n",
    "bad-name-space": b"X A: 1\r\n",
    "bad-name-alone": b"X-A\r\n",
    "bad-name-equals": b"X-A=1;\r\n",
    "bad-name-empty": b": 1\r\n",
    "bad-name-quoted": b'"X-A": 1\r\n',
    "bad-name-curly-quoted": "‘x-a’: 1\r\n".encode(),
    "bad-name-latin1": b"X-\xe9: 1\r\n",
    "bad-name-brackets": b"X(A): 1\r\n",
    "bad-name-slash": b"X/A: 1\r\n",
    "bad-name-at": b"X@A: 1\r\n",
    "bad-name-nul": b"X-\x00: 1\r\n",
    "bad-name-pseudo": b":path: /\r\n",
    "bad-value-nul": b"X-A: a\x00b\r\n",
    "bad-value-control": b"X-A: a\x01b\r\n",
    "bad-value-del": b"X-A: a\x7fb\r\n",
    "spaced-lone-return": b"X-A: a\rb\r\n",
    "spaced-tab-fold": b"X-A: a\r\n\tb\r\n",
    "spaced-two-folds": b"X-A: a\r\n b\r\n c\r\n",
    "value-of-100000": b"X-A: %b\r\n" % (b"v" * 100_000),
    "name-of-9000": b"%b: 1\r\n" % (b"x" * 9000),
    "900-headers": b"".join(b"X-%d: 1\r\n" % n for n in range(900)),
    "1100-headers": b"".join(b"X-%d: 1\r\n" % n for n in range(1100)),
    "other-host-second": b"Host: other.test\r\n",
    "other-host-second-empty": b"Host:\r\n",
    "hop-host": b"Connection: Host\r\n",
    "hop-latin1": b"Connection: \xff\r\n",
    "hop-twice": b"Connection: keep-alive\r\nConnection: close, foo\r\n",
    "hop-empty": b"Connection:\r\n",
    "hop-upgrade-alone": b"Upgrade: websocket\r\n",
    "hop-upgrade-foo": b"Connection: Upgrade\r\nUpgrade: foo\r\n",
    "websocket-page-list": b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
    "http2-settings-alone": b"HTTP2-Settings: AAMAAABk\r\n",
    "hop-te-gzip": b"TE: gzip\r\n",
    "trailer-announced": b"Trailer: X-T\r\n",
    "for-envoy-timeout": b"X-Envoy-Upstream-Rq-Timeout-Ms: 1\r\n",
    "envoy-decorator": b"X-Envoy-Decorator-Operation: a\r\n",
    "proxy-authenticate-asked": b"Proxy-Authenticate: Basic\r\n",
    "two-credentials": b"Proxy-Authorization: Basic eDp5\r\nProxy-Authorization: Basic eTp6\r\n",
    "grpc-timeout": b"Grpc-Timeout: 1S\r\n",
    "alt-used": b"Alt-Used: shop.test\r\nAlt-Svc: clear\r\n",
    "for-envoy-referer": "Referer: http://shop.test/é\r\n".encode(),
    "cookie-with-quotes": b'Cookie: a="b; c"; d\r\n',
}

HOSTS = {  # in the place of the Host
    "other-host-empty": b"Host:\r\n",
    "other-host-user": b"Host: user:pw@shop.test\r\n",
    "other-host-space": b"Host: shop test\r\n",
    "other-host-path": b"Host: shop.test/a\r\n",
    "other-host-scheme": b"Host: http://shop.test\r\n",
    "other-host-list": b"Host: shop.test, other.test\r\n",
    "other-host-folded": b"Host:\r\n shop.test\r\n",
}

BODIES = {  # headers, body; of a POST
    "bad-length-plus": (b"Content-Length: +2\r\n", b"ok"),
    "length-zeros": (b"Content-Length: 0002\r\n", b"ok"),
    "bad-length-list": (b"Content-Length: 2, 2\r\n", b"ok"),
    "bad-length-twice": (LENGTH_2 + LENGTH_2, b"ok"),
    "bad-length-different": (b"Content-Length: 1\r\n" + LENGTH_2, b"ok"),
    "bad-length-negative": (b"Content-Length: -1\r\n", b""),
    "bad-length-hex": (b"Content-Length: 0x2\r\n", b"ok"),
    "bad-length-word": (b"Content-Length: two\r\n", b"ok"),
    "bad-length-empty": (b"Content-Length:\r\n", b""),
    "bad-length-float": (b"Content-Length: 2.0\r\n", b"ok"),
    "spaced-length": (b"Content-Length:  2  \r\n", b"ok"),
    "length-20-digits": (b"Content-Length: 00000000000000000002\r\n", b"ok"),
    "chunk-upper-case": (b"Transfer-Encoding: CHUNKED\r\n", OK_CHUNKS),
    "coding-twice": (CHUNKED + CHUNKED, OK_CHUNKS),
    "coding-listed-twice": (b"Transfer-Encoding: chunked, chunked\r\n", OK_CHUNKS),
    "coding-gzip-chunked": (b"Transfer-Encoding: gzip, chunked\r\n", OK_CHUNKS),
    "coding-chunked-identity": (b"Transfer-Encoding: chunked, identity\r\n", OK_CHUNKS),
    "coding-gzip": (b"Transfer-Encoding: gzip\r\n", b""),
    "bad-coding-identity": (b"Transfer-Encoding: identity\r\n" + LENGTH_2, b"ok"),
    "coding-unknown": (b"Transfer-Encoding: xchunked\r\n", OK_CHUNKS),
    "bad-coding-empty": (b"Transfer-Encoding:\r\n" + LENGTH_2, b"ok"),
    "chunk-and-length": (CHUNKED + LENGTH_2, OK_CHUNKS),
    "bad-chunk-line-feeds": (CHUNKED, b"2\nok\n0\n\n"),
    "chunk-zeros": (CHUNKED, b"0002\r\nok\r\n000\r\n\r\n"),
    "chunk-hex": (CHUNKED, b"A\r\n0123456789\r\n0\r\n\r\n"),
    "chunk-space": (CHUNKED, b"2 \r\nok\r\n0\r\n\r\n"),
    "chunk-quoted-extension": (CHUNKED, b'2;a="b;c"\r\nok\r\n0;z\r\n\r\n'),
    "chunk-long-extension": (CHUNKED, b"2;%b\r\nok\r\n0\r\n\r\n" % (b"e" * 9000)),
    "bad-chunk-size": (CHUNKED, b"zz\r\nok\r\n0\r\n\r\n"),
    "bad-chunk-negative": (CHUNKED, b"-2\r\nok\r\n0\r\n\r\n"),
    "chunk-too-long": (CHUNKED, b"2\r\nokX\r\n0\r\n\r\n"),
    "bad-chunk-0x": (CHUNKED, b"0x2\r\nok\r\n0\r\n\r\n"),
    "no-chunks": (CHUNKED, b"0\r\n\r\n"),
    "request-trailers": (CHUNKED, b"2\r\nok\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n"),
    "bad-chunk-trailer": (CHUNKED, b"2\r\nok\r\n0\r\nX-T\r\n\r\n"),
}

CONNECTS = {  # target, headers; answered 200
    "bad-connect-underscore": (b"my_shop.test:443", b"Host: my_shop.test:443\r\n"),
    "bad-connect-no-port": (b"shop.test", HOST),
    "connect-ipv6": (b"[2001:db8::1]:443", b"Host: [2001:db8::1]:443\r\n"),
    "bad-connect-url": (b"http://shop.test:443/", HOST),
    "bad-connect-path": (b"/", HOST),
    "bad-connect-star": (b"*", HOST),
    "bad-connect-user": (b"user@shop.test:443", HOST),
    "connect-port-0": (b"shop.test:0", b"Host: shop.test:0\r\n"),
    "bad-connect-port-99999": (b"shop.test:99999", b"Host: shop.test:99999\r\n"),
    "odd-line-connect-latin1": (b"caf\xe9.test:443", b"Host: caf\xe9.test:443\r\n"),
    "other-host-connect-missing": (b"shop.test:443", b""),
    "other-host-connect": (b"shop.test:443", b"Host: other.test:443\r\n"),
    "hop-connect-length": (b"shop.test:443", b"Host: shop.test:443\r\nContent-Length: 0\r\n"),
    "coding-connect": (b"shop.test:443", b"Host: shop.test:443\r\n" + CHUNKED),
    "connect-upgrade": (
        b"shop.test:443",
        b"Host: shop.test:443\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    ),
    "hop-connect-close": (b"shop.test:443", b"Host: shop.test:443\r\nConnection: close\r\n"),
    "connect-expect": (b"shop.test:443", b"Host: shop.test:443\r\nExpect: 100-continue\r\n"),
    "bad-connect-header": (b"shop.test:443", b"Host: shop.test:443\r\nX A: 1\r\n"),
}


def _with_bodies() -> Iterator[tuple[str, Odd]]:
    """Methods that seldom have a body, with one; bodies in pieces."""
    for method in (b"GET", b"HEAD", b"DELETE", b"TRACE", b"OPTIONS"):
        name = method.decode().lower()
        body = b"" if method == b"HEAD" else b"ok"
        yield (
            f"{name}-chunked",
            odd(
                request(method=method, headers=HOST + CHUNKED, body=OK_CHUNKS),
                answer(body=body),
            ),
        )
        yield (
            f"{name}-length-2",
            odd(
                request(method=method, headers=HOST + LENGTH_2, body=b"ok"),
                answer(body=body),
            ),
        )
    head = request(method=b"POST", headers=HOST + b"Content-Length: 20\r\n")
    yield "body-apart", odd((head, b"x" * 20), answer())
    yield "body-byte-by-byte", odd((head, *[b"x"] * 20), answer())
    chunks = request(method=b"POST", headers=HOST + CHUNKED)
    cut = [OK_CHUNKS[n : n + 1] for n in range(len(OK_CHUNKS))]
    yield "chunk-byte-by-byte", odd((chunks, *cut), answer())
    yield "chunks-apart", odd((chunks, b"2\r\nok\r\n", b"2\r\nko\r\n0\r\n\r\n"), answer())
    get = request()
    # Not the whole head: on a busy machine that takes a second, the inspector's patience.
    pieces = (*(get[n : n + 1] for n in range(10)), get[10:])
    yield "head-byte-by-byte", odd(pieces, answer())
    for at in (1, 3, 4, len(get) - 3, len(get) - 2, len(get) - 1):
        yield f"head-cut-at-{at}", odd((get[:at], get[at:]), answer())


def _host(line: bytes) -> bytes:
    """Return what a crawler writes as Host: what stands between `//` and the path."""
    found = re.search(rb"://(?:[^/ ]*@)?([^/ ?#\\\\]+)", line)
    return found[1] if found else b"shop.test"


def requests() -> dict[str, Odd]:
    get = b"GET http://shop.test/ HTTP/1.1\r\n"
    found = {
        name: odd(b"%b\r\nHost: %b\r\n\r\n" % (line, _host(line)), answer())
        for name, line in LINES.items()
    }
    found |= {name: odd(get + HOST + more + b"\r\n", answer()) for name, more in HEADERS.items()}
    found |= {name: odd(get + host + b"\r\n", answer()) for name, host in HOSTS.items()}
    found |= {
        name: odd(request(method=b"POST", headers=HOST + more, body=body), answer())
        for name, (more, body) in BODIES.items()
    }
    for name, (to, more) in CONNECTS.items():
        found[name] = odd(request(to, more, method=b"CONNECT"), EMPTY, tunnel=True)
    found |= dict(_with_bodies())
    found["version-0.9"] = odd(b"GET http://shop.test/\r\n", answer(), ends="vendor")
    found["other-host-missing"] = odd(get + b"\r\n", answer())
    found["bad-name-folded"] = odd(get + b" X-A: 1\r\n" + HOST + b"\r\n", answer())
    found["spaced-line-feeds"] = odd(request().replace(b"\r\n", b"\n"), answer())
    found["all-returns"] = odd(request().replace(b"\r\n", b"\r"), answer())
    found["doubled-returns"] = odd(request().replace(b"\r\n", b"\r\r\n"), answer())
    return found
