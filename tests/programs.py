"""Programs that stand in for others on PATH: kubectl, helm, gh, envoy."""

from __future__ import annotations

from pathlib import Path


def stand_in(path: Path, text: str) -> Path:
    """Write a program, for a shell unless its first line names another interpreter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path
