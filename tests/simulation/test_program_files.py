"""The files in a ConfigMap are all that the programs need in a bare Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from components.repository_files import program_files

CONFIG_MAP_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
CONFIG_MAP_BYTES = 1024 * 1024


@pytest.mark.parametrize("program", ["crawler", "proxy"])
def test_program_runs_from_its_files_alone(
    tmp_path: Path, program: Literal["crawler", "proxy"]
) -> None:
    """Mounted by the volume's items, without site-packages; the crawler's profiles among them."""
    files = program_files(program)
    assert files.data.keys() == files.items.keys()
    assert all(map(CONFIG_MAP_KEY.fullmatch, files.data))
    assert sum(len(text.encode()) for text in files.data.values()) < CONFIG_MAP_BYTES / 2
    for key, path in files.items.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(files.data[key])
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-m", f"simulation.{program}", "--help-plan"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=15,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if program == "crawler":
        assert re.search(r"^  burst +\w", done.stdout, re.M)
