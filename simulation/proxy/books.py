"""What every vendor did and saw, exactly."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Final, Protocol

from simulation.exposition import Families, exposition, start_time_family

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
        """Of all sockets, the open ones up to now: all, or those whose protocol is decided."""
        wire = self.wire.copy()
        for connection in self.open:
            if all_open or connection.decided:
                connection.add_to(wire)
        return wire

    def _wire_lines(self) -> list[dict[str, object]]:
        wire = self._wire_now(all_open=True)
        return [
            {
                "vendor": vendor,
                "protocol": protocol,
                **{what: wire[vendor, protocol, what] for what in WIRE_COLUMNS},
            }
            for vendor, protocol in sorted({(vendor, protocol) for vendor, protocol, _ in wire})
        ]

    def as_json(self) -> dict[str, object]:
        return {
            "counts": [
                {"vendor": vendor, "visibility": visibility, "outcome": outcome, "count": count}
                for (vendor, visibility, outcome), count in sorted(self.counts.items())
            ],
            "opaque": [
                {
                    "vendor": vendor,
                    "connections": count,
                    "bytes_sent": self.bytes[vendor, "sent"],
                    "bytes_received": self.bytes[vendor, "received"],
                }
                for vendor, count in sorted(self.opaque.items())
            ],
            "connections": [
                {"vendor": vendor, "count": count}
                for vendor, count in sorted(self.connections.items())
            ],
            "wire": self._wire_lines(),
            "exits": [
                {
                    "vendor": vendor,
                    "sessions": self.sessions[vendor],
                    "used": len(self.exits.get(vendor, ())),
                }
                for vendor in sorted({*self.exits, *self.sessions})
            ],
            "refusals": [
                {"vendor": vendor, "code": code, "count": count}
                for (vendor, code), count in sorted(self.refusals.items())
            ],
            "open": len(self.open),
        }

    def as_metrics(self) -> str:
        # Undecided ones would move between rows: a counter that falls.
        wire = sorted(self._wire_now(all_open=False).items())
        families: Families = [
            (
                "vendor_requests_total",
                "counter",
                "Requests by what the vendor did with them.",
                [
                    (f'{{vendor="{vendor}",visibility="{visibility}",outcome="{outcome}"}}', count)
                    for (vendor, visibility, outcome), count in sorted(self.counts.items())
                ],
            ),
            (
                "vendor_connections_total",
                "counter",
                "Connections accepted.",
                [(f'{{vendor="{who}"}}', n) for who, n in sorted(self.connections.items())],
            ),
            (
                "vendor_opaque_connections_total",
                "counter",
                "Closed connections that show no requests.",
                [(f'{{vendor="{who}"}}', n) for who, n in sorted(self.opaque.items())],
            ),
            (
                "vendor_opaque_bytes_total",
                "counter",
                "Socket bytes of closed opaque connections.",
                [
                    (f'{{vendor="{vendor}",direction="{direction}"}}', count)
                    for (vendor, direction), count in sorted(self.bytes.items())
                ],
            ),
            (
                "vendor_wire_connections_total",
                "counter",
                "Sockets by what came first, the open ones too.",
                [
                    (f'{{vendor="{vendor}",protocol="{protocol}"}}', count)
                    for (vendor, protocol, what), count in wire
                    if what == "connections"
                ],
            ),
            (
                "vendor_wire_bytes_total",
                "counter",
                "Socket bytes by what came first, of the open ones up to now.",
                [
                    (
                        f'{{vendor="{vendor}",protocol="{protocol}",'
                        f'direction="{what.removeprefix("bytes_")}"}}',
                        size,
                    )
                    for (vendor, protocol, what), size in wire
                    if what != "connections"
                ],
            ),
            (
                "vendor_refusals_total",
                "counter",
                "Refusals of the vendor's own, seen or not, by status.",
                [
                    (f'{{vendor="{vendor}",code="{code}"}}', count)
                    for (vendor, code), count in sorted(self.refusals.items())
                ],
            ),
            (
                "vendor_sessions_total",
                "counter",
                "Sessions begun.",
                [(f'{{vendor="{who}"}}', n) for who, n in sorted(self.sessions.items())],
            ),
            (
                "vendor_exits_used",
                "gauge",
                "Exit addresses used until now.",
                [(f'{{vendor="{who}"}}', len(used)) for who, used in sorted(self.exits.items())],
            ),
            (
                "vendor_open_connections",
                "gauge",
                "Connections open now.",
                [("", len(self.open))],
            ),
            start_time_family(self.started_seconds),
        ]
        return exposition(families)
