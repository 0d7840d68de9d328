"""One line of the benchmark table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A ratio, the goal it should not exceed (None: only reported), and what stands behind it."""

    name: str
    ratio: float
    goal: float | None
    note: str

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.ratio <= self.goal

    def as_json(self) -> dict[str, Any]:
        return {
            "measure": self.name,
            "ratio": round(self.ratio, 3),
            "goal": self.goal,
            "met": self.met,
            "note": self.note,
        }
