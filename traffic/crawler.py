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

The plan's sequence of requests follows from its seed alone. A retry is a count more, drawn apart:
what the vendors do changes no later request.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import base64
import contextlib
import difflib
import errno
import functools
import ipaddress
import itertools
import json
import math
import os
import random
import re
import resource
import signal
import ssl
import sys
import time
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Protocol, TypeVar, cast

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
SOCKS_IPV4, SOCKS_NAME, SOCKS_IPV6 = 1, 3, 4  # RFC 1928, ATYP
BAN_MARK = b"<title>Access denied</title>"
CAPTCHA_MARK = b"<title>Are you a robot?"  # no longer than the other
SIMULATED_CREDENTIALS = "crawler:simulated"  # opens nothing: simulated vendors take any
# Quantiles of HTML page sizes: HTTP Archive, p10/25/50/75/90 = 6/13/32/71/147 kB.
PROXY_AUTHENTICATION_REQUIRED = 407
PAGE_SIZES: Final = ((0.1, 6000), (0.25, 13000), (0.5, 32000), (0.75, 71000), (0.9, 147000))
MAX_HOSTS = 100_000  # 8 bytes each
MAX_TLS_SESSIONS = 1_000  # hosts whose session is kept: the first, so the busy ones
# CPython loses 1.2 kB at each look at `SSLObject.session` (seen with 3.11.7): 12 MB in all.
MAX_TLS_SESSION_LOOKS = 10_000
SPARE_FILES = 32  # beside a socket for each count in flight
# Scrapy's RETRY_HTTP_CODES and RETRY_TIMES defaults.
RETRY_CODES: Final = frozenset({500, 502, 503, 504, 522, 524, 408, 429})
RETRY_MAXIMUM = 2
SESSION_SECONDS = 600.0  # what vendors keep a sticky exit for, by default
SESSION_USER = "{user}-session-{id}"
PROFILES = Path(__file__).resolve().parent / "profiles"
EXIT_CANNOT_RUN = 2

# Fault -> the outcome a plain request shows. A CONNECT shows the same, but for INSIDE.
FAULTS: Final = {
    "target-error": "target_error",
    "vendor-error": "vendor_error",
    "vendor-error-502": "vendor_error",
    "vendor-error-504": "vendor_error",
    "vendor-error-522": "vendor_error",
    "vendor-error-525": "vendor_error",
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
    "close-inside": "reset",
    "ban-page": "success",
    "captcha-page": "success",
    "refused-open": "vendor_error",
    "rejected": "rejected",
}
# In a tunnel nobody else sees them.
INSIDE: Final = {"target-error", "reset-inside", "close-inside", "ban-page", "captcha-page"}
HTTP_ONLY: Final = {"rejected"}  # not dealt to tunnels: they get that share without a fault
# A connection that such a fault kills is not shared with other counts.
OWN_CONNECTION: Final = {
    *("reset", "close", "garbage", "stall", "slow", "dead", "reset-inside"),
    *("close-inside", "refused-open", "rejected"),
}
# Default shares. HTTP and CONNECT in clear show what they carry, the others are opaque.
MIX: Final = {"http": 0.44, "tunnel": 0.42, "tls": 0.0, "socks5": 0.14, "h2c": 0.0}
OPAQUE: Final = ("tls", "socks5", "h2c")
VISIBLE: Final = ("requests", "connections")
# How counts start: when an answer makes room, or at a rate, evenly or by chance.
ARRIVALS: Final = ("closed", "constant", "poisson")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,199}")
T = TypeVar("T")


# --- the plan -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Sticky:
    """Sessions that keep their exit: the id stands in the proxy's user name.

    `sessions` are used in turn; each ends after `requests` counts or `seconds`, None for never.
    """

    sessions: int
    requests: int | None
    seconds: float | None
    user: str  # a pattern with {user} and {id}


@dataclass(frozen=True, kw_only=True, slots=True)
class Vendor:
    """Where a vendor listens; `faults` maps a fault to its share of this vendor's counts.

    `visible` says what a sidecar sees there: "requests", or "connections" alone. Then every count
    is a connection of its own, with socket bytes and no outcome. A vendor that is not `simulated`
    sends no X-Sim-Vendor: its answers are taken as they are.
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
    credentials: str  # user:password
    session: Sticky | None
    ban_codes: frozenset[int]
    socks5_auth: bool
    simulated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """An address in no vendor's range; `share` is its part of all counts."""

    address: str
    port: int
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosts:
    """Targets of falling popularity: the n-th is asked for in proportion to 1 / n ** exponent."""

    count: int
    zipf_exponent: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """When a request is sent again; `errors` says whether also where no answer came."""

    codes: frozenset[int]
    maximum: int
    switch_vendor: bool
    errors: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A duration by chance: `low` is the shortest of a uniform one, the mean of an exponential."""

    kind: str  # uniform or exponential
    low: float
    high: float = 0.0

    def draw(self, chance: random.Random) -> float:
        if self.kind == "uniform":
            return chance.uniform(self.low, self.high)
        return chance.expovariate(1 / self.low) if self.low else 0.0

    def mean(self) -> float:
        return (self.low + self.high) / 2 if self.kind == "uniform" else self.low


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do. `count` and `duration_seconds` None are endless; a `count` includes no retries.

    `requests_per_second` is what a factor of 1 in `shape` means; the shape's seconds are from the
    start, and begin anew every `shape_period_seconds`.
    """

    seed: int
    count: int | None
    duration_seconds: float | None
    arrival: str  # of ARRIVALS
    requests_per_second: float | None
    shape: tuple[tuple[float, float], ...]
    shape_period_seconds: float | None
    concurrency: int
    in_flight_cap: int | None
    per_host_concurrency: int | None
    think_seconds: Spread | None
    tunnel_hold_seconds: Spread | None
    hosts: Hosts | None
    retries: Retries | None
    timeout_seconds: float | None
    metrics_host: str
    metrics_port: int | None
    connection_reuse: int
    patience_seconds: float
    vendors: tuple[Vendor, ...]
    outside: tuple[Outside, ...]
    host_suffix: str
    sizes_bytes: tuple[tuple[float, int], ...]

    def most_in_flight(self) -> int:
        if self.arrival == "closed" or self.in_flight_cap is None:
            return self.concurrency
        return self.in_flight_cap

    def limit_seconds(self) -> float:
        """After how long the crawler leaves."""
        return self.timeout_seconds or self.patience_seconds + PATIENCE_MARGIN_SECONDS


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


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false: give one of them")
    return value


def codes(value: object) -> frozenset[int]:
    found = value if isinstance(value, list) else [None]
    if not all(type(code) is int and 400 <= code <= 599 for code in found):
        raise ValueError("is no list of status codes: give [403, 429], each from 400 to 599")
    return frozenset(cast("list[int]", found))


def spread(value: object) -> Spread:
    """A check for a duration: a number, {"uniform": [low, high]} or {"exponential": mean}."""
    seconds = number(0, 86_400)
    try:
        if not isinstance(value, dict):
            return Spread(kind="uniform", low=seconds(value), high=seconds(value))
        [(kind, given)] = value.items()
        if kind == "uniform" and isinstance(given, list):
            low, high = map(seconds, given)
            if low <= high:
                return Spread(kind=kind, low=low, high=high)
        elif kind == "exponential":
            return Spread(kind=kind, low=seconds(given))
    except ValueError:
        pass
    raise ValueError(
        'is no duration: give seconds up to 86400, {"uniform": [low, high]} or'
        ' {"exponential": mean}'
    )


def shape(value: object) -> tuple[tuple[float, float], ...]:
    """A check for the rate's course: points of seconds and factor, seconds rising."""
    pairs = value if isinstance(value, list) else []
    good = bool(pairs) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(each) in (int, float) and 0 <= each <= 1e7 for each in pair)
        for pair in pairs
    )
    if not good or not all(a[0] < b[0] for a, b in itertools.pairwise(pairs)):
        raise ValueError("is no course: give [[seconds, factor], ...], seconds rising")
    if not any(factor for _, factor in pairs):
        raise ValueError("is 0 throughout: give a factor above 0")
    return tuple((float(at), float(factor)) for at, factor in pairs)


def user_pattern(value: object) -> str:
    if not isinstance(value, str) or not ("{user}" in value and "{id}" in value):
        raise ValueError(f'is no pattern: give one with {{user}} and {{id}}, as "{SESSION_USER}"')
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

    def given(self, key: str) -> object:
        return self._raw.get(key)

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
    *("profile", "description", "seed", "count", "duration_seconds"),
    *("arrival", "requests_per_second", "shape", "shape_period_seconds"),
    *("concurrency", "in_flight_cap", "per_host_concurrency", "think_seconds"),
    *("connection_reuse", "tunnel_hold_seconds", "timeout_seconds", "patience_seconds"),
    *("retries", "hosts", "vendors", "outside", "mix", "session", "ban_codes", "target"),
    *("metrics_host", "metrics_port", "user", "password_env"),
)
VENDOR_KEYS: Final = (
    *("name", "address", "port", "opaque_port", "dead_address", "weight", "mix", "visible"),
    *("faults", "user", "password_env", "session", "ban_codes", "socks5_auth", "simulated"),
)


def read_plan(raw: object, environment: Mapping[str, str], folder: Path | None = None) -> Plan:
    """Check a parsed plan.

    Args:
        raw: the plan; a profile it names lies below its own keys.
        environment: holds the variables that `password_env` names.
        folder: where the path of a profile starts; the working directory if None.

    Raises:
        PlanError: with every finding, not only the first.
    """
    found: list[str] = []
    raw = with_profile(raw, folder or Path())
    top = Section(raw, "", found, PLAN_KEYS)
    raw_target = top.take("target", anything, cast(object, {}))
    target = Section(raw_target, "target", found, ("host_suffix", "sizes_bytes"))
    rate = top.take("requests_per_second", or_null(number(0.01, 1e5)), None)
    points = top.take("shape", or_null(shape), None)
    plan = Plan(
        seed=top.take("seed", whole(0, 2**63), 1),
        count=top.take("count", or_null(whole(1, MAX_COUNT)), None),
        duration_seconds=top.take("duration_seconds", or_null(number(0.1, 1e8)), None),
        arrival=top.take("arrival", one_of(ARRIVALS), "constant" if rate else "closed"),
        requests_per_second=rate,
        shape=points or (),
        shape_period_seconds=top.take("shape_period_seconds", or_null(number(1, 1e7)), None),
        # 16: Scrapy's CONCURRENT_REQUESTS default.
        concurrency=top.take("concurrency", whole(1, 10_000), 16),
        in_flight_cap=top.take("in_flight_cap", or_null(whole(1, 10_000)), None),
        per_host_concurrency=top.take("per_host_concurrency", or_null(whole(1, 10_000)), None),
        think_seconds=top.take("think_seconds", or_null(spread), None),
        tunnel_hold_seconds=top.take("tunnel_hold_seconds", or_null(spread), None),
        hosts=_read_hosts(top, found),
        retries=_read_retries(top, found),
        timeout_seconds=top.take("timeout_seconds", or_null(number(0.2, 3600)), None),
        metrics_host=top.take("metrics_host", address, "127.0.0.1"),
        metrics_port=top.take("metrics_port", or_null(whole(1, 65535)), None),
        connection_reuse=top.take("connection_reuse", whole(1, 1_000_000), 20),
        # 10 s: telemetry.patience's default.
        patience_seconds=top.take("patience_seconds", number(0.2, 3600), 10.0),
        vendors=_read_vendors(top, environment, found),
        outside=_read_outside(top, found),
        host_suffix=target.take("host_suffix", name, "sim.test"),
        sizes_bytes=target.take("sizes_bytes", sizes, PAGE_SIZES),
    )
    top.take("description", or_null(text), None)
    _check_together(plan, top)
    if found:
        raise PlanError(sorted(found))
    return plan


def with_profile(raw: object, folder: Path) -> object:
    """Put the keys of `raw` over those of the profile it names; `raw` itself if it names none."""
    if not isinstance(raw, dict) or raw.get("profile") is None:
        return raw
    named = raw["profile"]
    if not isinstance(named, str) or not named:
        raise PlanError([f"profile: {json.dumps(named)} is no name: give one of {profiles()}"])
    is_path = "/" in named or named.endswith(".json")
    path = folder / named if is_path else PROFILES / f"{named}.json"
    if not is_path and not path.is_file():
        fix = f"use one of {profiles()}, or the path of a file"
        raise PlanError([f"profile: {json.dumps(named)} is unknown: {fix}"])
    try:
        profile = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        line = f"profile: {json.dumps(named)} cannot be read as JSON: {error}: correct the file"
        raise PlanError([line]) from None
    if not isinstance(profile, dict) or "profile" in profile:
        fix = "give an object that names no profile itself"
        raise PlanError([f"profile: {json.dumps(named)} holds no profile: {fix}"])
    return {**profile, **raw}


def profiles() -> str:
    """The names of the profiles that lie beside this program."""
    return ", ".join(sorted(path.stem for path in PROFILES.glob("*.json"))) or "none that exists"


def _check_together(plan: Plan, top: Section) -> None:
    """Note the keys that are good by themselves but not beside each other."""
    closed, rate = plan.arrival == "closed", plan.requests_per_second
    if closed and rate:
        top.note("requests_per_second", rate, "has no meaning in arrival closed: leave out one")
    if not closed and not rate:
        top.note("arrival", plan.arrival, "has no rate: add requests_per_second")
    if closed and plan.shape:
        top.note("shape", plan.shape, "shapes a rate, arrival closed has none: leave it out")
    if not closed and plan.think_seconds:
        top.note("think_seconds", top.given("think_seconds"), "is for arrival closed: leave it out")
    period = plan.shape_period_seconds
    if period and not plan.shape:
        top.note("shape_period_seconds", period, "has no shape to repeat: add shape")
    if period and plan.shape and plan.shape[-1][0] > period:
        top.note("shape_period_seconds", period, "ends before the shape does: give more")
    if plan.per_host_concurrency and not plan.hosts:
        top.note("per_host_concurrency", plan.per_host_concurrency, "has no hosts: add hosts")
    limit = plan.timeout_seconds
    if limit and abs(limit - plan.patience_seconds) < PATIENCE_MARGIN_SECONDS:
        reason = f"is so near patience_seconds {plan.patience_seconds:g} that both sides may differ"
        top.note("timeout_seconds", limit, f"{reason}: keep {PATIENCE_MARGIN_SECONDS:g} s away")
    if limit and limit < plan.patience_seconds and any("slow" in v.faults for v in plan.vendors):
        top.note("timeout_seconds", limit, "is too short for the fault slow: exceed patience")
    _check_cap(plan, top)


def _check_cap(plan: Plan, top: Section) -> None:
    cap = plan.in_flight_cap
    if not cap:
        return
    closed = plan.arrival == "closed"
    if plan.concurrency > cap and (closed or top.given("concurrency")):
        top.note("concurrency", plan.concurrency, f"is above in_flight_cap {cap}: lower it")
    if closed or not sum(vendor.weight for vendor in plan.vendors):
        return
    hold = plan.tunnel_hold_seconds.mean() if plan.tunnel_hold_seconds else 0.0
    seconds = {"slow": plan.limit_seconds()}
    # What every count lasts at least, on average: by Little's law more would only queue.
    least = sum(
        share * (seconds.get(fault, 0.0) + hold * (protocol == "tunnel" and not fault))
        for _, protocol, fault, share in cells(plan)
    )
    peak = (plan.requests_per_second or 0) * max((f for _, f in plan.shape), default=1)
    if least * peak > cap:
        reason = f"is below the {math.ceil(least * peak)} that the rate keeps in flight"
        top.note("in_flight_cap", cap, f"{reason}: raise it, or lower requests_per_second")


def _read_hosts(top: Section, found: list[str]) -> Hosts | None:
    raw = top.take("hosts", anything, None)
    if raw is None:
        return None
    item = Section(raw, "hosts", found, ("count", "zipf_exponent"))
    return Hosts(
        count=item.take("count", whole(1, MAX_HOSTS), 1, required=True),
        # 1: what web traffic is near to (Breslau et al. 1999: 0.64 to 0.83 for pages).
        zipf_exponent=item.take("zipf_exponent", number(0, 10), 1.0),
    )


def _read_retries(top: Section, found: list[str]) -> Retries | None:
    raw = top.take("retries", anything, None)
    if raw is None:
        return None
    item = Section(raw, "retries", found, ("codes", "maximum", "switch_vendor", "errors"))
    return Retries(
        codes=item.take("codes", codes, RETRY_CODES),
        maximum=item.take("maximum", whole(0, 100), RETRY_MAXIMUM),
        switch_vendor=item.take("switch_vendor", flag, False),
        errors=item.take("errors", flag, True),
    )


def _read_session(section: Section, where: str, found: list[str]) -> Sticky | None:
    """`session` is a word, or an object with a word as its mode."""
    raw = section.take("session", anything, cast(object, "rotating"))
    if isinstance(raw, str):
        raw = {"mode": raw}
    path = f"{where}.session".lstrip(".")
    item = Section(raw, path, found, ("mode", "sessions", "requests", "seconds", "user"))
    mode = item.take("mode", one_of(("rotating", "sticky")), "rotating", required=True)
    usual_seconds: float | None = SESSION_SECONDS
    sticky = Sticky(
        sessions=item.take("sessions", whole(1, 10_000), 1),
        requests=item.take("requests", or_null(whole(1, 1_000_000)), None),
        seconds=item.take("seconds", or_null(number(0.1, 1e6)), usual_seconds),
        user=item.take("user", user_pattern, SESSION_USER),
    )
    return sticky if mode == "sticky" else None


def _read_vendors(
    top: Section, environment: Mapping[str, str], found: list[str]
) -> tuple[Vendor, ...]:
    usual_mix = top.take("mix", mix, MIX)
    usual_session = _read_session(top, "", found)
    usual_bans = top.take("ban_codes", codes, frozenset[int]())
    usual_credentials = _read_credentials(top, environment) or SIMULATED_CREDENTIALS
    vendors: list[Vendor] = []
    for index, raw in enumerate(top.take("vendors", objects, list[object](), required=True)):
        where = f"vendors[{index}]"
        item = Section(raw, where, found, VENDOR_KEYS)
        port = item.take("port", whole(1, 65535), 1, required=True)
        own_session = _read_session(item, where, found)
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
            credentials=_read_credentials(item, environment) or usual_credentials,
            session=usual_session if item.given("session") is None else own_session,
            ban_codes=item.take("ban_codes", codes, usual_bans),
            socks5_auth=item.take("socks5_auth", flag, False),
            simulated=item.take("simulated", flag, True),
        )
        _check_vendor(vendor, item)
        vendors.append(vendor)
    if vendors and not any(vendor.weight for vendor in vendors):
        top.note("vendors", [v.weight for v in vendors], "are all weights: give one above 0")
    return tuple(vendors)


def _check_vendor(vendor: Vendor, item: Section) -> None:
    # A vendor may stand here more than once, an entry for each of its addresses.
    if vendor.name == "outside":
        item.note("name", vendor.name, "is kept for addresses outside: give another")
    if vendor.faults.get("dead") and not vendor.dead_address:
        item.note("faults.dead", vendor.faults["dead"], "has no dead_address: add one")
    if vendor.faults and vendor.visible == "connections":
        item.note("faults", vendor.faults, "show in no connection: leave them out")
    if vendor.faults and not vendor.simulated:
        item.note("faults", vendor.faults, "are for simulated vendors: leave them out")
    user, _, password = vendor.credentials.partition(":")
    if vendor.socks5_auth and max(len(user.encode()) + 64, len(password.encode())) > 255:
        # RFC 1929: a byte holds their length; 64 leave room for a session's id.
        item.note("socks5_auth", True, "takes short credentials: user 191 bytes, password 255")


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


def _read_credentials(section: Section, environment: Mapping[str, str]) -> str | None:
    """`user:password`: whole out of the variable, or `user` and the variable's password."""
    user = section.take("user", or_null(text), None)
    variable = section.take("password_env", or_null(text), None)
    if variable is None:
        if user:
            section.note("user", user, "has no password_env: name the variable with the password")
        return None
    value = environment.get(variable, "")
    if not value:
        section.note("password_env", variable, "is no set variable: export it")
    elif not user and ":" not in value:
        section.note("password_env", variable, "holds no user:password: set it so, or give user")
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
    host: int = 0  # its rank from 1; 0 where the plan has no hosts


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
            faults = faults_of(vendor, protocol)
            found.append((index, protocol, "", whole_share * (1 - sum(faults.values()))))
            found += [
                (index, protocol, fault, whole_share * part) for fault, part in faults.items()
            ]
    return [cell for cell in found if cell[3] > 0]


def faults_of(vendor: Vendor, protocol: str) -> dict[str, float]:
    """The faults that counts of this protocol can meet, with their shares."""
    if protocol in OPAQUE:
        return {}
    either = protocol == "http"
    return {
        fault: part for fault, part in vendor.faults.items() if either or fault not in HTTP_ONLY
    }


def deal(plan: Plan) -> Iterator[Card]:
    """The run's counts in order: the same plan gives the same cards.

    Quotas are exact over `plan.count`, or over every 10,000 of an endless run.
    """
    cards = _deal(plan)
    if plan.hosts is None:
        return cards
    return map(_placed, cards, host_ranks(plan.hosts, random.Random(f"{plan.seed} hosts")))


def _placed(card: Card, host: int) -> Card:
    return card._replace(host=host)


def _deal(plan: Plan) -> Iterator[Card]:
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


def host_ranks(hosts: Hosts, chance: random.Random) -> Iterator[int]:
    """Ranks from 1, for ever, each in proportion to 1 / rank ** exponent."""
    weights = (rank**-hosts.zipf_exponent for rank in range(1, hosts.count + 1))
    upto = array.array("d", itertools.accumulate(weights))
    while True:
        yield bisect_right(upto, chance.random() * upto[-1]) + 1


def dues(plan: Plan) -> Iterator[float]:
    """When the counts of an open arrival are due, in seconds from the start.

    Ends with `duration_seconds`, or where the shape has come to 0 for good.
    """
    assert plan.requests_per_second
    times = _evenly(plan.requests_per_second)
    if plan.arrival == "poisson":
        chance = random.Random(f"{plan.seed} arrivals")
        times = _by_chance(plan.requests_per_second, chance)
    if plan.shape:
        times = _shaped(times, plan.shape, plan.shape_period_seconds)
    end = plan.duration_seconds or math.inf
    return itertools.takewhile(lambda due: due < end, times)


def _evenly(rate: float) -> Iterator[float]:
    return (dealt / rate for dealt in itertools.count())


def _by_chance(rate: float, chance: random.Random) -> Iterator[float]:
    """Gaps are exponential, so that the counts of any two stretches are independent."""
    return itertools.accumulate(chance.expovariate(rate) for _ in itertools.count())


def _shaped(
    times: Iterable[float], points: tuple[tuple[float, float], ...], period: float | None
) -> Iterator[float]:
    """Move times at factor 1 to where the area under the shape is as large."""
    pieces = _pieces(points, period)
    start, seconds, low, high = next(pieces)
    before = 0.0
    for passed in times:
        while passed >= before + (area := seconds * (low + high) / 2 if low or high else 0.0):
            piece = next(pieces, None)
            if piece is None:
                return
            before += area
            start, seconds, low, high = piece
        # The area under a line from `low` with this slope, solved for its width.
        left, slope = passed - before, (high - low) / seconds
        root = math.sqrt(max(0.0, low * low + 2 * slope * left))
        yield start + (2 * left / (low + root) if left else 0.0)


def _pieces(
    points: tuple[tuple[float, float], ...], period: float | None
) -> Iterator[tuple[float, float, float, float]]:
    """Straight pieces of the shape: start, length, factor at both ends."""
    (first, factor), (last, end) = points[0], points[-1]
    line = [(0.0, factor), *points] if first else [*points]
    if period and last < period:
        line.append((period, line[0][1]))
    for start in itertools.count(0.0, period or 0.0):
        for (at, low), (to, high) in itertools.pairwise(line):
            yield start + at, to - at, low, high
        if not period:
            break
    if not period:
        yield last, math.inf, end, end


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
        length = field(head, b"\r\ncontent-length:")
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
        self._chunked = field(head, b"\r\ntransfer-encoding:") == b"chunked" and not bodiless
        # A CONNECT refused without a length: Envoy makes chunks of it, as often as not without
        # the last.
        whole_when_lost = self._connect or not self._chunked
        self.endless = length is None and not bodiless and whole_when_lost
        self.by_vendor = b"\r\nx-sim-vendor:" in head
        self.error = field(head, b"\r\nx-sim-error:") or field(head, b"\r\nproxy-status:")
        self.closes = b"\r\nconnection: close\r\n" in head or head.startswith(b"http/1.0")
        self.banned = body == BAN_MARK or body.startswith(CAPTCHA_MARK)
        rest, self._head = self._head[end + 4 :], b""
        if self._chunked:
            return self._last_chunk(memoryview(rest))
        self._left = 0 if bodiless else self._left - len(rest)
        return self._left <= 0 and not self.endless

    def refused(self) -> bool:
        """A CONNECT that opened no tunnel."""
        return self._connect and self.status >= 300

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
    """A header's value out of a lower-cased head, or None; `key` from line end to colon."""
    start = head.find(key)
    if start < 0:
        return None
    start += len(key)
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


class SocksReply:
    """RFC 1928's reply to a request: its size depends on the kind of address in it."""

    __slots__ = ("start",)

    def __init__(self) -> None:
        self.start = b""

    def feed(self, data: memoryview) -> bool:
        self.start += data
        if len(self.start) < 5:
            return self.start[1:2] not in (b"", b"\x00")  # refused: the rest need not come
        sizes = {SOCKS_IPV4: 4, SOCKS_IPV6: 16, SOCKS_NAME: 1 + self.start[4]}
        return len(self.start) >= 6 + sizes.get(self.start[3], 4)


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


class Nothing:
    """The reply to no question: a tunnel that is held open."""

    __slots__ = ()

    def feed(self, data: memoryview) -> bool:
        return False


class Reply(Protocol):
    def feed(self, data: memoryview) -> bool: ...


class Seen(NamedTuple):
    """How an exchange ended.

    `end` is one of answered, garbage (not HTTP), lost (the other side ended the connection),
    left (the crawler did, after `seconds`), refused, and local (this machine ran out of ports
    or files: says nothing about the vendor). Of an opaque exchange, where the answer says
    nothing to a sidecar, also auth_failed; there refused is any answer that is no success.
    """

    end: str
    answer: Answer
    seconds: float = 0.0
    held_seconds: float = 0.0  # how long a tunnel stayed open behind its answer


def status_outcome(status: int, error: bytes | None, *, connect: bool, authorized: bool) -> str:
    """The outcome of an answered request by its status, the simulated vendors' dialect first."""
    if status == PROXY_AUTHENTICATION_REQUIRED and error and b"traffic" in error:
        return "quota_exhausted"
    if status == PROXY_AUTHENTICATION_REQUIRED:
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
    """How an exchange that is one of its vendor's connections ended: as `end` of Seen.

    "answered" is a 2xx of the vendor's own.
    """
    if seen.end != "answered":
        return seen.end
    if seen.answer.status == PROXY_AUTHENTICATION_REQUIRED:
        return "auth_failed"
    good = seen.answer.by_vendor and 200 <= seen.answer.status < 300
    return "answered" if good else "refused"


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


def is_ban(seen: Seen, ban_codes: frozenset[int]) -> bool:
    """To a crawler that looks: a page that says so with 200, or a status known for it."""
    return seen.answer.banned or seen.answer.status in ban_codes


def asks_for_retry(card: Card, seen: Seen, retries: Retries, ban_codes: frozenset[int]) -> bool:
    """Whether a crawler sends the request again, as Scrapy decides it."""
    status = seen.answer.status
    if card.vendor < 0 or (card.fault == "stall" and seen.end == "left"):
        return False  # nobody's, or the crawler's own decision
    if status in retries.codes or is_ban(seen, ban_codes):
        return True
    # Scrapy's RETRY_EXCEPTIONS: connections refused, lost or timed out, and tunnels not opened.
    unanswered = not status and seen.end != "answered"
    broken = unanswered or seen.end in ("lost", "left", "garbage") or seen.answer.refused()
    return retries.errors and broken


# --- books ----------------------------------------------------------------------------------


class Durations:
    """Seconds in buckets a sixteenth of an octave wide: quantiles to 3 %, memory bounded."""

    __slots__ = ("buckets", "count", "most_seconds", "total_seconds")

    LEAST_OCTAVE, MOST_OCTAVE = -20, 13  # 1 microsecond to 2.3 hours; beyond counts as the end
    PARTS = 16
    LAST = (MOST_OCTAVE - LEAST_OCTAVE) * PARTS - 1
    ORIGIN = (LEAST_OCTAVE + 2) * PARTS

    def __init__(self) -> None:
        self.buckets = [0] * (self.LAST + 1)
        self.count, self.total_seconds, self.most_seconds = 0, 0.0, 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_seconds += seconds
        if seconds > self.most_seconds:
            self.most_seconds = seconds
        part, octave = math.frexp(seconds)  # seconds = part * 2 ** octave, part from 0.5 to 1
        at = octave * self.PARTS + int(part * 2 * self.PARTS) - self.ORIGIN if seconds else 0
        self.buckets[at if 0 <= at <= self.LAST else self.LAST * (at > 0)] += 1

    def quantile(self, share: float) -> float:
        """The duration that `share` of all do not exceed; 0 where there is none."""
        left = share * self.count
        for at, count in enumerate(self.buckets):
            if count and left <= count:
                low, high = self._edge(at), self._edge(at + 1)
                return min(low + (high - low) * left / count, self.most_seconds)
            left -= count
        return self.most_seconds

    def _edge(self, at: int) -> float:
        octave, part = divmod(at, self.PARTS)
        return math.ldexp(1 + part / self.PARTS, octave + self.LEAST_OCTAVE)

    def upto(self, octave: int) -> int:
        """How many are below 2 ** octave seconds."""
        return sum(self.buckets[: (octave - self.LEAST_OCTAVE) * self.PARTS])

    def as_json(self) -> dict[str, object]:
        shown = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        return {
            "count": self.count,
            **{f"{key}_seconds": self.quantile(share) for key, share in shown.items()},
            "most_seconds": self.most_seconds,
        }


# The bounds of the histograms in /metrics: 61 microseconds to 64 seconds.
HISTOGRAM_OCTAVES: Final = range(-14, 7)


def histogram(labels: str, durations: Durations) -> list[tuple[str, float]]:
    """Samples of a Prometheus histogram; `labels` as `protocol="http"`, or empty."""
    prefix = f"{labels}," if labels else ""
    around = f"{{{labels}}}" if labels else ""
    buckets: list[tuple[str, float]] = [
        (f'_bucket{{{prefix}le="{2.0**octave}"}}', durations.upto(octave))
        for octave in HISTOGRAM_OCTAVES
    ]
    return [
        *buckets,
        (f'_bucket{{{prefix}le="+Inf"}}', durations.count),
        (f"_sum{around}", durations.total_seconds),
        (f"_count{around}", durations.count),
    ]


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
    `retries` are part of all other rows; `requests` are those of the plan that were started.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.connections: Counter[str] = Counter()  # opaque, vendor or "outside"
        self.bytes: Counter[tuple[str, str]] = Counter()  # vendor or "outside", direction
        self.protocols: Counter[tuple[str, str]] = Counter()  # vendor, protocol
        self.wire: defaultdict[tuple[str, str], Wire] = defaultdict(Wire)
        self.truth: Counter[tuple[str, str]] = Counter()
        self.unexpected: Counter[tuple[str, str, str]] = Counter()
        self.requests = 0
        self.retries: Counter[tuple[str, str]] = Counter()  # vendor, protocol
        self.bans: Counter[str] = Counter()  # vendor
        self.latency: defaultdict[str, Durations] = defaultdict(Durations)  # protocol; if answered
        self.start_lag: Durations | None = None  # open arrivals only
        self.in_flight_most = 0
        self.trouble: Counter[tuple[str, str]] = Counter()  # vendor, why no connection could be had
        self.partial = False  # a signal came before the plan's end
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
            "requests": self.requests,
            "attempts": self.total(),
            "retries": [
                {"vendor": vendor, "protocol": protocol, "count": count}
                for (vendor, protocol), count in sorted(self.retries.items())
            ],
            "bans": [
                {"vendor": vendor, "count": count} for vendor, count in sorted(self.bans.items())
            ],
            "latency": [
                {"protocol": protocol, **durations.as_json()}
                for protocol, durations in sorted(self.latency.items())
            ],
            "start_lag": self.start_lag.as_json() if self.start_lag else None,
            "in_flight_most": self.in_flight_most,
            "notes": self.notes(),
            "partial": self.partial,
            "started_seconds": self.started_seconds,
            "ended_seconds": self.ended_seconds,
        }

    def notes(self) -> list[str]:
        """What went wrong and what to do about it, a line each."""
        found = [
            f"{vendor}: {why}, {count:,} times: start the vendor, or correct its address and port"
            for (vendor, why), count in sorted(self.trouble.items())
        ]
        refused: Counter[str] = Counter()
        others = 0
        for (vendor, _, seen), count in self.unexpected.items():
            if seen == "auth_failed":
                refused[vendor] += count
            elif seen not in ("connect_failed", "refused"):
                others += count
        found += [
            f"{vendor}: refuses the credentials, {count:,} times: check user and password_env"
            for vendor, count in sorted(refused.items())
        ]
        if others:
            found.append(
                f"{others:,} counts were not what was intended: see `unexpected` in --json"
            )
        return found

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
        wire = [
            (f'{{vendor="{vendor}",protocol="{protocol}",direction="{direction}"}}', size)
            for (vendor, protocol), each in sorted(self.wire.items())
            for direction, size in (("sent", each.sent), ("received", each.received))
        ]
        retries = [
            (f'{{vendor="{vendor}",protocol="{protocol}"}}', count)
            for (vendor, protocol), count in sorted(self.retries.items())
        ]
        bans = [(f'{{vendor="{vendor}"}}', count) for vendor, count in sorted(self.bans.items())]
        latency = [
            sample
            for protocol, durations in sorted(self.latency.items())
            for sample in histogram(f'protocol="{protocol}"', durations)
        ]
        lags = histogram("", self.start_lag) if self.start_lag else []
        families: list[tuple[str, str, str, Sequence[tuple[str, float]]]] = [
            ("requests_total", "counter", "Requests by the outcome a sidecar sees.", requests),
            ("connections_total", "counter", "Opaque connections.", connections),
            ("bytes_total", "counter", "Socket bytes of opaque connections.", traffic),
            ("wire_bytes_total", "counter", "Socket bytes of all connections.", wire),
            ("retries_total", "counter", "Counts that repeat a request.", retries),
            ("bans_total", "counter", "Counts that were bans to the crawler.", bans),
            ("in_flight", "gauge", "Counts under way.", [("", in_flight)]),
            ("start_lag_seconds", "gauge", "Delay of the latest paced start.", [("", lag_seconds)]),
            ("arrival_lag_seconds", "histogram", "Delays of all paced starts.", lags),
            ("latency_seconds", "histogram", "Start to end of answered counts.", latency),
        ]
        lines: list[str] = []
        for family, kind, meaning, samples in families:
            lines += [f"# HELP crawler_{family} {meaning}", f"# TYPE crawler_{family} {kind}"]
            lines += [f"crawler_{family}{labels} {value}" for labels, value in samples]
        return "\n".join(lines) + "\n"

    def table(self) -> str:
        """All a person wants to know at the end; blocks with a blank line between them."""
        counts = [("vendor", "visibility", "outcome", "count")]
        counts += [(*key, f"{count:,}") for key, count in sorted(self.counts.items())]
        counts += [(who, "opaque", "-", f"{n:,}") for who, n in sorted(self.connections.items())]
        ended = self.ended_seconds or time.time()
        seconds = max(ended - self.started_seconds, 1e-9)
        total, retries = self.total(), self.retries.total()
        facts = [
            ("counts", f"{total:,} in {seconds:.1f} s, {total / seconds:,.1f}/s"),
            ("requests", f"{self.requests:,}, and {retries:,} retries"),
            ("in flight", f"{self.in_flight_most:,} at most"),
            (
                "bytes",
                f"sent {shown_bytes(self._sent())}, received {shown_bytes(self._received())}",
            ),
        ]
        if self.bans:
            facts.append(("bans", f"{self.bans.total():,}"))
        facts += [("note", note) for note in self.notes()]
        if self.partial:
            facts.append(("partial", "a signal ended the run before its plan"))
        blocks = [columns(counts, 3), columns(self._timing(), 1), columns(facts, 2)]
        return "\n\n".join(block for block in blocks if block)

    def _timing(self) -> list[tuple[str, ...]]:
        rows = [(name, durations) for name, durations in sorted(self.latency.items())]
        if self.start_lag:
            rows.append(("start lag", self.start_lag))
        if not rows:
            return []
        found: list[tuple[str, ...]] = [("latency", "counts", "p50", "p95", "p99", "most")]
        for label, durations in rows:
            quantiles = [durations.quantile(share) for share in (0.5, 0.95, 0.99)]
            shown = [shown_seconds(each) for each in (*quantiles, durations.most_seconds)]
            found.append((label, f"{durations.count:,}", *shown))
        return found

    def _sent(self) -> int:
        return sum(wire.sent for wire in self.wire.values()) + self.bytes["outside", "sent"]

    def _received(self) -> int:
        return sum(wire.received for wire in self.wire.values()) + self.bytes["outside", "received"]


def columns(rows: Sequence[tuple[str, ...]], texts: int) -> str:
    """Rows of equally many cells as lines; all but the first `texts` columns stand to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [
        [
            cell.ljust(width) if at < texts else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def shown_seconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def shown_bytes(size: int) -> str:
    """Decimal: a vendor's GB is 10^9 bytes."""
    amount, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}"


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
        self._sessions: dict[str, ssl.SSLSession] = {}  # by host
        self._looks = 0

    def begin(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, host: str) -> ssl.SSLObject:
        session = self._sessions.get(host)
        return self._context.wrap_bio(incoming, outgoing, server_hostname=host, session=session)

    def keep(self, done: ssl.SSLObject) -> None:
        """Take the session of a handshake that is done."""
        host = done.server_hostname
        if done.session_reused or not host or self._looks >= MAX_TLS_SESSION_LOOKS:
            return
        if host in self._sessions or len(self._sessions) < MAX_TLS_SESSIONS:
            self._looks += 1
            if session := done.session:
                self._sessions[host] = session


class Connection(asyncio.BufferedProtocol):
    """One connection of the crawler, one exchange at a time."""

    def __init__(self, wire: Wire) -> None:
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._transport: asyncio.Transport
        self._reply: Reply | None = None
        self._ended: asyncio.Future[str]
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at = self._deadline = 0.0
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
        if self._timer:
            self._timer.cancel()

    def leave(self) -> None:
        """The crawler loses patience."""
        self._end("left")

    def _on_timer(self) -> None:
        self._timer = None
        if self._reply is not None and self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
        else:
            self.leave()

    def close(self) -> None:
        self.lost = True
        self._transport.close()

    def _end(self, how: str) -> None:
        if self._reply is not None:
            self._reply = None
            self._ended.set_result(how)

    def _expect(self, reply: Reply, seconds: float) -> None:
        self._reply = reply
        self._ended = self._loop.create_future()
        self._asked_at = self._loop.time()
        self._deadline = self._asked_at + seconds
        # A timer of an earlier exchange finds the later deadline when it fires: one timer for
        # many requests.
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

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


class Login(NamedTuple):
    """What a count shows to a proxy; `field` is the header with its line end, or empty."""

    user: str
    password: str
    field: str

    @classmethod
    def of(cls, user: str, password: str) -> Login:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return cls(user, password, f"Proxy-Authorization: Basic {token}\r\n")


NOBODY: Final = Login("", "", "")  # to an address that is no vendor's


class Session:
    """One sticky session, renewed when its time, its requests or its exit is used up."""

    __slots__ = ("ends", "left", "login")

    def __init__(self, login: Login, left: float, ends: float) -> None:
        self.login, self.left, self.ends = login, left, ends


class Identity:
    """Who the crawler is to one vendor, count by count."""

    def __init__(self, vendor: Vendor, chance: random.Random) -> None:
        self._user, _, self._password = vendor.credentials.partition(":")
        self._sticky, self._chance = vendor.session, chance
        self._rotating = Login.of(self._user, self._password)
        self._sessions: deque[Session] = deque()

    def login(self, now: float) -> Login:
        """The login of the next count; `now` is a clock's seconds."""
        if self._sticky is None:
            return self._rotating
        if len(self._sessions) < self._sticky.sessions:
            session = self._new(self._sticky, now)
        else:
            session = self._sessions.popleft()
            if session.left <= 0 or now >= session.ends:
                session = self._new(self._sticky, now)
        session.left -= 1
        self._sessions.append(session)
        return session.login

    def renew(self, banned: Login) -> None:
        """Use this login no more: its exit is banned."""
        for session in self._sessions:
            if session.login is banned:
                session.left = 0

    def _new(self, sticky: Sticky, now: float) -> Session:
        user = sticky.user.replace("{id}", f"{self._chance.getrandbits(32):08x}")
        login = Login.of(user.replace("{user}", self._user), self._password)
        requests, seconds = sticky.requests or math.inf, sticky.seconds or math.inf
        return Session(login, requests, now + seconds)


class HostSlots:
    """At most `limit` counts of a host at a time; further ones wait in their order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._busy: Counter[int] = Counter()
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}

    def take(self, host: int) -> asyncio.Future[None] | None:
        """A slot at once, or what ends when there is one."""
        if self._busy[host] < self._limit:
            self._busy[host] += 1
            return None
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(host, deque()).append(turn)
        return turn

    def give(self, host: int) -> None:
        """Hand the slot on, or back."""
        waiting = self._waiting.get(host)
        while waiting:
            turn = waiting.popleft()
            if not waiting:
                del self._waiting[host]
            if not turn.done():
                turn.set_result(None)
                return
        self._busy[host] -= 1
        if not self._busy[host]:
            del self._busy[host]  # hosts are many, busy ones few


class Crawler:
    """Works through the cards with as many workers as may be in flight, and keeps the books."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.books = Books()
        self.in_flight = 0
        self.lag_seconds = 0.0
        self._cards = deal(plan)
        self._dues = None if plan.arrival == "closed" else dues(plan)
        if self._dues:
            self.books.start_lag = Durations()
        self._tls = Tls()
        # Chances of their own: what they decide leaves the cards as they are.
        self._think_chance = random.Random(f"{plan.seed} thinking")
        self._hold_chance = random.Random(f"{plan.seed} holding")
        self._retry_chance = random.Random(f"{plan.seed} retries")
        sessions = random.Random(f"{plan.seed} sessions")
        self._identities = [Identity(vendor, sessions) for vendor in plan.vendors]
        self._slots = HostSlots(plan.per_host_concurrency) if plan.per_host_concurrency else None
        self._limit_seconds = plan.limit_seconds()
        self._stall_seconds = min(STALL_SECONDS, STALL_SHARE_OF_PATIENCE * plan.patience_seconds)
        self._idle: list[list[Connection]] = [[] for _ in plan.vendors]
        self._busy: set[Connection] = set()
        self._held: set[Connection] = set()  # tunnels whose answer has come
        self._napping: set[asyncio.Task[None]] = set()  # until their start
        self._connecting: set[asyncio.Task[None]] = set()  # nothing sent: no count yet
        self._stopping = False
        self._end = math.inf  # by the loop's clock
        self._wire_outside = Wire()  # `outside` of the books says all of it

    async def run(self, stop: asyncio.Event) -> None:
        """Until every card is played, time is up, or `stop` is set; what is in flight may end."""
        self._loop = asyncio.get_running_loop()
        self._first_start = self._loop.time()
        if self.plan.duration_seconds:
            self._end = self._first_start + self.plan.duration_seconds
        workers = {asyncio.create_task(self._work()) for _ in range(self.plan.most_in_flight())}
        first: set[asyncio.Task[object]] = {
            asyncio.create_task(asyncio.wait(workers)),
            asyncio.create_task(stop.wait()),
        }
        _, others = await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        stopped = not all(worker.done() for worker in workers)
        timed_out = self._loop.time() >= self._end
        self._stopping = True
        for task in (*others, *self._napping):
            task.cancel()
        for connection in self._held:
            connection.leave()
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
        bounded = bool(self.plan.count or self.plan.duration_seconds)
        done = timed_out or self.books.requests == self.plan.count
        self.books.partial = stopped and bounded and not done
        for worker in workers:
            if worker.done() and not worker.cancelled():
                worker.result()  # raises where this program has a defect

    async def _work(self) -> None:
        loop, slots, think = self._loop, self._slots, self.plan.think_seconds
        for card in self._cards:
            due = next(self._dues, None) if self._dues else 0.0
            if due is None:
                return
            if self._dues:
                await self._nap(self._first_start + due - loop.time())
            if slots and (turn := slots.take(card.host)):
                with _listed(self._napping):
                    await turn
            now = loop.time()
            late = not self._dues and now >= self._end
            if not self._stopping and not late:
                if self.books.start_lag:
                    self.lag_seconds = max(0.0, now - self._first_start - due)
                    self.books.start_lag.add(self.lag_seconds)
                await self._carry_out(card)
            if slots:
                slots.give(card.host)
            if self._stopping or late:
                return
            if think:
                seconds = think.draw(self._think_chance)
                await self._nap(min(seconds, self._end - loop.time()))

    async def _carry_out(self, card: Card) -> None:
        """One request of the plan, with its retries."""
        self.books.requests += 1
        self.in_flight += 1
        if self.in_flight > self.books.in_flight_most:
            self.books.in_flight_most = self.in_flight
        seen = await self._attempt(card)
        retries = self.plan.retries
        for _ in range(retries.maximum if retries else 0):
            bans = self.plan.vendors[card.vendor].ban_codes
            assert retries
            if self._stopping or not asks_for_retry(card, seen, retries, bans):
                break
            card = again(self.plan, card, self._retry_chance)
            self.books.retries[self.plan.vendors[card.vendor].name, card.protocol] += 1
            seen = await self._attempt(card)
        self.in_flight -= 1

    async def _attempt(self, card: Card) -> Seen:
        """One count, and what the crawler saw of it: inside a tunnel, if there was an inside."""
        started = self._loop.time()
        if card.vendor < 0:
            return await self._opaque(card, "outside", NOBODY)
        vendor, identity = self.plan.vendors[card.vendor], self._identities[card.vendor]
        login = identity.login(started)
        if card.protocol in OPAQUE or vendor.visible == "connections":
            seen = await self._opaque(card, vendor.name, login)
        elif card.protocol == "http":
            seen = await self._plain(card, login)
        else:
            seen = await self._tunnel(card, login)
        self.books.protocols[vendor.name, card.protocol] += 1
        if seen.end == "answered":
            seconds = self._loop.time() - started - seen.held_seconds
            self.books.latency[card.protocol].add(seconds)
        if is_ban(seen, vendor.ban_codes):
            self.books.bans[vendor.name] += 1
            identity.renew(login)
        return seen

    async def _nap(self, seconds: float) -> None:
        if seconds <= 0:
            return
        with _listed(self._napping):
            await asyncio.sleep(seconds)

    async def _open(self, card: Card) -> Connection | Seen:
        factory = functools.partial(Connection, self._wire(card))
        try:
            async with asyncio.timeout(self._limit_seconds):
                with _listed(self._connecting):
                    _, connection = await self._loop.create_connection(
                        factory, *self._address(card)
                    )
        except TimeoutError:
            self._note_trouble(card, f"no connection in {self._limit_seconds:g} s")
            return Seen("left", Answer(), self._limit_seconds)
        except OSError as error:
            self._note_trouble(card, os.strerror(error.errno or 0))
            return Seen("local" if error.errno in LOCAL_ERRORS else "refused", Answer())
        return connection

    def _note_trouble(self, card: Card, reason: str) -> None:
        if card.fault != "dead":
            host, port = self._address(card)
            self.books.trouble[self._name(card), f"{place(host, port)}: {reason}"] += 1

    def _name(self, card: Card) -> str:
        return self.plan.vendors[card.vendor].name if card.vendor >= 0 else "outside"

    def _wire(self, card: Card) -> Wire:
        if card.vendor < 0:
            return self._wire_outside
        return self.books.wire[self.plan.vendors[card.vendor].name, card.protocol]

    def _address(self, card: Card) -> tuple[str, int]:
        if card.vendor < 0:
            outside = self.plan.outside[~card.vendor]
            return outside.address, outside.port
        vendor = self.plan.vendors[card.vendor]
        dead = vendor.dead_address if card.fault == "dead" else None
        port = vendor.opaque_port if card.protocol in OPAQUE else vendor.port
        return dead or vendor.address, port

    def _seconds(self, card: Card) -> float:
        return self._stall_seconds if card.fault == "stall" else self._limit_seconds

    def _book(self, card: Card, seen: Seen, truth: Seen | None) -> None:
        vendor = self.plan.vendors[card.vendor]
        if seen.answer.status and not vendor.simulated:
            seen.answer.by_vendor = True
        outcome = visible_outcome(card, seen, self.plan.patience_seconds)
        self.books.counts[vendor.name, card.protocol, outcome] += 1
        if outcome == "success" and truth:
            self.books.truth[vendor.name, true_outcome(truth)] += 1
        if outcome != intended_outcome(card):
            self.books.unexpected[vendor.name, intended_outcome(card), outcome] += 1

    # One plain request

    def _kept_alive(self, vendor: int) -> Connection | None:
        idle = self._idle[vendor]
        now = self._loop.time()
        while idle:
            connection = idle.pop()
            if not connection.lost and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _plain(self, card: Card, login: Login) -> Seen:
        own = card.fault in OWN_CONNECTION
        connection: Connection | Seen | None = None if own else self._kept_alive(card.vendor)
        if connection is None:
            connection = await self._open(card)
        if isinstance(connection, Seen):
            self._book(card, connection, None)
            return connection
        self._busy.add(connection)
        request = plain_get(card, self.plan.host_suffix, login)
        seen = await connection.request(request, Answer(), self._seconds(card))
        self._busy.discard(connection)
        self._book(card, seen, seen)
        connection.uses += 1
        spent = own or connection.uses >= self.plan.connection_reuse or self._stopping
        if spent or seen.end != "answered" or seen.answer.closes:
            connection.close()
        else:
            connection.idle_since = self._loop.time()
            self._idle[card.vendor].append(connection)
        return seen

    # One CONNECT, TLS and one GET inside

    async def _tunnel(self, card: Card, login: Login) -> Seen:
        connection = await self._open(card)
        if isinstance(connection, Seen):
            self._book(card, connection, None)
            return connection
        self._busy.add(connection)
        seen, truth = await self._ask_tunnel(connection, card, login)
        if truth and truth.end == "answered":
            truth = await self._hold(connection, truth)
        self._busy.discard(connection)
        self._book(card, seen, truth)
        connection.close()
        return truth or seen

    async def _hold(self, connection: Connection, truth: Seen) -> Seen:
        """Keep a tunnel open as the plan wants it; its truth is another if it is lost meanwhile."""
        if not self.plan.tunnel_hold_seconds or self._stopping:
            return truth
        seconds = self.plan.tunnel_hold_seconds.draw(self._hold_chance)
        since = self._loop.time()
        self._held.add(connection)
        end = await connection.ask(b"", Nothing(), seconds)
        self._held.discard(connection)
        truth = truth._replace(held_seconds=self._loop.time() - since)
        return truth if end == "left" else truth._replace(end=end)

    async def _ask_tunnel(
        self, connection: Connection, card: Card, login: Login
    ) -> tuple[Seen, Seen | None]:
        """What a CONNECT met, and what the GET inside did if there was an inside."""
        host = host_of(card, self.plan.host_suffix)
        field = "" if card.fault == "auth-challenge" else login.field
        head = (
            f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\nUser-Agent: crawler\r\n{field}\r\n"
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

    async def _opaque(self, card: Card, who: str, login: Login) -> Seen:
        connection = await self._open(card)
        self.books.connections[who] += 1
        if isinstance(connection, Seen):
            self.books.unexpected[who, card.protocol, connection.end] += 1
            return connection
        self._busy.add(connection)
        seen = await self._exchange(connection, card, login)
        self._busy.discard(connection)
        connection.close()
        self.books.bytes[who, "sent"] += connection.sent
        self.books.bytes[who, "received"] += connection.received
        if seen.end != "answered":
            self.books.unexpected[who, card.protocol, seen.end] += 1
        return seen

    async def _exchange(self, connection: Connection, card: Card, login: Login) -> Seen:
        """How it went; `end` as `opaque_end` says it."""
        if card.protocol == "h2c":
            return Seen(await self._h2c(connection, card, login), Answer())
        if card.protocol == "socks5":
            return Seen(await self._socks(connection, card, login), Answer())
        request = plain_get(card, self.plan.host_suffix, login)
        if card.protocol == "http":
            seen = await connection.request(request, Answer(), self._limit_seconds)
        elif card.protocol == "tunnel":
            outer, truth = await self._ask_tunnel(connection, card, login)
            seen = truth or outer
            if truth and truth.end == "answered":
                seen = await self._hold(connection, truth)
        else:
            name = f"proxy.{self.plan.host_suffix}"
            inside = Answer(), self._limit_seconds
            seen = await connection.request_inside(self._tls, name, request, *inside)
        if seen.answer.status and card.vendor >= 0 and not self.plan.vendors[card.vendor].simulated:
            seen.answer.by_vendor = True
        return seen._replace(end=opaque_end(seen))

    async def _h2c(self, connection: Connection, card: Card, login: Login) -> str:
        key, _, value = login.field.strip().partition(": ")
        fields = {"User-Agent": "crawler", "Accept": "*/*", key: value}
        answer = H2Answer(connection.write)
        host = host_of(card, self.plan.host_suffix)
        get = h2_get(host, f"/p/{card.size_bytes}", fields)
        end = await connection.ask(get, answer, self._limit_seconds)
        return "refused" if end == "answered" and not answer.good else end

    async def _socks(self, connection: Connection, card: Card, login: Login) -> str:
        auth = card.vendor >= 0 and self.plan.vendors[card.vendor].socks5_auth
        steps = socks_steps(card, self.plan.host_suffix, login if auth else None)
        for said, reply, start, otherwise in steps:
            end = await connection.ask(said, reply, self._limit_seconds)
            if end != "answered":
                return end
            if not reply.start.startswith(start):
                return otherwise
        return "answered"


def again(plan: Plan, card: Card, chance: random.Random) -> Card:
    """The card of a retry: another chance to meet a fault, with another vendor if there is one."""
    vendor = card.vendor
    if plan.retries and plan.retries.switch_vendor:
        others = {
            index: each.weight
            for index, each in enumerate(plan.vendors)
            if each.name != plan.vendors[vendor].name and each.mix.get(card.protocol)
        }
        if sum(others.values()):
            [vendor] = chance.choices(list(others), list(others.values()))
    faults = faults_of(plan.vendors[vendor], card.protocol)
    names = ["", *faults]
    [fault] = chance.choices(names, [max(0.0, 1 - sum(faults.values())), *faults.values()])
    return card._replace(vendor=vendor, fault=fault)


def host_of(card: Card, suffix: str) -> str:
    """The target's name, by which the simulated vendor knows the fault."""
    if card.fault == "rejected":
        return f"under_score.{suffix}"  # Envoy answers 400, and asks nobody
    site = f"site-{card.host or card.size_bytes % 100}.{suffix}"
    if not card.fault:
        return site
    return f"fault-{card.fault}.{site if card.host else suffix}"


def plain_get(card: Card, suffix: str, login: Login) -> bytes:
    host = host_of(card, suffix)
    field = "" if card.fault == "auth-challenge" else login.field
    head = (
        f"GET http://{host}/p/{card.size_bytes} HTTP/1.1\r\nHost: {host}\r\n"
        f"User-Agent: crawler\r\nAccept: */*\r\n{field}\r\n"
    )
    return head.encode()


class SocksReplies(Protocol):
    start: bytes

    def feed(self, data: memoryview) -> bool: ...


class SocksStep(NamedTuple):
    """What to say; the reply must begin with `start`, else the connection is `otherwise`."""

    said: bytes
    reply: SocksReplies
    start: bytes = b""
    otherwise: str = "refused"


def socks_steps(card: Card, suffix: str, login: Login | None) -> Iterator[SocksStep]:
    """A SOCKS5 connection, RFC 1928, with RFC 1929's login if there is one."""
    if login is None:
        yield SocksStep(b"\x05\x01\x00", Exactly(2), b"\x05\x00")
    else:
        yield SocksStep(b"\x05\x01\x02", Exactly(2), b"\x05\x02")
        user, password = login.user.encode(), login.password.encode()
        said = b"\x01%c%b%c%b" % (len(user), user, len(password), password)
        yield SocksStep(said, Exactly(2), b"\x01\x00", "auth_failed")
    # The simulated vendor reads the sizes it is to take and to send from the name.
    host = f"opaque-{card.sent_bytes}-{card.size_bytes}.{suffix}".encode()
    request = b"\x05\x01\x00\x03" + bytes([len(host)]) + host + (443).to_bytes(2, "big")
    yield SocksStep(request, SocksReply(), b"\x05\x00")
    yield SocksStep(b"\x00" * card.sent_bytes, Exactly(card.size_bytes))


def place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
        books = crawler.books
        total = books.total()
        parts = [
            f"{books.requests:,}{of} requests",
            f"{total - before:,} counts/s",
            f"{crawler.in_flight} in flight",
            f"{books.retries.total():,} retries",
            f"{books.unexpected.total():,} unexpected",
        ]
        if books.start_lag:
            parts.append(f"lag p99 {shown_seconds(books.start_lag.quantile(0.99))}")
        print("\r" + ", ".join(parts) + "\033[K", end="", file=sys.stderr, flush=True)
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


USAGE = """crawler --plan FILE [options]
       crawler --vendor NAME=ADDRESS:PORT [--profile NAME] [options]"""

HELP = """\
options go above the plan, the plan above the profile
exit codes: 0 done, or told to stop (Ctrl-C gives the result so far);
2 could not start
"""

HELP_PLAN = """\
plan (JSON; defaults in brackets, null = none):
  profile   name, or path of a JSON file: the plan's keys go above its keys
  description   of a profile
  vendors   [{name (may repeat), address, port, opaque_port [port],
            dead_address, weight [1], socks5_auth [false], simulated [true],
            visible [requests] or connections, faults {name: share}, and, else
            the plan's: mix, session, ban_codes, user, password_env}]
  user, password_env   the variable with user:password, or with user's password
  session   rotating, sticky, or {mode, sessions [1], requests [null],
            seconds [600], user ["{user}-session-{id}"]}; a ban ends one too
  ban_codes [[]]   beside ban pages with 200
  mix       {http [0.44], tunnel [0.42], socks5 [0.14], tls [0], h2c [0]}
  hosts     {count, zipf_exponent [1]} [null: a hundred, by page size]
  target    {host_suffix ["sim.test"], sizes_bytes [[quantile, bytes], ...]}
  outside   [{address, port, share}]: SOCKS5, in no vendor's range
  seed [1], count [null], duration_seconds [null]: both null = until a signal
  arrival   closed, constant or poisson [by whether there is a rate]
  concurrency [16] of arrival closed; per_host_concurrency [null]
  requests_per_second, in_flight_cap [concurrency] of the others
  shape     [[second, factor], ...] of the rate, straight in between, anew
            after shape_period_seconds [null = never]
  think_seconds after a count, tunnel_hold_seconds after a tunnel's answer
            [null]: seconds, {"uniform": [low, high]} or {"exponential": mean}
  connection_reuse [20]
  retries   [null] {codes [500 502 503 504 522 524 408 429], maximum [2],
            switch_vendor [false], errors [true]}
  timeout_seconds [patience + 0.5], patience_seconds [10] the sidecar's
  metrics_port [null], metrics_host [127.0.0.1]: /metrics, /books
faults: target-error vendor-error vendor-error-502 -504 -522 -525 rate-limited
  blocked auth-failed auth-challenge quota quota-dialect reset close garbage
  stall slow dead reset-inside close-inside ban-page captcha-page refused-open
  rejected
"""


def raise_file_limit(sockets: int) -> None:
    """A socket is a file: take as many as this user may have, not the shell's 1,024.

    Raises:
        PlanError: that is less than `sockets` need.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and sockets + SPARE_FILES > most:
        fix = "give less, or raise `ulimit -n`"
        raise PlanError([f"in flight: {sockets} are more than the {most} files allowed: {fix}"])


def help_plan() -> str:
    """Every key of a plan, and the profiles that lie beside this program."""
    lines = [HELP_PLAN + "profiles"]
    for path in sorted(PROFILES.glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            lines.append(f"  {path.stem:<9} {json.loads(path.read_text())['description']}")
    return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """One line for an error, as for those of a plan."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_CANNOT_RUN, f"crawler: {message}: see --help\n")


def parser() -> Parser:
    found = Parser(
        prog="crawler",
        usage=USAGE,
        description="Proxied traffic of an exact plan, with exact books.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = found.add_argument
    add("--plan", metavar="FILE", help="what to do")
    add("--vendor", action="append", metavar="NAME=ADDRESS:PORT", help="instead; may repeat")
    add("--profile", metavar="NAME", help="how: burst, diurnal, ramp, scrapy, steady, or a path")
    add("--count", type=int, metavar="N", help="requests in all")
    add("--seconds", type=float, metavar="S", help="how long")
    add("--rate", type=float, metavar="R", help="requests a second, whether answered or not")
    add("--password-env", metavar="VAR", help="variable that holds user:password")
    add("--books", type=Path, metavar="FILE", help="write the books here at the end")
    add("--json", action="store_true", help="print the books instead of a table")
    add("--help-plan", action="store_true", help="the plan's keys and the profiles; then end")
    return found


def vendor_of(option: str) -> dict[str, object]:
    """`NAME=ADDRESS:PORT` as a plan has it; IPv6 in brackets."""
    match = re.fullmatch(r"([^=]+)=\[?([^=\[\]]+)\]?:(\d{1,5})", option)
    if not match:
        fix = "give NAME=ADDRESS:PORT, as vendor-a=10.1.0.10:3128"
        raise PlanError([f"--vendor: {json.dumps(option)} is no vendor: {fix}"])
    return {"name": match[1], "address": match[2], "port": int(match[3])}


def raw_plan(options: argparse.Namespace) -> tuple[object, Path]:
    """The plan with the options above its keys, and the folder where its paths start."""
    if not options.plan and not options.vendor:
        raise PlanError(["--plan: is missing: give it, or --vendor NAME=ADDRESS:PORT"])
    raw: object = {}
    folder = Path()
    if options.plan:
        try:
            raw = json.loads(Path(options.plan).read_text())
        except (OSError, ValueError) as error:
            raise PlanError([f"{options.plan}: cannot be read as JSON: {error}"]) from None
        folder = Path(options.plan).parent
    if not isinstance(raw, dict):
        return raw, folder
    if options.profile:
        is_path = "/" in options.profile or options.profile.endswith(".json")
        raw["profile"] = str(Path(options.profile).absolute()) if is_path else options.profile
    raw = with_profile(raw, folder)
    assert isinstance(raw, dict)
    raw.pop("profile", None)  # its keys are in
    given = {
        "count": options.count,
        "duration_seconds": options.seconds,
        "requests_per_second": options.rate,
        "password_env": options.password_env,
        "vendors": [vendor_of(each) for each in options.vendor] if options.vendor else None,
    }
    raw |= {key: value for key, value in given.items() if value is not None}
    if options.rate is not None and raw.get("arrival") == "closed":
        # A rate is asked for by hand: it goes above what has none.
        raw |= {"arrival": "constant", "think_seconds": None}
    return raw, folder


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.help_plan:
        print(help_plan())
        return 0
    try:
        raw, folder = raw_plan(options)
        plan = read_plan(raw, os.environ, folder)
        if options.books and not options.books.absolute().parent.is_dir():
            raise PlanError([f"--books: {options.books} is in no existing folder: create it first"])
        raise_file_limit(plan.most_in_flight())
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
