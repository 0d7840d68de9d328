"""The JSON that a target leaves behind for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def write_report(file: Path, report: dict[str, Any]) -> None:
    """Write by rename, so that a reader never meets half a report; a full disk is only told."""
    temporary = file.with_suffix(".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        print(f"{file}: cannot be written ({error.strerror})", file=sys.stderr)
