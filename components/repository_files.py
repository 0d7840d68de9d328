"""Files that the program puts into ConfigMaps: of this repository, and the user's own below it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
PROFILES = "simulation/profiles/*.json"

EXPORTER_MODULES = (
    *("__init__", "as_json", "billable", "charges", "contract", "exact", "ledger", "months"),
    *("quantities", "results"),
)
"""Beside `money/forecast` and `money/exporter`. Others need more than the standard library."""
USAGE_MODULES = (
    *("__init__", "account", "answers", "apis", "asking", "bright_data", "decodo", "figures"),
    *("oxylabs", "oxylabs_unblocker", "scheduled", "webshare", "zyte"),
)
BOOKS_MODULES = ("__init__", "counters", "prometheus")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramFiles:
    """A Python program as a ConfigMap, whose keys may not contain "/".

    `data` maps each key to a file's text, `items` maps it to the file's path below the mount.
    `python -m simulation.<program>`, `python -m backups` or `python -m money.exporter` runs with
    the mount as working directory.
    """

    data: dict[str, str]
    items: dict[str, str]


def program_files(program: Literal["crawler", "proxy"]) -> ProgramFiles:
    """Return every file that `python -m simulation.<program>` reads, its profiles included."""
    patterns = ["simulation/*.py", f"simulation/{program}/*.py", f"simulation/{program}/*.pem"]
    if program == "crawler":
        patterns.append(PROFILES)
    return _files(patterns)


def backup_files() -> ProgramFiles:
    """Return every file that `python -m backups` reads."""
    return _files(["backups/*.py"])


def exporter_files() -> ProgramFiles:
    """Return every file that `python -m money.exporter` reads."""
    named = (
        *(f"money/{name}.py" for name in EXPORTER_MODULES),
        *(f"money/usage/{name}.py" for name in USAGE_MODULES),
        *(f"books/{name}.py" for name in BOOKS_MODULES),
    )
    return _files([*named, "money/forecast/*.py", "money/exporter/*.py"])


def own_text(root: Path, name: str) -> str:
    """Return the text of a file that a stack names.

    Args:
        root: the folder that the path starts from.

    Raises:
        ValueError: it is no such file; the text says what to do.
    """
    path = Path(os.path.realpath(root / name))
    if not path.is_relative_to(os.path.realpath(root)):
        raise ValueError("is a link out of the project; put the file itself there")
    if not path.is_file():
        raise ValueError("is no file; write the path from the project's root")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text; save it as UTF-8") from None


def _files(patterns: Sequence[str]) -> ProgramFiles:
    paths = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    items = {_key(path): path.relative_to(ROOT).as_posix() for path in paths}
    return ProgramFiles(
        data={key: (ROOT / path).read_text(encoding="utf-8") for key, path in items.items()},
        items=items,
    )


def _key(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parts)
