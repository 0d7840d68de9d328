"""Write the JSON report of a make target."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

CANNOT_RUN = 2
FIX = "name a folder that you may write to"


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a stack, and the cluster that is asked about it."""
    parser.add_argument("--stack", default="dev", help="Pulumi.<stack>.yaml")
    parser.add_argument("--context", default="", help="of kubeconfig, not the stack's (CONTEXT)")


def add_out(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the option `--out`, the folder for the report `name`.

    A folder that cannot be written ends the program at once, not after minutes of work.
    """

    def folder(text: str) -> Path:
        found = Path(text)
        try:
            _require_writable(found, name)
        except OSError as error:
            print(f"OUT: cannot be written: {error}; {FIX}", file=sys.stderr)
            raise SystemExit(CANNOT_RUN) from None
        return found

    parser.add_argument("--out", type=folder, help=f"folder for {name}")


def _require_writable(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / name).is_dir():
        raise IsADirectoryError(f"{folder / name} is a folder")
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"{}")


def write_report(file: Path, report: dict[str, Any]) -> int:
    """Write a report by renaming, so that nobody reads half of it.

    Returns:
        The target's exit code: the report's `status`, or 2 if it cannot be written. A program
        that waits for the report must not take its absence for success.
    """
    temporary = file.with_suffix(".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        print(f"OUT: cannot be written: {error}; {FIX}", file=sys.stderr)
        return CANNOT_RUN
    return int(report["status"])


def print_result(text: str) -> int:
    """Print to standard output; return 0, or 2 where it takes nothing, as on a full disk."""
    try:
        print(text, flush=True)
    except OSError as error:
        print(f"standard output: cannot be written: {error.strerror}", file=sys.stderr)
        # Else Python tries once more when it ends, and fails with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT_RUN
    return 0


def finish(target: str, out: Path | None, report: dict[str, Any]) -> int:
    """Print a target's findings on standard error, write its JSON, return its exit code."""
    for finding in report["findings"]:
        print(finding, file=sys.stderr, flush=True)
    if out is None:
        return int(report["status"])
    return write_report(out / f"{target}.json", {"target": target, **report})


def could_not_run(target: str, out: Path | None, *findings: str, **more: Any) -> int:
    """Say why a target could not run; return exit code 2."""
    return finish(target, out, {**more, "status": CANNOT_RUN, "findings": list(findings)})
