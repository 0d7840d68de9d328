"""Three sets of books side by side: the generator's, the vendors', the mesh's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Key = tuple[str, str, str]
"""(vendor, visibility, outcome); an opaque connection's outcome is CONNECTION."""

Json = dict[str, Any]
K = TypeVar("K")

CONNECTION = "connection"
OUTSIDE = "outside"  # the vendors' process books the address outside every range under this

# The vendor cannot know of them: nothing reached it.
UNKNOWN_TO_VENDOR = frozenset({"connect_failed", "rejected"})


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the comparison; `vendor_books` is None where the vendor cannot know."""

    vendor: str
    visibility: str
    outcome: str
    generator: int
    vendor_books: int | None
    mesh: int
    cause: str | None

    @property
    def difference(self) -> int:
        return self.mesh - self.generator

    @property
    def vendor_difference(self) -> int:
        return 0 if self.vendor_books is None else self.vendor_books - self.generator

    def as_json(self) -> Json:
        return {
            "vendor": self.vendor,
            "visibility": self.visibility,
            "outcome": self.outcome,
            "generator": self.generator,
            "vendor_books": self.vendor_books,
            "mesh": self.mesh,
            "difference": self.difference,
            "cause": self.cause,
        }


@dataclass(frozen=True, kw_only=True)
class Books:
    """Counts by key, and bytes by (vendor, direction); `sent` is towards the vendor.

    `opaque_bytes` are of opaque connections, `wire_bytes` of all between Envoy and the vendor
    (which the generator cannot know), `protocols` are counts by what the crawler spoke (which
    only the generator knows).
    """

    counts: Mapping[Key, int]
    opaque_bytes: Mapping[tuple[str, str], int]
    outside_connections: int
    wire_bytes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    protocols: Mapping[str, int] = field(default_factory=dict)


def crawler_books(raw: Json) -> Books:
    """Read the books that `simulation.crawler` wrote."""
    return Books(
        counts=_counts(raw),
        opaque_bytes={
            (entry["vendor"], direction): entry[f"bytes_{direction}"]
            for entry in raw["opaque"]
            for direction in ("sent", "received")
        },
        outside_connections=raw["outside"]["connections"],
        protocols=_sums((entry["protocol"], entry["count"]) for entry in raw["protocols"]),
    )


def vendor_books(raw: Json) -> Books:
    """Read the books of `simulation.proxy`; what a vendor received, a crawler sent."""
    opposite = {"sent": "received", "received": "sent"}
    return Books(
        counts={key: count for key, count in _counts(raw).items() if key[0] != OUTSIDE},
        opaque_bytes={
            (entry["vendor"], direction): entry[f"bytes_{opposite[direction]}"]
            for entry in raw["opaque"]
            for direction in ("sent", "received")
            if entry["vendor"] != OUTSIDE
        },
        outside_connections=sum(
            entry["connections"] for entry in raw["opaque"] if entry["vendor"] == OUTSIDE
        ),
        wire_bytes=_sums(
            ((entry["vendor"], direction), entry[f"bytes_{opposite[direction]}"])
            for entry in raw["wire"]
            for direction in ("sent", "received")
            if entry["vendor"] != OUTSIDE
        ),
    )


def mesh_books(
    requests: Iterable[Json],
    connections: Iterable[Json],
    sent: Iterable[Json],
    received: Iterable[Json],
    passthrough: Iterable[Json],
    wire_sent: Iterable[Json],
    wire_received: Iterable[Json],
) -> Books:
    """Read Prometheus' vectors; Istio's `received` is what came from the crawler."""
    counts = {
        (
            sample["metric"].get("proxy_vendor", ""),
            sample["metric"].get("proxy_visibility", ""),
            sample["metric"].get("proxy_outcome", ""),
        ): _value(sample)
        for sample in requests
    } | {
        (sample["metric"].get("proxy_vendor", ""), "opaque", CONNECTION): _value(sample)
        for sample in connections
    }
    return Books(
        counts={key: count for key, count in counts.items() if count},
        opaque_bytes={
            (sample["metric"].get("proxy_vendor", ""), direction): _value(sample)
            for direction, samples in (("sent", received), ("received", sent))
            for sample in samples
        },
        outside_connections=sum(_value(sample) for sample in passthrough),
        wire_bytes={
            (sample["metric"].get("proxy_vendor", ""), direction): _value(sample)
            for direction, samples in (("sent", wire_sent), ("received", wire_received))
            for sample in samples
        },
    )


def compare(generator: Books, vendors: Books, mesh: Books) -> list[Row]:
    """Return a row for each key of any of the three, sorted; explain the differences."""
    keys = {*generator.counts, *vendors.counts, *mesh.counts}
    difference = {key: mesh.counts.get(key, 0) - generator.counts.get(key, 0) for key in keys}
    return [
        Row(
            vendor=key[0],
            visibility=key[1],
            outcome=key[2],
            generator=generator.counts.get(key, 0),
            vendor_books=None if key[2] in UNKNOWN_TO_VENDOR else vendors.counts.get(key, 0),
            mesh=mesh.counts.get(key, 0),
            cause=_cause(key, difference),
        )
        for key in sorted(keys)
    ]


def exact_counts(rows: Iterable[Row]) -> tuple[int, int]:
    """Return (counts that all three hold under one name, the generator's counts)."""
    exact = total = 0
    for row in rows:
        total += row.generator
        witnesses = [row.generator, row.mesh]
        if row.vendor_books is not None:
            witnesses.append(row.vendor_books)
        exact += min(witnesses)
    return exact, total


def _cause(key: Key, difference: Mapping[Key, int]) -> str | None:
    """Name where a surplus or a loss has its other half, if one place explains it."""
    own = difference[key]
    if own == 0:
        return None
    vendor, visibility, outcome = key
    halves = Counter(
        {other: -value for other, value in difference.items() if value * own < 0}
    ).most_common()
    same_vendor = [o for o, _ in halves if o[:2] == (vendor, visibility)]
    same_outcome = [o for o, _ in halves if o[1:] == (visibility, outcome)]
    if same_vendor:
        return f"counted as {same_vendor[0][2]}" if own < 0 else f"from {same_vendor[0][2]}"
    if same_outcome:
        return f"counted as {same_outcome[0][0]}" if own < 0 else f"from {same_outcome[0][0]}"
    return "never seen by Envoy" if own < 0 else "not of the generator's making"


def _counts(raw: Json) -> dict[Key, int]:
    counts = {
        (entry["vendor"], entry["visibility"], entry["outcome"]): int(entry["count"])
        for entry in raw["counts"]
    } | {
        (entry["vendor"], "opaque", CONNECTION): int(entry["connections"])
        for entry in raw["opaque"]
    }
    return {key: count for key, count in counts.items() if count}


def _sums(pairs: Iterable[tuple[K, int]]) -> dict[K, int]:
    sums: dict[K, int] = {}
    for key, count in pairs:
        sums[key] = sums.get(key, 0) + count
    return sums


def _value(sample: Json) -> int:
    return round(float(sample["value"][1]))
