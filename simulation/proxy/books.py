"""What every vendor did and saw, exactly."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Final, Protocol

from simulation.exposition import exposition, labelled, rows, start_time_family

WIRE_COLUMNS: Final = ("connections", "bytes_sent", "bytes_received")


class OnWire(Protocol):
    """An open connection, which knows its own bytes up to now."""

    @property
    def decided(self) -> bool: ...

    def add_to(self, wire: Counter[tuple[str, str, str]]) -> None: ...


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
        self.open: set[OnWire] = set()
        self.started_seconds = time.time()

    def _wire_now(self, *, all_open: bool) -> Counter[tuple[str, str, str]]:
        """Add the open sockets to the closed: all, or those whose protocol is decided."""
        wire = self.wire.copy()
        for connection in self.open:
            if all_open or connection.decided:
                connection.add_to(wire)
        return wire

    def as_json(self) -> dict[str, object]:
        wire = self._wire_now(all_open=True)
        return {
            "counts": rows(("vendor", "visibility", "outcome"), self.counts),
            "opaque": [
                {
                    "vendor": vendor,
                    "connections": count,
                    "bytes_sent": self.bytes[vendor, "sent"],
                    "bytes_received": self.bytes[vendor, "received"],
                }
                for vendor, count in sorted(self.opaque.items())
            ],
            "connections": rows(("vendor",), self.connections),
            "wire": [
                {
                    "vendor": vendor,
                    "protocol": protocol,
                    **{what: wire[vendor, protocol, what] for what in WIRE_COLUMNS},
                }
                for vendor, protocol in sorted({key[:2] for key in wire})
            ],
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
        by_vendor, directed = ("vendor",), ("vendor", "direction")
        used = {vendor: len(exits) for vendor, exits in self.exits.items()}
        counters = [
            (
                "requests",
                "Requests by what the vendor did with them.",
                labelled(("vendor", "visibility", "outcome"), self.counts),
            ),
            ("connections", "Connections accepted.", labelled(by_vendor, self.connections)),
            (
                "opaque_connections",
                "Closed connections that show no requests.",
                labelled(by_vendor, self.opaque),
            ),
            (
                "opaque_bytes",
                "Socket bytes of closed opaque connections.",
                labelled(directed, self.bytes),
            ),
            (
                "wire_connections",
                "Sockets by what came first, the open ones too.",
                labelled(("vendor", "protocol"), sockets),
            ),
            (
                "wire_bytes",
                "Socket bytes by what came first, of the open ones up to now.",
                labelled(("vendor", "protocol", "direction"), wire_bytes),
            ),
            (
                "refusals",
                "Refusals of the vendor's own, seen or not, by status.",
                labelled(("vendor", "code"), self.refusals),
            ),
            ("sessions", "Sessions begun.", labelled(by_vendor, self.sessions)),
        ]
        gauges = [
            ("exits_used", "Exit addresses used until now.", labelled(by_vendor, used)),
            ("open_connections", "Connections open now.", [("", len(self.open))]),
        ]
        return exposition(
            [
                *(
                    (f"vendor_{name}_total", "counter", what, found)
                    for name, what, found in counters
                ),
                *((f"vendor_{name}", "gauge", what, found) for name, what, found in gauges),
                start_time_family(self.started_seconds),
            ]
        )
