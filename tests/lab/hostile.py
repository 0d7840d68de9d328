"""Hostile requests and answers, the same ones every time: a written list, and a seeded stream.

Three kinds. *Framed* ones are hostile in what they say, not in where they end: many go down one
connection. *Broken* ones are mutated byte by byte and have a connection each, as have the
*written* ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network

from tests.lab.exchange import Exchange
from tests.lab.odd_answers import answers
from tests.lab.odd_requests import requests

SEED = 20_261
MARK = b"zqhostilezq"
"""In most inputs: whoever finds it in a label or a log has found a leak."""

FRAMED_CONNECTIONS, FRAMED_EACH = 700, 10
BROKEN_REQUESTS, BROKEN_ANSWERS, TUNNELS, OPAQUE = 1500, 1500, 300, 200

HOST = b"Host: shop.test\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
METHODS = [
    *(b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"),
    *(b"TRACE", b"BREW", b"PROPFIND", b"get", b"M-SEARCH", b"G!#$%&'*+-.^_`|~T"),
]
HOSTS = [
    *(b"shop.test", b"SHOP.TEST", b"shop.test:80", b"shop.test:8080", b"shop.test.", b"a"),
    *(b"192.0.2.1", b"127.0.0.1:15001", b"0x7f.1", b"2130706433", b"[2001:db8::1]", b"[::1]:443"),
    *(b"xn--bcher-kva.test", b"-.test", b"a..b", b"a" * 63 + b".test", b"b." * 120 + b"test"),
    *(MARK + b".test", b"user:" + MARK + b"@shop.test"),
]
BAD_HOSTS = [
    *(b"", b":", b":80", b"shop.test:", b"shop.test:99999", b"shop.test:-1", b"shop.test:8a"),
    *(b"my_shop.test", b"shop test", b"[::1", b"::1", b"[fe80::1%25lo]", b"caf\xe9.test"),
    *("bücher.test".encode(), b"a" * 5000, b"@", b"user@", b"/", b"\\", b"shop.test\x00.evil"),
    *(b"*.test", b"h~o!s$t.test", b"%41.test"),
]
WORDS = [  # what the script and the labels look for, and what they would do with it
    *(b"traffic", b"quota_exhausted", b"success", b"vendor-a", b"unknown", b"proxy_vendor"),
    *(b'"; error("x") --', b"]]..error(1)..[[", b"%s%n%d%x", b"%REQ(:PATH)%", b"%CEL(1/0)%"),
    *(b"${jndi:ldap://x}", b"{{7*7}}", b"' || true || '", b'"', b"\\", b"\\0", b"%00", b"%0d%0a"),
    *(b"nan", b"-1", b"1e999", b"9" * 400, b"true", b"null", b"()", b"[[]]", b"=", b",", b";", b""),
]
NAMES = [  # read by the script, by CEL or by Envoy
    *(b"x-sim-error", b"X-Sim-Error", b"Proxy-Status", b"X-Brd-Error", b"X-Luminati-Error"),
    *(b"X-Crawlera-Error", b"Proxy-Authorization", b"Proxy-Authenticate", b"Authorization"),
    *(b"proxy_vendor", b"proxy-observability", b"X-Envoy-Original-Path", b"x-envoy-max-retries"),
    *(b"x-envoy-retry-on", b"x-envoy-upstream-rq-timeout-ms", b"x-envoy-decorator-operation"),
    *(b"X-Envoy-Expected-Rq-Timeout-Ms", b"x-envoy-attempt-count", b"x-envoy-overloaded"),
    *(b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Request-Id"),
    *(b"X-B3-TraceId", b"traceparent", b"Cookie", b"Set-Cookie", b"Via", b"Server", b"Date"),
    *(b"Range", b"Content-Range", b"Age", b"Content-Type", b"Content-Encoding", b"Alt-Svc"),
    *(b"Grpc-Status", b"Grpc-Timeout", b"Trailer", b"TE", b"Max-Forwards", b"Warning"),
    *(b"X-Istio-Attributes", b"x-envoy-peer-metadata", b"Connect-Protocol-Version", b"Location"),
]


class Dice(random.Random):
    """Makes hostile parts, each legal where it will stand."""

    def text(self, alphabet: bytes, most: int) -> bytes:
        return bytes(self.choices(alphabet, k=self.randint(1, most)))

    def value(self) -> bytes:
        """What may stand behind a header's colon."""
        kind = self.random()
        if kind < 0.4:
            return self.choice(WORDS)
        if kind < 0.6:
            return self.text(bytes(range(0x80, 0x100)), 60)
        if kind < 0.8:
            return self.text(bytes(range(0x21, 0x7F)), 80)
        if kind < 0.9:
            return self.text(b"\t !" + bytes(range(0x30, 0x7F)) + bytes(range(0x80, 0x100)), 40)
        return MARK * self.choice((1, 1, 1, 50, 800))

    def header(self) -> bytes:
        name = self.choice(NAMES) if self.random() < 0.7 else self.text(TOKEN, 40)
        if name.lower() in (b"host", b"connection", b"upgrade", b"expect", b"te", b"trailer"):
            name = b"X-" + name
        return name + self.choice((b": ", b":", b":  ", b":\t")) + self.value() + b"\r\n"

    def headers(self) -> bytes:
        bomb = self.random() < 0.01
        return b"".join(self.header() for _ in range(250 if bomb else self.randint(0, 6)))

    def path(self) -> bytes:
        kind = self.random()
        if kind < 0.3:
            return self.choice(
                (b"/", b"//", b"/../..", b"/%00", b"/%", b"/a?b?c", b"/;a=b", b"/?" + MARK, b"/\\")
            )
        if kind < 0.9:
            return b"/" + self.text(bytes(range(0x24, 0x7F)), 80)
        return b"/" + MARK * self.choice((10, 300))

    def target(self) -> bytes:
        kind = self.random()
        if kind < 0.9:
            scheme = self.choice((b"http", b"http", b"http", b"https", b"HTTP"))
            return scheme + b"://" + self.choice(HOSTS) + self.path()
        return self.path()

    def framed_request(self, method: bytes) -> bytes:
        """A request that ends where it says, hostile in all else."""
        kind = self.random()
        framing, body = b"", b""
        if method in (b"POST", b"PUT", b"PATCH", b"BREW") or kind < 0.05:
            body = self.text(bytes(range(256)), 200)
            framing = b"Content-Length: %d\r\n" % len(body)
            if kind > 0.7:
                framing, body = b"Transfer-Encoding: chunked\r\n", self.chunked(body)
        head = b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method, self.target(), self.choice(HOSTS))
        return head + self.headers() + framing + b"\r\n" + body

    def chunked(self, body: bytes) -> bytes:
        trailer = self.choice((b"", b"", b"X-Sim-Error: traffic\r\n"))
        return b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer)

    def framed_answer(self, method: bytes) -> bytes:
        """An answer to `method` that ends where it says, hostile in all else."""
        code = self.choice(
            (200, 200, 403, 407, 407, 429, 502, 503, self.randint(200, 599), self.randint(200, 999))
        )
        interim = b""
        if self.random() < 0.05:
            interim = b"HTTP/1.1 %d Wait\r\n%b\r\n" % (self.choice((100, 102, 103)), self.headers())
        body = b"" if method == b"HEAD" or code in (204, 304) else self.text(bytes(range(256)), 300)
        framing = b"Content-Length: %d\r\n" % len(body)
        if code in (204, 304):
            framing = b""
        elif self.random() < 0.2 and method != b"HEAD":
            framing, body = b"Transfer-Encoding: chunked\r\n", self.chunked(body)
        reason = self.choice((b"OK", b"", b"Fine By Me", MARK, b"caf\xe9", b"200 OK", b"x" * 300))
        head = b"HTTP/1.1 %d %b\r\n" % (code, reason)
        return interim + head + self.headers() + framing + b"\r\n" + body

    def mutated(self, message: bytes) -> bytes:
        """Return the message with one to three wounds, mostly in its head."""
        text = bytearray(message)
        for _ in range(self.choice((1, 1, 1, 2, 3))):
            at = self.randrange(max(1, min(len(text), text.find(b"\r\n\r\n") + 4, 400)))
            kind = self.randrange(9)
            if kind == 0:
                text[at : at + 1] = bytes([self.randrange(256)])
            elif kind == 1:
                text[at:at] = bytes([self.choice((0, 9, 10, 13, 32, 34, 58, 127, 128, 255))])
            elif kind == 2:
                del text[at : at + self.randint(1, 12)]
            elif kind == 3:
                text[at:at] = text[max(0, at - self.randint(1, 30)) : at]
            elif kind == 4:
                text = text.replace(b"\r\n", self.choice((b"\n", b"\r", b"\r\r\n", b"\n\r")), 1)
            elif kind == 5:
                text = text.replace(b"HTTP/1.1", self.choice(VERSIONS), 1)
            elif kind == 6:
                text = text.replace(b"\r\n", b"\r\n" + self.choice(BAD_LINES) + b"\r\n", 1)
            elif kind == 7:
                text = text.replace(b" ", self.choice((b"", b"  ", b"\t", b"\x0b", b"\xa0")), 1)
            else:
                text = text.replace(b"shop.test", self.choice(BAD_HOSTS), 1)
        return bytes(text)


VERSIONS = [
    *(b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/1.10", b"http/1.1"),
    *(b"HTTP/1", b"HTTP/1.1 ", b"HTTP 1.1", b"ICY", b"", b"HTTP/\xff.1"),
]
BAD_LINES = [
    *(b"no colon", b": no name", b"X A: space in the name", b"X-A : space behind", b" folded"),
    *(b"\tfolded", b"X-\x00: nul", b"X-A: nul\x00", b"X-A: lone\rreturn", b"X-\xe9: high name"),
    *(b"Content-Length: -1", b"Content-Length: 1, 2", b"Content-Length: 0x2", b"Content-Length: "),
    *(b"Content-Length: 99999999999999999999", b"Content-Length: +2", b"Content-Length: 2\x0b"),
    *(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: "),
    *(b"Transfer-Encoding: chunked\r\nContent-Length: 2", b"Transfer-Encoding: xchunked"),
    *(b"Connection: close", b"Connection: \xff", b"Connection: host, x-sim-error, proxy-status"),
    *(b"Host: a\r\nHost: b", b"Host:", b"Upgrade: foo\r\nConnection: upgrade", b"Expect: 200-ok"),
    *(b"Upgrade: h2c\r\nConnection: Upgrade", b"Expect: 100-continue", b":status: 200"),
    *(
        b":path: /",
        b":authority: x",
        b":method: CONNECT",
        b"x" * 9000 + b": v",
        b"X-A: " + b"v" * 70000,
    ),
]


OPENINGS = [
    *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40, b"\x05\x01\x00", b"\x05\x02"),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"\x04\x01\x00\x50"),
    *(b"SSH-2.0-x\r\n", b"\x00", b"\xff" * 3000, b"\x13BitTorrent protocol", b"EHLO x\r\n"),
]


def written() -> list[tuple[bytes, bytes, bool]]:
    """Return the requests and answers that someone thought of, and whether the vendor closes."""
    odd = requests() | answers()
    del odd["answer-named-by-us"]  # our listener takes this header away (docs/fidelity.md)
    scripts = [one.script for one in odd.values()]
    exchanges = [
        (one.turns[0].sent, one.turns[0].answered, one.ends == "vendor") for one in scripts
    ]
    return list(dict.fromkeys(exchanges))


def exchanges(ranges: Sequence[IPv4Network], port_offsets: Sequence[int]) -> list[Exchange]:
    """Return all of them, each on an address of its own; most in `ranges`, a few in none."""
    dice = Dice(SEED)
    found = _on_everybodys_port(dice, _addresses(dice, ranges))
    return [
        replace(each, port_offset=dice.choice(port_offsets)) if dice.random() < 0.2 else each
        for each in found
    ]


def _on_everybodys_port(dice: Dice, addresses: Iterator[str]) -> list[Exchange]:
    found = [_framed(dice, next(addresses)) for _ in range(FRAMED_CONNECTIONS)]
    for sends, answer, closes in written():
        method = sends.split(b" ")[0]
        found.append(
            Exchange(
                address=next(addresses),
                sends=sends,
                methods=(method,),
                answers=(answer,),
                closes=closes,
            )
        )
    get = b"GET http://shop.test/ HTTP/1.1\r\n" + HOST + b"\r\n"
    connect = b"CONNECT shop.test:443 HTTP/1.1\r\n" + HOST + b"\r\n"
    for status in range(1000):
        answer = b"HTTP/1.1 %03d Odd\r\nContent-Length: 2\r\n\r\nok" % status
        found.append(Exchange(address=next(addresses), sends=get, answers=(answer,), closes=True))
    for _ in range(BROKEN_REQUESTS):
        method = dice.choice(METHODS)
        request = dice.mutated(dice.framed_request(method))
        found.append(Exchange(address=next(addresses), sends=request, methods=(method,)))
    for _ in range(BROKEN_ANSWERS):
        method = dice.choice((b"GET", b"GET", b"HEAD", b"POST", b"CONNECT"))
        request = connect if method == b"CONNECT" else get.replace(b"GET", method, 1)
        answer = dice.mutated(dice.framed_answer(method))
        found.append(
            Exchange(
                address=next(addresses),
                sends=request,
                methods=(method,),
                answers=(answer,),
                # A CONNECT refused without a length ends as Envoy happens to read the close.
                closes=method != b"CONNECT",
                hangs_up=dice.random() < 0.02,
            )
        )
    for _ in range(TUNNELS):
        found.append(_tunnel(dice, next(addresses)))
    for _ in range(OPAQUE):
        opening = dice.choice(OPENINGS) + dice.text(bytes(range(256)), 400)
        found.append(Exchange(address=next(addresses), sends=opening))
    return found


def _framed(dice: Dice, address: str) -> Exchange:
    methods = tuple(dice.choice(METHODS) for _ in range(FRAMED_EACH))
    return Exchange(
        address=address,
        sends=b"".join(dice.framed_request(method) for method in methods),
        methods=methods,
        answers=tuple(dice.framed_answer(method) for method in methods),
    )


def _tunnel(dice: Dice, address: str) -> Exchange:
    code = dice.choice((200, 200, 200, 201, 299, 407, 502, dice.randint(200, 999)))
    head = b"HTTP/1.1 %d %b\r\n%b" % (code, dice.choice((b"OK", b"", MARK)), dice.headers())
    return Exchange(
        address=address,
        sends=b"CONNECT %b:443 HTTP/1.1\r\nHost: %b\r\n%b\r\n"
        % (dice.choice(HOSTS).split(b":")[0], dice.choice(HOSTS), dice.headers()),
        methods=(b"CONNECT",),
        answers=(head + (b"\r\n" if code < 300 else b"Content-Length: 0\r\n\r\n"),),
        in_tunnel=dice.text(bytes(range(256)), 2000),
    )


def _addresses(dice: Dice, ranges: Sequence[IPv4Network]) -> Iterator[str]:
    yield "::1"  # loopback's only one
    outside = IPv4Network("127.9.0.0/16")
    used = set()
    while True:
        network = dice.choice((*ranges, *ranges, outside))
        address = str(network[dice.randrange(network.num_addresses)])
        if address not in used:
            used.add(address)
            yield address
