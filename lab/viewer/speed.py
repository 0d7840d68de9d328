"""How long Prometheus takes for each panel of each board: panel, series, milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.viewer.questions import Questions

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One panel; `series` and `milliseconds` are of all its queries together."""

    board: str
    panel: str
    series: int
    milliseconds: float
    error: str = ""

    def as_json(self) -> Json:
        return asdict(self)


def measured(questions: Questions, asked: Mapping[str, Sequence[str]] | None = None) -> list[Row]:
    """Ask every panel's queries once, as a page would; by default for the board's time."""
    rows = []
    for uid, board in questions.boards.items():
        for panel in board["panels"]:
            if not panel.get("targets"):
                continue
            answers = questions.panel(uid, str(panel["id"]), asked or {})["targets"]
            rows.append(
                Row(
                    board=uid,
                    panel=panel.get("title", ""),
                    series=sum(len(one["series"]) for one in answers),
                    milliseconds=round(sum(one["ms"] for one in answers), 1),
                    error="; ".join(one["error"] for one in answers if "error" in one),
                )
            )
    return rows


def speed_table(rows: Sequence[Row]) -> str:
    """Return a line a panel, and last the slowest."""
    width = max((len(f"{row.board}: {row.panel}") for row in rows), default=0)
    lines = [
        f"{f'{row.board}: {row.panel}':<{width}}{row.series:>8}{row.milliseconds:>9.1f}"
        f"{'  ' + row.error if row.error else ''}"
        for row in rows
    ]
    slowest = max(rows, key=lambda row: row.milliseconds)
    return "\n".join(
        [
            f"{'panel':<{width}}{'series':>8}{'ms':>9}",
            *lines,
            f"slowest of {len(rows)}: {slowest.board}: {slowest.panel}, "
            f"{slowest.milliseconds:.1f} ms",
        ]
    )
