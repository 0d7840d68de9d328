"""One row of the benchmark table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["x", "MB", "s", "ms", "sockets", "counts", "cores"]
"""`x` is a ratio; MB are 10^6 bytes."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure, its goal (None: only reported), and what stands behind it.

    The figure should not exceed its goal, or reach it where that is `at_least`.

    `value` is None where it could not be measured; the note says why.
    """

    name: str
    value: float | None
    unit: Unit = "x"
    goal: float | None = None
    at_least: bool = False
    note: str

    @property
    def met(self) -> bool | None:
        if self.goal is None or self.value is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        return {
            "measure": self.name,
            "ratio": None if self.value is None else round(self.value, 3),
            "unit": self.unit,
            "goal": self.goal,
            "met": self.met,
            "note": self.note,
        }


def cpu_ratio(
    name: str, ours: Sequence[float], other: Sequence[float], *, goal: float | None = None
) -> Measure:
    """Compare two contenders' CPU seconds a request, round by round.

    Raises:
        ValueError: not as many rounds of one as of the other.
    """
    ratios = [one / another for one, another in zip(ours, other, strict=True)]
    microseconds = [statistics.median(rounds) * 1e6 for rounds in (ours, other)]
    return Measure(
        name=name,
        value=statistics.median(ratios),
        goal=goal,
        note=(
            f"{microseconds[0]:.0f} us / {microseconds[1]:.0f} us; "
            f"{len(ratios)} rounds, {min(ratios):.2f} to {max(ratios):.2f}"
        ),
    )


def table(measures: Sequence[Measure]) -> str:
    """Return the rows as text, columns aligned."""
    cells = [("measure", "ratio", "goal", "met", "")]
    for measure in measures:
        met = {None: "-", True: "yes", False: "no"}[measure.met]
        value, goal = _figure(measure.value, measure.unit), _figure(measure.goal, measure.unit)
        goal = f">= {goal}" if measure.at_least else goal
        cells.append((measure.name, value, goal, met, measure.note))
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = []
    for name, value, goal, met, note in cells:
        columns = [
            f"{name:<{widths[0]}}",
            f"{value:>{widths[1]}}",
            f"{goal:>{widths[2]}}",
            f"{met:>{widths[3]}}",
            note,
        ]
        lines.append("  ".join(columns).rstrip())
    return "\n".join(lines)


def _figure(value: float | None, unit: Unit) -> str:
    if value is None:
        return "-"
    if unit == "x":
        return f"{value:.2f}"
    return f"{value:.2f} cores" if unit == "cores" else f"{value:.1f} {unit}"
