"""The plan: where the vendors listen and how each treats its customers, checked already."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field


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


SESSION_SECONDS = 600.0  # ten minutes is what most vendors give a session
MAX_SECONDS = 3600.0
