"""`make impact BASE=main STACK=prod`: what an edit of a stack file does to what runs.

BASE is a revision of Git, whose stack file and files of ranges are read, or a stack file. Exit
codes: 0 compared, 1 the edit is refused or a stack file says something wrong, 2 could not run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from deployment import stack_plan
from impact.report import Prices, impact
from impact.text import as_markdown, as_text
from settings.loading import (
    ROOT,
    MissingStackFileError,
    SettingsError,
    StackFile,
    load_stack,
    stack_file,
)
from tools.reports import add_out, could_not_run, finish, print_result

REPORT = "impact.json"
PAGE = "impact.md"


class NoBaseError(Exception):
    """BASE names nothing that can be read."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="impact", description=__doc__)
    parser.add_argument("--stack", required=True, help="reads Pulumi.<stack>.yaml, or STACK_FILE")
    parser.add_argument("--base", default="", help="a revision of Git, or a stack file")
    parser.add_argument("--core", type=float, help="price of a core for a month")
    parser.add_argument("--gib", type=float, help="price of a GiB of memory for a month")
    add_out(parser, REPORT)
    options = parser.parse_args(arguments)
    out: Path | None = options.out
    try:
        after = stack_file(options.stack)
        before = base_file(options.base, options.stack, after)
        edited = load_stack(after)
        stack_plan(edited.settings)  # refuses what could not be deployed
        found = impact(before, edited, Prices(core=options.core, gib=options.gib))
    except MissingStackFileError as error:
        return could_not_run("impact", out, *error.findings)
    except SettingsError as error:
        return finish("impact", out, {"status": 1, "findings": [*error.findings]})
    except NoBaseError as error:
        return could_not_run("impact", out, f"BASE: {error}")
    status = print_result(as_text(found.summary, found.parts))
    if out is not None:
        page = as_markdown(f"Impact on {options.stack}", found.summary, found.parts)
        try:
            (out / PAGE).write_text(page, encoding="utf-8")
        except OSError as error:
            return could_not_run("impact", None, f"OUT: cannot be written: {error}")
    report = {
        "status": max(status, 1 if found.findings else 0),
        "findings": [*found.findings],
        "stack": options.stack,
        "summary": found.summary,
        "parts": {part.title: [*part.lines] for part in found.parts},
        **found.numbers,
    }
    return finish("impact", out, report)


def base_file(base: str, stack: str, after: Path) -> StackFile:
    """Read the stack file to compare with.

    Raises:
        NoBaseError: there is no such file, no such revision, or no stack file in it.
        SettingsError: a value in it is wrong.
    """
    if not base:
        raise NoBaseError("is missing; name a revision or a file, like BASE=main")
    if (path := Path(base)).is_file():
        return load_stack(path)
    inside = after.resolve().is_relative_to(ROOT)
    name = after.resolve().relative_to(ROOT) if inside else Path(f"Pulumi.{stack}.yaml")
    with tempfile.TemporaryDirectory() as folder:
        _unpack(base, Path(folder))
        there = Path(folder) / name
        if not there.is_file():
            raise NoBaseError(f"has no {name}; name a revision with it, or a stack file")
        return load_stack(there, root=Path(folder))


def _unpack(revision: str, folder: Path) -> None:
    """Write all files of a revision: a stack file names others, of ranges or certificates."""
    # Without the first options, a revision that begins with '-' would be an option.
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", "--end-of-options", revision]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoBaseError(f"cannot be read from Git ({type(error).__name__})") from None
    if done.returncode != 0:
        raise NoBaseError("is no file and no revision of this repository; name one, like main")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as files:
        files.extractall(folder, filter="data")


if __name__ == "__main__":
    sys.exit(main())
