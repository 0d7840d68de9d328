"""Who the crawlers talk to, most bytes first: what every pod's tally adds up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from discover.names import Presets
from discover.reading import Destination, Seen, Tally
from settings.catalogue import Catalogue
from settings.stack import StackSettings
from settings.values.addresses import IPAddress

MOST_ROWS = 25  # that are printed; the JSON has MOST_IN_JSON
MOST_IN_JSON = 500
MOST_SERVER_NAMES = 3


@dataclass(kw_only=True)
class Row(Seen):
    """One destination of all pods."""

    destination: Destination
    workloads: set[str] = field(default_factory=set)
    name: str = ""
    preset: str = ""
    perhaps: bool = False
    """Whether the port alone suggests the preset."""

    @property
    def whose(self) -> str:
        if self.known:
            return self.known
        return f"{self.preset}{' (perhaps)' if self.perhaps else ''}"

    def as_json(self) -> dict[str, Any]:
        return {
            "address": str(self.destination.address),
            "port": self.destination.port,
            "connections": self.connections,
            "open": self.active,
            "logged_connections": self.logged,
            "bytes_sent": self.sent,
            "bytes_received": self.received,
            "workloads": sorted(self.workloads),
            "name": self.name or None,
            "server_names": sorted(self.server_names)[:MOST_SERVER_NAMES],
            "known": self.known or None,
            "preset": self.preset or None,
            "perhaps": self.perhaps,
        }


def rows_of(tallies: Iterable[tuple[str, Tally]]) -> list[Row]:
    """Return a row a destination from (workload, tally) of each pod, the largest first."""
    rows: dict[Destination, Row] = {}
    for workload, tally in tallies:
        for destination, seen in tally.seen.items():
            row = rows.setdefault(destination, Row(destination=destination))
            row.connections += seen.connections
            row.active += seen.active
            row.logged += seen.logged
            row.sent += seen.sent
            row.received += seen.received
            row.workloads.add(workload)
            row.server_names |= seen.server_names
            row.known = row.known or seen.known
    return sorted(rows.values(), key=_largest_first)


def _largest_first(row: Row) -> tuple[int, int, int, int, int]:
    bytes_ = row.sent + row.received
    address, port = row.destination
    # Addresses of both versions do not compare with each other.
    connections = max(row.connections, row.logged)
    return -bytes_, -connections, address.version, int(address), port


def recognise(
    rows: Iterable[Row],
    names: Mapping[IPAddress, str],
    presets: Presets,
    settings: StackSettings | None,
) -> None:
    """Say of each row what is known: by the stack, by DNS, or by a port that one vendor has."""
    catalogue = Catalogue.of(settings.vendors) if settings else Catalogue(())
    blocks = [
        (block, one.name)
        for one in (settings.destinations if settings else ())
        for block in one.cidrs
    ]
    for row in rows:
        address, port = row.destination
        route = catalogue.find(address, port)
        row.known = row.known or (route.vendor if route else "")
        row.known = row.known or next((name for block, name in blocks if address in block), "")
        row.name = names.get(address, "")
        row.preset = presets.of(row.name) if row.name else ""
        if not row.preset and not row.name and not row.known:
            row.preset = presets.by_port.get(port, "")
            row.perhaps = bool(row.preset)


HEADINGS = ("destination", "connections", "open", "MB", "name", "vendor or preset", "workloads")


def table(rows: list[Row], *, has_bytes: bool) -> str:
    """Return the largest rows as text."""
    lines = [HEADINGS]
    for row in rows[:MOST_ROWS]:
        megabytes = f"{(row.sent + row.received) / 1e6:.2f}" if has_bytes else "-"
        workloads = ", ".join(sorted(row.workloads)[:3]) + ", …" * (len(row.workloads) > 3)
        name = row.name or next(iter(sorted(row.server_names)), "-")
        connections = str(max(row.connections, row.logged))
        cells = (str(row.destination), connections, str(row.active), megabytes)
        lines.append((*cells, name, row.whose or "-", workloads))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.rjust(width) if place in (1, 2, 3) else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    if len(rows) > MOST_ROWS:
        text.append(f"… and {len(rows) - MOST_ROWS} smaller ones (OUT= has up to {MOST_IN_JSON})")
    return "\n".join(text)


def ports_of(rows: Iterable[Row]) -> Counter[int]:
    """Return how many connections went to each port."""
    ports: Counter[int] = Counter()
    for row in rows:
        ports[row.destination.port] += max(row.connections, row.logged)
    return ports
