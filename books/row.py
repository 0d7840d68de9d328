"""One row of the comparison: what generator, vendors and mesh counted under one key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from books.counters import COUNTS, Key
from books.events import Event
from books.explanation import Part, parts_of
from books.offset import Move

MESH, VENDOR_BOOKS = "mesh", "vendor_books"


@dataclass(kw_only=True)
class Row:
    """What was counted under one key; the same form for every target and for JSON.

    Attributes:
        generator: None where the generator cannot know: bytes on the wire.
        vendor_books: None where no vendor can know.
        difference: the mesh's minus the generator's; of bytes on the wire, minus the vendors'.
        vendor_difference: the vendors' minus the generator's.
        moves: how a book's offset moved, with the book's name.
        cause: why the books differ, if they do.
    """

    key: Key
    generator: int | None
    mesh: int
    vendor_books: int | None = None
    difference: int = 0
    vendor_difference: int = 0
    moves: list[tuple[str, Move]] = field(default_factory=list)
    cause: str | None = None

    @property
    def books(self) -> tuple[int | None, int | None, int]:
        return self.generator, self.vendor_books, self.mesh

    @property
    def explained(self) -> int:
        return sum(abs(move.amount) for _, move in self.moves if move.gap)

    @property
    def unexplained(self) -> int:
        return sum(abs(move.amount) for _, move in self.unexplained_moves)

    @property
    def unexplained_moves(self) -> list[tuple[str, Move]]:
        return [(book, move) for book, move in self.moves if not move.gap]

    @property
    def parts(self) -> list[Part]:
        return [part for book, move in self.moves for part in parts_of(move, book)]

    @property
    def largest(self) -> int:
        """What the book that counted most has."""
        return max(count or 0 for count in self.books)

    @property
    def exact(self) -> int:
        """What all books have, less what one of them has beyond the generator."""
        smallest = min(count for count in self.books if count is not None)
        return max(0, smallest - max(0, self.largest - (self.generator or 0)))

    @property
    def is_empty(self) -> bool:
        return not (self.largest or self.unexplained)

    def as_json(self) -> dict[str, Any]:
        key = self.key
        names = {"visibility": key.visibility, "outcome": key.outcome}
        if key.measure != COUNTS:
            names = {"bytes": key.measure.removesuffix(" bytes"), "direction": key.outcome}
        return {
            "vendor": key.vendor,
            **names,
            "generator": self.generator,
            "vendor_books": self.vendor_books,
            "mesh": self.mesh,
            "difference": self.difference,
            "cause": self.cause,
            "explained": self.explained,
            "unexplained": self.unexplained,
            "parts": [
                {
                    "cause": str(part.event),
                    "book": part.book,
                    "amount": part.amount,
                    "at_most": part.at_most,
                }
                for part in self.parts
            ],
        }


def explained_by(event: Event, rows: Iterable[Row]) -> int:
    """Return how much of these rows an event explains, each count once.

    A count that moved is missing in one row and too many in another, and what one process forgot
    differs from both other books.
    """
    sums: Counter[tuple[str, str, str, bool]] = Counter()
    for row in rows:
        for part in row.parts:
            if part.event == event:
                where = row.key.vendor, row.key.visibility, part.book, part.amount > 0
                sums[where] += abs(part.amount)
    most: dict[tuple[str, str], int] = {}
    for (vendor, visibility, _, _), amount in sums.items():
        most[vendor, visibility] = max(most.get((vendor, visibility), 0), amount)
    return sum(most.values())
