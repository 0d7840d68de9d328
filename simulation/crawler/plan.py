"""A crawler's plan: each key with its check and its default."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from simulation.crawler.faults import FAULTS, MIX
from simulation.crawler.names import Server, host_name, name_server
from simulation.pages import MAX_BODY_BYTES
from simulation.plans import (
    address_or_all,
    flag,
    ip_address,
    key,
    nested,
    number,
    one_of,
    plain_name,
    several,
    shares,
    text,
    variable,
    whole,
)

TIMEOUT_MARGIN_SECONDS = 0.5  # the crawler leaves this much after the sidecar's time-out
VISIBLE: Final = ("requests", "passive", "connections")
# How counts start: when an answer makes room, or at a rate, evenly or by chance.
ARRIVALS: Final = ("closed", "constant", "poisson")
MAX_COUNT = 10_000_000  # the whole sequence is kept in memory
MAX_HOSTS = 100_000  # 8 bytes each
# Quantiles of HTML page sizes: HTTP Archive, p10/25/50/75/90 = 6/13/32/71/147 kB.
PAGE_SIZES: Final = ((0.1, 6000), (0.25, 13000), (0.5, 32000), (0.75, 71000), (0.9, 147000))
# Scrapy's RETRY_HTTP_CODES and RETRY_TIMES defaults.
RETRY_CODES: Final = frozenset({500, 502, 503, 504, 522, 524, 408, 429})
RETRY_MAXIMUM = 2
DRAIN_SECONDS = 2.4  # with what leaving takes, 3 s in all
# Sticky sessions keep their exit: an id stands in the proxy's user name.
SESSIONS: Final = ("rotating", "sticky")


def status_codes(value: object) -> frozenset[int]:
    found = value if isinstance(value, list) else [None]
    if not all(type(code) is int and 400 <= code <= 599 for code in found):
        raise ValueError("is no list of status codes: give [403, 429], each from 400 to 599")
    return frozenset(found)


def course(value: object) -> tuple[tuple[float, float], ...]:
    """A check for the rate's course: points of seconds and factor, seconds rising."""
    pairs = _pairs(value, 1e7, 1e7)
    if not pairs or not all(a[0] < b[0] for a, b in itertools.pairwise(pairs)):
        raise ValueError("is no course: give [[seconds, factor], ...], seconds rising")
    if not any(factor for _, factor in pairs):
        raise ValueError("is 0 throughout: give a factor above 0")
    return tuple((float(at), float(factor)) for at, factor in pairs)


def page_sizes(value: object) -> tuple[tuple[float, int], ...]:
    """A check for the quantiles of page sizes, both rising."""
    pairs = _pairs(value, 1, MAX_BODY_BYTES)
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in itertools.pairwise(pairs))
    if not pairs or not rising or not all(type(size) is int for _, size in pairs):
        fix = f"give [[quantile 0 to 1, bytes 0 to {MAX_BODY_BYTES}], ...], both rising"
        raise ValueError(f"is no list of rising sizes: {fix}")
    return tuple((float(quantile), int(size)) for quantile, size in pairs)


def _pairs(value: object, most_left: float, most_right: float) -> list[tuple[float, float]]:
    """Return a list of two numbers each, from 0 to their most; [] where it is none."""
    pairs = value if isinstance(value, list) else []
    good = all(
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(each) in (int, float) for each in pair)
        and 0 <= pair[0] <= most_left
        and 0 <= pair[1] <= most_right
        for pair in pairs
    )
    return cast("list[tuple[float, float]]", pairs if good else [])


def full_mix(value: object) -> Mapping[str, float]:
    """A check for the shares of the protocols, which make up all counts."""
    found = shares(tuple(MIX))(value)
    if abs(sum(found.values()) - 1) > 1e-6:
        raise ValueError("does not sum to 1: the shares make up all counts")
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """A proxy user, as often as its weight says; `pool` is what a sidecar calls its requests."""

    password_env: str = key(variable)  # user:password; {n} in the user is a session's number
    pool: str = key(plain_name, "")
    weight: float = key(number(0, 1e9), 1.0)
    credentials: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vendor:
    """Where a vendor listens, by `address` or by the name `host`, which each connection resolves.

    `faults` maps a fault to its share of this vendor's counts. `pool` is what a sidecar calls the
    requests here whose user has none. Each request draws one of `users`.
    `visible` says what a sidecar sees there: "requests" of HTTP, "passive" for those and SOCKS5's
    handshake, or "connections" alone. Then every count is a connection of its own, with socket
    bytes and no outcome. A vendor that is not `simulated`
    sends no X-Sim-Vendor: its answers are taken as they are. Keys that are left out and that the
    plan has too are the plan's, once the plan is read.
    """

    name: str = key(plain_name)
    address: str | None = key(ip_address, None)
    host: str | None = key(host_name, None)
    port: int = key(whole(1, 65535))
    opaque_port: int = key(whole(1, 65535), None)
    dead_address: str | None = key(ip_address, None)
    dead_host: str | None = key(host_name, None)
    weight: float = key(number(0, 1e9), 1.0)
    mix: Mapping[str, float] = key(full_mix, None)
    visible: str = key(one_of(VISIBLE), "requests")
    faults: Mapping[str, float] = key(shares(tuple(FAULTS)), {})
    password_env: str | None = key(variable, None)  # names the one with user:password
    users: tuple[User, ...] = key(several(User, "give at least one entry", least=1), ())
    pool: str = key(plain_name, "")
    session: str = key(one_of(SESSIONS), None)
    socks5_auth: bool = key(flag, False)
    simulated: bool = key(flag, True)
    credentials: str = field(default="", repr=False)  # user:password, of the environment

    def visibility_of(self, protocol: str) -> str:
        """Return what a sidecar calls a count in this protocol; one that is opaque has no outcome.

        Others are http, tunnel and socks.
        """
        if protocol == "tls" or self.visible == "connections":
            return "opaque"
        if protocol == "socks5":
            return "socks" if self.visible == "passive" else "opaque"
        return protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """An address in no vendor's range, which `name` tells; `share` is its part of all counts."""

    address: str = key(ip_address)
    port: int = key(whole(1, 65535))
    share: float = key(number(0, 1))
    name: str = key(plain_name, "outside")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosts:
    """Targets of falling popularity: the n-th is asked for in proportion to 1 / n ** exponent."""

    count: int = key(whole(1, MAX_HOSTS))
    # 1: what web traffic is near to (Breslau et al. 1999: 0.64 to 0.83 for pages).
    zipf_exponent: float = key(number(0, 10), 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """When a request is sent again: after these statuses, a ban page, or no answer."""

    codes: frozenset[int] = key(status_codes, RETRY_CODES)
    maximum: int = key(whole(0, 100), RETRY_MAXIMUM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The sites behind the vendors."""

    host_suffix: str = key(plain_name, "sim.test")
    sizes_bytes: tuple[tuple[float, int], ...] = key(page_sizes, PAGE_SIZES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do. `count` and `duration_seconds` None are endless; a `count` includes no retries.

    `requests_per_second` is what a factor of 1 in `shape` means; the shape's seconds are from the
    start, and begin anew every `shape_period_seconds`. `drain_seconds` is how long counts may go on
    after a signal, `linger_seconds` how long /metrics stays after the run.
    """

    profile: Any = key(lambda value: value, None)  # its keys lie below the plan's already
    description: str | None = key(text, None)
    seed: int = key(whole(0, 2**63), 1)
    count: int | None = key(whole(1, MAX_COUNT), None)
    duration_seconds: float | None = key(number(0.1, 1e8), None)
    arrival: str = key(one_of(ARRIVALS), "closed")
    requests_per_second: float | None = key(number(0.01, 1e5), None)
    shape: tuple[tuple[float, float], ...] | None = key(course, None)
    shape_period_seconds: float | None = key(number(1, 1e7), None)
    concurrency: int = key(whole(1, 10_000), 16)  # Scrapy's CONCURRENT_REQUESTS default
    in_flight_cap: int | None = key(whole(1, 10_000), None)
    per_host_concurrency: int | None = key(whole(1, 10_000), None)
    connection_reuse: int = key(whole(1, 1_000_000), 20)
    timeout_seconds: float | None = key(number(0.2, 3600), None)
    # The default of telemetry.timeoutAfter.
    timeout_after_seconds: float = key(number(0.2, 3600), 10.0)
    retries: Retries | None = key(nested(Retries), None)
    hosts: Hosts | None = key(nested(Hosts), None)
    vendors: tuple[Vendor, ...] = key(several(Vendor, "give at least one entry", least=1))
    outside: tuple[Outside, ...] = key(several(Outside, "give [{...}], or leave it out"), ())
    mix: Mapping[str, float] = key(full_mix, MIX)
    session: str = key(one_of(SESSIONS), "rotating")
    target: Target = key(nested(Target), Target())
    name_server: Server | None = key(name_server, None)
    metrics_host: str = key(address_or_all, "127.0.0.1")
    metrics_port: int | None = key(whole(1, 65535), None)
    drain_seconds: float = key(number(0, 3600), DRAIN_SECONDS)
    linger_seconds: float = key(number(0, 3600), 0.0)
    max_gb_per_day: float | None = key(number(1e-6, 1e6), None)
    budget_file: Path | None = key(lambda value: Path(text(value)), None)
    password_env: str | None = key(variable, None)

    def most_in_flight(self) -> int:
        if self.arrival == "closed" or self.in_flight_cap is None:
            return self.concurrency
        return self.in_flight_cap

    def limit_seconds(self) -> float:
        """Return after how long the crawler leaves."""
        return self.timeout_seconds or self.timeout_after_seconds + TIMEOUT_MARGIN_SECONDS
