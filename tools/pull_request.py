"""Compose a pull request's comment from what `make impact` and `make preview` wrote.

    python -m tools.pull_request FOLDER > comment.md

FOLDER has a folder for each stack, with `impact.md` (or `impact.txt`, where it could not run) and
maybe `preview.txt`. Only Python's own library, so that it runs without the virtual environment.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MARKER = "<!-- proxy-observability: impact and preview -->"
"""First line of the comment; by it the next run finds the comment and updates it."""

MOST_CHARACTERS = 65_536
"""GitHub refuses a longer comment: "body is too long (maximum is 65536 characters)"."""

CUT = "… {} more lines; the workflow's artifact has all of them"

# Text of the pull request may have such codes. The last ones have a line of a diff read in another
# order than it runs (CVE-2021-42574).
_ESCAPES = re.compile(
    r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What was written about one stack; "" for what was not."""

    name: str
    impact: str
    """Markdown."""
    trouble: str
    """What `make impact` printed where it wrote no page."""
    preview: str


def read(folder: Path) -> list[Stack]:
    """Read what was written, a stack a folder."""
    return [
        Stack(
            # Of a file that the pull request may add: "@team" and "<!--" would be Markdown.
            name=re.sub(r"[^A-Za-z0-9_.-]", "?", one.name),
            impact=_text(one / "impact.md"),
            trouble=_text(one / "impact.txt"),
            preview=_text(one / "preview.txt"),
        )
        for one in sorted(folder.iterdir())
        if one.is_dir()
    ]


def _text(file: Path) -> str:
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return _ESCAPES.sub("", text).strip()


def comment(stacks: Sequence[Stack], most_characters: int = MOST_CHARACTERS) -> str:
    """Return the comment: every stack's impact first, for the previews are long.

    What does not fit is cut at a line's end, and each cut says how much is missing.
    """
    parts = []
    for stack in stacks:
        if stack.impact:
            parts.append(("", stack.impact, ""))
        else:
            said = stack.trouble or "make impact wrote nothing"
            parts.append(_fenced(f"## Impact on {stack.name}\n\nNot compared:", said, ""))
    for stack in stacks:
        if stack.preview:
            title = f"`make preview` of {stack.name}"
            opening = f"<details><summary>{title}</summary>\n"
            parts.append(_fenced(opening, stack.preview, "\n</details>", kind="diff"))
    blocks = [MARKER]
    left = most_characters - len(MARKER)
    for number, (before, text, after) in enumerate(parts):
        # An equal share of what is left; short ones leave more to those that follow.
        room = left // (len(parts) - number) - len(before) - len(after) - len("\n\n")
        blocks.append(before + _cut(text, room) + after)
        left -= len(blocks[-1]) + len("\n\n")
    return "\n\n".join(blocks)


def _fenced(before: str, text: str, after: str, kind: str = "") -> tuple[str, str, str]:
    """Fence a text in, with more backticks than it has itself: else it would end the fence."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{before}\n{fence}{kind}\n", text, f"\n{fence}{after}"


def _cut(text: str, room: int) -> str:
    """Return as many whole lines as fit."""
    if len(text) <= room:
        return text
    lines = text.splitlines()
    room -= len(CUT.format(len(lines))) + 1
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join([*kept, CUT.format(len(lines) - len(kept))])


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m tools.pull_request FOLDER", file=sys.stderr)
        return 2
    print(comment(read(Path(arguments[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
