"""What can be billed: quantities of traffic, hour by hour, as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

RESULTS = ("delivered", "refused", "failed", "")
"""Values of the label `proxy_result` of bytes; empty where nothing could be read (opaque)."""


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
    """A part's traffic in one hour. Requests and connections are whole but for rounding."""

    bytes_sent: Mapping[str, float] = field(default_factory=dict)
    """Wire bytes towards the vendor, by result."""
    bytes_received: Mapping[str, float] = field(default_factory=dict)
    """Wire bytes from the vendor, by result."""
    requests: Mapping[str, float] = field(default_factory=dict)
    """Plain requests and tunnels, by outcome (label `proxy_outcome`)."""
    tunnels: Mapping[str, float] = field(default_factory=dict)
    """Those of `requests` that are a CONNECT or SOCKS5, by outcome."""


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A vendor's own counters in one hour: live, whatever could be read."""

    bytes_sent: float = 0
    bytes_received: float = 0
    connections: float = 0


@dataclass(frozen=True, kw_only=True)
class Book:
    """The ledger of a span of time. Keys are the UTC beginnings of hours; a missing hour is one
    without data, never one without traffic."""

    hours: Mapping[datetime, Mapping[Part, Quantities]]
    wire: Mapping[datetime, Mapping[str, Wire]]
    """By vendor."""
    coverage: Mapping[datetime, float]
    """Share of the hour in which Prometheus recorded, 0 to 1."""
