"""Simulated proxy vendors: HTTP, TLS, SOCKS5 and HTTP/2 proxy, and the target behind them.

One process serves every vendor of its plan. The first bytes decide: 0x05 is SOCKS5, 0x16 TLS with
an HTTP proxy inside, the preface of HTTP/2 is that in clear, anything else HTTP. A request asks
for a fault by its host name: `fault-rate-limited.sim.test`. TLS, here or in a tunnel, needs no key
material: anonymous ECDH unless the plan names a certificate.

The books say what the vendor did and saw, from its own side; they are the witness the generator's
books are compared with. `counts` are requests seen in clear; `opaque` are connections that show
none (TLS, SOCKS5, HTTP/2, and all on a place that listens `opaque`), booked when they close.
`wire` are all sockets, the open ones up to now, by what came first; its bytes are those given to
the kernel and taken from it, so a peer that left early may have got less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import functools
import ipaddress
import json
import os
import random
import re
import resource
import signal
import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar, cast

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
RESET_INSIDE_DELAY_SECONDS = 0.02  # lets the headers travel before the RST, so it is "inside"
PAGE = memoryview(b"<!doctype html>" + b"x" * MAX_BODY_BYTES)
BAN_PAGE = b"<title>Access denied</title><p>Unusual traffic from your network.</p>"
GARBAGE = b"\x00\xffthis is no HTTP at all\r\n\r\n"
LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN
SOCKS_VERSION, TLS_HANDSHAKE = 0x05, 0x16  # first bytes
SOCKS_METHOD_NONE = b"\x05\x00"
SOCKS_CONNECT_DOMAIN = b"\x05\x01\x00\x03"
SOCKS_OK = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
SOCKS_UNREACHABLE = b"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"
OPAQUE_HOST = re.compile(rb"opaque-(\d{1,7})-(\d{1,7})\.")
PAGE_PATH = re.compile(rb"/p/(\d{1,9})")
AUTHENTICATE = b'Proxy-Authenticate: Basic realm="sim"\r\n'

LISTEN_BACKLOG = 4096
LAST_WORDS_SECONDS = 0.5
EXIT_CANNOT_RUN = 2
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,199}")
T = TypeVar("T")


# --- the plan -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Listen:
    vendor: str
    address: str
    port: int
    opaque: bool  # its connections show no requests, whatever they carry


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to serve. Times are seconds; `certificate` and `key` are PEM paths, both or neither."""

    listen: tuple[Listen, ...]
    control_port: int
    control_host: str
    slow_seconds: float
    patience_seconds: float
    seed: int
    certificate: str | None
    key: str | None


class PlanError(Exception):
    """Every finding in a plan, one line each: key, value, reason, fix."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


def whole(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"is out of range: give a whole number from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        if type(value) not in (int, float) or not low <= cast(float, value) <= high:
            raise ValueError(f"is out of range: give a number from {low:g} to {high:g}")
        return float(cast(float, value))

    return check


def text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not a text: give a non-empty string")
    return value


def name(value: object) -> str:
    """What may stand in a label as it is."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("is not a name: give letters, digits, hyphens and dots")
    return value


def address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        raise ValueError("is not an IP address: give one such as 127.1.0.10") from None


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false: give one of them")
    return value


def objects(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError("is not a list of objects: give at least one entry")
    return value


class Section:
    """One JSON object of the plan; `take` reads a key and notes a finding where it is bad."""

    def __init__(self, raw: object, path: str, findings: list[str], known: tuple[str, ...]) -> None:
        self._path, self._findings = path, findings
        self._raw: dict[str, object] = raw if isinstance(raw, dict) else {}
        if not isinstance(raw, dict):
            self.note("", raw, "is not an object: give {" + ", ".join(known) + "}")
        for key in self._raw.keys() - set(known):
            self.note(key, self._raw[key], f"is an unknown key: use one of {', '.join(known)}")

    def note(self, key: str, value: object, reason: str) -> None:
        name = f"{self._path}.{key}".strip(".") or "plan"
        self._findings.append(f"{name}: {json.dumps(value)} {reason}")

    def take(
        self, key: str, check: Callable[[object], T], default: T, *, required: bool = False
    ) -> T:
        if key not in self._raw:
            if required:
                self._findings.append(f"{self._path}.{key}: is missing: add it".lstrip("."))
            return default
        try:
            return check(self._raw[key])
        except ValueError as reason:
            self.note(key, self._raw[key], str(reason))
            return default


PLAN_KEYS: Final = (
    *("listen", "control_host", "control_port", "slow_seconds", "patience_seconds", "seed"),
    *("certificate", "key"),
)
LISTEN_KEYS: Final = ("vendor", "address", "port", "opaque")


def read_plan(raw: object) -> Plan:
    """Check a parsed plan.

    Raises:
        PlanError: with every finding, not only the first.
    """
    findings: list[str] = []
    top = Section(raw, "", findings, PLAN_KEYS)
    listen: list[Listen] = []
    for index, entry in enumerate(top.take("listen", objects, list[object](), required=True)):
        item = Section(entry, f"listen[{index}]", findings, LISTEN_KEYS)
        wanted = Listen(
            vendor=item.take("vendor", name, "", required=True),
            address=item.take("address", address, "", required=True),
            port=item.take("port", whole(1, 65535), 0, required=True),
            opaque=item.take("opaque", flag, False),
        )
        taken = {(other.address, other.port) for other in listen}
        if wanted.port and (wanted.address, wanted.port) in taken:
            item.note("port", wanted.port, f"repeats {wanted.address}: give each address once")
        listen.append(wanted)
    plan = Plan(
        listen=tuple(listen),
        control_port=top.take("control_port", whole(1, 65535), 0, required=True),
        control_host=top.take("control_host", address, "127.0.0.1"),
        slow_seconds=top.take("slow_seconds", number(0, 3600), 30.0),
        # 10 s: telemetry.patience's default, which divides timeout from client_cancelled.
        patience_seconds=top.take("patience_seconds", number(0.1, 3600), 10.0),
        seed=top.take("seed", whole(0, 2**63), 1),
        certificate=top.take("certificate", text, None),
        key=top.take("key", text, None),
    )
    if (plan.certificate is None) != (plan.key is None):
        top.note("certificate", plan.certificate, "stands alone: give certificate and key, or none")
    if findings:
        raise PlanError(sorted(findings))
    return plan


# --- what a request asks for ----------------------------------------------------------------


class Request(NamedTuple):
    method: bytes
    host: str  # without port, lower case
    path: bytes
    authorized: bool  # a Proxy-Authorization header came along
    body_bytes: int
    close: bool


class Action(NamedTuple):
    """What the vendor does with a request.

    `kind` is `answer`, `answer-open` (the end of the connection is its end), `tunnel`, or the name
    of a fault that gives no whole answer.
    """

    kind: str
    outcome: str
    status: bytes = b"200 OK"
    headers: bytes = b""
    body: bytes | memoryview = b""


REFUSALS: Final = {
    "vendor-error": (
        "vendor_error",
        b"502 Bad Gateway",
        b"Proxy-Status: sim; error=destination_unavailable\r\n",
    ),
    "rate-limited": ("rate_limited", b"429 Too Many Requests", b"Retry-After: 1\r\n"),
    "blocked": ("blocked", b"403 Forbidden", b""),
    "quota": ("quota_exhausted", b"402 Payment Required", b""),
    "quota-dialect": (
        "quota_exhausted",
        b"407 Proxy Authentication Required",
        b"X-Sim-Error: traffic limit reached\r\n",
    ),
}
SILENT: Final = {
    "reset": "reset",
    "close": "reset",
    "garbage": "reset",
    "stall": "",  # by how long the other side waited
    "slow": "",
}


def parse_request(head: bytes) -> Request | None:
    """Read a request head (without its blank line); None where it is not HTTP/1.x."""
    line, _, rest = head.partition(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return None
    method, target, _ = words
    fields = b"\r\n" + rest.lower() + b"\r\n"
    if method == b"CONNECT":
        authority, path = target, b""
    elif target.startswith(b"http://"):
        authority, slash, path = target[7:].partition(b"/")
        path = slash + path
    else:
        authority, path = b"", target
    return Request(
        method,
        _host(authority).decode("latin-1").lower(),
        path,
        b"\r\nproxy-authorization:" in fields,
        _length(fields),
        b"\r\nconnection: close\r\n" in fields,
    )


def _host(authority: bytes) -> bytes:
    if authority.startswith(b"["):  # an IPv6 address
        return authority[1:].partition(b"]")[0]
    return authority.partition(b":")[0]


def _length(fields: bytes) -> int:
    _, found, rest = fields.partition(b"\r\ncontent-length:")
    digits = rest.partition(b"\r\n")[0].strip() if found else b""
    return int(digits) if digits.isdigit() else 0


def fault_of(host: str) -> str:
    """The fault a host name asks for, or "": `fault-reset.sim.test` gives `reset`."""
    return host[6:].partition(".")[0] if host.startswith("fault-") else ""


def page_answer(fault: str, path: bytes, missing: bool) -> Action:
    """What the target says to a GET; `missing` picks 404 over 503 where it errs."""
    if fault == "target-error":
        status = b"404 Not Found" if missing else b"503 Service Unavailable"
        return Action("answer", "target_error", status, b"", b"the target is unwell\n")
    if fault == "ban-page":
        return Action("answer", "success", body=BAN_PAGE)
    asked = PAGE_PATH.match(path)
    size = min(int(asked[1]), MAX_BODY_BYTES) if asked else 1000
    if fault == "reset-inside":
        return Action("reset-inside", "reset", body=PAGE[: max(size, 64)])
    return Action("answer", "success", body=PAGE[:size])


def action_for(request: Request, missing: bool) -> Action:
    """Decide, without a socket, what the vendor does with a proxy request."""
    fault = fault_of(request.host)
    if fault in REFUSALS:
        outcome, status, headers = REFUSALS[fault]
        return Action("answer", outcome, status, headers, status + b"\n")
    if fault == "refused-open":
        outcome, status, headers = REFUSALS["vendor-error"]
        body = b"" if request.method == b"CONNECT" else status + b"\n"
        return Action("answer-open", outcome, status, headers, body)
    if fault in ("auth-failed", "auth-challenge"):
        outcome = "auth_failed" if request.authorized else "auth_challenge"
        status = b"407 Proxy Authentication Required"
        return Action("answer", outcome, status, AUTHENTICATE, status + b"\n")
    if fault in SILENT:
        return Action(fault, SILENT[fault])
    if fault not in ("", "target-error", "ban-page", "reset-inside") or not request.host:
        body = b"give an absolute URL, and a fault this vendor knows\n"
        outcome = "vendor_error" if request.method == b"CONNECT" else "target_error"
        return Action("answer", outcome, b"400 Bad Request", b"", body)
    if request.method == b"CONNECT":
        return Action("tunnel", "success", b"200 Connection established")
    return page_answer(fault, request.path, missing)


# --- books ----------------------------------------------------------------------------------


WIRE_COLUMNS: Final = ("connections", "bytes_sent", "bytes_received")


class Books:
    """What every vendor did and saw; the whole process shares one."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.opaque: Counter[str] = Counter()
        self.bytes: Counter[tuple[str, str]] = Counter()
        self.connections: Counter[str] = Counter()
        self.wire: Counter[tuple[str, str, str]] = Counter()  # vendor, protocol, what; closed ones
        self.open: set[Connection] = set()

    def _wire_lines(self) -> list[dict[str, object]]:
        wire = self.wire.copy()
        for connection in self.open:
            connection.add_to(wire)
        return [
            {
                "vendor": vendor,
                "protocol": protocol,
                **{what: wire[vendor, protocol, what] for what in WIRE_COLUMNS},
            }
            for vendor, protocol in sorted({(vendor, protocol) for vendor, protocol, _ in wire})
        ]

    def as_json(self) -> dict[str, object]:
        return {
            "counts": [
                {"vendor": vendor, "visibility": visibility, "outcome": outcome, "count": count}
                for (vendor, visibility, outcome), count in sorted(self.counts.items())
            ],
            "opaque": [
                {
                    "vendor": vendor,
                    "connections": count,
                    "bytes_sent": self.bytes[vendor, "sent"],
                    "bytes_received": self.bytes[vendor, "received"],
                }
                for vendor, count in sorted(self.opaque.items())
            ],
            "connections": [
                {"vendor": vendor, "count": count}
                for vendor, count in sorted(self.connections.items())
            ],
            "wire": self._wire_lines(),
            "open": len(self.open),
        }

    def as_metrics(self) -> str:
        lines = [
            "# HELP vendor_requests_total Requests by what the vendor did with them.",
            "# TYPE vendor_requests_total counter",
        ]
        for (vendor, visibility, outcome), count in sorted(self.counts.items()):
            labels = f'vendor="{vendor}",visibility="{visibility}",outcome="{outcome}"'
            lines.append(f"vendor_requests_total{{{labels}}} {count}")
        lines += [
            "# HELP vendor_connections_total Connections accepted.",
            "# TYPE vendor_connections_total counter",
        ]
        for vendor, count in sorted(self.connections.items()):
            lines.append(f'vendor_connections_total{{vendor="{vendor}"}} {count}')
        lines += [
            "# HELP vendor_opaque_bytes_total Socket bytes of closed opaque connections.",
            "# TYPE vendor_opaque_bytes_total counter",
        ]
        for (vendor, direction), count in sorted(self.bytes.items()):
            labels = f'vendor="{vendor}",direction="{direction}"'
            lines.append(f"vendor_opaque_bytes_total{{{labels}}} {count}")
        lines += [
            "# HELP vendor_open_connections Connections open now.",
            "# TYPE vendor_open_connections gauge",
            f"vendor_open_connections {len(self.open)}",
        ]
        return "\n".join(lines) + "\n"


# --- sockets --------------------------------------------------------------------------------


def tls_context(plan: Plan) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if plan.certificate and plan.key:
        context.load_cert_chain(plan.certificate, plan.key)
        return context
    # Anonymous ECDH exists up to TLS 1.2 and below OpenSSL's default security level only.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    context.set_ecdh_curve("X25519")  # two thirds of a P-256 handshake's CPU
    return context


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """What every connection of the process shares."""

    plan: Plan
    books: Books
    tls: ssl.SSLContext
    chance: random.Random


class Tls:
    """The server's side of a TLS session in memory: bytes in, bytes out, no socket.

    Memory BIOs instead of start_tls: bytes the crawler sends right behind its CONNECT are simply
    there, a connection costs one object less, and sessions may lie within each other.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready = False
        self.ended = False  # by the other side, or because this is no TLS

    def open(self, data: bytes) -> bytes:
        """Take bytes of the session; the plain bytes they held."""
        self._incoming.write(data)
        plain = b""
        try:
            if not self._ready:
                self._tls.do_handshake()
                self._ready = True
            while chunk := self._tls.read(16384):
                plain += chunk
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.ended = True
        return plain

    def seal(self, plain: bytes | memoryview) -> bytes:
        try:
            self._tls.write(plain)
        except ssl.SSLError:
            self.ended = True
        return self.pending()

    def pending(self) -> bytes:
        """What is to be sent: handshake, alerts, sealed bytes."""
        return self._outgoing.read()


# HTTP/2 in clear, as much as GETs of small pages need.

H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2_DATA, H2_HEADERS, H2_SETTINGS, H2_PING, H2_GOAWAY = 0, 1, 4, 6, 7
H2_WINDOW_UPDATE, H2_CONTINUATION = 8, 9
H2_ACK = H2_END_STREAM = 0x1
H2_END_HEADERS, H2_PADDED, H2_PRIORITY = 0x4, 0x8, 0x20
H2_MAX_FRAME_BYTES = 16_384
H2_WINDOW_BYTES = 65_535  # a connection's and a stream's at the start
H2_INITIAL_WINDOW_SIZE = 4  # the setting
H2_PROTOCOL_ERROR = 1
HPACK_STATUS_200 = b"\x88"  # entry 8 of the static table
HPACK_PATHS: Final = (4, 5)  # entries named :path


class Http2:
    """The server's side of HTTP/2 after the preface: bytes in, bytes out, no socket.

    A GET gets the page its path names, never more than the windows leave room for. A path that
    is Huffman coded, as curl's is, or comes from the dynamic table is not read: it gets the page
    without a name.
    """

    def __init__(self, vendor: bytes) -> None:
        self._vendor = vendor
        self._rest = b""
        self._header_block: tuple[int, bytes] | None = None  # stream, what came until now
        self._last_stream = 0
        self._window = self._stream_window = H2_WINDOW_BYTES
        self.greeting = h2_frame(H2_SETTINGS, 0, 0, b"")
        self.ended = False  # it was no HTTP/2

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the connection; the bytes to answer."""
        self._rest += data
        answers: list[bytes] = []
        at = 0
        try:
            while len(self._rest) - at >= 9:
                size = int.from_bytes(self._rest[at : at + 3], "big")
                if size > H2_MAX_FRAME_BYTES:
                    raise ValueError("frame too large")
                end = at + 9 + size
                if len(self._rest) < end:
                    break
                kind, flags = self._rest[at + 3], self._rest[at + 4]
                stream = int.from_bytes(self._rest[at + 5 : at + 9], "big") & 0x7FFFFFFF
                answers.append(self._frame(kind, flags, stream, self._rest[at + 9 : end]))
                at = end
        except ValueError:
            self.ended = True
            reason = self._last_stream.to_bytes(4, "big") + H2_PROTOCOL_ERROR.to_bytes(4, "big")
            answers.append(h2_frame(H2_GOAWAY, 0, 0, reason))
        self._rest = self._rest[at:]
        return b"".join(answers)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        if self._header_block and (kind, stream) != (H2_CONTINUATION, self._header_block[0]):
            raise ValueError("a header block is interrupted")
        if kind == H2_HEADERS:
            return self._headers(flags, stream, _unpadded(flags, payload))
        if kind == H2_CONTINUATION:
            if not self._header_block:
                raise ValueError("nothing to continue")
            return self._headers(flags, stream, self._header_block[1] + payload)
        if kind == H2_SETTINGS and not flags & H2_ACK:
            return self._settings(payload)
        if kind == H2_PING and not flags & H2_ACK:
            return h2_frame(H2_PING, H2_ACK, 0, _exactly(8, payload))
        if kind == H2_WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(_exactly(4, payload), "big") & 0x7FFFFFFF
        return b""

    def _settings(self, payload: bytes) -> bytes:
        if len(payload) % 6:
            raise ValueError("half a setting")
        for at in range(0, len(payload), 6):
            if int.from_bytes(payload[at : at + 2], "big") == H2_INITIAL_WINDOW_SIZE:
                asked = int.from_bytes(payload[at + 2 : at + 6], "big")
                self._stream_window = min(asked, H2_WINDOW_BYTES)
        return h2_frame(H2_SETTINGS, H2_ACK, 0, b"")

    def _headers(self, flags: int, stream: int, block: bytes) -> bytes:
        if not stream % 2 or len(block) > MAX_HEAD_BYTES:
            raise ValueError("no stream of a client, or too many headers")
        self._header_block = None if flags & H2_END_HEADERS else (stream, block)
        if self._header_block or stream <= self._last_stream:  # the latter: trailers
            return b""
        self._last_stream = stream
        return self._page(stream, page_answer("", hpack_path(block), False).body)

    def _page(self, stream: int, body: bytes | memoryview) -> bytes:
        body = body[: min(self._window, self._stream_window)]
        self._window -= len(body)
        block = HPACK_STATUS_200 + b"".join(
            b"\x00%c%b%c%b" % (len(key), key, len(value), value)
            for key, value in (
                (b"x-sim-vendor", self._vendor[:126]),
                (b"content-type", b"text/html"),
                (b"content-length", b"%d" % len(body)),
            )
        )
        end = 0 if body else H2_END_STREAM
        frames = [h2_frame(H2_HEADERS, H2_END_HEADERS | end, stream, block)]
        for at in range(0, len(body), H2_MAX_FRAME_BYTES):
            part = bytes(body[at : at + H2_MAX_FRAME_BYTES])
            end = H2_END_STREAM if at + len(part) == len(body) else 0
            frames.append(h2_frame(H2_DATA, end, stream, part))
        return b"".join(frames)


def h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (
        len(payload).to_bytes(3, "big"),
        kind,
        flags,
        stream.to_bytes(4, "big"),
        payload,
    )


def _exactly(size: int, payload: bytes) -> bytes:
    if len(payload) != size:
        raise ValueError("a frame of another size")
    return payload


def _unpadded(flags: int, payload: bytes) -> bytes:
    """The header block of a HEADERS frame."""
    start = bool(flags & H2_PADDED) + 5 * bool(flags & H2_PRIORITY)
    padding = payload[0] if flags & H2_PADDED and payload else 0
    if start + padding > len(payload):
        raise ValueError("more padding than frame")
    return payload[start : len(payload) - padding]


def hpack_path(block: bytes) -> bytes:
    """The :path of a header block where it stands there as plain text, else b""."""
    at = 0
    try:
        while at < len(block):
            first = block[at]
            if first & 0x80:  # a header of a table
                _, at = _hpack_integer(block, at, 7)
            elif first & 0xE0 == 0x20:  # a new size for the dynamic table
                _, at = _hpack_integer(block, at, 5)
            else:
                entry, at = _hpack_integer(block, at, 6 if first & 0x40 else 4)
                key = b":path" if entry in HPACK_PATHS else b""
                if not entry:
                    key, at = _hpack_text(block, at)
                value, at = _hpack_text(block, at)
                if key == b":path":
                    return value
    except ValueError:
        pass
    return b""


def _hpack_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """The integer in the low `bits` at `at` and behind, and where it ends."""
    most = (1 << bits) - 1
    found = block[at] & most if at < len(block) else most
    at += 1
    if found < most:
        return found, at
    for shift in range(0, 28, 7):  # no longer: sizes here are far below 2**28
        if at >= len(block):
            break
        found += (block[at] & 0x7F) << shift
        at += 1
        if not block[at - 1] & 0x80:
            return found, at
    raise ValueError("no end of an integer")


def _hpack_text(block: bytes, at: int) -> tuple[bytes, int]:
    """The text at `at`, b"" where it is Huffman coded, and where it ends."""
    huffman = at < len(block) and block[at] & 0x80
    size, at = _hpack_integer(block, at, 7)
    return (b"" if huffman else block[at : at + size]), at + size


class Connection(asyncio.Protocol):
    """One accepted connection: HTTP proxy and TLS target in a tunnel, SOCKS5, or HTTP/2.

    `_buffer` holds what is still to be taken, out of the innermost TLS session where there are
    any; `_take` takes it.
    """

    def __init__(self, desk: Desk, vendor: str, opaque: bool) -> None:
        self._desk, self._books, self._vendor = desk, desk.books, vendor
        self._opaque = opaque
        self._protocol = "none"
        self._transport: asyncio.Transport
        self._take: Callable[[], None] = self._detect
        self._buffer = b""
        self._sessions: list[Tls] = []  # the outermost first
        self._sent = self._received = 0
        self._waiting: tuple[str, float] | None = None  # visibility and start of a silent request
        self._payload = (0, 0)  # SOCKS5: bytes still to come, bytes to answer
        self._inner_fault = ""
        self._http2: Http2
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._books.connections[self._vendor] += 1
        self._books.open.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        self._arrive(data, 0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._books.open.discard(self)
        self.add_to(self._books.wire)
        if self._timer:
            self._timer.cancel()
        if self._waiting:
            visibility, since = self._waiting
            waited = asyncio.get_running_loop().time() - since
            self._count(
                visibility,
                "timeout" if waited >= self._desk.plan.patience_seconds else "client_cancelled",
            )
        if self._opaque:
            self._books.opaque[self._vendor] += 1
            self._books.bytes[self._vendor, "sent"] += self._sent
            self._books.bytes[self._vendor, "received"] += self._received
        del self._take  # a bound method: the connection would wait for the garbage collector

    def add_to(self, wire: Counter[tuple[str, str, str]]) -> None:
        for what, size in zip(WIRE_COLUMNS, (1, self._sent, self._received), strict=True):
            wire[self._vendor, self._protocol, what] += size

    def _count(self, visibility: str, outcome: str) -> None:
        if not self._opaque:
            self._books.counts[self._vendor, visibility, outcome] += 1

    def _arrive(self, data: bytes, first: int) -> None:
        """Hand on what came for the TLS session `first`, or came plain."""
        for depth in range(first, len(self._sessions)):
            session = self._sessions[depth]
            data = session.open(data)
            if said := session.pending():
                self._write(said, depth)
        if data:
            self._buffer = self._buffer + data if self._buffer else data
            self._take()
        if any(session.ended for session in self._sessions):
            self._finish()

    def _open_session(self) -> None:
        """What comes from now on is TLS, and the rest of the buffer already."""
        early, self._buffer = self._buffer, b""
        self._sessions.append(Tls(self._desk.tls))
        if early:
            self._arrive(early, len(self._sessions) - 1)

    def _write(self, data: bytes, depth: int | None = None) -> None:
        """Send through every TLS session, or those outside of `depth`."""
        for session in reversed(self._sessions[:depth]):
            data = session.seal(data)
        self._sent += len(data)
        self._transport.write(data)

    def _finish(self) -> None:
        """Send what is on its way, take no more, close."""
        self._take = self._ignore
        self._transport.close()

    def _reset(self) -> None:
        sock: socket.socket = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self._transport.abort()

    def _detect(self) -> None:
        start = self._buffer[: len(H2_PREFACE)]
        if self._buffer[0] == TLS_HANDSHAKE:
            self._protocol, self._opaque, self._take = "tls", True, self._http
            self._open_session()
            return
        if self._buffer[0] == SOCKS_VERSION:
            self._protocol, self._opaque, self._take = "socks5", True, self._socks_greeting
        elif start == H2_PREFACE:
            self._protocol, self._opaque, self._take = "h2c", True, self._frames
            self._buffer = self._buffer[len(H2_PREFACE) :]
            self._http2 = Http2(self._vendor.encode())
            self._write(self._http2.greeting)
        else:
            self._protocol = "http"
            if H2_PREFACE.startswith(start):
                return  # POST and PUT begin with P too
            self._take = self._http
        self._take()

    def _ignore(self) -> None:
        self._buffer = b""

    # HTTP proxy

    def _next_request(self) -> Request | None:
        """A complete request taken off the buffer, or None (then more bytes or the end follow)."""
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        request = parse_request(head) if blank else None
        if request and len(rest) >= request.body_bytes:
            self._buffer = rest[request.body_bytes :]
            return request
        if (blank and not request) or len(head) > MAX_HEAD_BYTES:
            self._finish()
        return None

    def _http(self) -> None:
        while self._take == self._http and (request := self._next_request()):
            action = action_for(request, self._desk.chance.random() < 0.5)
            visibility = "tunnel" if request.method == b"CONNECT" else "http"
            if self._protocol == "http":
                self._protocol = visibility
            if action.outcome:
                self._count(visibility, action.outcome)
            self._act(action, request, visibility)

    def _act(self, action: Action, request: Request, visibility: str) -> None:
        loop = asyncio.get_running_loop()
        if action.kind == "answer":
            self._write(self._answer(action))
            if request.close:
                self._finish()
        elif action.kind == "answer-open":
            self._write(self._answer_open(action))
            self._finish()
        elif action.kind == "tunnel":
            self._write(b"HTTP/1.1 %b\r\n%b\r\n" % (action.status, self._signature()))
            self._open_tunnel(request.host)
        elif action.kind == "reset-inside":
            self._take = self._ignore
            self._write(self._cut(self._answer(action)))
            self._timer = loop.call_later(RESET_INSIDE_DELAY_SECONDS, self._reset)
        else:
            self._take = self._ignore
            if action.kind == "reset":
                self._reset()
            elif action.kind == "close":
                self._transport.close()
            elif action.kind == "garbage":
                self._write(GARBAGE)
                self._transport.close()
            else:
                self._waiting = (visibility, loop.time())
                if action.kind == "slow":
                    late = functools.partial(self._answer_late, request, visibility)
                    self._timer = loop.call_later(self._desk.plan.slow_seconds, late)

    def _answer_late(self, request: Request, visibility: str) -> None:
        self._waiting, self._take = None, self._http
        self._count(visibility, "success")
        kind = "tunnel" if visibility == "tunnel" else "answer"
        body = page_answer("", request.path, False).body
        self._act(Action(kind, "success", body=body), request, visibility)

    def _signature(self) -> bytes:
        return b"X-Sim-Vendor: %b\r\n" % self._vendor.encode()

    def _answer_open(self, action: Action) -> bytes:
        head = b"HTTP/1.1 %b\r\n%b%b\r\n" % (action.status, self._signature(), action.headers)
        return b"".join((head, action.body))

    def _answer(self, action: Action) -> bytes:
        head = b"HTTP/1.1 %b\r\n%b%bContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % (
            action.status,
            self._signature(),
            action.headers,
            len(action.body),
        )
        return b"".join((head, action.body))

    @staticmethod
    def _cut(answer: bytes) -> bytes:
        return answer[: answer.index(b"\r\n\r\n") + 4 + 32]

    # The TLS target inside a tunnel

    def _open_tunnel(self, host: str) -> None:
        self._inner_fault = fault_of(host)
        self._take = self._target
        self._open_session()

    def _target(self) -> None:
        while self._take == self._target:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            if not blank:
                if len(head) > MAX_HEAD_BYTES:
                    self._finish()
                return
            self._buffer = rest
            request = parse_request(head)
            path = request.path if request else b"/"
            action = page_answer(self._inner_fault, path, self._desk.chance.random() < 0.5)
            answer = self._answer(action)
            if action.kind == "answer":
                self._write(answer)
            else:
                self._take = self._ignore
                self._write(self._cut(answer))
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(RESET_INSIDE_DELAY_SECONDS, self._reset)

    # HTTP/2

    def _frames(self) -> None:
        data, self._buffer = self._buffer, b""
        if answer := self._http2.feed(data):
            self._write(answer)
        if self._http2.ended:
            self._finish()

    # SOCKS5: opaque-<up>-<down>.<anything> wants <up> bytes taken and <down> bytes sent back.

    def _socks_greeting(self) -> None:
        if len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            return
        self._buffer = self._buffer[2 + self._buffer[1] :]
        self._write(SOCKS_METHOD_NONE)
        self._take = self._socks_request
        self._take()

    def _socks_request(self) -> None:
        head = self._buffer
        if len(head) < 5 or (head[3] == 3 and len(head) < 7 + head[4]):
            return
        asked = OPAQUE_HOST.match(head, 5, 5 + head[4])
        if not asked or not head.startswith(SOCKS_CONNECT_DOMAIN):
            self._buffer = b""
            self._write(SOCKS_UNREACHABLE)
            self._transport.close()
            return
        self._buffer = head[7 + head[4] :]
        self._payload = (int(asked[1]), min(int(asked[2]), MAX_BODY_BYTES))
        self._write(SOCKS_OK)
        self._take = self._socks_payload
        self._take()

    def _socks_payload(self) -> None:
        missing, answer = self._payload
        missing -= len(self._buffer)
        self._buffer = b""
        if missing <= 0 and answer:
            self._write(bytes(PAGE[:answer]))
            answer = 0
        self._payload = (missing, answer)


# --- the program ----------------------------------------------------------------------------


async def _serve_control(
    books: Books, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(
        OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError
    ):
        async with asyncio.timeout(5):
            line = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
        pages: dict[bytes, Callable[[], tuple[str, str]]] = {
            b"/books": lambda: ("application/json", json.dumps(books.as_json())),
            b"/metrics": lambda: ("text/plain; version=0.0.4", books.as_metrics()),
            b"/healthz": lambda: ("text/plain", "ok\n"),
        }
        page = pages.get(line[1] if len(line) > 1 else b"")
        kind, body = page() if page else ("text/plain", "GET /books, /metrics or /healthz\n")
        status = "200 OK" if page else "404 Not Found"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n{body}".encode())
        await writer.drain()
    writer.close()


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def _named(host: str, port: int) -> Iterator[None]:
    """Turn the error of a bind into the one line a user needs."""
    try:
        yield
    except OSError as error:
        reason = {
            errno.EADDRINUSE: "is in use: stop what listens there, or change it in the plan",
            errno.EADDRNOTAVAIL: "is no address of this machine: add it, or change it in the plan",
            errno.EACCES: "is not allowed to this user: take a port from 1024 up",
        }.get(error.errno or 0, f"cannot be listened on: {error.strerror}")
        raise PlanError([f"{_place(host, port)} {reason}"]) from None


async def serve(plan: Plan) -> Books:
    """Serve until SIGTERM or SIGINT.

    Raises:
        PlanError: an address or a certificate cannot be had; nothing is left listening then.
    """
    loop = asyncio.get_running_loop()
    try:
        tls = tls_context(plan)
    except OSError as error:  # ssl.SSLError is one
        named = json.dumps(plan.certificate)
        raise PlanError([f"certificate: {named} gives no TLS: {error}: give PEM files"]) from None
    books = Books()
    desk = Desk(plan=plan, books=books, tls=tls, chance=random.Random(plan.seed))
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with contextlib.AsyncExitStack() as servers:
        for item in plan.listen:
            factory = functools.partial(Connection, desk, item.vendor, item.opaque)
            with _named(item.address, item.port):
                # A backlog under the crawlers' burst would cost SYN retries of 1 s each.
                server = await loop.create_server(
                    factory, item.address, item.port, backlog=LISTEN_BACKLOG
                )
            servers.callback(server.close)
        with _named(plan.control_host, plan.control_port):
            control = await asyncio.start_server(
                functools.partial(_serve_control, books), plan.control_host, plan.control_port
            )
        servers.callback(control.close)
        where = f"http://{_place(plan.control_host, plan.control_port)}/books"
        print(f"vendor: {len(plan.listen)} addresses, books at {where}", file=sys.stderr)
        await stop.wait()
    deadline = loop.time() + LAST_WORDS_SECONDS
    while books.open and loop.time() < deadline:  # what crawlers close just now still counts
        await asyncio.sleep(0.02)
    return books


def write_books(path: str, books: Books) -> None:
    """Replace the file in one step, so a reader never sees half of it; "-" is standard output."""
    content = json.dumps(books.as_json(), indent=1) + "\n"
    if path == "-":
        sys.stdout.write(content)
        return
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    temporary.write_text(content)
    temporary.replace(path)


HELP = """\
plan (JSON; defaults in brackets):
  listen       [{vendor, address, port, opaque [false]}]; a vendor may come
               more than once; opaque: connections are booked, no requests
  control_port, control_host [127.0.0.1]: GET /books, /metrics, /healthz
  slow_seconds [30] delay of a slow answer
  patience_seconds [10] whoever leaves later met a timeout, not sooner
  seed [1]     decides whether a target error is 404 or 503
  certificate, key: PEM files for TLS [none: anonymous ECDH]
faults are asked for by host name, fault-<name>.anything:
  target-error vendor-error rate-limited blocked auth-failed quota
  auth-challenge quota-dialect reset close garbage stall slow
  reset-inside ban-page refused-open
exit codes: 0 ended by a signal, 2 could not start
"""


def raise_file_limit() -> None:
    """A socket is a file: take as many as this user may have, not the shell's 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="vendor",
        description="Simulated proxy vendors with exact books.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--plan", required=True, metavar="FILE", help="what to serve")
    parser.add_argument("--books", metavar="FILE", help="write the books here at the end; - prints")
    options = parser.parse_args(arguments)
    try:
        plan = read_plan(json.loads(Path(options.plan).read_text()))
        if options.books not in (None, "-") and not Path(options.books).absolute().parent.is_dir():
            raise PlanError([f"--books: {options.books} is in no existing folder: create it first"])
        raise_file_limit()
        books = asyncio.run(serve(plan))
    except PlanError as error:
        for finding in error.findings:
            print(f"vendor: {finding}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    except (OSError, ValueError) as error:  # unreadable, or no JSON
        print(f"vendor: {options.plan}: cannot be read as JSON: {error}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    if options.books:
        write_books(options.books, books)
    return 0


if __name__ == "__main__":
    sys.exit(main())
