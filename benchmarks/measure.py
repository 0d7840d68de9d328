"""The rows of the benchmark table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["x", "MB", "kB", "s", "ms", "sockets", "counts", "cores", "bytes"]
"""`x` is a ratio; MB are 10^6 bytes."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure and the goal that it must not exceed; without a goal it is only reported."""

    name: str
    value: float
    unit: Unit = "x"
    goal: float | None = None
    note: str

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        return {
            "measure": self.name,
            "ratio": round(self.value, 3),
            "unit": self.unit,
            "goal": self.goal,
            "met": self.met,
            "note": self.note,
        }


def cpu_ratio(
    name: str, first: Sequence[float], second: Sequence[float], *, goal: float | None = None
) -> Measure:
    """Compare the CPU seconds a request of two proxies, round by round.

    Raises:
        ValueError: the two have different numbers of rounds.
    """
    ratios = [left / right for left, right in zip(first, second, strict=True)]
    microseconds = [statistics.median(rounds) * 1e6 for rounds in (first, second)]
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
    """Return the rows as text with aligned columns."""
    rows = [("measure", "ratio", "goal", "met", "")]
    for measure in measures:
        value, goal = (_figure(each, measure.unit) for each in (measure.value, measure.goal))
        met = {None: "-", True: "yes", False: "no"}[measure.met]
        rows.append((measure.name, value, goal, met, measure.note))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:4], widths[1:]), row[4]]).rstrip()
        for row in rows
    )


def _figure(value: float | None, unit: Unit) -> str:
    if value is None:
        return "-"
    if unit == "x":
        return f"{value:.2f}"
    return f"{value:.2f} cores" if unit == "cores" else f"{value:.1f} {unit}"
