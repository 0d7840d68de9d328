"""What stands in the way, or may."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MOST_NAMED = 10
"""Objects that one check names; a cluster may have thousands of the same kind."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line.

    Attributes:
        level: `refuse` stands in the way, `warn` is for the operator to know.
        text: "what: value reason; fix".
    """

    level: Literal["refuse", "warn"]
    text: str

    def line(self) -> str:
        return f"{self.level}: {self.text}"


def refuse(text: str) -> Finding:
    return Finding(level="refuse", text=text)


def warn(text: str) -> Finding:
    return Finding(level="warn", text=text)


def listed(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    every = [*dict.fromkeys(names)]
    more = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(every[:MOST_NAMED]) + more
