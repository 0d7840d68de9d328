"""The words of a report: the same lines for a terminal and, as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MOST_LINES = 20
"""Of one part. A list of a thousand ranges would hide the parts below it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A heading and what stands below it."""

    title: str
    lines: tuple[str, ...]

    def shown(self) -> tuple[str, ...]:
        more = len(self.lines) - MOST_LINES
        if more <= 1:
            return self.lines
        return (*self.lines[:MOST_LINES], f"and {more} more (all are in impact.json)")


def as_text(summary: str, parts: Iterable[Part]) -> str:
    blocks = [summary]
    for part in parts:
        blocks.append("\n".join([part.title, *(f"  {line}" for line in part.shown())]))
    return "\n\n".join(blocks)


def as_markdown(title: str, summary: str, parts: Iterable[Part]) -> str:
    blocks = [f"## {title}", summary]
    for part in parts:
        blocks.append(f"### {part.title}")
        blocks.append("\n".join(f"- {line}" for line in part.shown()))
    return "\n\n".join(blocks) + "\n"
