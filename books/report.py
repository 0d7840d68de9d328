"""What a comparison shows: a table for people, JSON for programs, one line a finding."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from books.comparison import Comparison, compare
from books.counters import COUNTS, OPAQUE_BYTES, WIRE_BYTES
from books.events import AWAY, Event, clock
from books.prometheus import Prometheus
from books.reading import NothingToCompareError, books_from_series, quiet_times, selectors
from books.row import MESH, VENDOR_BOOKS, Row, explained_by

Json = dict[str, Any]

MOST_EXPLAINED = 0.001  # share of all counts, or bytes; a monitoring that loses more is a finding


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A part of the lab that was stopped on purpose at `after` and ready again at `before`.

    `kind` is that of the event it must leave, or "prometheus".
    """

    name: str
    kind: str
    after: float
    before: float

    def is_behind(self, event: Event) -> bool:
        return event.kind == self.kind and self.overlaps(event.after, event.before)

    def overlaps(self, after: float, before: float) -> bool:
        return after <= self.before and self.after <= before


@dataclass(frozen=True, kw_only=True)
class Report:
    """A comparison, and what is known of the run.

    Attributes:
        comparison: the rows.
        gaps: from when to when Prometheus scraped no process.
        stops: what was stopped on purpose.
        seconds: how long the run took.
        more: further keys of the JSON.
        more_findings: those that no book shows.
    """

    comparison: Comparison
    gaps: Sequence[tuple[float, float]] = ()
    stops: Sequence[Stop] = ()
    seconds: float = 0.0
    more: Json = field(default_factory=dict)
    more_findings: Sequence[str] = ()

    @property
    def share_explained(self) -> float:
        return self.comparison.explained / self.comparison.counts if self.comparison.counts else 0.0

    @property
    def findings(self) -> list[str]:
        compared = self.comparison
        rows = [*compared.count_rows, *compared.byte_rows]
        accidents = [
            event
            for event in compared.events
            if not any(stop.is_behind(event) for stop in self.stops)
        ]
        found = [difference(row) for row in rows if row.unexplained]
        found += compared.problems
        explained = sum(compared.explained_by(event) for event in accidents)
        found += _too_much(explained, compared.counts, "counts")
        for measure in (OPAQUE_BYTES, WIRE_BYTES):
            some = [row for row in compared.byte_rows if row.key.measure == measure]
            explained = sum(explained_by(event, some) for event in accidents)
            found += _too_much(explained, sum(row.largest for row in some), measure)
        found += [
            f"{stop.name}: was stopped at {clock(stop.after)}, and no book shows it"
            for stop in self.stops
            if not any(stop.is_behind(event) for event in compared.events)
            and not (stop.kind == "prometheus" and any(stop.overlaps(*gap) for gap in self.gaps))
        ]
        return [*found, *self.more_findings]

    def as_json(self) -> Json:
        compared, findings = self.comparison, self.findings
        return {
            "status": 1 if findings else 0,
            "window": {"from": compared.begun, "until": compared.ended},
            "counts": compared.counts,
            "explained": compared.explained,
            "unexplained": compared.unexplained,
            "share_explained": round(self.share_explained, 6),
            "rows": [row.as_json() for row in compared.vendor_rows],
            "outside": compared.outside.as_json(),
            "bytes": [row.as_json() for row in compared.byte_rows],
            "events": [
                event._asdict() | {"explained": compared.explained_by(event)}
                for event in compared.events
            ],
            "stops": [vars(stop) for stop in self.stops],
            "prometheus_away": [{"after": a, "before": b} for a, b in self.gaps],
            "seconds": round(self.seconds, 1),
            "findings": findings,
            **self.more,
        }

    def lines(self) -> list[str]:
        """Return the table, and what explains its differences."""
        compared = self.comparison
        return [
            *table(compared),
            "",
            *self._explanations(),
            f"window      {clock(compared.begun)} to {clock(compared.ended)}",
            f"audit: {compared.counts} counts, {compared.unexplained} unexplained, "
            f"{compared.explained} explained ({self.share_explained:.4%})",
        ]

    def _explanations(self) -> list[str]:
        rows = self.comparison.count_rows
        explained = [(event, explained_by(event, rows)) for event in self.comparison.events]
        return [
            # An event that is no more than a failed scrape is not worth a line.
            *(f"explained   {e}: {n} counts" for e, n in explained if n or e.what != AWAY),
            *(
                f"explained   Prometheus scraped nothing from {clock(a)} to {clock(b)}: no count "
                "is lost by that alone"
                for a, b in self.gaps
            ),
        ]


def audit_report(
    prometheus: Prometheus,
    begin: float,
    until: float,
    *,
    all_from_zero: bool = False,
    since: float,
    **known: Any,
) -> Report:
    """Read what Prometheus holds of a window, and compare it.

    Args:
        prometheus: what to ask.
        begin: the window's start, in Prometheus' time.
        until: the window's end.
        all_from_zero: every process started within the window.
        since: when the run began, by time.monotonic().
        known: further fields of the report.

    Raises:
        PrometheusError: Prometheus does not answer.
        NothingToCompareError: Prometheus holds no counts of this window.
    """
    answers = (series for one in selectors() for series in prometheus.series(one, begin, until))
    books = books_from_series(answers, begun=begin, all_from_zero=all_from_zero)
    report = Report(
        comparison=compare(books),
        gaps=quiet_times(books),
        seconds=time.monotonic() - since,
        **known,
    )
    if not report.comparison.counts and not report.findings:
        raise NothingToCompareError("no count was made in this window; choose a longer WINDOW")
    return report


def table(compared: Comparison) -> list[str]:
    """Return the rows as lines of text."""
    heading = f"{'generator':>13}{'vendors':>13}{'mesh':>13}{'diff':>8}  cause"
    lines = [f"{'vendor':<10}{'visibility':<11}{'outcome':<17}{heading}"]
    lines += [_line(row, f"{row.key.visibility:<11}") for row in compared.count_rows]
    lines += [
        "  diff: the mesh's count minus the generator's (for bytes on the wire, the vendors')",
        "  vendors '-': the vendor cannot know of what never reached it",
        f"\n{'vendor':<10}{'bytes':<11}{'direction':<17}{heading}",
    ]
    lines += [
        _line(row, f"{row.key.measure.removesuffix(' bytes'):<11}") for row in compared.byte_rows
    ]
    if any(row.unexplained for row in compared.rows.values()):
        lines.append("  what each cause means, and where to look: docs/audit.md")
    return lines


def _line(row: Row, kind: str) -> str:
    numbers = "".join(f"{'-' if count is None else count:>13}" for count in row.books)
    name = f"{row.key.vendor:<10}{kind}{row.key.outcome:<17}"
    return f"{name}{numbers}{row.difference:>+8}  {row.cause or ''}".replace("+0", " 0").rstrip()


def difference(row: Row) -> str:
    """Return one line on a row of which a difference is unexplained."""
    key, reference = row.key, ("generator", row.generator)
    books = {MESH: ("mesh", row.mesh, row.difference)}
    if row.generator is None:
        reference = ("vendors", row.vendor_books)
    else:
        books[VENDOR_BOOKS] = ("vendors", row.vendor_books or 0, row.vendor_difference)
    differing = [books[book] for book in dict.fromkeys(book for book, _ in row.unexplained_moves)]
    parts = [
        f"{name} {value} - {reference[0]} {reference[1]} = {apart:+d}"
        for name, value, apart in differing
    ]
    if row.unexplained != sum(abs(apart) for _, _, apart in differing):
        parts.append(f"{row.unexplained} unexplained")
    kind = key.visibility if key.measure == COUNTS else key.measure
    return f"{key.vendor} {kind} {key.outcome}: {', '.join(parts)} ({row.cause})"


def _too_much(explained: int, whole: int, what: str) -> list[str]:
    if explained <= MOST_EXPLAINED * whole:
        return []
    share = f" ({explained / whole:.2%})" if whole else ""
    return [
        f"stopped processes lost {explained} of {whole} {what}{share}; more than "
        f"{MOST_EXPLAINED:.1%} is too much for figures to be relied on"
    ]
