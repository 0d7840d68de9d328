"""What can be billed: quantities of traffic, hour by hour, as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class Part(NamedTuple):
    """Whose traffic it is: label values, each empty where the metric has none."""

    vendor: str
    product: str
    """Label `proxy_pool`."""
    team: str
    target: str
    """Label `proxy_target`."""


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """A part's traffic in one hour. Requests are whole but for rounding."""

    bytes_sent: Mapping[str, float] = field(default_factory=dict)
    """Wire bytes towards the vendor, by result."""
    bytes_received: Mapping[str, float] = field(default_factory=dict)
    """Wire bytes from the vendor, by result."""
    requests: Mapping[str, float] = field(default_factory=dict)
    """Plain requests and tunnels, by outcome (label `proxy_outcome`)."""
    tunnels: Mapping[str, float] = field(default_factory=dict)
    """Those of `requests` that are a CONNECT or SOCKS5, by outcome."""

    @property
    def wire_bytes(self) -> float:
        """Both ways together."""
        return sum(self.bytes_sent.values()) + sum(self.bytes_received.values())

    def __add__(self, other: Quantities) -> Quantities:
        return Quantities(
            bytes_sent=_sums(self.bytes_sent, other.bytes_sent),
            bytes_received=_sums(self.bytes_received, other.bytes_received),
            requests=_sums(self.requests, other.requests),
            tunnels=_sums(self.tunnels, other.tunnels),
        )

    def scaled(self, requests: float, sizes: float | None = None) -> Quantities:
        """Return so many times as much; `sizes` is the factor of bytes, if it is another."""
        sizes = requests if sizes is None else sizes
        return Quantities(
            bytes_sent=_times(self.bytes_sent, sizes),
            bytes_received=_times(self.bytes_received, sizes),
            requests=_times(self.requests, requests),
            tunnels=_times(self.tunnels, requests),
        )


def _sums(some: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    return {**some, **{key: some.get(key, 0.0) + number for key, number in others.items()}}


def _times(some: Mapping[str, float], factor: float) -> dict[str, float]:
    return {key: number * factor for key, number in some.items()}


@dataclass(frozen=True, kw_only=True)
class Wire:
    """What Envoy's cluster of a vendor counted in one hour, as bytes passed: also of connections in
    which nothing can be read."""

    bytes_sent: float = 0
    bytes_received: float = 0


@dataclass(frozen=True, kw_only=True)
class Book:
    """The ledger of a span of time. Keys are the UTC beginnings of hours; a missing hour is one
    without data, never one without traffic."""

    hours: Mapping[datetime, Mapping[Part, Quantities]]
    wire: Mapping[datetime, Mapping[str, Wire]]
    """By vendor."""
    coverage: Mapping[datetime, float]
    """Share of the hour in which Prometheus recorded, 0 to 1."""
