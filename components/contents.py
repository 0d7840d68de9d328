"""The files of this repository that travel inside ConfigMaps, read once by the program."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def rule_files() -> dict[str, str]:
    """Return the text of every rule file by its name."""
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "rules").glob("*.yml"))
    }


def crawler_program() -> str:
    return (ROOT / "traffic" / "crawler.py").read_text(encoding="utf-8")
