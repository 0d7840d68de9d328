"""What every vendor did and saw, exactly."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Protocol

from simulation.exposition import (
    WIRE_COLUMNS,
    counter,
    exposition,
    gauge,
    labelled,
    rows,
    start_time_family,
    wire_rows,
)

REFUSED_OR_FAILED = frozenset(
    {
        *("blocked", "policy", "rate_limited"),
        *("connect_failed", "timeout", "reset", "auth_failed", "quota_exhausted", "vendor_error"),
    }
)
"""Outcomes that a vendor does not bill who leaves failures free."""

BILLS = ("wire", "target", "delivered")
"""What vendors bill by: all bytes of their sockets; those to and from the target, without CONNECT,
its answer and what is for the proxy alone; those of requests that were not refused and did not
fail."""


class OnWire(Protocol):
    """An open connection, which knows its own bytes up to now."""

    decided: bool  # whether its protocol can no longer change

    def add_to(self, wire: Counter[tuple[str, str, str]]) -> None: ...

    def bill(self, bills: Counter[tuple[str, str]]) -> None: ...


class Books:
    """What every vendor did and saw; the whole process shares one."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.pools: Counter[tuple[str, str, str]] = Counter()  # vendor, pool, outcome
        self.opaque: Counter[str] = Counter()
        self.bytes: Counter[tuple[str, str]] = Counter()
        self.connections: Counter[str] = Counter()
        self.wire: Counter[tuple[str, str, str]] = Counter()  # vendor, protocol, what; closed ones
        self.bills: Counter[tuple[str, str]] = Counter()  # vendor, one of BILLS; of closed ones
        self.exits: defaultdict[str, set[int]] = defaultdict(set)  # used; as many as a vendor has
        self.sessions: Counter[str] = Counter()
        self.refusals: Counter[tuple[str, str]] = Counter()  # vendor, status or "socks5"
        self.open: set[OnWire] = set()
        self.started_seconds = time.time()

    def _wire_now(self, *, all_open: bool) -> Counter[tuple[str, str, str]]:
        """Add the open sockets to the closed: all, or those whose protocol is decided."""
        wire = self.wire.copy()
        for connection in self.open:
            if all_open or connection.decided:
                connection.add_to(wire)
        return wire

    def bills_now(self) -> Counter[tuple[str, str]]:
        """Return how many bytes each vendor would bill by each rule, up to now."""
        bills = self.bills.copy()
        for connection in self.open:
            connection.bill(bills)
        return bills

    def as_json(self) -> dict[str, object]:
        wire = self._wire_now(all_open=True)
        sockets = {key[:2]: [wire[*key[:2], what] for what in WIRE_COLUMNS] for key in wire}
        opaque = {
            who: (n, self.bytes[who, "sent"], self.bytes[who, "received"])
            for who, n in self.opaque.items()
        }
        return {
            "counts": rows(("vendor", "visibility", "outcome"), self.counts),
            "pools": rows(("vendor", "pool", "outcome"), self.pools),
            "opaque": wire_rows(("vendor",), opaque),
            "connections": rows(("vendor",), self.connections),
            "wire": wire_rows(("vendor", "protocol"), sockets),
            "bills": rows(("vendor", "counts"), self.bills_now()),
            "exits": [
                {
                    "vendor": vendor,
                    "sessions": self.sessions[vendor],
                    "used": len(self.exits.get(vendor, ())),
                }
                for vendor in sorted({*self.exits, *self.sessions})
            ],
            "refusals": rows(("vendor", "code"), self.refusals),
            "open": len(self.open),
        }

    def as_metrics(self) -> str:
        # A connection whose protocol is not decided would move between rows: a counter that falls.
        wire = self._wire_now(all_open=False)
        sockets = {key[:2]: n for key, n in wire.items() if key[2] == "connections"}
        wire_bytes = {
            (*key[:2], key[2].removeprefix("bytes_")): n
            for key, n in wire.items()
            if key[2] != "connections"
        }
        by_vendor, protocol = ("vendor",), ("vendor", "protocol")
        outcome, directed = ("vendor", "visibility", "outcome"), ("vendor", "direction")
        pool = ("vendor", "pool", "outcome")
        used = labelled(by_vendor, {vendor: len(exits) for vendor, exits in self.exits.items()})
        families = [
            counter("requests", "Requests by what was done with them.", outcome, self.counts),
            counter("pool_requests", "Those of a pool.", pool, self.pools),
            counter("connections", "Connections accepted.", by_vendor, self.connections),
            counter("opaque_connections", "Closed opaque connections.", by_vendor, self.opaque),
            counter("opaque_bytes", "Their socket bytes.", directed, self.bytes),
            counter("wire_connections", "All sockets by what came first.", protocol, sockets),
            counter("wire_bytes", "Their bytes up to now.", (*protocol, "direction"), wire_bytes),
            counter("refusals", "The vendor's refusals.", ("vendor", "code"), self.refusals),
            counter("sessions", "Sessions begun.", by_vendor, self.sessions),
            ("exits_used", "gauge", "Exit addresses used until now.", used),
            gauge("open_connections", "Connections open now.", len(self.open)),
        ]
        named = [(f"vendor_{family[0]}", *family[1:]) for family in families]
        return exposition([*named, start_time_family(self.started_seconds)])
