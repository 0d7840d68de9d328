"""Programs that tests run to their end, and those that stand in for others on PATH."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any


def run_to_end(
    *command: object, status: int | None = 0, seconds: float = 300, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program; it must end with this status, if it is not None. Keys are subprocess.run's."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=seconds, check=False, **more
    )
    said = f"{' '.join(words)[:200]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert status in (None, done.returncode), said
    return done


def stand_in(path: Path, text: str) -> Path:
    """Write a program, for a shell unless its first line names another interpreter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path
