"""A crawler behind a transparent sidecar: proxied traffic of an exact plan, with exact books.

It connects to the vendors' proxy addresses as real crawlers do and writes down, for every
count, the outcome a sidecar should see (*visible*, decided here by the table of outcomes, never
by asking the sidecar) and, beside it, what it was in truth (`true_...`: a ban page with 200, a
failure inside a tunnel). One count is a plain request (`http`), a CONNECT (`tunnel`), or an
opaque connection: TLS to the proxy (`tls`), SOCKS5 (`socks5`), HTTP/2 in clear (`h2c`), and all of
a vendor whose connections a sidecar does not look into (`visible`).

An answer of the simulated vendor carries X-Sim-Vendor. One without it is the sidecar's own: then
the request's intent says what happened behind the sidecar, and where the intent says nothing the
count is `unexpected`. Works the same with no sidecar in between.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import difflib
import errno
import functools
import ipaddress
import itertools
import json
import os
import random
import re
import resource
import signal
import ssl
import sys
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar, cast

# How soon the crawler leaves a vendor that stalls: long enough for its request to get there on a
# busy machine, short of what counts as patience.
STALL_SECONDS, STALL_SHARE_OF_PATIENCE = 0.4, 0.4
PATIENCE_MARGIN_SECONDS = 0.5  # leaves this much after patience, so both sides see a timeout
DECK_COUNTS = 10_000  # an endless run deals this many at a time
MAX_COUNT = 10_000_000  # a deck is kept in memory
MAX_BODY_BYTES = 4 * 1024 * 1024  # the simulated vendor's largest page
IDLE_SECONDS = 10.0  # an older kept-alive connection may be about to be closed by its peer
STOP_SECONDS = 2.4  # after a signal: in-flight counts may end, then are left; 3 s in all
LEAVING_SECONDS = 0.3
OPAQUE_SENT_BYTES = (64, 2048)
OPAQUE_RECEIVED_BYTES = (64, 8192)
BAN_MARK = b"<title>Access denied</title>"
SIMULATED_CREDENTIALS = "crawler:simulated"  # opens nothing: simulated vendors take any
# Quantiles of HTML page sizes: HTTP Archive, p10/25/50/75/90 = 6/13/32/71/147 kB.
PAGE_SIZES: Final = ((0.1, 6000), (0.25, 13000), (0.5, 32000), (0.75, 71000), (0.9, 147000))
EXIT_CANNOT_RUN = 2

# Fault -> the outcome a plain request shows. A CONNECT shows the same, but for INSIDE.
FAULTS: Final = {
    "target-error": "target_error",
    "vendor-error": "vendor_error",
    "rate-limited": "rate_limited",
    "blocked": "blocked",
    "auth-failed": "auth_failed",
    "auth-challenge": "auth_challenge",
    "quota": "quota_exhausted",
    "quota-dialect": "quota_exhausted",
    "reset": "reset",
    "close": "reset",
    "garbage": "reset",
    "stall": "client_cancelled",
    "slow": "timeout",
    "dead": "connect_failed",
    "reset-inside": "reset",
    "ban-page": "success",
    "refused-open": "vendor_error",
    "rejected": "rejected",
}
INSIDE: Final = {"target-error", "reset-inside", "ban-page"}  # in a tunnel nobody else sees them
HTTP_ONLY: Final = {"rejected"}  # not dealt to tunnels: they get that share without a fault
# A connection that such a fault kills is not shared with other counts.
OWN_CONNECTION: Final = {
    *("reset", "close", "garbage", "stall", "slow", "dead", "reset-inside"),
    *("refused-open", "rejected"),
}
# Default shares. HTTP and CONNECT in clear show what they carry, the others are opaque.
MIX: Final = {"http": 0.44, "tunnel": 0.42, "tls": 0.0, "socks5": 0.14, "h2c": 0.0}
OPAQUE: Final = ("tls", "socks5", "h2c")
VISIBLE: Final = ("requests", "connections")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,199}")
T = TypeVar("T")


# --- the plan -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Vendor:
    """Where a vendor listens; `faults` maps a fault to its share of this vendor's counts.

    `visible` says what a sidecar sees there: "requests", or "connections" alone. Then every count
    is a connection of its own, with socket bytes and no outcome.
    """

    name: str
    address: str
    port: int
    opaque_port: int
    dead_address: str | None
    weight: float
    mix: Mapping[str, float]
    visible: str
    faults: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """An address in no vendor's range; `share` is its part of all counts."""

    address: str
    port: int
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do. `count` None is endless, `requests_per_second` None as fast as answers come."""

    seed: int
    count: int | None
    requests_per_second: float | None
    concurrency: int
    metrics_host: str
    metrics_port: int | None
    credentials: str
    connection_reuse: int
    patience_seconds: float
    vendors: tuple[Vendor, ...]
    outside: tuple[Outside, ...]
    host_suffix: str
    sizes_bytes: tuple[tuple[float, int], ...]


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


def or_null(check: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else check(value)


def text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not a text: give a non-empty string")
    return value


def name(value: object) -> str:
    """What may stand in a label and in a host name as it is."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("is not a name: give letters, digits, hyphens and dots")
    return value


def address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        raise ValueError("is not an IP address: give one such as 10.1.0.10") from None


def anything(value: object) -> object:
    return value


def one_of(known: Sequence[str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"is unknown: use {' or '.join(known)}")
        return value

    return check


def some_objects(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("is not a list of objects: give [{...}], or leave it out")
    return value


def objects(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError("is not a list of objects: give at least one entry")
    return value


def shares(known: Sequence[str]) -> Callable[[object], dict[str, float]]:
    """A check for {"name": share}: names out of `known`, shares 0 to 1, together at most 1."""

    def check(value: object) -> dict[str, float]:
        if not isinstance(value, dict):
            raise ValueError('is not an object: give {"' + known[0] + '": 0.1}')
        for key, share in value.items():
            if key not in known:
                raise ValueError(f"names {key}: use {', '.join(known)}")
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise ValueError(f"gives {key} {json.dumps(share)}: a share is from 0 to 1")
        if sum(value.values()) > 1 + 1e-9:
            raise ValueError(f"sums to {sum(value.values()):g}: shares are at most 1 together")
        return {key: float(share) for key, share in value.items()}

    return check


def mix(value: object) -> dict[str, float]:
    """A check for the shares of the protocols, which make up all counts."""
    found = shares(tuple(MIX))(value)
    if abs(sum(found.values()) - 1) > 1e-6:
        raise ValueError("does not sum to 1: the shares make up all counts")
    return found


def sizes(value: object) -> tuple[tuple[float, int], ...]:
    fix = f"give [[quantile 0 to 1, bytes 0 to {MAX_BODY_BYTES}], ...], both rising"
    pairs = value if isinstance(value, list) else []
    good = all(
        isinstance(pair, list)
        and len(pair) == 2
        and type(pair[0]) in (int, float)
        and type(pair[1]) is int
        and 0 <= pair[0] <= 1
        and 0 <= pair[1] <= MAX_BODY_BYTES
        for pair in pairs
    )
    rising = good and all(
        a[0] < b[0] and a[1] <= b[1]
        for a, b in itertools.pairwise(cast("list[list[float]]", pairs))
    )
    if not pairs or not rising:
        raise ValueError(f"is no list of rising sizes: {fix}")
    return tuple((float(quantile), size) for quantile, size in pairs)


class Section:
    """One JSON object of the plan; `take` reads a key and notes a finding where it is bad."""

    def __init__(self, raw: object, path: str, findings: list[str], known: Sequence[str]) -> None:
        self._path, self._findings = path, findings
        self._raw: dict[str, object] = raw if isinstance(raw, dict) else {}
        if not isinstance(raw, dict):
            self.note("", raw, "is not an object: give {" + ", ".join(known) + "}")
        for key in self._raw.keys() - set(known):
            near = difflib.get_close_matches(key, known, 1) or [", ".join(known)]
            self.note(key, self._raw[key], f"is an unknown key: use {near[0]}")

    def note(self, key: str, value: object, reason: str) -> None:
        where = f"{self._path}.{key}".strip(".") or "plan"
        self._findings.append(f"{where}: {json.dumps(value)} {reason}")

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
    *("seed", "count", "requests_per_second", "concurrency", "connection_reuse"),
    *("patience_seconds", "vendors", "outside", "mix", "target"),
    *("metrics_host", "metrics_port", "user", "password_env"),
)
VENDOR_KEYS: Final = (
    *("name", "address", "port", "opaque_port", "dead_address", "weight", "mix", "visible"),
    "faults",
)


def read_plan(raw: object, environment: Mapping[str, str]) -> Plan:
    """Check a parsed plan; `environment` holds the variable that `password_env` names.

    Raises:
        PlanError: with every finding, not only the first.
    """
    found: list[str] = []
    top = Section(raw, "", found, PLAN_KEYS)
    vendors = _read_vendors(top, top.take("mix", mix, MIX), found)
    raw_target = top.take("target", anything, cast(object, {}))
    target = Section(raw_target, "target", found, ("host_suffix", "sizes_bytes"))
    plan = Plan(
        seed=top.take("seed", whole(0, 2**63), 1),
        count=top.take("count", or_null(whole(1, MAX_COUNT)), None),
        requests_per_second=top.take("requests_per_second", or_null(number(0.01, 1e5)), None),
        # 16: Scrapy's CONCURRENT_REQUESTS default.
        concurrency=top.take("concurrency", whole(1, 10_000), 16),
        metrics_host=top.take("metrics_host", address, "127.0.0.1"),
        metrics_port=top.take("metrics_port", or_null(whole(1, 65535)), None),
        credentials=_read_credentials(top, environment),
        connection_reuse=top.take("connection_reuse", whole(1, 1_000_000), 20),
        # 10 s: telemetry.patience's default.
        patience_seconds=top.take("patience_seconds", number(0.2, 3600), 10.0),
        vendors=vendors,
        outside=_read_outside(top, found),
        host_suffix=target.take("host_suffix", name, "sim.test"),
        sizes_bytes=target.take("sizes_bytes", sizes, PAGE_SIZES),
    )
    if found:
        raise PlanError(sorted(found))
    return plan


def _read_vendors(
    top: Section, usual_mix: Mapping[str, float], found: list[str]
) -> tuple[Vendor, ...]:
    vendors: list[Vendor] = []
    for index, raw in enumerate(top.take("vendors", objects, list[object](), required=True)):
        item = Section(raw, f"vendors[{index}]", found, VENDOR_KEYS)
        port = item.take("port", whole(1, 65535), 1, required=True)
        vendor = Vendor(
            name=item.take("name", name, "", required=True),
            address=item.take("address", address, "", required=True),
            port=port,
            opaque_port=item.take("opaque_port", whole(1, 65535), port),
            dead_address=item.take("dead_address", or_null(address), None),
            weight=item.take("weight", number(0, 1e9), 1.0),
            mix=item.take("mix", mix, usual_mix),
            visible=item.take("visible", one_of(VISIBLE), "requests"),
            faults=item.take("faults", shares(tuple(FAULTS)), {}),
        )
        # A vendor may stand here more than once, an entry for each of its addresses.
        if vendor.name == "outside":
            item.note("name", vendor.name, "is kept for addresses outside: give another")
        if vendor.faults.get("dead") and not vendor.dead_address:
            item.note("faults.dead", vendor.faults["dead"], "has no dead_address: add one")
        if vendor.faults and vendor.visible == "connections":
            item.note("faults", vendor.faults, "show in no connection: leave them out")
        vendors.append(vendor)
    if vendors and not any(vendor.weight for vendor in vendors):
        top.note("vendors", [v.weight for v in vendors], "are all weights: give one above 0")
    return tuple(vendors)


def _read_outside(top: Section, found: list[str]) -> tuple[Outside, ...]:
    places: list[Outside] = []
    for index, raw in enumerate(top.take("outside", some_objects, list[object]())):
        item = Section(raw, f"outside[{index}]", found, ("address", "port", "share"))
        place = Outside(
            address=item.take("address", address, "", required=True),
            port=item.take("port", whole(1, 65535), 1, required=True),
            share=item.take("share", number(0, 1), 0.0, required=True),
        )
        places.append(place)
    parts = [place.share for place in places]
    if sum(parts) > 1 + 1e-9:
        top.note("outside", parts, "are shares above 1 together: give less")
    return tuple(places)


def _read_credentials(top: Section, environment: Mapping[str, str]) -> str:
    """`user:password`: whole out of the variable, or `user` and the variable's password."""
    user = top.take("user", or_null(text), None)
    variable = top.take("password_env", or_null(text), None)
    if variable is None:
        if user:
            top.note("user", user, "has no password_env: name the variable with the password")
        return SIMULATED_CREDENTIALS
    value = environment.get(variable, "")
    if not value:
        top.note("password_env", variable, "is no set variable: export it")
    elif not user and ":" not in value:
        top.note("password_env", variable, "holds no user:password: set it so, or give user")
    return f"{user}:{value}" if user else value


# --- what is dealt --------------------------------------------------------------------------

OUTSIDE = -1  # in place of a vendor's index: the first address outside, -2 the second


class Card(NamedTuple):
    """One intended count. Sizes are payload bytes: a page's, or a SOCKS5 answer's."""

    vendor: int
    protocol: str  # of MIX
    fault: str
    size_bytes: int
    sent_bytes: int  # SOCKS5 only


def quotas(shares: Sequence[float], count: int) -> list[int]:
    """Split `count` by largest remainder; `shares` need not sum to 1. Ties go to the first."""
    total = sum(shares)
    exact = [share / total * count for share in shares]
    parts = [int(part) for part in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: parts[index] - exact[index])
    for index in by_remainder[: count - sum(parts)]:
        parts[index] += 1
    return parts


def cells(plan: Plan) -> list[tuple[int, str, str, float]]:
    """Every (vendor, protocol, fault) that can occur, with its share. Opaque has no faults."""
    found = [(~index, "socks5", "", place.share) for index, place in enumerate(plan.outside)]
    inside = 1 - sum(place.share for place in plan.outside)
    weights = sum(vendor.weight for vendor in plan.vendors)
    for index, vendor in enumerate(plan.vendors):
        for protocol, share in vendor.mix.items():
            whole_share = inside * vendor.weight / weights * share
            faults = {
                fault: part
                for fault, part in vendor.faults.items()
                if protocol == "http" or (protocol == "tunnel" and fault not in HTTP_ONLY)
            }
            found.append((index, protocol, "", whole_share * (1 - sum(faults.values()))))
            found += [
                (index, protocol, fault, whole_share * part) for fault, part in faults.items()
            ]
    return [cell for cell in found if cell[3] > 0]


def deal(plan: Plan) -> Iterator[Card]:
    """The run's counts in order: the same plan gives the same cards.

    Quotas are exact over `plan.count`, or over every 10,000 of an endless run.
    """
    chance = random.Random(plan.seed)
    table = cells(plan)
    quantiles = [quantile for quantile, _ in plan.sizes_bytes]
    while True:
        parts = quotas([cell[3] for cell in table], plan.count or DECK_COUNTS)
        deck = [index for index, part in enumerate(parts) for _ in range(part)]
        chance.shuffle(deck)
        for index in deck:
            vendor, protocol, fault, _ = table[index]
            if protocol in OPAQUE:
                received = chance.randint(*OPAQUE_RECEIVED_BYTES)
                sent = chance.randint(*OPAQUE_SENT_BYTES) if protocol == "socks5" else 0
                yield Card(vendor, protocol, fault, received, sent)
            else:
                size = _size(chance.random(), quantiles, plan.sizes_bytes)
                yield Card(vendor, protocol, fault, size, 0)
        if plan.count:
            return


def _size(at: float, quantiles: list[float], points: tuple[tuple[float, int], ...]) -> int:
    """The size at quantile `at`: between two points in proportion, beyond the ends the end's."""
    right = bisect_right(quantiles, at)
    if right == 0 or right == len(points):
        return points[max(0, right - 1)][1]
    (low, small), (high, large) = points[right - 1], points[right]
    return int(small + (large - small) * (at - low) / (high - low))


# --- what was seen --------------------------------------------------------------------------


class Answer:
    """An HTTP answer as it comes in: head parsed, body counted, not kept.

    Framed by Content-Length, as most answers of the simulated vendor and all of Envoy's own are,
    or in chunks, as Envoy hands on one without; else the connection's end is its end (`endless`).
    """

    __slots__ = (
        "_chunked",
        "_connect",
        "_head",
        "_left",
        "banned",
        "by_vendor",
        "closes",
        "endless",
        "error",
        "garbage",
        "status",
    )

    def __init__(self, *, connect: bool = False) -> None:
        self._connect, self._head, self._left = connect, b"", 0
        self.status = 0  # until the head is complete
        self.by_vendor = self.banned = self.closes = self.endless = self.garbage = False
        self._chunked = False
        self.error: bytes | None = None  # a vendor's own word for what went wrong, lower case

    def feed(self, data: memoryview) -> bool:
        """Take bytes; True once the answer is complete or is no HTTP."""
        if self._chunked:
            return self._last_chunk(data)
        if self.status:
            self._left -= len(data)
            return self._left <= 0 and not self.endless
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            self.garbage = self._head[:7] != b"HTTP/1."[: len(self._head)]
            return self.garbage
        head = self._head[: end + 2].lower()
        length = field(head, b"content-length")
        self._left = int(length) if length and length.isdigit() else 0
        body = self._head[end + 4 : end + 4 + len(BAN_MARK)]
        if len(body) < min(self._left, len(BAN_MARK)):
            return False  # a little more, to tell a ban page from a page
        status = head[9:12]
        if not head.startswith(b"http/1.") or not status.isdigit():
            self.garbage = True
            return True
        self.status = int(status)
        bodiless = self.status in (204, 304) or (self._connect and self.status < 300)
        self._chunked = field(head, b"transfer-encoding") == b"chunked" and not bodiless
        # A CONNECT refused without a length: Envoy makes chunks of it, as often as not without
        # the last.
        whole_when_lost = self._connect or not self._chunked
        self.endless = length is None and not bodiless and whole_when_lost
        self.by_vendor = b"\r\nx-sim-vendor:" in head
        self.error = field(head, b"x-sim-error") or field(head, b"proxy-status")
        self.closes = b"\r\nconnection: close\r\n" in head or head.startswith(b"http/1.0")
        self.banned = body == BAN_MARK
        rest, self._head = self._head[end + 4 :], b""
        if self._chunked:
            return self._last_chunk(memoryview(rest))
        self._left = 0 if bodiless else self._left - len(rest)
        return self._left <= 0 and not self.endless

    def _last_chunk(self, data: memoryview) -> bool:
        """Take bytes of a chunked body without trailers; an unfinished chunk is kept."""
        self._head += data
        while (line := self._head.find(b"\r\n")) >= 0:
            digits = self._head[:line].partition(b";")[0]
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", digits):
                self.garbage = True
                return True
            size = int(digits, 16)
            if len(self._head) < line + size + 4:
                return False
            self._head = self._head[line + size + 4 :]
            if not size:
                return True
        return False


def field(head: bytes, key: bytes) -> bytes | None:
    """A header's value out of a lower-cased head, or None."""
    start = head.find(b"\r\n" + key + b":")
    if start < 0:
        return None
    start += len(key) + 3
    return head[start : head.index(b"\r\n", start)].strip()


class Exactly:
    """A reply of a known number of bytes; the first few are kept for a look."""

    __slots__ = ("_left", "start")

    def __init__(self, size: int) -> None:
        self._left, self.start = size, b""

    def feed(self, data: memoryview) -> bool:
        self._left -= len(data)
        if len(self.start) < 2:
            self.start += data[:2]
        return self._left <= 0


# HTTP/2 in clear, as much as one small GET needs.

H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2_DATA, H2_HEADERS, H2_RST_STREAM, H2_SETTINGS, H2_PING, H2_GOAWAY = 0, 1, 3, 4, 6, 7
H2_ACK = H2_END_STREAM = 0x1
H2_END_HEADERS, H2_PADDED, H2_PRIORITY = 0x4, 0x8, 0x20
H2_MAX_FRAME_BYTES = 16_384
HPACK_STATUS_200 = 0x88  # entry 8 of the static table


def h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (
        len(payload).to_bytes(3, "big"),
        kind,
        flags,
        stream.to_bytes(4, "big"),
        payload,
    )


def hpack_literal(key: bytes, value: bytes) -> bytes:
    """A header without indexing and without Huffman code; both are a size and the bytes."""
    return b"\x00" + b"".join(_hpack_size(len(each)) + each for each in (key, value))


def _hpack_size(size: int) -> bytes:
    if size < 127:
        return bytes([size])
    size -= 127
    found = [127]
    while size >= 128:
        found.append(size % 128 + 128)
        size //= 128
    return bytes([*found, size])


def h2_get(host: str, path: str, fields: Mapping[str, str]) -> bytes:
    """All a client says until the answer: preface, empty settings, one GET on stream 1."""
    headers = {":method": "GET", ":scheme": "http", ":authority": host, ":path": path, **fields}
    block = b"".join(
        hpack_literal(key.lower().encode(), value.encode()) for key, value in headers.items()
    )
    get = h2_frame(H2_HEADERS, H2_END_HEADERS | H2_END_STREAM, 1, block)
    return H2_PREFACE + h2_frame(H2_SETTINGS, 0, 0, b"") + get


class H2Answer:
    """The answer to `h2_get` as it comes in; settings and pings are acknowledged by `write`.

    It must fit the windows a connection starts with: nothing is said about flow control.
    """

    __slots__ = ("_rest", "_write", "good")

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._rest, self._write = b"", write
        self.good = False  # a 200 has come

    def feed(self, data: memoryview) -> bool:
        """Take bytes; True once the answer is complete, was refused, or is no HTTP/2."""
        self._rest += data
        while len(self._rest) >= 9:
            size = int.from_bytes(self._rest[:3], "big")
            if size > H2_MAX_FRAME_BYTES:
                self.good = False
                return True
            if len(self._rest) < 9 + size:
                return False
            head, payload = self._rest[:9], self._rest[9 : 9 + size]
            self._rest = self._rest[9 + size :]
            if self._frame(head[3], head[4], payload):
                return True
        return False

    def _frame(self, kind: int, flags: int, payload: bytes) -> bool:
        if kind in (H2_SETTINGS, H2_PING) and not flags & H2_ACK:
            self._write(h2_frame(kind, H2_ACK, 0, payload if kind == H2_PING else b""))
        elif kind == H2_HEADERS:
            start = bool(flags & H2_PADDED) + 5 * bool(flags & H2_PRIORITY)
            # Trailers are headers too, and carry no status.
            self.good = self.good or payload[start : start + 1] == bytes([HPACK_STATUS_200])
        elif kind in (H2_RST_STREAM, H2_GOAWAY):
            self.good = False
            return True
        return kind in (H2_DATA, H2_HEADERS) and bool(flags & H2_END_STREAM)


class Reply(Protocol):
    def feed(self, data: memoryview) -> bool: ...


class Seen(NamedTuple):
    """How an exchange ended.

    `end` is one of answered, garbage (not HTTP), lost (the other side ended the connection),
    left (the crawler did, after `seconds`), refused, and local (this machine ran out of ports
    or files: says nothing about the vendor).
    """

    end: str
    answer: Answer
    seconds: float = 0.0


def status_outcome(status: int, error: bytes | None, *, connect: bool, authorized: bool) -> str:
    """The outcome of an answered request by its status, the simulated vendors' dialect first."""
    if status == 407 and error and b"traffic" in error:
        return "quota_exhausted"
    if status == 407:
        return "auth_failed" if authorized else "auth_challenge"
    known = {402: "quota_exhausted", 429: "rate_limited", 403: "blocked", 451: "blocked"}
    if status in known:
        return known[status]
    if (status >= 500 and error) or (connect and not 200 <= status < 300):
        return "vendor_error"
    return "target_error" if status >= 400 else "success"


def visible_outcome(card: Card, seen: Seen, patience_seconds: float) -> str:
    """What a sidecar that sees everything would call this count.

    Only the vendor's own bytes and the crawler's own leaving speak for themselves; what the
    sidecar answered or cut in the vendor's place is told by the intent.
    """
    answer = seen.answer
    if seen.end == "refused":
        return "connect_failed"
    if seen.end == "left" and not answer.status:
        return "timeout" if seen.seconds >= patience_seconds else "client_cancelled"
    if answer.by_vendor and seen.end == "lost":
        return "reset"
    if answer.by_vendor:
        return status_outcome(
            answer.status,
            answer.error,
            connect=card.protocol == "tunnel",
            authorized=card.fault != "auth-challenge",
        )
    intended = FAULTS.get(card.fault, "")
    if seen.end != "local" and intended in ("reset", "connect_failed"):
        return intended
    if seen.end == "answered" and 400 <= answer.status < 500 and intended == "rejected":
        return intended
    return "unexpected"


def opaque_end(seen: Seen) -> str:
    """How an exchange that is one of its vendor's connections ended: as `end` of Seen, or refused.

    "answered" is a 2xx of the vendor's own.
    """
    good = seen.answer.by_vendor and 200 <= seen.answer.status < 300
    return "refused" if seen.end == "answered" and not good else seen.end


def intended_outcome(card: Card) -> str:
    if card.protocol == "tunnel" and card.fault in INSIDE:
        return "success"
    return FAULTS.get(card.fault, "success")


def true_outcome(seen: Seen) -> str:
    """What a count with visible success was in truth, to a crawler that looks at the page."""
    if seen.end == "left":
        return "true_timeout"
    if seen.end != "answered":
        return "true_reset"
    if seen.answer.banned:
        return "true_blocked"
    return "true_target_error" if seen.answer.status >= 400 else "true_success"


# --- books ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Wire:
    """Sockets to one vendor in one protocol: how many, and the payload bytes of their streams."""

    connections: int = 0
    sent: int = 0
    received: int = 0


class Books:
    """What was done and seen. `unexpected` lists every count that was not what was intended.

    `wire` holds every socket that was opened to a vendor, whatever was counted on it, up to the
    last byte read and written; `opaque` holds the bytes of opaque counts that have ended.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.connections: Counter[str] = Counter()  # opaque, vendor or "outside"
        self.bytes: Counter[tuple[str, str]] = Counter()  # vendor or "outside", direction
        self.protocols: Counter[tuple[str, str]] = Counter()  # vendor, protocol
        self.wire: defaultdict[tuple[str, str], Wire] = defaultdict(Wire)
        self.truth: Counter[tuple[str, str]] = Counter()
        self.unexpected: Counter[tuple[str, str, str]] = Counter()
        self.started_seconds = time.time()
        self.ended_seconds: float | None = None

    def total(self) -> int:
        return self.counts.total() + self.connections.total()

    def _line(self, who: str) -> dict[str, int]:
        return {
            "connections": self.connections[who],
            "bytes_sent": self.bytes[who, "sent"],
            "bytes_received": self.bytes[who, "received"],
        }

    def as_json(self) -> dict[str, object]:
        return {
            "counts": [
                {"vendor": vendor, "visibility": visibility, "outcome": outcome, "count": count}
                for (vendor, visibility, outcome), count in sorted(self.counts.items())
            ],
            "opaque": [
                {"vendor": who, **self._line(who)}
                for who in sorted(self.connections)
                if who != "outside"
            ],
            "outside": self._line("outside"),
            "protocols": [
                {"vendor": vendor, "protocol": protocol, "count": count}
                for (vendor, protocol), count in sorted(self.protocols.items())
            ],
            "wire": [
                {
                    "vendor": vendor,
                    "protocol": protocol,
                    "connections": wire.connections,
                    "bytes_sent": wire.sent,
                    "bytes_received": wire.received,
                }
                for (vendor, protocol), wire in sorted(self.wire.items())
                if wire.connections
            ],
            "true": [
                {"vendor": vendor, "outcome": outcome, "count": count}
                for (vendor, outcome), count in sorted(self.truth.items())
            ],
            "unexpected": [
                {"vendor": vendor, "intended": intended, "seen": seen, "count": count}
                for (vendor, intended, seen), count in sorted(self.unexpected.items())
            ],
            "started_seconds": self.started_seconds,
            "ended_seconds": self.ended_seconds,
        }

    def as_metrics(self, in_flight: int, lag_seconds: float) -> str:
        requests = [
            (f'{{vendor="{vendor}",visibility="{visibility}",outcome="{outcome}"}}', count)
            for (vendor, visibility, outcome), count in sorted(self.counts.items())
        ]
        connections = [(f'{{vendor="{who}"}}', n) for who, n in sorted(self.connections.items())]
        traffic = [
            (f'{{vendor="{who}",direction="{direction}"}}', size)
            for (who, direction), size in sorted(self.bytes.items())
        ]
        families: list[tuple[str, str, str, Sequence[tuple[str, float]]]] = [
            ("requests_total", "counter", "Requests by the outcome a sidecar sees.", requests),
            ("connections_total", "counter", "Opaque connections.", connections),
            ("bytes_total", "counter", "Socket bytes of opaque connections.", traffic),
            ("in_flight", "gauge", "Counts under way.", [("", in_flight)]),
            ("start_lag_seconds", "gauge", "Delay of the latest paced start.", [("", lag_seconds)]),
        ]
        lines: list[str] = []
        for family, kind, meaning, samples in families:
            lines += [f"# HELP crawler_{family} {meaning}", f"# TYPE crawler_{family} {kind}"]
            lines += [f"crawler_{family}{labels} {value}" for labels, value in samples]
        return "\n".join(lines) + "\n"

    def table(self) -> str:
        rows = [("vendor", "visibility", "outcome", "count")]
        rows += [(*key, f"{count:,}") for key, count in sorted(self.counts.items())]
        rows += [(who, "opaque", "-", f"{n:,}") for who, n in sorted(self.connections.items())]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}"
            for a, b, c, d in rows
        )


# --- sockets --------------------------------------------------------------------------------

# Every connection reads into the same memory: bytes are counted and looked at, never kept.
ARRIVED = memoryview(bytearray(256 * 1024))
DECRYPTED = memoryview(bytearray(16 * 1024))  # a TLS record


def tls_context() -> ssl.SSLContext:
    """TLS 1.2 that trusts anybody: the target of a simulation has no identity to prove.

    Anonymous ECDH, so no key material is needed, or whatever a target with a certificate takes.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:ECDHE+AESGCM:@SECLEVEL=0")
    return context


class Tls:
    """TLS for all connections; a host met before resumes its session, at a third of the CPU."""

    def __init__(self) -> None:
        self._context = tls_context()
        self._sessions: dict[str, ssl.SSLSession] = {}  # by host: as many as a plan has

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, host: str) -> ssl.SSLObject:
        session = self._sessions.get(host)
        return self._context.wrap_bio(incoming, outgoing, server_hostname=host, session=session)

    def keep(self, done: ssl.SSLObject) -> None:
        """Take the session of a handshake that is done."""
        if done.session and done.server_hostname and not done.session_reused:
            self._sessions[done.server_hostname] = done.session


class Connection(asyncio.BufferedProtocol):
    """One connection of the crawler, one exchange at a time."""

    def __init__(self, wire: Wire) -> None:
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._transport: asyncio.Transport
        self._reply: Reply | None = None
        self._ended: asyncio.Future[str]
        self._timer: asyncio.TimerHandle
        self._asked_at = 0.0
        self._tls: ssl.SSLObject | None = None
        self.lost = False
        self.sent = self.received = 0
        self.uses = 0
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._wire.connections += 1

    def get_buffer(self, sizehint: int) -> memoryview:
        return ARRIVED

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self._wire.received += nbytes
        if self._tls:
            self._pump(ARRIVED[:nbytes])
        elif self._reply is None:
            self.close()  # nobody asked: unfit for another request
        elif self._reply.feed(ARRIVED[:nbytes]):
            self._end("answered")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        complete = isinstance(self._reply, Answer) and self._reply.endless
        self._end("answered" if complete else "lost")

    def leave(self) -> None:
        """The crawler loses patience."""
        self._end("left")

    def close(self) -> None:
        self.lost = True
        self._transport.close()

    def _end(self, how: str) -> None:
        if self._reply is not None:
            self._reply = None
            self._timer.cancel()
            self._ended.set_result(how)

    def _expect(self, reply: Reply, seconds: float) -> None:
        self._reply = reply
        self._ended = self._loop.create_future()
        self._timer = self._loop.call_later(seconds, self.leave)
        self._asked_at = self._loop.time()

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        self._wire.sent += len(data)
        self._transport.write(data)

    async def ask(self, data: bytes, reply: Reply, seconds: float) -> str:
        """Send, and wait at most `seconds` for the whole reply; how it ended, as in Seen."""
        if self.lost:
            return "lost"
        self._expect(reply, seconds)
        self.write(data)
        return await self._ended

    async def request(self, data: bytes, answer: Answer, seconds: float) -> Seen:
        end = await self.ask(data, answer, seconds)
        return self._seen(end, answer)

    async def request_inside(
        self, tls: Tls, host: str, data: bytes, answer: Answer, seconds: float
    ) -> Seen:
        """Shake hands with the proxy, or with the target through a tunnel; then ask inside."""
        if self.lost:
            return Seen("lost", answer)
        # Memory BIOs instead of start_tls: no second transport, no bytes lost in the switch.
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls, self._sessions = tls.begin(self._incoming, self._outgoing, host), tls
        self._inside = data
        self._expect(answer, seconds)
        self._pump(ARRIVED[:0])
        return self._seen(await self._ended, answer)

    def _pump(self, arrived: memoryview) -> None:
        assert self._tls
        if self._reply is None:
            return
        self._incoming.write(arrived)
        try:
            if self._inside:
                self._tls.do_handshake()
                self._sessions.keep(self._tls)
                self._tls.write(self._inside)
                self._inside = b""
            while size := cast(int, self._tls.read(len(DECRYPTED), DECRYPTED)):
                if self._reply.feed(DECRYPTED[:size]):
                    self._end("answered")
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._end("lost")
        if self._outgoing.pending:
            self.write(self._outgoing.read())

    def _seen(self, end: str, answer: Answer) -> Seen:
        if answer.garbage:
            end = "garbage"
        return Seen(end, answer, self._loop.time() - self._asked_at)


# Not the vendor's doing: this machine has no more ports, files or memory.
LOCAL_ERRORS: Final = {errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@contextlib.contextmanager
def _listed(tasks: set[asyncio.Task[None]]) -> Iterator[None]:
    """Keep the running task in `tasks` meanwhile: a stop may cancel it, no count is lost."""
    task = cast("asyncio.Task[None]", asyncio.current_task())
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)


class Crawler:
    """Works through the cards with `concurrency` workers and keeps the books."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.books = Books()
        self.in_flight = 0
        self.lag_seconds = 0.0
        self._cards = deal(plan)
        self._tls = Tls()
        credentials = base64.b64encode(plan.credentials.encode()).decode()
        self._authorization = f"Proxy-Authorization: Basic {credentials}\r\n"
        self._limit_seconds = plan.patience_seconds + PATIENCE_MARGIN_SECONDS
        self._stall_seconds = min(STALL_SECONDS, STALL_SHARE_OF_PATIENCE * plan.patience_seconds)
        self._idle: list[list[Connection]] = [[] for _ in plan.vendors]
        self._busy: set[Connection] = set()
        self._napping: set[asyncio.Task[None]] = set()  # until their paced start
        self._connecting: set[asyncio.Task[None]] = set()  # nothing sent: no count yet
        self._stopping = False
        self._dealt = 0
        self._wire_outside = Wire()  # `outside` of the books says all of it

    async def run(self, stop: asyncio.Event) -> None:
        """Until every card is played, or `stop` is set and what is in flight has ended."""
        self._first_start = asyncio.get_running_loop().time()
        workers = {asyncio.create_task(self._work()) for _ in range(self.plan.concurrency)}
        first: set[asyncio.Task[object]] = {
            asyncio.create_task(asyncio.wait(workers)),
            asyncio.create_task(stop.wait()),
        }
        _, others = await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        self._stopping = True
        for task in (*others, *self._napping):
            task.cancel()
        await asyncio.wait(workers, timeout=STOP_SECONDS)
        for task in self._connecting:
            task.cancel()
        for connection in self._busy:
            connection.leave()
        await asyncio.wait(workers, timeout=LEAVING_SECONDS)
        for connection in itertools.chain(*self._idle):
            connection.close()
        await asyncio.sleep(0)  # lets the transports close
        self.books.ended_seconds = time.time()
        for worker in workers:
            if worker.done() and not worker.cancelled():
                worker.result()  # raises where this program has a defect

    async def _work(self) -> None:
        rate = self.plan.requests_per_second
        loop = asyncio.get_running_loop()
        for card in self._cards:
            if rate:
                due = self._first_start + self._dealt / rate
                self._dealt += 1
                await self._nap(due - loop.time())
                self.lag_seconds = max(0.0, loop.time() - due)
            if self._stopping:
                return
            self.in_flight += 1
            if card.vendor < 0:
                await self._opaque(card, "outside")
            else:
                await self._visit(card, self.plan.vendors[card.vendor])
            self.in_flight -= 1
            if self._stopping:
                return

    async def _visit(self, card: Card, vendor: Vendor) -> None:
        if card.protocol in OPAQUE or vendor.visible == "connections":
            await self._opaque(card, vendor.name)
        elif card.protocol == "http":
            await self._plain(card)
        else:
            await self._tunnel(card)
        self.books.protocols[vendor.name, card.protocol] += 1

    async def _nap(self, seconds: float) -> None:
        if seconds <= 0:
            return
        with _listed(self._napping):
            await asyncio.sleep(seconds)

    async def _open(self, card: Card) -> Connection | Seen:
        loop = asyncio.get_running_loop()
        factory = functools.partial(Connection, self._wire(card))
        try:
            async with asyncio.timeout(self._limit_seconds):
                with _listed(self._connecting):
                    _, connection = await loop.create_connection(factory, *self._address(card))
        except TimeoutError:
            return Seen("left", Answer(), self._limit_seconds)
        except OSError as error:
            return Seen("local" if error.errno in LOCAL_ERRORS else "refused", Answer())
        return connection

    def _wire(self, card: Card) -> Wire:
        if card.vendor < 0:
            return self._wire_outside
        return self.books.wire[self.plan.vendors[card.vendor].name, card.protocol]

    def _address(self, card: Card) -> tuple[str, int]:
        if card.vendor < 0:
            place = self.plan.outside[~card.vendor]
            return place.address, place.port
        vendor = self.plan.vendors[card.vendor]
        dead = vendor.dead_address if card.fault == "dead" else None
        port = vendor.opaque_port if card.protocol in OPAQUE else vendor.port
        return dead or vendor.address, port

    def _host(self, card: Card) -> str:
        if card.fault == "rejected":
            return f"under_score.{self.plan.host_suffix}"  # Envoy answers 400, and asks nobody
        first = f"fault-{card.fault}" if card.fault else f"site-{card.size_bytes % 100}"
        return f"{first}.{self.plan.host_suffix}"

    def _seconds(self, card: Card) -> float:
        return self._stall_seconds if card.fault == "stall" else self._limit_seconds

    def _book(self, card: Card, seen: Seen, truth: Seen | None) -> None:
        vendor = self.plan.vendors[card.vendor].name
        outcome = visible_outcome(card, seen, self.plan.patience_seconds)
        self.books.counts[vendor, card.protocol, outcome] += 1
        if outcome == "success" and truth:
            self.books.truth[vendor, true_outcome(truth)] += 1
        if outcome != intended_outcome(card):
            self.books.unexpected[vendor, intended_outcome(card), outcome] += 1

    # One plain request

    def _kept_alive(self, vendor: int) -> Connection | None:
        idle = self._idle[vendor]
        now = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            if not connection.lost and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _plain(self, card: Card) -> None:
        own = card.fault in OWN_CONNECTION
        connection: Connection | Seen | None = None if own else self._kept_alive(card.vendor)
        if connection is None:
            connection = await self._open(card)
        if isinstance(connection, Seen):
            self._book(card, connection, None)
            return
        self._busy.add(connection)
        seen = await self._ask_plain(connection, card)
        self._busy.discard(connection)
        self._book(card, seen, seen)
        connection.uses += 1
        spent = own or connection.uses >= self.plan.connection_reuse or self._stopping
        if spent or seen.end != "answered" or seen.answer.closes:
            connection.close()
        else:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle[card.vendor].append(connection)

    async def _ask_plain(self, connection: Connection, card: Card) -> Seen:
        return await connection.request(self._get(card), Answer(), self._seconds(card))

    def _get(self, card: Card) -> bytes:
        host = self._host(card)
        authorization = "" if card.fault == "auth-challenge" else self._authorization
        head = (
            f"GET http://{host}/p/{card.size_bytes} HTTP/1.1\r\nHost: {host}\r\n"
            f"User-Agent: crawler\r\nAccept: */*\r\n{authorization}\r\n"
        )
        return head.encode()

    # One CONNECT, TLS and one GET inside

    async def _tunnel(self, card: Card) -> None:
        connection = await self._open(card)
        if isinstance(connection, Seen):
            self._book(card, connection, None)
            return
        self._busy.add(connection)
        seen, truth = await self._ask_tunnel(connection, card)
        self._busy.discard(connection)
        self._book(card, seen, truth)
        connection.close()

    async def _ask_tunnel(self, connection: Connection, card: Card) -> tuple[Seen, Seen | None]:
        """What a CONNECT met, and what the GET inside did if there was an inside."""
        host = self._host(card)
        authorization = "" if card.fault == "auth-challenge" else self._authorization
        head = (
            f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n"
            f"User-Agent: crawler\r\n{authorization}\r\n"
        )
        answer = Answer(connect=True)
        seen = await connection.request(head.encode(), answer, self._seconds(card))
        if seen.end != "answered" or not 200 <= answer.status < 300:
            return seen, None
        page = f"GET /p/{card.size_bytes} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n"
        truth = await connection.request_inside(
            self._tls, host, page.encode(), Answer(), self._limit_seconds
        )
        return seen, truth

    # One opaque connection, in any protocol

    async def _opaque(self, card: Card, who: str) -> None:
        connection = await self._open(card)
        self.books.connections[who] += 1
        if isinstance(connection, Seen):
            self.books.unexpected[who, card.protocol, connection.end] += 1
            return
        self._busy.add(connection)
        end = await self._exchange(connection, card)
        self._busy.discard(connection)
        connection.close()
        self.books.bytes[who, "sent"] += connection.sent
        self.books.bytes[who, "received"] += connection.received
        if end != "answered":
            self.books.unexpected[who, card.protocol, end] += 1

    async def _exchange(self, connection: Connection, card: Card) -> str:
        """How it ended, as `opaque_end` says it."""
        if card.protocol == "http":
            return opaque_end(await self._ask_plain(connection, card))
        if card.protocol == "tunnel":
            seen, truth = await self._ask_tunnel(connection, card)
            return opaque_end(truth or seen)
        if card.protocol == "tls":
            name = f"proxy.{self.plan.host_suffix}"
            inside = Answer(), self._limit_seconds
            seen = await connection.request_inside(self._tls, name, self._get(card), *inside)
            return opaque_end(seen)
        if card.protocol == "h2c":
            return await self._h2c(connection, card)
        return await self._socks(connection, card)

    async def _h2c(self, connection: Connection, card: Card) -> str:
        key, _, value = self._authorization.strip().partition(": ")
        fields = {"User-Agent": "crawler", "Accept": "*/*", key: value}
        answer = H2Answer(connection.write)
        get = h2_get(self._host(card), f"/p/{card.size_bytes}", fields)
        end = await connection.ask(get, answer, self._limit_seconds)
        return "refused" if end == "answered" and not answer.good else end

    async def _socks(self, connection: Connection, card: Card) -> str:
        # The simulated vendor reads the sizes it is to take and to send from the name.
        host = f"opaque-{card.sent_bytes}-{card.size_bytes}.{self.plan.host_suffix}".encode()
        request = b"\x05\x01\x00\x03" + bytes([len(host)]) + host + (443).to_bytes(2, "big")
        for data, size, start in (
            (b"\x05\x01\x00", 2, b"\x05\x00"),
            (request, 10, b"\x05\x00"),
            (b"\x00" * card.sent_bytes, card.size_bytes, b""),
        ):
            reply = Exactly(size)
            end = await connection.ask(data, reply, self._limit_seconds)
            if end != "answered":
                return end
            if not reply.start.startswith(start):
                return "refused"
        return "answered"


# --- the program ----------------------------------------------------------------------------


async def _serve_page(
    crawler: Crawler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(
        OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError
    ):
        async with asyncio.timeout(5):
            line = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
        path = line[1] if len(line) > 1 else b""
        status, kind, body = "200 OK", "application/json", ""
        if path == b"/books":
            body = json.dumps(crawler.books.as_json())
        elif path == b"/metrics":
            kind = "text/plain; version=0.0.4"
            body = crawler.books.as_metrics(crawler.in_flight, crawler.lag_seconds)
        else:
            status, kind, body = "404 Not Found", "text/plain", "GET /metrics or /books\n"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n{body}".encode())
        await writer.drain()
    writer.close()


async def _show_progress(crawler: Crawler) -> None:
    before, of = 0, f" of {crawler.plan.count:,}" if crawler.plan.count else ""
    while True:
        await asyncio.sleep(1)
        total = crawler.books.total()
        odd = crawler.books.unexpected.total()
        line = f"{total:,}{of} counts, {total - before:,}/s, {crawler.in_flight} in flight"
        print(f"\r{line}, {odd:,} unexpected\033[K", end="", file=sys.stderr, flush=True)
        before = total


async def crawl(plan: Plan) -> Books:
    """Run the plan to its end, or to SIGTERM or SIGINT.

    Raises:
        PlanError: the metrics port cannot be had.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    crawler = Crawler(plan)
    async with contextlib.AsyncExitStack() as open_until_the_end:
        if plan.metrics_port is not None:
            try:
                server = await asyncio.start_server(
                    functools.partial(_serve_page, crawler), plan.metrics_host, plan.metrics_port
                )
            except OSError as error:
                where = f"{plan.metrics_host} ({os.strerror(error.errno or 0)})"
                line = f"metrics_port: {plan.metrics_port} cannot be had on {where}: take another"
                raise PlanError([line]) from None
            open_until_the_end.callback(server.close)
        if sys.stderr.isatty():
            progress = asyncio.create_task(_show_progress(crawler))
            open_until_the_end.callback(progress.cancel)
        await crawler.run(stop)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return crawler.books


def write_books(path: Path, books: Books) -> None:
    """Replace the file in one step, so a reader never sees half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(books.as_json(), indent=1) + "\n")
    temporary.replace(path)


HELP = """\
plan (JSON; defaults in brackets, null = none):
  vendors  [{name (may repeat), address, port, opaque_port [port], dead_address,
      weight [1], mix [the plan's], visible [requests] or connections, faults}]
  mix      {http [0.44], tunnel [0.42], socks5 [0.14], tls [0], h2c [0]}
  outside  [{address, port, share}]: SOCKS5, in no vendor's range
  count    [null = until a signal]; seed [1], concurrency [16]
  requests_per_second [null], patience_seconds [10], connection_reuse [20]
  metrics_port [null], metrics_host [127.0.0.1]
  password_env variable with user:password, or the password of `user`
  target   {host_suffix ["sim.test"], sizes_bytes [[quantile, bytes]]}
faults {name: share}: target-error vendor-error rate-limited blocked slow quota
  auth-failed auth-challenge quota-dialect reset close garbage stall dead
  reset-inside ban-page refused-open rejected
exit codes: 0 done or told to stop, books written; 2 could not start
"""


def raise_file_limit() -> None:
    """A socket is a file: take as many as this user may have, not the shell's 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crawler",
        description="Proxied traffic of an exact plan, with exact books.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--plan", required=True, metavar="FILE", help="what to do")
    parser.add_argument(
        "--books", type=Path, metavar="FILE", help="write the books here at the end"
    )
    parser.add_argument("--json", action="store_true", help="print the books instead of a table")
    options = parser.parse_args(arguments)
    try:
        raw = json.loads(Path(options.plan).read_text())
    except (OSError, ValueError) as error:
        print(f"crawler: {options.plan}: cannot be read as JSON: {error}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    try:
        plan = read_plan(raw, os.environ)
        if options.books and not options.books.absolute().parent.is_dir():
            raise PlanError([f"--books: {options.books} is in no existing folder: create it first"])
        raise_file_limit()
        books = asyncio.run(crawl(plan))
    except PlanError as error:
        for finding in error.findings:
            print(f"crawler: {finding}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    if options.books:
        write_books(options.books, books)
    print(json.dumps(books.as_json()) if options.json else books.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
