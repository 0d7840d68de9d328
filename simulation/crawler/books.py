"""The crawler's books: exact counts of what it did and saw."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass

from simulation.crawler.budget import Budget
from simulation.crawler.durations import Durations
from simulation.exposition import WIRE_COLUMNS, rows, wire_rows


@dataclass(slots=True)
class Wire:
    """Sockets to one vendor in one protocol: how many, and the payload bytes of their streams."""

    connections: int = 0
    sent: int = 0
    received: int = 0


class Books:
    """What a run did and saw. `unexpected` counts what differs from the plan's intention.

    `wire` has every socket to a vendor, up to the last byte read and written; `opaque` has the
    bytes of opaque counts that have ended. `retries` are part of all other rows; `requests` are
    those of the plan that were started.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.pools: Counter[tuple[str, str, str]] = Counter()  # vendor, pool, outcome
        self.connections: Counter[str] = Counter()  # opaque, vendor or "outside"
        self.places: Counter[str] = Counter()  # connections outside, by the place's name
        self.bytes: Counter[tuple[str, str]] = Counter()  # vendor or "outside", direction
        self.protocols: Counter[tuple[str, str]] = Counter()  # vendor, protocol
        self.wire: defaultdict[tuple[str, str], Wire] = defaultdict(Wire)
        self.truth: Counter[tuple[str, str]] = Counter()
        self.unexpected: Counter[tuple[str, str, str]] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()  # vendor, why; of unexpected
        self.requests = 0
        self.retries: Counter[tuple[str, str]] = Counter()  # vendor, protocol
        self.bans: Counter[str] = Counter()  # vendor
        self.latency: defaultdict[str, Durations] = defaultdict(Durations)  # protocol; if answered
        self.start_lag: Durations | None = None  # open arrivals only
        self.in_flight_most = 0
        # Vendor, why no connection could be had, and what to do.
        self.trouble: Counter[tuple[str, str, str]] = Counter()
        self.budget: Budget | None = None
        self.unreachable = False  # no vendor could be reached, so the run was ended
        self.partial = False  # a signal came before the plan's end
        self.started_seconds = time.time()
        self.ended_seconds: float | None = None

    def total(self) -> int:
        return self.counts.total() + self.connections.total()

    def _line(self, who: str) -> tuple[int, int, int]:
        return self.connections[who], self.bytes[who, "sent"], self.bytes[who, "received"]

    def as_json(self) -> dict[str, object]:
        opaque = self.connections.keys() - {"outside"}
        wire = {
            key: (each.connections, each.sent, each.received)
            for key, each in self.wire.items()
            if each.connections
        }
        return {
            "counts": rows(("vendor", "visibility", "outcome"), self.counts),
            "pools": rows(("vendor", "pool", "outcome"), self.pools),
            "opaque": wire_rows(("vendor",), {who: self._line(who) for who in opaque}),
            "outside": dict(zip(WIRE_COLUMNS, self._line("outside"), strict=True)),
            "places": rows(("place",), self.places),
            "protocols": rows(("vendor", "protocol"), self.protocols),
            "wire": wire_rows(("vendor", "protocol"), wire),
            "true": rows(("vendor", "outcome"), self.truth),
            "unexpected": rows(("vendor", "intended", "seen"), self.unexpected),
            "unexpected_reasons": rows(("vendor", "reason"), self.reasons),
            "requests": self.requests,
            "attempts": self.total(),
            "retries": rows(("vendor", "protocol"), self.retries),
            "bans": rows(("vendor",), self.bans),
            "latency": [
                {"protocol": protocol, **durations.as_json()}
                for protocol, durations in sorted(self.latency.items())
            ],
            "start_lag": self.start_lag.as_json() if self.start_lag else None,
            "in_flight_most": self.in_flight_most,
            "budget": self.budget.as_json() if self.budget else None,
            "notes": self.notes(),
            "partial": self.partial,
            "started_seconds": self.started_seconds,
            "ended_seconds": self.ended_seconds,
        }

    def notes(self) -> list[str]:
        """Return what went wrong and what to do about it, a line each."""
        found = [
            f"{vendor}: {why}, {count:,} times: {fix}"
            for (vendor, why, fix), count in sorted(self.trouble.items())
        ]
        if self.unreachable:
            found.insert(0, f"no vendor could be reached: ended after {self.total():,} counts")
        found += [
            f"{vendor}: refuses the credentials, {count:,} times: check password_env"
            for (vendor, reason), count in sorted(self.reasons.items())
            if reason == "credentials"
        ]
        named = ("credentials", "refused")  # by the lines above
        others = sum(n for (_, reason), n in self.reasons.items() if reason not in named)
        if others:
            found.append(f"{others:,} counts were not as intended: see `unexpected` in --json")
        return found
