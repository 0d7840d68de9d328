"""The crawler's books as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence

from simulation.crawler.books import Books
from simulation.crawler.durations import Durations

Rows = list[tuple[str, ...]]


def table(books: Books) -> str:
    """Return the books as blocks of text: counts, latency, facts."""
    counts: Rows = [("vendor", "visibility", "outcome", "count")]
    counts += [(*key, f"{count:,}") for key, count in sorted(books.counts.items())]
    counts += [(who, "opaque", "-", f"{n:,}") for who, n in sorted(books.connections.items())]
    latency: Rows = [("latency ms", "counts", "mean", "most")]
    latency += [_latency(name, each) for name, each in sorted(books.latency.items())]
    if books.start_lag:
        latency.append(_latency("start lag", books.start_lag))
    blocks = [columns(counts, 3), columns(latency, 1), columns(_facts(books), 2)]
    return "\n\n".join(blocks)


def _latency(name: str, durations: Durations) -> tuple[str, ...]:
    shown = (durations.mean_seconds(), durations.most_seconds)
    return name, f"{durations.count:,}", *(f"{1000 * each:,.1f}" for each in shown)


def _facts(books: Books) -> Rows:
    seconds = max((books.ended_seconds or time.time()) - books.started_seconds, 1e-9)
    total, retries = books.total(), books.retries.total()
    sent = sum(wire.sent for wire in books.wire.values()) + books.bytes["outside", "sent"]
    received = sum(wire.received for wire in books.wire.values())
    received += books.bytes["outside", "received"]
    facts: Rows = [
        ("counts", f"{total:,} in {seconds:.1f} s, {total / seconds:,.1f}/s"),
        ("requests", f"{books.requests:,}, and {retries:,} retries"),
        ("in flight", f"{books.in_flight_most:,} at most"),
        ("bytes", f"sent {sent:,}, received {received:,}"),
    ]
    if books.bans:
        facts.append(("bans", f"{books.bans.total():,}"))
    if budget := books.budget:
        used = f"{budget.used_bytes():,} of {budget.limit_bytes:,} bytes used today"
        facts.append(("budget", f"{used}, {budget.stops:,} stops"))
    facts += [("note", note) for note in books.notes()]
    if books.partial:
        facts.append(("partial", "a signal ended the run before its plan"))
    return facts


def columns(rows: Sequence[tuple[str, ...]], texts: int) -> str:
    """Return rows as lines; all but the first `texts` columns are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ["<" if at < texts else ">" for at in range(len(widths))]
    cells = list(zip(aligned, widths, strict=True))
    return "\n".join(
        "  ".join(
            f"{cell:{side}{width}}" for cell, (side, width) in zip(row, cells, strict=True)
        ).rstrip()
        for row in rows
    )
