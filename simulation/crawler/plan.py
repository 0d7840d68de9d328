"""The plan: what a crawler is to do, checked already."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATIENCE_MARGIN_SECONDS = 0.5  # leaves this much after patience, so both sides see a timeout
VISIBLE: Final = ("requests", "connections")
# How counts start: when an answer makes room, or at a rate, evenly or by chance.
ARRIVALS: Final = ("closed", "constant", "poisson")


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
    start, and begin anew every `shape_period_seconds`. `drain_seconds` is how long counts may go on
    after a signal, `linger_seconds` how long /metrics stays after the run.
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
    drain_seconds: float
    linger_seconds: float
    max_gb_per_day: float | None
    budget_file: Path | None
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
