"""What an audit says: a table for people, JSON for programs, one line a finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.ledger import AWAY, Audit, Event, Line, clock
from audit.series import OPAQUE_BYTES, WIRE_BYTES

Json = dict[str, Any]

MOST_EXPLAINED = 0.001  # share of all counts, or bytes; more than that is a finding too


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A process that was ended deliberately, from `after` to `before` (when it was up again)."""

    name: str
    kind: str
    """Of the event it must leave; of Prometheus, "prometheus"."""
    after: float
    before: float

    def is_behind(self, event: Event) -> bool:
        """Whether the event is this stop's doing."""
        overlaps = event.after <= self.before and self.after <= event.before
        return event.kind == self.kind and overlaps

    def as_json(self) -> Json:
        return vars(self)


@dataclass(frozen=True, kw_only=True)
class Report:
    """An audit with what is known of the run; `gaps` are when Prometheus scraped nobody."""

    audit: Audit
    gaps: Sequence[tuple[float, float]]
    stops: Sequence[Stop] = ()
    seconds: float = 0.0
    more: Json = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Explained differences as a part of all counts."""
        return self.audit.explained / self.audit.counts if self.audit.counts else 0.0

    @property
    def judged(self) -> int:
        """Explained counts that no deliberate stop is behind."""
        return sum(self.audit.explained_by(event) for event in self._untold)

    @property
    def _untold(self) -> list[Event]:
        """Events that no deliberate stop is behind."""
        return [
            event
            for event in self.audit.events
            if not any(stop.is_behind(event) for stop in self.stops)
        ]

    @property
    def findings(self) -> list[str]:
        found = [_unexplained(line) for line in self.audit.lines if line.unexplained]
        found += [_unexplained(line) for line in self.audit.byte_lines if line.unexplained]
        found += self.audit.loose
        found += self._uncompared()
        found += _too_much(self.judged, self.audit.counts, "counts")
        for measure in (OPAQUE_BYTES, WIRE_BYTES):
            lines = [line for line in self.audit.byte_lines if line.row.measure == measure]
            judged = sum(line.explained_by(event) for line in lines for event in self._untold)
            found += _too_much(judged, sum(line.most for line in lines), measure)
        for stop in self.stops:
            seen = any(stop.is_behind(event) for event in self.audit.events) or (
                stop.kind == "prometheus"
                and any(a <= stop.before and stop.after <= b for a, b in self.gaps)
            )
            if not seen:
                found.append(
                    f"{stop.name}: was stopped at {clock(stop.after)}, and no book shows it"
                )
        return found

    def _uncompared(self) -> list[str]:
        """Return findings for each book that was not read while another counted on."""
        found = []
        for book, whose in (("mesh", "its sidecar's"), ("vendor_books", "all generators'")):
            several = [one for one in self.audit.uncompared if one.book == book]
            counts = sum(one.counts for one in several)
            if counts > MOST_EXPLAINED * (self.audit.counts + counts):
                found += [
                    f"{one.says}: its books and {whose} were not both scraped: "
                    f"{one.counts} counts are not compared"
                    for one in several
                    if one.counts
                ]
        return found

    def as_json(self) -> Json:
        audit = self.audit
        return {
            "status": 1 if self.findings else 0,
            "window": {"from": audit.begun, "until": audit.ended},
            "counts": audit.counts,
            "explained": audit.explained,
            "unexplained": audit.unexplained,
            "share_explained": round(self.share, 6),
            "rows": [_row(line) for line in audit.lines],
            "bytes": [_byte_row(line) for line in audit.byte_lines],
            "events": [
                event._asdict() | {"explained": audit.explained_by(event)} for event in audit.events
            ],
            "stops": [stop.as_json() for stop in self.stops],
            "prometheus_away": [{"after": a, "before": b} for a, b in self.gaps],
            "in_flight": dict(zip(("at_start", "at_end"), audit.in_flight, strict=True)),
            "seconds": round(self.seconds, 1),
            "uncompared": [one._asdict() for one in audit.uncompared],
            "findings": self.findings,
            **self.more,
        }

    def lines(self) -> list[str]:
        """Return the table and what explains its differences."""
        audit = self.audit
        found = [
            f"{'vendor':<10}{'visibility':<12}{'outcome':<18}{'generator':>10}{'vendors':>10}"
            f"{'mesh':>10}{'diff':>7}{'explained':>11}{'unexplained':>13}"
        ]
        for line in audit.lines:
            row = line.row
            found.append(
                f"{row.vendor:<10}{row.visibility:<12}{row.what:<18}{line.generator:>10}"
                f"{_or_dash(line.vendor_books):>10}{line.mesh:>10}{line.difference:>7}"
                f"{line.explained:>11}{line.unexplained:>13}"
            )
        found.append("  vendors '-': the vendor cannot know of what never reached it")
        found.append(
            f"\n{'vendor':<10}{'bytes':<16}{'':<10}{'generator':>16}{'vendors':>16}{'mesh':>16}"
            f"{'explained':>14}{'unexplained':>13}"
        )
        for line in audit.byte_lines:
            row = line.row
            found.append(
                f"{row.vendor:<10}{row.measure:<16}{row.what:<10}{_or_dash(line.generator):>16}"
                f"{_or_dash(line.vendor_books):>16}{line.mesh:>16}"
                f"{line.explained:>14}{line.unexplained:>13}"
            )
        found += [*self._apart(), "", *self._explanations()]
        found.append(
            f"window      {clock(audit.begun)} to {clock(audit.ended)}; in flight "
            f"{audit.in_flight[0]} at its start, {audit.in_flight[1]} at its end"
        )
        found.append(
            f"audit: {audit.counts} counts, {audit.unexplained} unexplained, "
            f"{audit.explained} explained ({self.share:.4%})"
        )
        return found

    def _apart(self) -> list[str]:
        """Say why wire bytes that are no finding differ all the same."""
        lines = [
            line
            for line in self.audit.byte_lines
            if line.apart_seconds and line.difference and not line.unexplained and not line.parts
        ]
        if not lines:
            return []
        seconds = max(line.apart_seconds for line in lines)
        share = max(abs(line.difference) / line.most for line in lines)
        return [
            f"  wire bytes: the vendors' are read up to {seconds:.1f} s after the mesh's; what",
            "  open connections carry meanwhile is in theirs alone: "
            f"here up to {share:.2%}, no difference",
        ]

    def _explanations(self) -> list[str]:
        found = []
        for event in self.audit.events:
            parts = [p for line in self.audit.lines for p in line.parts if p.event == event]
            if event.what == AWAY and not parts:
                continue  # a scrape that failed, and no more
            found.append(f"explained   {event.says()}: {self.audit.explained_by(event)} counts")
            for book, who in (("mesh", "the mesh"), ("vendor_books", "the vendors")):
                less = -sum(p.amount for p in parts if p.book == book and p.amount < 0)
                more = sum(p.amount for p in parts if p.book == book and p.amount > 0)
                if less or more:
                    found.append(
                        f"{'':12}{who}: {less} less than the generator in some rows, "
                        f"{more} more in others"
                    )
        found += [
            f"explained   Prometheus scraped nobody between {clock(a)} and {clock(b)}: no count "
            "is lost by that alone"
            for a, b in self.gaps
        ]
        return found


def _too_much(explained: int, of: int, what: str) -> list[str]:
    if explained <= MOST_EXPLAINED * of:
        return []
    share = f"{explained / of:.2%}, " if of else ""
    return [
        f"explained differences: {explained} of {of} {what}, {share}are more than "
        f"{MOST_EXPLAINED:.1%}"
    ]


def _unexplained(line: Line) -> str:
    row = line.row
    what = (
        f"{row.visibility} {row.what}" if row.measure == "counts" else f"{row.measure} {row.what}"
    )
    return (
        f"{row.vendor} {what}: generator {_or_dash(line.generator)}, "
        f"vendors {_or_dash(line.vendor_books)}, mesh {line.mesh}: "
        f"{line.unexplained} unexplained ({line.cause})"
    )


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _row(line: Line) -> Json:
    return {
        "vendor": line.row.vendor,
        "visibility": line.row.visibility,
        "outcome": line.row.what,
        **_numbers(line),
    }


def _byte_row(line: Line) -> Json:
    return {
        "vendor": line.row.vendor,
        "bytes": line.row.measure.removesuffix(" bytes"),
        "direction": line.row.what,
        **_numbers(line),
    }


def _numbers(line: Line) -> Json:
    return {
        "generator": line.generator,
        "vendor_books": line.vendor_books,
        "mesh": line.mesh,
        "difference": line.difference,
        "cause": line.cause,
        "explained": line.explained,
        "unexplained": line.unexplained,
        "parts": [
            {
                "cause": part.event.says(),
                "book": part.book,
                "amount": part.amount,
                "at_most": part.at_most,
            }
            for part in line.parts
        ],
    }
