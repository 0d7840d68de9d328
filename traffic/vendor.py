"""Simulated proxy vendors: HTTP, TLS, SOCKS5 and HTTP/2 proxy, and the target behind them.

One process serves every vendor of its plan. The first bytes decide: 0x05 is SOCKS5, 0x16 TLS with
an HTTP proxy inside, the preface of HTTP/2 is that in clear, anything else HTTP. A request asks
for a fault by its host name: `fault-rate-limited.sim.test`. TLS, here or in a tunnel, needs no key
material: anonymous ECDH unless the plan names a certificate. Real clients need the certificate.

A vendor of the plan's `vendors` treats its customers as a real one does (`Behaviour`): it asks for
credentials, has exits, limits, latency and words of its own, and faults by chance. The control
endpoint changes that while it runs; a request already being served goes on as it began.

The books say what the vendor did and saw, from its own side; they are the witness the generator's
books are compared with. `counts` are requests seen in clear; `opaque` are connections that show
none (TLS, SOCKS5, HTTP/2, and all on a place that listens `opaque`), booked when they close.
`wire` are all sockets, the open ones up to now, by what came first; its bytes are those given to
the kernel and taken from it, so a peer that left early may have got less. `exits` and `refusals`
say what was given inside of any protocol. Bytes that are no request are on the wire only.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import errno
import functools
import hmac
import ipaddress
import json
import math
import os
import random
import re
import resource
import signal
import socket
import ssl
import struct
import sys
import textwrap
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeVar, cast

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
RESET_INSIDE_DELAY_SECONDS = 0.02  # lets the headers travel before the RST, so it is "inside"
PAGE = memoryview(b"<!doctype html>" + b"x" * MAX_BODY_BYTES)
BAN_PAGE = b"<title>Access denied</title><p>Unusual traffic from your network.</p>"
CAPTCHA_PAGE = b"<title>Are you a robot?</title><form><input name=captcha></form>"
GARBAGE = b"\x00\xffthis is no HTTP at all\r\n\r\n"
LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN
SOCKS_VERSION, TLS_HANDSHAKE = 0x05, 0x16  # first bytes
SOCKS_NO_METHOD, SOCKS_PASSWORD, SOCKS_NO_AUTHENTICATION = 0xFF, 0x02, 0x00
SOCKS_OK, SOCKS_NOT_ALLOWED, SOCKS_UNREACHABLE, SOCKS_NO_SUCH_COMMAND = 0, 2, 4, 7
SOCKS_ADDRESS_BYTES: Final = {1: 4, 4: 16}  # type 3 is a name with its length before it
OPAQUE_HOST = re.compile(r"opaque-(\d{1,7})-(\d{1,7})\.")
PAGE_PATH = re.compile(rb"/p/(\d{1,9})")
AUTHENTICATE = b'Proxy-Authenticate: Basic realm="sim"\r\n'
SESSION_OPTION = re.compile(r"-sess(?:ion|id)-([A-Za-z0-9_.]{1,64})")

CHUNKED = -1  # in the place of a body's length
MAX_CHUNK_LINE_BYTES = 1024
EXITS = ipaddress.ip_network("198.18.0.0/16")  # kept for tests by RFC 2544
MAX_EXITS = 65_536
MAX_SESSIONS = 65_536  # of a vendor at a time: the oldest makes place
MAX_CONTROL_BYTES = 64 * 1024
PACE_SECONDS = 0.05  # what a bandwidth gives at a time
RUDE_SECONDS = 1.0  # for a client to read why it was refused while it still sends

LISTEN_BACKLOG = 4096
LAST_WORDS_SECONDS = 0.5
CONTROL_SECONDS = 5
EXIT_CANNOT_RUN = 2
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,199}")
Json = dict[str, object]
T = TypeVar("T")
U = TypeVar("U")


# --- the plan -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Listen:
    vendor: str
    address: str
    port: int
    opaque: bool  # its connections show no requests, whatever they carry


@dataclass(frozen=True, kw_only=True, slots=True)
class Exits:
    """`count` exit addresses; a session keeps one of them for `session_seconds`, then another."""

    count: int
    session_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a customer may take; None is without limit. A rate's bucket holds a second's worth."""

    requests_per_second: float | None
    session_requests_per_second: float | None
    connections: int | None
    quota_bytes: int | None
    bandwidth_bytes_per_second: int | None  # of a connection, each way


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Log-normal around the median `p50`; `sigma` 0 is always p50."""

    p50: float
    sigma: float

    def draw(self, chance: random.Random) -> float:
        spread = math.exp(chance.gauss(0, self.sigma)) if self.sigma else 1.0
        return min(self.p50 * spread, MAX_SECONDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """How a vendor treats its customers; `raw` is the JSON that says so."""

    raw: Mapping[str, object]
    credentials: Mapping[str, str] = field(repr=False)  # user to password; none: anybody may
    exits: Exits | None
    limits: Limits
    latency: Latency | None
    dialect: Mapping[str, str]  # a fault to the one that words it
    faults: tuple[tuple[float, str], ...]  # up to which part of 1 a fault is drawn


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to serve. Times are seconds; `certificate` and `key` are PEM paths, both or neither."""

    listen: tuple[Listen, ...]
    vendors: Mapping[str, Behaviour]
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


def mapping(value: object) -> Json:
    if not isinstance(value, dict):
        raise ValueError('is not an object: give {"name": ...}')
    return value


def latency(value: object) -> Latency:
    """Seconds, or their median and 95th percentile."""
    wanted = value if isinstance(value, dict) else {"p50": value, "p95": value}
    try:
        p50, p95 = (number(0, MAX_SECONDS)(wanted[key]) for key in ("p50", "p95"))
    except (KeyError, ValueError):
        p50, p95 = 1.0, 0.0
    if p95 < p50 or (p95 > p50 == 0) or len(wanted) != 2:
        raise ValueError(
            "is no latency: give seconds up to 3600, or {p50, p95}, rising from above 0"
        )
    return Latency(p50=p50, sigma=math.log(p95 / p50) / NORMAL_P95 if p95 > p50 else 0.0)


def shares(value: object) -> tuple[tuple[float, str], ...]:
    total, found = 0.0, []
    for key, share in mapping(value).items():
        if key not in FAULTS:
            raise ValueError(f"names {key}: use {', '.join(FAULTS)}")
        if type(share) not in (int, float) or not 0 <= cast(float, share) <= 1:
            raise ValueError(f"gives {key} {json.dumps(share)}: a share is from 0 to 1")
        total += cast(float, share)
        found.append((total, key))
    if total > 1 + 1e-9:
        raise ValueError(f"sums to {total:g}: shares are at most 1 together")
    return tuple(found)


def dialect(value: object) -> dict[str, str]:
    found = {}
    for key, wording in mapping(value).items():
        if key not in DIALECTS:
            raise ValueError(f"names {key}: use {', '.join(DIALECTS)}")
        if not isinstance(wording, str) or wording not in DIALECTS[key]:
            given, known = json.dumps(wording), ", ".join(DIALECTS[key])
            raise ValueError(f"gives {key} {given}: use one of {known}")
        found[key] = DIALECTS[key][wording]
    return found


def passwords(environment: Mapping[str, str]) -> Callable[[object], dict[str, str]]:
    """A check for {"user": "NAME_OF_A_VARIABLE"}; the variables are set in `environment`."""

    def check(value: object) -> dict[str, str]:
        found = {}
        for user, variable in mapping(value).items():
            if not user or ":" in user:
                raise ValueError(f"names {json.dumps(user)}: a user has no colon")
            password = environment.get(variable) if isinstance(variable, str) else None
            if not password:
                given = json.dumps(variable)
                raise ValueError(f"gives {user} {given}, no set variable: export it to the vendor")
            found[user] = password
        if not found:
            raise ValueError('is empty: give {"user": "NAME_OF_A_VARIABLE"}, or leave it out')
        return found

    return check


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
        self, key: str, check: Callable[[object], U], default: T, *, required: bool = False
    ) -> T | U:
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
    *("listen", "vendors", "control_host", "control_port", "slow_seconds", "patience_seconds"),
    *("seed", "certificate", "key"),
)
LISTEN_KEYS: Final = ("vendor", "address", "port", "opaque")
VENDOR_KEYS: Final = ("credentials", "exits", "limits", "latency_seconds", "dialect", "faults")
LIMIT_KEYS: Final = (
    *("requests_per_second", "session_requests_per_second", "connections", "quota_bytes"),
    "bandwidth_bytes_per_second",
)
MAX_SECONDS = 3600.0
SESSION_SECONDS = 600.0  # ten minutes is what most vendors give a session
NORMAL_P95 = 1.6448536269514722  # the normal distribution's 95th percentile, in deviations


def read_behaviour(
    raw: object, path: str, findings: list[str], environment: Mapping[str, str]
) -> Behaviour:
    """Check what a plan or the control endpoint says of one vendor; notes what is bad."""
    top = Section(raw, path, findings, VENDOR_KEYS)
    below = f"{path}.".lstrip(".")
    exits = top.take("exits", mapping, None)
    several = Section(exits or {}, f"{below}exits", findings, ("count", "session_seconds"))
    count = several.take("count", whole(1, MAX_EXITS), 1, required=exits is not None)
    seconds = several.take("session_seconds", number(0.01, 86_400), SESSION_SECONDS)
    limits = Section(top.take("limits", mapping, {}), f"{below}limits", findings, LIMIT_KEYS)
    rate = number(0.01, 1e6)
    return Behaviour(
        raw=raw if isinstance(raw, dict) else {},
        credentials=top.take("credentials", passwords(environment), {}),
        exits=None if exits is None else Exits(count=count, session_seconds=seconds),
        limits=Limits(
            requests_per_second=limits.take("requests_per_second", rate, None),
            session_requests_per_second=limits.take("session_requests_per_second", rate, None),
            connections=limits.take("connections", whole(0, 1_000_000), None),
            quota_bytes=limits.take("quota_bytes", whole(0, 2**60), None),
            bandwidth_bytes_per_second=limits.take(
                "bandwidth_bytes_per_second", whole(1000, 10**10), None
            ),
        ),
        latency=top.take("latency_seconds", latency, None),
        dialect=top.take("dialect", dialect, dict[str, str]()),
        faults=top.take("faults", shares, ()),
    )


def read_plan(raw: object, environment: Mapping[str, str] = os.environ) -> Plan:
    """Check a parsed plan; `environment` holds the variables that `credentials` name.

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
    described = top.take("vendors", mapping, dict[str, object]())
    for stranger in sorted(described.keys() - {item.vendor for item in listen}):
        findings.append(f"vendors.{stranger}: is no vendor of listen: give it a place there")
    plan = Plan(
        listen=tuple(listen),
        vendors={
            name: read_behaviour(item, f"vendors.{name}", findings, environment)
            for name, item in described.items()
        },
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
    body_bytes: int  # CHUNKED until the body has come
    close: bool
    authorization: bytes = b""  # that header's value
    old: bool = False  # HTTP/1.0
    expects: bool = False  # 100 Continue before it sends its body


class Action(NamedTuple):
    """What the vendor does with a request.

    `kind` is `answer`, `answer-open` (the end of the connection is its end), `tunnel`, or the name
    of a fault that gives no whole answer. `inside` is the fault of the target in a tunnel.
    """

    kind: str
    outcome: str
    status: bytes = b"200 OK"
    headers: bytes = b""
    body: bytes | memoryview = b""
    inside: str = ""


# The first is RFC 9209's; vendors' own headers stand beside it in the sidecar's list of outcomes.
PROXY_STATUS = b"Proxy-Status: sim; error=%b\r\n"
VENDOR_ERROR = b"X-BRD-Error: %b\r\nX-Sim-Error: %b\r\n"
REFUSALS: Final = {
    "vendor-error": (
        "vendor_error",
        b"502 Bad Gateway",
        PROXY_STATUS % b"destination_unavailable",
    ),
    "vendor-error-504": (
        "vendor_error",
        b"504 Gateway Timeout",
        PROXY_STATUS % b"connection_timeout",
    ),
    "vendor-error-502": ("vendor_error", b"502 Bad Gateway", VENDOR_ERROR % ((b"peer lost",) * 2)),
    "vendor-error-522": ("vendor_error", b"522 Timeout", VENDOR_ERROR % ((b"exit timeout",) * 2)),
    "vendor-error-525": (
        "vendor_error",
        b"525 No Exit Found",
        VENDOR_ERROR % ((b"no exit found",) * 2),
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
INSIDE: Final = ("target-error", "ban-page", "captcha-page", "reset-inside", "close-inside")
THROUGH_EXIT: Final = ("success", "target_error", "reset")  # outcomes: the vendor did its part
CUT_SHORT: Final = ("reset-inside", "close-inside")
AUTHENTICATION: Final = ("auth-failed", "auth-challenge")
FAULTS: Final = (*REFUSALS, *AUTHENTICATION, *SILENT, *INSIDE, "refused-open")
# What a vendor may say instead, in the words its documentation has for it.
DIALECTS: Final = {
    "quota": {"402": "quota", "407-traffic": "quota-dialect"},
    "blocked": {"403": "blocked", "ban-page": "ban-page", "captcha-page": "captcha-page"},
    "vendor-error": {
        "502-proxy-status": "vendor-error",
        "504-proxy-status": "vendor-error-504",
        "502": "vendor-error-502",
        "522": "vendor-error-522",
        "525": "vendor-error-525",
    },
}


def parse_request(head: bytes) -> Request | None:
    """Read a request head (without its blank line); None where it is not HTTP/1.x."""
    line, _, rest = head.partition(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return None
    method, target, version = words
    fields = b"\r\n" + rest.lower() + b"\r\n"
    if method == b"CONNECT":
        authority, path = target, b""
    elif target.startswith(b"http://"):
        authority, slash, path = target[7:].partition(b"/")
        path = slash + path
    else:
        authority, path = b"", target
    length = _length(fields)
    if length is None:
        return None
    old = version == b"HTTP/1.0"
    at = fields.find(b"\r\nproxy-authorization:")
    return Request(
        method,
        _host(authority).decode("latin-1").lower(),
        path,
        at >= 0,
        length,
        _closes(fields, old),
        rest[at + 20 :].partition(b"\r\n")[0].strip() if at >= 0 else b"",
        old,
        length != 0 and not old and b"\r\nexpect: 100-continue\r\n" in fields,
    )


def _host(authority: bytes) -> bytes:
    if authority.startswith(b"["):  # an IPv6 address
        return authority[1:].partition(b"]")[0]
    return authority.partition(b":")[0]


def _length(fields: bytes) -> int | None:
    """The size of the body, or CHUNKED; None where it cannot be known."""
    if b"\r\ntransfer-encoding:" in fields:
        encoding = fields.partition(b"\r\ntransfer-encoding:")[2].partition(b"\r\n")[0].strip()
        # Both may be an attempt at smuggling (RFC 9112, 6.1).
        chunked = encoding == b"chunked" and b"\r\ncontent-length:" not in fields
        return CHUNKED if chunked else None
    _, found, rest = fields.partition(b"\r\ncontent-length:")
    if not found:
        return 0
    digits, _, others = rest.partition(b"\r\n")
    digits = digits.strip()
    known = (
        digits.isdigit() and len(digits) <= 18 and b"\r\ncontent-length:" not in b"\r\n" + others
    )
    return int(digits) if known else None


def _closes(fields: bytes, old: bool) -> bool:
    """Whether the connection ends behind the answer."""
    if not old and b"\r\nconnection:" not in fields:
        return False
    said = re.findall(rb"\r\n(?:proxy-)?connection:([^\r]*)", fields)
    options = {option.strip() for value in said for option in value.split(b",")}
    return b"close" in options or (old and b"keep-alive" not in options)


def visibility_of(request: Request) -> str:
    return "tunnel" if request.method == b"CONNECT" else "http"


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
    if fault == "captcha-page":
        return Action("answer", "success", body=CAPTCHA_PAGE)
    asked = PAGE_PATH.match(path)
    size = min(int(asked[1]), MAX_BODY_BYTES) if asked else 1000
    if fault in CUT_SHORT:
        return Action(fault, "reset", body=PAGE[: max(size, 64)])
    return Action("answer", "success", body=PAGE[:size])


def target_answer(fault: str, request: Request, missing: bool) -> Action:
    if request.method == b"HEAD" and fault in CUT_SHORT:  # its answer has no middle
        fault = ""
    return page_answer(fault, request.path, missing)


def action_for(request: Request, missing: bool) -> Action:
    """Decide, without a socket, what the vendor does with a proxy request."""
    return action_of(fault_of(request.host), request, missing)


def action_of(fault: str, request: Request, missing: bool) -> Action:
    if fault in REFUSALS:
        outcome, status, headers = REFUSALS[fault]
        return Action("answer", outcome, status, headers, status + b"\n")
    if fault == "refused-open":
        outcome, status, headers = REFUSALS["vendor-error"]
        body = b"" if request.method == b"CONNECT" else status + b"\n"
        return Action("answer-open", outcome, status, headers, body)
    if fault in AUTHENTICATION:
        outcome = "auth_failed" if request.authorized else "auth_challenge"
        status = b"407 Proxy Authentication Required"
        return Action("answer", outcome, status, AUTHENTICATE, status + b"\n")
    if fault in SILENT:
        return Action(fault, SILENT[fault])
    if (fault and fault not in INSIDE) or not request.host:
        body = b"give an absolute URL, and a fault this vendor knows\n"
        outcome = "vendor_error" if request.method == b"CONNECT" else "target_error"
        return Action("answer", outcome, b"400 Bad Request", b"", body)
    if request.method == b"CONNECT":
        return Action("tunnel", "success", b"200 Connection established", inside=fault)
    return target_answer(fault, request, missing)


class Body:
    """A request's body as it comes in: its size is all that stays of it."""

    def __init__(self, length: int) -> None:
        self._chunked = length == CHUNKED
        self._left = 0 if self._chunked else length
        self._gap = False  # the line end behind a chunk is still to come
        self._trailers = False
        self._room = MAX_HEAD_BYTES  # for trailers
        self.size = 0
        self.done = length == 0
        self.bad = False

    def take(self, data: bytes) -> bytes:
        """Take the body's part of `data`; the rest is an unfinished line, or not the body's."""
        while not self.done and not self.bad and data:
            part = min(self._left, len(data))
            self._left -= part
            if part:
                self.size += part
                data = data[part:]
                self.done = not self._left and not self._chunked
                self._gap = not self._left
                continue
            line, end, rest = data.partition(b"\r\n")
            if len(line) > MAX_CHUNK_LINE_BYTES:
                self.bad = True
            if not end or self.bad:
                break
            data = rest
            self._line(line)
        return data

    def _line(self, line: bytes) -> None:
        """A chunk's size, the end of its line, or a trailer."""
        if self._trailers:
            self._room -= len(line) + 2
            self.done, self.bad = not line, self._room < 0
        elif self._gap:
            self.bad, self._gap = bool(line), False
        else:
            digits = line.partition(b";")[0].strip()
            self.bad = not re.fullmatch(rb"[0-9a-fA-F]{1,15}", digits)
            self._left = 0 if self.bad else int(digits, 16)
            self._trailers = not self._left


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
        self.exits: defaultdict[str, set[int]] = defaultdict(set)  # used; as many as a vendor has
        self.sessions: Counter[str] = Counter()
        self.refusals: Counter[tuple[str, str]] = Counter()  # vendor, status or "socks5"
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
            "exits": [
                {
                    "vendor": vendor,
                    "sessions": self.sessions[vendor],
                    "used": len(self.exits.get(vendor, ())),
                }
                for vendor in sorted({*self.exits, *self.sessions})
            ],
            "refusals": [
                {"vendor": vendor, "code": code, "count": count}
                for (vendor, code), count in sorted(self.refusals.items())
            ],
            "open": len(self.open),
        }

    def as_metrics(self) -> str:
        families: list[tuple[str, str, str, list[tuple[str, int]]]] = [
            (
                "vendor_requests_total",
                "counter",
                "Requests by what the vendor did with them.",
                [
                    (f'{{vendor="{vendor}",visibility="{visibility}",outcome="{outcome}"}}', count)
                    for (vendor, visibility, outcome), count in sorted(self.counts.items())
                ],
            ),
            (
                "vendor_connections_total",
                "counter",
                "Connections accepted.",
                [(f'{{vendor="{who}"}}', n) for who, n in sorted(self.connections.items())],
            ),
            (
                "vendor_opaque_bytes_total",
                "counter",
                "Socket bytes of closed opaque connections.",
                [
                    (f'{{vendor="{vendor}",direction="{direction}"}}', count)
                    for (vendor, direction), count in sorted(self.bytes.items())
                ],
            ),
            (
                "vendor_refusals_total",
                "counter",
                "Refusals of the vendor's own, seen or not, by status.",
                [
                    (f'{{vendor="{vendor}",code="{code}"}}', count)
                    for (vendor, code), count in sorted(self.refusals.items())
                ],
            ),
            (
                "vendor_sessions_total",
                "counter",
                "Sessions begun.",
                [(f'{{vendor="{who}"}}', n) for who, n in sorted(self.sessions.items())],
            ),
            (
                "vendor_exits_used",
                "gauge",
                "Exit addresses used until now.",
                [(f'{{vendor="{who}"}}', len(used)) for who, used in sorted(self.exits.items())],
            ),
            (
                "vendor_open_connections",
                "gauge",
                "Connections open now.",
                [("", len(self.open))],
            ),
        ]
        lines: list[str] = []
        for family, kind, meaning, samples in families:
            lines += [f"# HELP {family} {meaning}", f"# TYPE {family} {kind}"]
            lines += [f"{family}{labels} {value}" for labels, value in samples]
        return "\n".join(lines) + "\n"


# --- a vendor's rule over its customers -----------------------------------------------------


class Customer(NamedTuple):
    """Who asks: `refusal` is the fault its credentials earn, "" where they are good."""

    refusal: str
    user: str
    session: str  # "": every request is on its own


def customer_of(behaviour: Behaviour, authorization: bytes) -> Customer:
    """Read a Basic Proxy-Authorization; b"" is none."""
    if not authorization:
        return Customer("auth-challenge" if behaviour.credentials else "", "", "")
    scheme, _, encoded = authorization.partition(b" ")
    try:
        login = (
            base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == b"basic" else b""
        )
    except ValueError:
        login = b""
    user, _, password = login.partition(b":")
    return customer(behaviour, user, password)


def customer(behaviour: Behaviour, user: bytes, password: bytes) -> Customer:
    """Judge a login. Options follow the name: `user-country-de-session-abc123`."""
    given = user.decode("utf-8", "replace")
    found = SESSION_OPTION.search(given)
    session = found[1] if found else ""
    if not behaviour.credentials:
        return Customer("", given, session)
    fitting = [
        known for known in behaviour.credentials if given == known or given.startswith(known + "-")
    ]
    known = max(fitting, key=len, default="")
    right = behaviour.credentials.get(known, "").encode()
    good = bool(known) and hmac.compare_digest(password, right)
    return Customer("" if good else "auth-failed", known, session)


class Bucket:
    """Tokens that come back at `rate` a second; at most a second's worth, and at least one."""

    __slots__ = ("_at", "_rate", "_room", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._at = rate, now
        self._tokens = self._room = max(1.0, rate)

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0 if there is one."""
        self._tokens = min(self._room, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (1 - self._tokens) / self._rate)

    def take(self) -> None:
        self._tokens -= 1


class Session(NamedTuple):
    exit: int
    until: float
    bucket: Bucket | None


class Vendor:
    """One vendor: how it behaves now, and what that has to remember."""

    def __init__(self, name: str, plan: Plan, books: Books) -> None:
        self.name, self.planned = name, plan.vendors.get(name)
        self.signature = b"X-Sim-Vendor: %b\r\n" % name.encode()
        self.open = 0  # connections, without those above the limit
        self.bytes = 0  # of all its sockets
        self._books, self._slow_seconds = books, plan.slow_seconds
        # Streams of their own, so that one mechanism's use does not move another's draws.
        self._exit_chance, self._fault_chance, self._latency_chance = (
            random.Random(f"{plan.seed} {name} {what}") for what in ("exit", "fault", "latency")
        )
        self.adopt(self.planned, VENDOR_KEYS)

    def adopt(self, behaviour: Behaviour | None, touched: Collection[str]) -> None:
        """Behave so from the next request on; what is `touched` starts anew: quota, sessions."""
        self.behaviour = behaviour if behaviour and behaviour.raw else None
        if "limits" in touched:
            rate = behaviour.limits.requests_per_second if behaviour else None
            self._bucket = Bucket(rate, time.monotonic()) if rate else None
            self._bytes_before_quota = self.bytes
        if "limits" in touched or "exits" in touched:
            self._sessions: dict[tuple[str, str], Session] = {}

    def raw(self) -> Mapping[str, object]:
        return self.behaviour.raw if self.behaviour else {}

    def full(self) -> bool:
        most = self.behaviour.limits.connections if self.behaviour else None
        return most is not None and self.open >= most

    def rule(
        self, request: Request, who: Customer | None, *, full: bool, missing: bool
    ) -> tuple[Action, float]:
        """What is done with a request, and after how many seconds.

        `who` None is told by the request; `full` says that its connection is one too many.
        """
        behaviour, fault = self.behaviour, fault_of(request.host)
        if behaviour:
            who = who or customer_of(behaviour, request.authorization)
            now = time.monotonic()
            session = self._session(behaviour, who, now)
            if refusal := self._refusal(behaviour, request, who, session, full, now):
                return refusal, 0.0
            fault = fault or self._drawn(behaviour)
            fault = behaviour.dialect.get(fault, fault)
        slow = fault == "slow"
        action = action_of("" if slow else fault, request, missing)
        seconds = self._slow_seconds if slow else 0.0
        if not behaviour or action.kind in SILENT:
            return action, seconds
        if behaviour.latency:
            seconds += behaviour.latency.draw(self._latency_chance)
        if behaviour.exits and request.host and action.outcome in THROUGH_EXIT:
            chosen = session.exit if session else self._exit_chance.randrange(behaviour.exits.count)
            self._books.exits[self.name].add(chosen)
            action = action._replace(headers=b"X-Sim-Exit: %b\r\n" % exit_address(chosen))
        return action, seconds

    def _refusal(
        self,
        behaviour: Behaviour,
        request: Request,
        who: Customer,
        session: Session | None,
        full: bool,
        now: float,
    ) -> Action | None:
        if who.refusal:
            return action_of(who.refusal, request, False)
        buckets = [each for each in (session and session.bucket, self._bucket) if each]
        wait = max([bucket.wait(now) for bucket in buckets], default=0.0)
        if full or wait:
            action = action_of("rate-limited", request, False)
            return action._replace(headers=b"Retry-After: %d\r\n" % max(1, math.ceil(wait)))
        quota = behaviour.limits.quota_bytes
        if quota is not None and self.bytes - self._bytes_before_quota >= quota:
            return action_of(behaviour.dialect.get("quota", "quota"), request, False)
        for bucket in buckets:
            bucket.take()
        return None

    def _session(self, behaviour: Behaviour, who: Customer, now: float) -> Session | None:
        """The customer's session, or a new one with another exit where it has ended."""
        if not who.session or who.refusal:
            return None
        key = (who.user, who.session)
        held = self._sessions.get(key)
        if held and now < held.until:
            return held
        self._sessions.pop(key, None)
        if len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        exits, rate = behaviour.exits, behaviour.limits.session_requests_per_second
        count = exits.count if exits else 1
        chosen = self._exit_chance.randrange(count - 1 if held and count > 1 else count)
        session = Session(
            exit=chosen + 1 if held and count > 1 and chosen >= held.exit else chosen,
            until=now + (exits.session_seconds if exits else SESSION_SECONDS),
            bucket=Bucket(rate, now) if rate else None,
        )
        self._sessions[key] = session
        self._books.sessions[self.name] += 1
        return session

    def _drawn(self, behaviour: Behaviour) -> str:
        if not behaviour.faults:
            return ""
        drawn = self._fault_chance.random()
        return next((fault for until, fault in behaviour.faults if drawn < until), "")


def exit_address(number: int) -> bytes:
    return str(EXITS[number]).encode()


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
    vendors: Mapping[str, Vendor]


class Pacer:
    """Lets a connection's bytes through at a rate; what has to wait is at most one answer."""

    def __init__(
        self, give: Callable[[bytes | memoryview], None], drained: Callable[[], None]
    ) -> None:
        self._give, self._drained = give, drained
        self._queue: deque[memoryview] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._at = self._allowed = 0.0
        self._taken_until = 0.0
        self.rate = 1.0

    @property
    def waiting(self) -> bool:
        return bool(self._queue)

    def add(self, data: bytes | memoryview) -> None:
        self._queue.append(memoryview(data))
        if not self._timer:
            self._step()

    def took(self, size: int, read_on: Callable[[], None]) -> bool:
        """Whether to read nothing until `read_on`, after `size` bytes."""
        now = time.monotonic()
        self._taken_until = max(now, self._taken_until) + size / self.rate
        wait = self._taken_until - now
        if wait > PACE_SECONDS:
            self._reading = asyncio.get_running_loop().call_later(wait, read_on)
        return wait > PACE_SECONDS

    def stop(self) -> None:
        self._queue.clear()
        for timer in (self._timer, self._reading):
            if timer:
                timer.cancel()

    def _step(self) -> None:
        now = time.monotonic()
        most = self.rate * PACE_SECONDS * 2
        self._allowed = min(most, self._allowed + (now - self._at) * self.rate)
        self._at, self._timer = now, None
        while self._queue and self._allowed >= 1:
            part = self._queue.popleft()
            if len(part) > self._allowed:
                self._queue.appendleft(part[int(self._allowed) :])
                part = part[: int(self._allowed)]
            self._allowed -= len(part)
            self._give(part)
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(PACE_SECONDS, self._on_time)

    def _on_time(self) -> None:
        self._step()
        if not self._queue:
            self._drained()


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

    def farewell(self) -> bytes:
        """Say that nothing more comes: without it a client takes the end for a cut."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self.pending()

    def pending(self) -> bytes:
        """What is to be sent: handshake, alerts, sealed bytes."""
        return self._outgoing.read()


# HTTP/2 in clear, as much as GETs of small pages need.

H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2_DATA, H2_HEADERS, H2_RST_STREAM, H2_SETTINGS, H2_PING, H2_GOAWAY = 0, 1, 3, 4, 6, 7
H2_WINDOW_UPDATE, H2_CONTINUATION = 8, 9
H2_ACK = H2_END_STREAM = 0x1
H2_END_HEADERS, H2_PADDED, H2_PRIORITY = 0x4, 0x8, 0x20
H2_MAX_FRAME_BYTES = 16_384
H2_WINDOW_BYTES = 65_535  # a connection's and a stream's at the start
H2_INITIAL_WINDOW_SIZE = 4  # the setting
H2_PROTOCOL_ERROR = 1
H2_REFUSED_STREAM = 7
H2_WAITING_STREAMS = 100
H2_ANSWERS_BYTES = 1024 * 1024  # one `feed` gives hardly more: a client that never reads waits
HPACK_STATUS_200 = b"\x88"  # entry 8 of the static table
HPACK_TABLE_BYTES = 4096  # of a dynamic table, where no setting says otherwise


def h2_page(_stream: int, fields: Mapping[bytes, bytes]) -> Action:
    return page_answer("", fields.get(b":path", b""), False)


class Http2:
    """The server's side of HTTP/2 after the preface: bytes in, bytes out, no socket.

    `serve` gives the answer to a stream's header fields, once its body has come: at once or, after
    None, by `reply`. An answer's body is never longer than the windows leave room for.
    """

    def __init__(
        self,
        vendor: bytes,
        serve: Callable[[int, Mapping[bytes, bytes]], Action | None] = h2_page,
    ) -> None:
        self._vendor, self._serve = vendor, serve
        self._fields = Hpack()
        self._rest = b""
        self.waiting = False  # bytes that wait for the next `feed`
        self._header_block: tuple[int, bytes] | None = None  # stream, what came until now
        self._ends = False  # that stream, with its headers
        self._last_stream = 0
        self._uploads: dict[int, Mapping[bytes, bytes]] = {}  # streams whose body is to come
        self._window = self._stream_window = H2_WINDOW_BYTES
        self.greeting = h2_frame(H2_SETTINGS, 0, 0, b"")
        self.ended = False  # it was no HTTP/2

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the connection; the bytes to answer."""
        self._rest += data
        self.waiting = False
        answers: list[bytes] = []
        at = size_of_answers = 0
        try:
            while len(self._rest) - at >= 9:
                if size_of_answers > H2_ANSWERS_BYTES:
                    self.waiting = True
                    break
                size = int.from_bytes(self._rest[at : at + 3], "big")
                if size > H2_MAX_FRAME_BYTES:
                    raise ValueError("frame too large")
                end = at + 9 + size
                if len(self._rest) < end:
                    break
                kind, flags = self._rest[at + 3], self._rest[at + 4]
                stream = int.from_bytes(self._rest[at + 5 : at + 9], "big") & 0x7FFFFFFF
                answer = self._frame(kind, flags, stream, self._rest[at + 9 : end])
                answers.append(answer)
                size_of_answers += len(answer)
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
        if kind == H2_DATA:
            return self._upload(flags, stream, len(payload))
        if kind == H2_RST_STREAM:
            self._uploads.pop(stream, None)
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
        if not flags & H2_END_HEADERS:
            self._header_block = (stream, block)
            self._ends = self._ends or bool(flags & H2_END_STREAM)
            return b""
        ends, self._ends = self._ends or bool(flags & H2_END_STREAM), False
        self._header_block = None
        fields = dict(self._fields.read(block))  # also of trailers: they change the table
        if stream <= self._last_stream:
            return self._answer(stream, self._uploads.pop(stream, None))
        self._last_stream = stream
        if ends:
            return self._answer(stream, fields)
        if len(self._uploads) >= H2_WAITING_STREAMS:
            return h2_refused(stream)
        self._uploads[stream] = fields
        return b""

    def _upload(self, flags: int, stream: int, size: int) -> bytes:
        """Part of a request's body, taken and forgotten: there is room for as much again."""
        room = size.to_bytes(4, "big")
        said = h2_frame(H2_WINDOW_UPDATE, 0, 0, room) if size else b""
        if flags & H2_END_STREAM:
            return said + self._answer(stream, self._uploads.pop(stream, None))
        return said + (h2_frame(H2_WINDOW_UPDATE, 0, stream, room) if size else b"")

    def _answer(self, stream: int, fields: Mapping[bytes, bytes] | None) -> bytes:
        action = self._serve(stream, fields) if fields is not None else None
        return self.reply(stream, action, (fields or {}).get(b":method", b"")) if action else b""

    def reply(self, stream: int, action: Action, method: bytes) -> bytes:
        body = action.body[: min(self._window, self._stream_window)]
        size = b"%d" % len(body)
        if method == b"HEAD":
            body = b""
        self._window -= len(body)
        more = [line.partition(b": ")[::2] for line in action.headers.split(b"\r\n") if line]
        code = action.status[:3]
        status = HPACK_STATUS_200 if code == b"200" else b"\x08\x03" + code
        block = status + b"".join(
            b"\x00%c%b%c%b" % (len(key), key.lower(), len(value), value)
            for key, value in (
                (b"x-sim-vendor", self._vendor[:126]),
                *more,
                (b"content-type", b"text/html"),
                (b"content-length", size),
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


def h2_refused(stream: int) -> bytes:
    """Nothing was done for this stream: the client may ask again."""
    return h2_frame(H2_RST_STREAM, 0, stream, H2_REFUSED_STREAM.to_bytes(4, "big"))


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


# The static table (RFC 7541, appendix A).
HPACK_NAMES = """
:authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https
:status=200 :status=204 :status=206 :status=304 :status=400 :status=404 :status=500
accept-charset accept-encoding=gzip,_deflate accept-language accept-ranges accept
access-control-allow-origin age allow authorization cache-control content-disposition
content-encoding content-language content-length content-location content-range content-type
cookie date etag expect expires from host if-match if-modified-since if-none-match if-range
if-unmodified-since last-modified link location max-forwards proxy-authenticate
proxy-authorization range referer refresh retry-after server set-cookie
strict-transport-security transfer-encoding user-agent vary via www-authenticate
"""
HPACK_STATIC: Final = tuple(
    entry.replace("_", " ").encode().partition(b"=")[::2] for entry in HPACK_NAMES.split()
)
# Bits of every octet's code (appendix B), 0-9 and then letters. The codes are canonical: they
# follow from these sizes, the shorter first, octets of one size in order.
HUFFMAN_BITS = (
    "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878djde6"
    "f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn"
    "qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq"
)


def _huffman_codes() -> dict[tuple[int, int], int]:
    """Size and code to octet."""
    sizes = [int(digit, 36) for digit in HUFFMAN_BITS]
    codes, code, before = {}, 0, 0
    for octet in sorted(range(256), key=lambda octet: (sizes[octet], octet)):
        code <<= sizes[octet] - before
        before = sizes[octet]
        codes[before, code] = octet
        code += 1
    return codes


HUFFMAN: Final = _huffman_codes()


def huffman_text(coded: bytes) -> bytes:
    """Decode; what is no code ends the text, as its padding does."""
    found, size, code = bytearray(), 0, 0
    for octet in coded:
        for bit in range(7, -1, -1):
            size, code = size + 1, code << 1 | octet >> bit & 1
            if (read := HUFFMAN.get((size, code))) is not None:
                found.append(read)
                size = code = 0
    return bytes(found)


class Hpack:
    """Header blocks of one connection as fields; what cannot be read ends a block, quietly."""

    def __init__(self) -> None:
        self._dynamic: deque[tuple[bytes, bytes]] = deque()  # the newest first
        self._size, self._room = 0, HPACK_TABLE_BYTES

    def read(self, block: bytes) -> list[tuple[bytes, bytes]]:
        fields: list[tuple[bytes, bytes]] = []
        at = 0
        with contextlib.suppress(ValueError):
            while at < len(block):
                first = block[at]
                if first & 0x80:
                    entry, at = _hpack_integer(block, at, 7)
                    fields.append(self._entry(entry))
                elif first & 0xE0 == 0x20:
                    room, at = _hpack_integer(block, at, 5)
                    self._keep_within(min(room, HPACK_TABLE_BYTES))
                else:
                    entry, at = _hpack_integer(block, at, 6 if first & 0x40 else 4)
                    key = self._entry(entry)[0] if entry else b""
                    if not entry:
                        key, at = _hpack_text(block, at)
                    value, at = _hpack_text(block, at)
                    fields.append((key, value))
                    if first & 0x40:
                        self._dynamic.appendleft((key, value))
                        self._size += len(key) + len(value) + 32
                        self._keep_within(self._room)
        return fields

    def _entry(self, number: int) -> tuple[bytes, bytes]:
        known = len(HPACK_STATIC)
        if not 0 < number <= known + len(self._dynamic):
            raise ValueError("no such entry")
        return HPACK_STATIC[number - 1] if number <= known else self._dynamic[number - known - 1]

    def _keep_within(self, room: int) -> None:
        self._room = room
        while self._size > room:
            key, value = self._dynamic.pop()
            self._size -= len(key) + len(value) + 32


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
    """The text at `at`, and where it ends."""
    huffman = at < len(block) and block[at] & 0x80
    size, at = _hpack_integer(block, at, 7)
    said = block[at : at + size]
    return (huffman_text(said) if huffman else said), at + size


PAUSED_BY_READER, PAUSED_BY_FLOOD, PAUSED_BY_PACE = 1, 2, 4  # why nothing is read


class Connection(asyncio.Protocol):
    """One accepted connection: HTTP proxy and target in a tunnel, SOCKS5, or HTTP/2.

    `_buffer` holds what is still to be taken, out of the innermost TLS session where there are
    any; `_take` takes it. What waits is bounded: nothing is taken while an answer waits for its
    reader, and nothing read while the buffer is full.
    """

    def __init__(self, desk: Desk, vendor: Vendor, opaque: bool) -> None:
        self._desk, self._books, self._vendor = desk, desk.books, vendor
        self._opaque = opaque
        self._protocol = "none"
        self._transport: asyncio.Transport
        self._take: Callable[[], None] = self._detect
        self._buffer = b""
        self._sessions: list[Tls] = []  # the outermost first
        self._sent = self._received = 0
        self._waiting: tuple[str, float] | None = None  # visibility and start of a silent request
        self._asked: Request | None = None  # whose body is still to come
        self._asked_at = 0.0
        self._body: Body
        self._full = False  # one connection more than the vendor allows
        self._paused = 0
        self._pacer: Pacer | None = None
        self._closing = False  # once all is sent
        self._customer: Customer | None = None  # of SOCKS5
        self._payload = (0, 0)  # SOCKS5: bytes still to come, bytes to answer
        self._inner_fault = ""
        self._inner_headers = b""
        self._http2: Http2 | None = None
        self._late: dict[int, asyncio.TimerHandle] = {}  # answers of HTTP/2, by stream
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._books.connections[self._vendor.name] += 1
        self._books.open.add(self)
        self._full = self._vendor.full()
        self._vendor.open += not self._full

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        self._vendor.bytes += len(data)
        if self._pacer and self._pacer.took(len(data), self._read_on):
            self._pause(PAUSED_BY_PACE)
        self._arrive(data, 0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._books.open.discard(self)
        self._vendor.open -= not self._full
        self.add_to(self._books.wire)
        for timer in (self._timer, *self._late.values()):
            if timer:
                timer.cancel()
        if self._pacer:
            self._pacer.stop()
        if self._asked and self._take == self._http:  # the client left while it sent its body
            self._waiting = (visibility_of(self._asked), self._asked_at)
        if self._waiting:
            visibility, since = self._waiting
            waited = asyncio.get_running_loop().time() - since
            self._count(
                visibility,
                "timeout" if waited >= self._desk.plan.patience_seconds else "client_cancelled",
            )
        if self._opaque:
            name = self._vendor.name
            self._books.opaque[name] += 1
            self._books.bytes[name, "sent"] += self._sent
            self._books.bytes[name, "received"] += self._received
        # They know this connection, which would wait for the garbage collector.
        del self._take
        self._timer = self._pacer = self._http2 = None

    def pause_writing(self) -> None:
        self._pause(PAUSED_BY_READER)

    def resume_writing(self) -> None:
        self._resume(PAUSED_BY_READER)
        self._go_on()

    def add_to(self, wire: Counter[tuple[str, str, str]]) -> None:
        for what, size in zip(WIRE_COLUMNS, (1, self._sent, self._received), strict=True):
            wire[self._vendor.name, self._protocol, what] += size

    def _count(self, visibility: str, outcome: str) -> None:
        if not self._opaque:
            self._books.counts[self._vendor.name, visibility, outcome] += 1

    def _book(self, visibility: str, action: Action) -> None:
        if action.outcome not in THROUGH_EXIT:
            self._books.refusals[self._vendor.name, action.status[:3].decode()] += 1
        self._count(visibility, action.outcome)

    # Bytes

    def _pause(self, why: int) -> None:
        self._paused |= why
        self._transport.pause_reading()

    def _resume(self, why: int) -> None:
        self._paused &= ~why
        if not self._paused:
            self._transport.resume_reading()

    def _read_on(self) -> None:
        self._resume(PAUSED_BY_PACE)

    def _choked(self) -> bool:
        """The answers until now still wait for their reader."""
        return self._paused & PAUSED_BY_READER > 0 or (
            self._pacer is not None and self._pacer.waiting
        )

    def _go_on(self) -> None:
        """Take what has waited meanwhile."""
        if self._closing and not (self._pacer and self._pacer.waiting):
            self._transport.close()
        elif not self._transport.is_closing() and not self._choked():
            self._take()

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
        if self._pacer:
            self._pacer.add(data)
        else:
            self._give(data)

    def _give(self, data: bytes | memoryview) -> None:
        self._sent += len(data)
        self._vendor.bytes += len(data)
        self._transport.write(data)

    def _finish(self) -> None:
        """Send what is on its way, take no more, close."""
        self._take = self._ignore
        self._closing = True
        if not (self._pacer and self._pacer.waiting):
            self._transport.close()

    def _part(self) -> None:
        """End the connection as the one who has said all there is to say."""
        for depth in range(len(self._sessions) - 1, -1, -1):
            self._write(self._sessions[depth].farewell(), depth)
        self._finish()

    def _reset(self) -> None:
        if self._pacer:
            self._pacer.stop()
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
            self._http2 = Http2(self._vendor.name.encode(), self._h2_request)
            self._write(self._http2.greeting)
        else:
            self._protocol = "http"
            if H2_PREFACE.startswith(start):
                return  # POST and PUT begin with P too
            self._take = self._http
        self._take()

    def _ignore(self) -> None:
        self._buffer = b""

    def _keep(self) -> None:
        """Requests that come behind one that still waits: a few."""
        if len(self._buffer) > MAX_HEAD_BYTES:
            self._pause(PAUSED_BY_FLOOD)

    # What the vendor's rule says

    def _ruled(self, request: Request, *, missing: bool = False) -> tuple[Action, float]:
        behaviour = self._vendor.behaviour
        rate = behaviour and behaviour.limits.bandwidth_bytes_per_second
        if rate:
            self._pacer = self._pacer or Pacer(self._give, self._go_on)
            self._pacer.rate = rate
        elif self._pacer and not self._pacer.waiting:
            self._pacer.stop()
            self._pacer = None
            self._read_on()
        return self._vendor.rule(request, self._customer, full=self._full, missing=missing)

    def _after(self, seconds: float, visibility: str, then: Callable[[], None]) -> None:
        """Do `then` later; a client that does not wait for it is booked for its leaving."""
        loop = asyncio.get_running_loop()
        take, self._take = self._take, self._keep
        self._waiting = (visibility, loop.time())

        def act() -> None:
            self._waiting, self._take = None, take
            self._resume(PAUSED_BY_FLOOD)
            then()
            self._go_on()

        self._timer = loop.call_later(seconds, act)

    def _hurt(self, kind: str, visibility: str) -> None:
        """A fault that gives no answer."""
        self._take = self._ignore
        if kind == "reset":
            self._reset()
        elif kind == "close":
            self._finish()
        elif kind == "garbage":
            self._write(GARBAGE)
            self._finish()
        else:  # stall
            self._waiting = (visibility, asyncio.get_running_loop().time())

    # HTTP proxy

    def _next_request(self) -> Request | None:
        """A complete request taken off the buffer, or None (then more bytes or the end follow)."""
        if self._asked:
            return self._whole_request(self._asked)
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if len(head) > MAX_HEAD_BYTES:
            self._reject(b"431 Request Header Fields Too Large")
        elif blank:
            request = parse_request(head)
            if not request:
                self._reject(b"400 Bad Request")
            elif not request.body_bytes:
                self._buffer = rest
                return request
            else:
                self._buffer = rest
                self._asked, self._body = request, Body(request.body_bytes)
                self._asked_at = asyncio.get_running_loop().time()
                if request.expects and not rest:
                    self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return self._whole_request(request)
        return None

    def _whole_request(self, request: Request) -> Request | None:
        self._buffer = self._body.take(self._buffer)
        if self._body.bad:
            self._reject(b"400 Bad Request")
        if self._body.bad or not self._body.done:
            return None
        self._asked = None
        return request._replace(body_bytes=self._body.size)

    def _reject(self, status: bytes) -> None:
        """Refuse bytes that are no request; not booked, as no sidecar would have passed them on.

        Closed a little later: the client may still be sending, and a reset would take the answer.
        """
        self._write(b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
        self._take = self._ignore
        self._timer = asyncio.get_running_loop().call_later(RUDE_SECONDS, self._part)

    def _http(self) -> None:
        while self._take == self._http and (request := self._next_request()):
            action, seconds = self._ruled(request, missing=self._desk.chance.random() < 0.5)
            visibility = visibility_of(request)
            if self._protocol == "http":
                self._protocol = visibility
            if self._full:
                request = request._replace(close=True)
            if seconds:
                self._after(
                    seconds, visibility, functools.partial(self._act, action, request, visibility)
                )
            else:
                self._act(action, request, visibility)
            if self._choked():
                return

    def _act(self, action: Action, request: Request, visibility: str) -> None:
        if action.outcome:
            self._book(visibility, action)
        if action.kind == "tunnel":
            self._write(
                b"HTTP/1.1 %b\r\n%b%b\r\n" % (action.status, self._vendor.signature, action.headers)
            )
            self._open_tunnel(action)
        elif action.kind in SILENT:
            self._hurt(action.kind, visibility)
        else:
            self._say(action, request)

    def _say(self, action: Action, request: Request) -> None:
        """Answer, whole or not."""
        if action.kind == "answer":
            self._write(self._answer(action, request))
            if request.close:
                self._part()
        elif action.kind == "answer-open":
            said = (action.status, b"\r\n", self._vendor.signature, action.headers, b"\r\n")
            self._write(b"".join((b"HTTP/1.1 ", *said, action.body)))
            self._part()
        else:
            self._take = self._ignore
            answer = self._answer(action, request)
            self._write(answer[: answer.index(b"\r\n\r\n") + 4 + 32])
            end = self._reset if action.kind == "reset-inside" else self._finish
            self._timer = asyncio.get_running_loop().call_later(RESET_INSIDE_DELAY_SECONDS, end)

    def _answer(self, action: Action, request: Request) -> bytes:
        more = action.headers
        if request.body_bytes:
            more += b"X-Sim-Received-Bytes: %d\r\n" % request.body_bytes
        if request.close:
            more += b"Connection: close\r\n"
        elif request.old:
            more += b"Connection: keep-alive\r\n"
        head = b"HTTP/1.1 %b\r\n%b%bContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % (
            action.status,
            self._vendor.signature,
            more,
            len(action.body),
        )
        return head if request.method == b"HEAD" else b"".join((head, action.body))

    # The target inside a tunnel: TLS, or HTTP in clear

    def _open_tunnel(self, action: Action) -> None:
        self._inner_fault, self._inner_headers = action.inside, action.headers
        self._take = self._tunnel
        self._take()

    def _tunnel(self) -> None:
        if not self._buffer:
            return
        self._take = self._target
        if self._buffer[0] == TLS_HANDSHAKE:
            self._open_session()
        else:
            self._take()

    def _target(self) -> None:
        while self._take == self._target and (request := self._next_request()):
            missing = self._desk.chance.random() < 0.5
            action = target_answer(self._inner_fault, request, missing)
            self._say(action._replace(headers=self._inner_headers), request)
            if self._choked():
                return

    # HTTP/2

    def _frames(self) -> None:
        http2 = cast(Http2, self._http2)
        data, self._buffer = self._buffer, b""
        while answer := http2.feed(data):
            if not self._transport.is_closing():
                self._write(answer)
            data = b""
            if not http2.waiting or self._choked():
                break
        if http2.ended:
            self._finish()

    def _h2_request(self, stream: int, fields: Mapping[bytes, bytes]) -> Action | None:
        if not self._vendor.behaviour:
            return h2_page(stream, fields)
        method = fields.get(b":method", b"")
        authorization = fields.get(b"proxy-authorization", b"")
        request = Request(
            method,
            _host(fields.get(b":authority", b"")).decode("latin-1").lower(),
            fields.get(b":path", b""),
            bool(authorization),
            0,
            False,
            authorization,
        )
        action, seconds = self._ruled(request)
        if action.kind == "tunnel":
            action = Action("answer", "vendor_error", b"501 Not Implemented")
        if action.kind in SILENT or action.kind in CUT_SHORT:
            self._hurt("reset" if action.kind in CUT_SHORT else action.kind, "")
            return None
        if not seconds:
            self._book("", action)
            return action
        if len(self._late) >= H2_WAITING_STREAMS:
            self._write(h2_refused(stream))
            return None
        late = functools.partial(self._h2_late, stream, action, method)
        self._late[stream] = asyncio.get_running_loop().call_later(seconds, late)
        return None

    def _h2_late(self, stream: int, action: Action, method: bytes) -> None:
        del self._late[stream]
        if self._http2 and not self._transport.is_closing():
            self._book("", action)
            self._write(self._http2.reply(stream, action, method))

    # SOCKS5: opaque-<up>-<down>.<anything> wants <up> bytes taken and <down> bytes sent back;
    # any other host is a target, of HTTP or TLS.

    def _socks_greeting(self) -> None:
        if len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            return
        offered = self._buffer[2 : 2 + self._buffer[1]]
        self._buffer = self._buffer[2 + self._buffer[1] :]
        behaviour = self._vendor.behaviour
        # A login names the session even where it opens nothing.
        first, second = SOCKS_NO_AUTHENTICATION, SOCKS_PASSWORD
        if behaviour:
            first, second = second, SOCKS_NO_METHOD if behaviour.credentials else first
        method = next((each for each in (first, second) if each in offered), SOCKS_NO_METHOD)
        self._write(bytes([SOCKS_VERSION, method]))
        if method == SOCKS_NO_METHOD:
            self._books.refusals[self._vendor.name, "socks5"] += 1
            self._part()
            return
        self._take = self._socks_login if method == SOCKS_PASSWORD else self._socks_request
        self._take()

    def _socks_login(self) -> None:
        """RFC 1929: version 1, user and password, each behind its length."""
        said = self._buffer
        if len(said) < 2 or len(said) < 3 + said[1] or len(said) < 3 + said[1] + said[2 + said[1]]:
            return
        user, rest = said[2 : 2 + said[1]], said[2 + said[1] :]
        password, self._buffer = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        behaviour = self._vendor.behaviour
        self._customer = customer(behaviour, user, password) if behaviour else None
        refused = said[0] != 1 or (self._customer is not None and bool(self._customer.refusal))
        self._write(bytes([1, refused]))
        if refused:
            self._books.refusals[self._vendor.name, "socks5"] += 1
            self._part()
            return
        self._take = self._socks_request
        self._take()

    def _socks_request(self) -> None:
        head = self._buffer
        if len(head) < 5:
            return
        start, size = (5, head[4]) if head[3] == 3 else (4, SOCKS_ADDRESS_BYTES.get(head[3], 0))
        if len(head) < start + size + 2:
            return
        self._buffer = head[start + size + 2 :]
        said = head[start : start + size]
        if head[1] != 1 or not size:
            self._socks_say(SOCKS_NO_SUCH_COMMAND)
            self._part()
            return
        host = said.decode("latin-1").lower() if head[3] == 3 else str(ipaddress.ip_address(said))
        request = Request(b"CONNECT", host, b"", self._customer is not None, 0, False)
        if not self._customer:
            self._customer = Customer("", "", "")
        action, seconds = self._ruled(request)
        act = functools.partial(self._socks_act, action, host)
        if seconds:
            self._after(seconds, "", act)
        else:
            act()

    def _socks_act(self, action: Action, host: str) -> None:
        if action.kind in SILENT:
            self._hurt(action.kind, "")
            return
        if action.outcome:
            self._book("", action)
        if action.kind != "tunnel":
            broken = action.outcome == "vendor_error"
            self._socks_say(SOCKS_UNREACHABLE if broken else SOCKS_NOT_ALLOWED)
            self._part()
            return
        self._socks_say(SOCKS_OK, action.headers.removeprefix(b"X-Sim-Exit: ").strip())
        if asked := OPAQUE_HOST.match(host):
            self._payload = (int(asked[1]), min(int(asked[2]), MAX_BODY_BYTES))
            self._take = self._socks_payload
            self._take()
        else:
            self._open_tunnel(action)

    def _socks_say(self, reply: int, exit: bytes = b"") -> None:
        """The bound address is the exit's: all a SOCKS5 client hears of it."""
        bound = ipaddress.ip_address(exit.decode()).packed if exit else bytes(4)
        self._write(bytes([SOCKS_VERSION, reply, 0, 1]) + bound + bytes(2))

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
    desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(
        OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError
    ):
        async with asyncio.timeout(CONTROL_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, *_ = (*head.decode("latin-1").split(" ", 2), "", "")
            body = b""
            size = _length(b"\r\n" + head.lower())
            if size is None or not 0 <= size <= MAX_CONTROL_BYTES:
                fix = f"give Content-Length, at most {MAX_CONTROL_BYTES}"
                status, kind, said = _told("413 Content Too Large", f"body: {fix}")
            else:
                if size and b"\r\nexpect: 100-continue" in head.lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                if size:
                    body = await reader.readexactly(size)
                status, kind, said = control(desk, method, path, body)
            answer = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(said)}\r\n"
            writer.write(f"{answer}Connection: close\r\n\r\n{said}".encode())
            await writer.drain()
    writer.close()


def _told(status: str, *findings: str) -> tuple[str, str, str]:
    return status, "application/json", json.dumps({"findings": findings}) + "\n"


def control(desk: Desk, method: str, path: str, body: bytes) -> tuple[str, str, str]:
    """Answer one request to the control endpoint: status, content type, content."""
    if path == "/books":
        return "200 OK", "application/json", json.dumps(desk.books.as_json())
    if path == "/metrics":
        return "200 OK", "text/plain; version=0.0.4", desk.books.as_metrics()
    if path == "/healthz":
        return "200 OK", "text/plain", "ok\n"
    if path == "/vendors" and method == "GET":
        every = {name: vendor.raw() for name, vendor in sorted(desk.vendors.items())}
        return "200 OK", "application/json", json.dumps(every) + "\n"
    if not path.startswith("/vendors/"):
        return "404 Not Found", "text/plain", "GET /books, /metrics, /healthz or /vendors\n"
    vendor = desk.vendors.get(path.removeprefix("/vendors/"))
    if not vendor:
        known = ", ".join(sorted(desk.vendors))
        return _told("404 Not Found", f"{path}: is no vendor of the plan: use one of {known}")
    try:
        if method in ("PUT", "POST"):
            change(vendor, method, body)
        elif method == "DELETE":
            vendor.adopt(vendor.planned, VENDOR_KEYS)
        elif method != "GET":
            return _told("405 Method Not Allowed", f"{method}: use GET, PUT, POST or DELETE")
    except PlanError as error:
        return _told("400 Bad Request", *error.findings)
    return "200 OK", "application/json", json.dumps(vendor.raw()) + "\n"


def change(vendor: Vendor, method: str, body: bytes) -> None:
    """PUT says all of a vendor's behaviour, POST the keys that change; null takes a key away.

    Raises:
        PlanError: with every finding; then nothing has changed.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PlanError([f"body: cannot be read as JSON: {error}"]) from None
    if not isinstance(given, dict):
        keys = ", ".join(VENDOR_KEYS)
        raise PlanError([f"body: {json.dumps(given)} is not an object: give {{{keys}}}"])
    touched, raw = set(VENDOR_KEYS), given
    if method == "POST":
        kept = {**vendor.raw(), **given}
        raw = {key: value for key, value in kept.items() if value is not None}
        touched = set(given)
    findings: list[str] = []
    behaviour = read_behaviour(raw, "", findings, os.environ)
    if findings:
        raise PlanError(sorted(findings))
    vendor.adopt(behaviour, touched)


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
    desk = Desk(
        plan=plan,
        books=books,
        tls=tls,
        chance=random.Random(plan.seed),
        vendors={item.vendor: Vendor(item.vendor, plan, books) for item in plan.listen},
    )
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with contextlib.AsyncExitStack() as servers:
        for item in plan.listen:
            factory = functools.partial(Connection, desk, desk.vendors[item.vendor], item.opaque)
            with _named(item.address, item.port):
                # A backlog under the crawlers' burst would cost SYN retries of 1 s each.
                server = await loop.create_server(
                    factory, item.address, item.port, backlog=LISTEN_BACKLOG
                )
            servers.callback(server.close)
        with _named(plan.control_host, plan.control_port):
            control = await asyncio.start_server(
                functools.partial(_serve_control, desk), plan.control_host, plan.control_port
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
keys of the plan (JSON; --help-plan explains them): listen vendors
  control_host control_port slow_seconds patience_seconds seed certificate key
control: GET /books, /metrics, /healthz; GET, PUT, POST, DELETE /vendors/NAME
faults are asked for by host name, fault-<name>.anything, or drawn by chance
exit codes: 0 ended by a signal, 2 could not start
"""


def _listed(entries: Iterable[str], indent: int = 15) -> str:
    space = " " * indent
    lines = textwrap.TextWrapper(
        78, initial_indent=space, subsequent_indent=space, break_on_hyphens=False
    )
    return "\n".join(map(lines.fill, entries))


PLAN_HELP = f"""\
plan (JSON; defaults in brackets):
  listen       [{{vendor, address, port, opaque [false]}}]; a vendor may come
               more than once; opaque: connections are booked, no requests
  vendors      {{name: behaviour}} [none: a proxy for anybody, as fast as it can]
  control_port, control_host [127.0.0.1]: see below
  slow_seconds [30] delay of a slow answer
  patience_seconds [10] whoever leaves later met a timeout, not sooner
  seed [1]     decides every chance
  certificate, key: PEM files for TLS [none: anonymous ECDH]; real clients
               need them

behaviour of a vendor, each key as you like:
  credentials  {{user: variable with the password}}: HTTP Basic and SOCKS5; user
               names may go on: user-country-de-session-abc1
  exits        {{count, session_seconds [600]}}: told in X-Sim-Exit, by SOCKS5 as
               the bound address; a session keeps one, others get any
  limits       {{requests_per_second, session_requests_per_second, connections:
               429 above; quota_bytes: then 402; bandwidth_bytes_per_second of
               a connection, each way}}; a rate lets a second's worth through
               at once; the session's holds for user names with a session
  latency_seconds  0.2, or {{"p50": 0.2, "p95": 0.9}} (log-normal); refusals by
               credentials and limits come at once
  dialect      {{fault: wording}}:
{_listed(f"{key}: {', '.join(known)}" for key, known in DIALECTS.items())}
  faults       {{fault: share of requests}}, beside those asked for

faults:
{_listed([" ".join(FAULTS)], 2)}

control endpoint: GET /books, /metrics, /healthz; /vendors/NAME takes PUT (the
whole behaviour), POST (the keys that change; null takes one away), DELETE (as
planned) and GET. Good for the next request; findings change nothing. Limits
that are given start anew: so a quota is topped up.
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
    parser.add_argument(
        "--help-plan", action="version", version=PLAN_HELP, help="show the plan's keys and exit"
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
