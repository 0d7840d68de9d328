"""The crawler's books as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence

from simulation.crawler.books import Books


def table(books: Books) -> str:
    """Return the books as blocks of text: counts, latency, facts."""
    counts = [("vendor", "visibility", "outcome", "count")]
    counts += [(*key, f"{count:,}") for key, count in sorted(books.counts.items())]
    counts += [(who, "opaque", "-", f"{n:,}") for who, n in sorted(books.connections.items())]
    ended = books.ended_seconds or time.time()
    seconds = max(ended - books.started_seconds, 1e-9)
    total, retries = books.total(), books.retries.total()
    facts = [
        ("counts", f"{total:,} in {seconds:.1f} s, {total / seconds:,.1f}/s"),
        ("requests", f"{books.requests:,}, and {retries:,} retries"),
        ("in flight", f"{books.in_flight_most:,} at most"),
        (
            "bytes",
            f"sent {bytes_text(_sent(books))}, received {bytes_text(_received(books))}",
        ),
    ]
    if books.bans:
        facts.append(("bans", f"{books.bans.total():,}"))
    if books.budget:
        used, limit = books.budget.used_bytes(), books.budget.limit_bytes
        shown = f"{bytes_text(used)} of {bytes_text(limit)} used today"
        facts.append(("budget", f"{shown}, {books.budget.stops:,} stops"))
    facts += [("note", note) for note in books.notes()]
    if books.partial:
        facts.append(("partial", "a signal ended the run before its plan"))
    blocks = [columns(counts, 3), columns(_timing(books), 1), columns(facts, 2)]
    return "\n\n".join(block for block in blocks if block)


def _timing(books: Books) -> list[tuple[str, ...]]:
    rows = [(name, durations) for name, durations in sorted(books.latency.items())]
    if books.start_lag:
        rows.append(("start lag", books.start_lag))
    if not rows:
        return []
    found: list[tuple[str, ...]] = [("latency", "counts", "p50", "p95", "p99", "most")]
    for label, durations in rows:
        quantiles = [durations.quantile(share) for share in (0.5, 0.95, 0.99)]
        shown = [seconds_text(each) for each in (*quantiles, durations.most_seconds)]
        found.append((label, f"{durations.count:,}", *shown))
    return found


def _sent(books: Books) -> int:
    return sum(wire.sent for wire in books.wire.values()) + books.bytes["outside", "sent"]


def _received(books: Books) -> int:
    return sum(wire.received for wire in books.wire.values()) + books.bytes["outside", "received"]


def columns(rows: Sequence[tuple[str, ...]], texts: int) -> str:
    """Return rows as lines; all but the first `texts` columns are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [
        [
            cell.ljust(width) if at < texts else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def seconds_text(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def bytes_text(size: int) -> str:
    """Return bytes in decimal units: a vendor's GB is 10^9 bytes."""
    amount, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}"
