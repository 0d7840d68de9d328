"""Three sets of books, row by row: what differs, and how much of that a stop explains.

The mesh is compared with the generator pod by pod, the vendors with all generators together: a
vendor does not know its customers' pods. Bytes on the wire are the mesh's and the vendors'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from books.causes import name_causes, when
from books.counters import (
    CONNECTION,
    COUNTS,
    OPAQUE_BYTES,
    OUTSIDE,
    VENDOR_CANNOT_KNOW,
    WIRE_BYTES,
    Books,
    Key,
    Process,
)
from books.events import SIDECAR, VENDOR, Event, clock, events_of
from books.explanation import ALL, bytes_allow, mesh_allows, vendors_allow
from books.row import MESH, VENDOR_BOOKS, Row, explained_by
from books.side_by_side import SideBySide

# One side counts a request before the other does, beside the time it is in flight: an event loop's
# turn and a socket's way, which are seconds on an overloaded machine.
LAG_SECONDS = 1.5
WIRE_TOLERANCE = 0.001  # only one side sees the bytes under way when a connection is reset
EDGE_INTERVALS = 3  # scrapes at the window's ends that one side may lack


@dataclass(kw_only=True)
class Comparison:
    """What the books of one window show; `problems` are findings that belong to no row."""

    rows: dict[Key, Row] = field(default_factory=dict)
    events: list[Event]
    problems: list[str] = field(default_factory=list)
    begun: float = 0.0
    ended: float = 0.0

    @property
    def count_rows(self) -> list[Row]:
        rows = [row for key, row in sorted(self.rows.items()) if key.measure == COUNTS]
        return [row for row in rows if row.key.outcome != ALL and not row.is_empty]

    @property
    def byte_rows(self) -> list[Row]:
        return [row for key, row in sorted(self.rows.items()) if key.measure != COUNTS]

    @property
    def vendor_rows(self) -> list[Row]:
        return [row for row in self.count_rows if row.key.vendor != OUTSIDE]

    @property
    def outside(self) -> Row:
        """Connections outside every range; they come on top of the vendors' counts."""
        key = Key(COUNTS, OUTSIDE, "opaque", CONNECTION)
        return self.rows.get(key, Row(key=key, generator=0, mesh=0))

    @property
    def counts(self) -> int:
        return sum(row.generator or 0 for row in self.vendor_rows)

    @property
    def exact(self) -> int:
        """How many of the generator's counts all books have under one key, and once only."""
        return sum(row.exact for row in self.vendor_rows)

    @property
    def unexplained(self) -> int:
        return sum(row.unexplained for row in self.count_rows)

    @property
    def explained(self) -> int:
        return sum(self.explained_by(event) for event in self.events)

    def explained_by(self, event: Event) -> int:
        return explained_by(event, self.count_rows)


def compare(books: Books, *, lag_seconds: float = LAG_SECONDS) -> Comparison:
    """Compare all books of one window.

    Args:
        books: what every process counted.
        lag_seconds: how far apart two processes may count the same thing; 0 once all is at rest.
    """
    found = Comparison(
        events=events_of(books),
        problems=[
            *(f"{pod}: its sidecar is not scraped: not compared" for pod in books.without_sidecar),
            *(f"{name}: was never up in this window: not compared" for name in books.never_up),
        ],
        begun=min(
            (one.scrapes[0].began for one in (*books.generators, *books.sidecars)), default=0.0
        ),
    )
    edge_seconds = lag_seconds + EDGE_INTERVALS * books.interval_seconds
    _compare_mesh(found, books, lag_seconds, edge_seconds)
    _compare_vendors(found, books, lag_seconds, edge_seconds)
    found.problems += _sums_that_differ(found.rows.values())
    _compare_wire(found, books, lag_seconds)
    name_causes(found.count_rows)
    name_causes(found.byte_rows)
    return found


def _compare_mesh(found: Comparison, books: Books, lag_seconds: float, edge_seconds: float) -> None:
    allows = mesh_allows(books.vendor_processes(), books.passive_vendors())
    for pod in books.pods:
        name, own = pod.generator.name, (pod.generator.name, pod.sidecar.name)
        mesh = SideBySide(
            other=[_with_sums(pod.sidecar)],
            reference=[_with_sums(pod.generator)],
            events=[e for e in found.events if e.kind == VENDOR or e.name in own],
            allows=allows,
            lag_seconds=lag_seconds,
        )
        found.problems += _silences(name, "its sidecar's", mesh, edge_seconds)
        found.ended = max(found.ended, mesh.ended)
        for key in mesh.keys(COUNTS, OPAQUE_BYTES) if mesh.is_comparable else ():
            # A pod has other traffic outside every range. Only connections are counted there.
            is_meant = key.measure == COUNTS and key in pod.generator.totals
            if key.vendor == OUTSIDE and not is_meant:
                continue
            moves, total = mesh.moves(key), mesh.other_total(key)
            difference = sum(move.amount for move in moves)
            row = found.rows.setdefault(key, Row(key=key, generator=0, mesh=0))
            row.mesh += total
            row.difference += difference
            row.generator = (row.generator or 0) + total - difference
            row.moves += [(MESH, move) for move in moves]


def _compare_vendors(
    found: Comparison, books: Books, lag_seconds: float, edge_seconds: float
) -> None:
    for vendor, names in sorted(books.vendor_processes().items()) if books.pods else ():
        generators = {one.name: _known_to(vendor, one) for one in books.generators}
        side_by_side = SideBySide(
            other=[_known_to(vendor, one) for one in books.vendors if one.name in names],
            reference=[*generators.values()],
            events=[e for e in found.events if e.kind != VENDOR or e.name in names],
            allows=vendors_allow,
            lag_seconds=lag_seconds,
            requests_first=True,
            generators={pod.sidecar.name: generators[pod.generator.name] for pod in books.pods},
        )
        keys = {key for key in found.rows if key.vendor == vendor}
        if keys or side_by_side.is_comparable:
            found.problems += _silences(vendor, "all generators'", side_by_side, edge_seconds)
        if vendor != OUTSIDE:
            keys.update(side_by_side.keys(COUNTS, OPAQUE_BYTES))
        for key in sorted(keys) if side_by_side.is_comparable else ():
            if key.outcome not in VENDOR_CANNOT_KNOW:
                moves = side_by_side.moves(key)
                row = found.rows.setdefault(key, Row(key=key, generator=0, mesh=0))
                row.vendor_difference = sum(move.amount for move in moves)
                row.vendor_books = (row.generator or 0) + row.vendor_difference
                row.moves += [(VENDOR_BOOKS, move) for move in moves]


def _compare_wire(found: Comparison, books: Books, lag_seconds: float) -> None:
    """Compare bytes on the wire. The generator's are other bytes: those up to its sidecar."""
    for vendor, names in sorted(books.vendor_processes().items()) if books.pods else ():
        wire = SideBySide(
            other=books.sidecars,
            reference=[one for one in books.vendors if one.name in names],
            events=[e for e in found.events if e.kind == SIDECAR or e.name in names],
            allows=bytes_allow,
            lag_seconds=lag_seconds,
            tolerance=WIRE_TOLERANCE,
        )
        keys = [k for k in wire.keys(WIRE_BYTES) if k.vendor == vendor and vendor != OUTSIDE]
        if keys:
            found.problems += _silences(f"{vendor} wire bytes", "all sidecars'", wire, math.inf)
        for key in keys if wire.is_comparable else ():
            mesh, own = wire.other_total(key), wire.reference_total(key)
            row = Row(key=key, generator=None, mesh=mesh, vendor_books=own, difference=mesh - own)
            row.moves = [(MESH, move) for move in wire.moves(key)]
            found.rows[key] = row


def _silences(name: str, others: str, books: SideBySide, edge_seconds: float) -> list[str]:
    """Return findings on the times in which only one side was scraped."""
    if not books.is_comparable:
        return [f"{name}: no moment at which its books and {others} were read"]
    return [
        f"{name}: not compared from {clock(after)} to {clock(before)}, when its books and {others} "
        "were not both scraped"
        for after, before in books.unread(edge_seconds)
    ]


def _known_to(vendor: str, process: Process) -> Process:
    """Return the process with only those of its keys that a vendor knows."""
    totals = {
        key: values
        for key, values in process.totals.items()
        if key.vendor == vendor and key.outcome not in VENDOR_CANNOT_KNOW
    }
    return _with_sums(replace(process, totals=totals))


def _with_sums(process: Process) -> Process:
    """Add a key for each vendor and visibility: counts that changed their outcome still add up."""
    sums: dict[Key, list[int]] = {}
    for key, values in process.totals.items():
        if key.measure == COUNTS and key.visibility != "opaque":
            total = key._replace(outcome=ALL)
            known = sums.get(total, [0] * len(values))
            sums[total] = [a + b for a, b in zip(known, values, strict=True)]
    return replace(process, totals={**process.totals, **sums})


def _sums_that_differ(rows: Iterable[Row]) -> list[str]:
    """Name vendors of whom each row is explained, but whose rows do not add up."""
    rows = list(rows)
    reported = {row.key[:3] for row in rows if row.key.outcome != ALL and row.unexplained}
    return [
        f"{row.key.vendor} {row.key.visibility}: its rows do not add up, {row.unexplained} "
        f"unexplained ({', '.join(when(*move) for move in row.unexplained_moves)})"
        for row in sorted(rows, key=lambda row: row.key)
        if row.key.outcome == ALL and row.unexplained and row.key[:3] not in reported
    ]
