"""Exchanges that are odd in their order, their ends, or their protocol."""

from __future__ import annotations

from dataclasses import replace

from tests.lab.odd_answers import CONNECT, LENGTH_2
from tests.lab.odd_exchanges import CHUNKED, DATE, EMPTY, HOST, answer, request
from tests.lab.odd_script import PLAIN, Odd, odd
from tests.lab.script import Ends, Script, Turn

LENGTH_10 = HOST + b"Content-Length: 10\r\n"
HALF_POST = request(method=b"POST", headers=LENGTH_10, body=b"half")
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)) * 2 + b"\x00" * 105
H2C = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
IN_TUNNEL = Turn(sends=(b"\x16\x03hello",), answers=(b"\x16\x03olleh",))
SOCKS_TO = b"\x05\x01\x00\x03\x09shop.test\x00\x50"
SOCKS_OK = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"
GET = request()


def turn(sends: bytes, answers: bytes = b"") -> Turn:
    return Turn(sends=(sends,), answers=(answers,) if answers else ())


def opaque(sends: bytes, answers: bytes, *more: Turn, ends: Ends = "crawler") -> Odd:
    return odd(sends, answers, *more, ends=ends, requests=0)


OTHER_PROTOCOLS = {
    "socks5": opaque(b"\x05\x01\x00", b"\x05\x00", turn(SOCKS_TO, SOCKS_OK), turn(b"hi", b"ho")),
    "socks5-login": opaque(
        b"\x05\x02\x00\x02",
        b"\x05\x02",
        turn(b"\x01\x01u\x01p", b"\x01\x00"),
        turn(SOCKS_TO, SOCKS_OK),
        turn(b"hi", b"ho"),
    ),
    "socks5-bad-login": opaque(
        b"\x05\x01\x02", b"\x05\x02", turn(b"\x01\x01u\x01p", b"\x01\x01"), ends="vendor"
    ),
    "socks5-no-method": opaque(b"\x05\x01\x00", b"\x05\xff", ends="vendor"),
    "socks5-refused": opaque(
        b"\x05\x01\x00", b"\x05\x00", turn(SOCKS_TO, b"\x05\x02" + SOCKS_OK[2:]), ends="vendor"
    ),
    "socks5-at-once": opaque(b"\x05\x01\x00" + SOCKS_TO, b"\x05\x00" + SOCKS_OK),
    "socks5-http": opaque(
        b"\x05\x01\x00", b"\x05\x00", turn(SOCKS_TO, SOCKS_OK), turn(GET, answer())
    ),
    "socks4": opaque(b"\x04\x01\x00\x50\x7f\x00\x00\x01u\x00", b"\x00\x5a" + b"\x00" * 6),
    "tls": opaque(TLS_HELLO, b"\x16\x03\x03\x00\x02ok", turn(b"\x17\x03\x03", b"\x17\x03\x03")),
    "tls-in-pieces": odd((TLS_HELLO[:1], TLS_HELLO[1:7], TLS_HELLO[7:]), b"\x16\x03", requests=0),
    "h2c": opaque(H2C, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    "ssh": opaque(b"", b"SSH-2.0-x\r\n", turn(b"SSH-2.0-y\r\n", b"\x00\x00")),
    "smtp": opaque(b"", b"220 mail.test\r\n", turn(b"EHLO x\r\n", b"250 ok\r\n")),
    "mysql": opaque(b"", b"\x4a\x00\x00\x00\x0a8.0\x00", ends="vendor"),
    "imap": opaque(b"a1 LOGIN u p\r\n", b"a1 OK\r\n"),
    "one-byte": opaque(b"\x00", b"\x00"),
    "before-a-line-letter": opaque(b"G", b"", ends="crawler"),
    "every-byte": opaque(bytes(range(256)) * 16, bytes(range(255, -1, -1)) * 16),
    "lone-lines": opaque(b"\r\n" * 100, b"\r\n"),
    "a-megabyte": opaque(b"\xff" * (1 << 20), b"\xfe" * (1 << 20)),
    "bittorrent": opaque(b"\x13BitTorrent protocol" + b"\x00" * 8, b"\x13BitTorrent protocol"),
    "before-a-line-nothing": Odd(script=Script(turns=()), requests=0, keeps=False),
    "vendor-closes-at-once": Odd(script=Script(turns=(), ends="vendor"), requests=0, keeps=False),
    "408-unasked": odd(
        b"", answer(b"408 Request Timeout", b"Connection: close\r\n"), ends="vendor", requests=0
    ),
}

HALF_CLOSED = {
    "half-close-get": odd(GET, answer(), ends="half-close"),
    "half-close-post": odd(
        request(method=b"POST", headers=HOST + LENGTH_2, body=b"ok"), answer(), ends="half-close"
    ),
    "half-close-head": odd(request(method=b"HEAD"), answer(body=b""), ends="half-close"),
    "half-close-chunked": odd(
        GET, answer(headers=CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"), ends="half-close"
    ),
    "half-close-until-close": odd(GET, answer(headers=b""), ends="half-close"),
    "half-close-connect": odd(CONNECT, EMPTY, ends="half-close"),
    "tunnel-half-closed": odd(CONNECT, EMPTY, IN_TUNNEL, ends="half-close"),
    "half-close-opaque": opaque(b"\x05\x01\x00", b"\x05\x00", ends="half-close"),
    "half-close-late-answer": odd(GET, (answer()[:20], answer()[20:]), ends="half-close"),
    "half-close-inside": odd(HALF_POST, answer(b"400 Bad Request"), ends="half-close"),
}

CUT_SHORT = {
    "before-a-line-half": odd(GET[:20], b""),
    "before-a-head-ends": odd(GET[:-4], b""),
    "half-a-body": odd(HALF_POST, b""),
    "chunk-half": odd(request(method=b"POST", headers=HOST + CHUNKED, body=b"5\r\nhe"), b""),
    "unanswered": odd(GET, b""),
    "unanswered-connect": odd(CONNECT, b""),
    "half-an-answer": odd(GET, answer(headers=b"Content-Length: 9\r\n")),
    "half-an-answer-head": odd(GET, answer()[:25]),
    "crawler-resets": odd(GET, answer(), ends="crawler resets"),
    "crawler-resets-unanswered": odd(GET, b"", ends="crawler resets"),
    "crawler-resets-tunnel": odd(CONNECT, EMPTY, IN_TUNNEL, ends="crawler resets"),
    "crawler-resets-opaque": opaque(b"\x05\x01\x00", b"\x05\x00", ends="crawler resets"),
    "lost-by-close": odd(GET, b"", ends="vendor"),
    "lost-by-close-connect": odd(CONNECT, b"", ends="vendor"),
    "no-http-half": odd(GET, answer()[:25], ends="vendor"),
    "vendor-closes-in-body": odd(GET, answer(headers=b"Content-Length: 9\r\n"), ends="vendor"),
    "vendor-closes-tunnel": odd(CONNECT, EMPTY, IN_TUNNEL, ends="vendor"),
    "idle-close": odd(GET, answer(), ends="vendor"),
    "lost-by-reset": odd(GET, b"", ends="vendor resets"),
    "idle-reset": odd(GET, answer(), ends="vendor resets"),
    "body-reset": odd(GET, answer(headers=b"Content-Length: 9\r\n"), ends="vendor resets"),
    "tunnel-reset": odd(CONNECT, EMPTY, IN_TUNNEL, ends="vendor resets"),
    "vendor-resets-opaque": opaque(b"\x05\x01\x00", b"\x05\x00", ends="vendor resets"),
}
CUT_SHORT = {name: replace(one, keeps=False) for name, one in CUT_SHORT.items()}


def pipeline(*turns: Turn, keeps: bool = True) -> Odd:
    return Odd(script=Script(turns=turns, pipelined=True), requests=len(turns), keeps=False)


POST = turn(request(method=b"POST", headers=HOST + LENGTH_2, body=b"ok"), answer())
HEAD = turn(request(method=b"HEAD"), answer(body=b""))
OTHER = turn(request(b"http://shop.test/other"), answer(b"404 Not Found"))
PIPELINES = {
    "pipelined-2": pipeline(PLAIN, OTHER),
    "pipelined-10": pipeline(*[PLAIN, OTHER] * 5),
    "pipelined-50": pipeline(*[PLAIN, OTHER] * 25),
    "pipelined-mixture": pipeline(HEAD, POST, PLAIN, HEAD),
    "pipelined-connect-last": pipeline(PLAIN, turn(CONNECT, EMPTY)),
    "pipelined-odd": pipeline(PLAIN, turn(request(b"http://shop.test/\xe9"), answer()), OTHER),
    "spaced-line-between": pipeline(turn(GET + b"\r\n", answer()), OTHER),
}

EARLY = {  # the vendor answers before it has the whole request
    "early-answer-body": odd(HALF_POST, answer(), turn(b"behind")),
    "early-answer-413": odd(HALF_POST, answer(b"413 Too Large"), ends="vendor"),
    "early-answer-chunks": odd(
        request(method=b"POST", headers=HOST + CHUNKED, body=b"5\r\nhe"),
        answer(),
        turn(b"llo\r\n0\r\n\r\n"),
    ),
    "answer-in-head": odd(GET[:20], answer(), turn(GET[20:])),
    "early-tunnel-data": odd(CONNECT + b"\x16\x03hello", EMPTY + b"\x16\x03olleh", tunnel=True),
    "server-first-in-tunnel": odd(CONNECT, EMPTY + b"220 mail.test\r\n", tunnel=True),
    "tunnel-answer-apart": odd(CONNECT, (EMPTY, b"220 mail.test\r\n"), tunnel=True),
    "refused-407-again": odd(
        CONNECT,
        answer(
            b"407 Authenticate", b"Proxy-Authenticate: Basic\r\nContent-Length: 0\r\n", body=b""
        ),
        turn(CONNECT.replace(b"\r\n\r\n", b"\r\nProxy-Authorization: Basic eDp5\r\n\r\n"), EMPTY),
        IN_TUNNEL,
        tunnel=True,
    ),
    "bad-connect-length": odd(
        request(b"shop.test:443", LENGTH_10.replace(b"10", b"5"), method=b"CONNECT", body=b"hello"),
        EMPTY,
        tunnel=True,
    ),
    "http-in-tunnel": odd(CONNECT, EMPTY, PLAIN, OTHER, tunnel=True),
    "a-megabyte-in-tunnel": odd(
        CONNECT, EMPTY, turn(b"\xff" * (1 << 20), b"\xfe" * (1 << 20)), tunnel=True
    ),
    "websocket-frames": odd(
        request(headers=HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n" % DATE,
        turn(b"\x81\x82abcdhi", b"\x81\x02hi"),
        tunnel=True,
    ),
    "hop-upgrade-101": odd(
        request(headers=HOST + b"Connection: Upgrade\r\nUpgrade: foo\r\n"),
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: foo\r\n%b\r\n" % DATE,
        turn(b"foo", b"bar"),
        tunnel=True,
    ),
}
# With a request of two turns it has one request all the same.
REQUESTS = {"refused-407-again": 2}


def connections() -> dict[str, Odd]:
    found = OTHER_PROTOCOLS | HALF_CLOSED | CUT_SHORT | PIPELINES | EARLY
    for name, requests in REQUESTS.items():
        found[name] = replace(found[name], requests=requests)
    return found
