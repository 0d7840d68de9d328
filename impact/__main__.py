"""`make impact BASE=main STACK=prod`: what an edit of a stack file does to what runs.

BASE is a revision of Git, whose stack file and files of ranges are read, or a stack file. Exit
codes: 0 compared, 1 the edit is refused or the stack file says something wrong, 2 could not run, as
with a BASE that this program would not deploy.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from deployment import stack_plan
from impact.refusals import first_of
from impact.report import Impact, Prices, impact
from impact.text import Part, as_markdown, as_text
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

# What a stack is computed by. The stack files are compared by the edited one alone.
PROGRAM = (
    "__main__.py",
    "backups",
    "books",
    "components",
    "dashboards",
    "deployment.py",
    "lua",
    "money",
    "presets",
    "requirements.txt",
    "rules",
    "settings",
    "simulation",
    "wasm",
)


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
        edited = load_stack(after)
        stack_plan(edited.settings)  # refuses what could not be deployed
        before = base_file(options.base, after)
        found = _compared(before, edited, Prices(core=options.core, gib=options.gib))
        found = dataclasses.replace(found, parts=(*found.parts, *_program(options.base, after)))
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


def _compared(before: StackFile | None, edited: StackFile, prices: Prices) -> Impact:
    if before is not None:
        return impact(before, edited, prices)
    new = Part(title="The stack is new", lines=("BASE has no file of it: nothing of it runs yet",))
    return Impact(parts=(new,), findings=(), numbers={})


def base_file(base: str, after: Path) -> StackFile | None:
    """Read the stack file to compare with; None if the revision has none, as for a new stack.

    Raises:
        NoBaseError: there is no such file and no such revision, or a value in it is wrong.
    """
    if not base:
        raise NoBaseError("is missing; name a revision or a file, like BASE=main")
    try:
        if (path := Path(base)).is_file():
            return load_stack(path)
        repository, name = _place(after)
        with tempfile.TemporaryDirectory() as folder:
            _unpack(repository, base, Path(folder))
            there = Path(folder) / name
            # Files that a stack file names are this program's.
            root = Path(folder) if repository == ROOT else ROOT
            return load_stack(there, root=root) if there.is_file() else None
    except SettingsError as error:
        raise NoBaseError(f"{base} would not be deployed: {'; '.join(error.findings)}") from None


def _place(file: Path) -> tuple[Path, Path]:
    """Return a folder of the repository that a stack file is in, and the file's path below it."""
    file = file.resolve()
    if file.is_relative_to(ROOT):
        return ROOT, file.relative_to(ROOT)
    return file.parent, Path(file.name)


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoBaseError(f"cannot be read from Git ({type(error).__name__})") from None
    if done.returncode != 0:
        raise NoBaseError(
            f"is no file and no revision of the repository of {folder}; name one that is fetched, "
            "like main"
        )
    return done.stdout


def _unpack(repository: Path, revision: str, folder: Path) -> None:
    """Write all files of a revision: a stack file names others, of ranges or certificates."""
    # Without the last option, a revision that begins with '-' would be an option.
    archived = _git(repository, "archive", "--format=tar", "--end-of-options", revision)
    with tarfile.open(fileobj=BytesIO(archived)) as files:
        files.extractall(folder, filter="data")


def _program(base: str, after: Path) -> tuple[Part, ...]:
    """Return what must be said where the edit changes the program too."""
    if Path(base).is_file() or _place(after)[0] != ROOT:
        return ()
    options = ("diff", "--name-only", "--relative", "--end-of-options", base, "--", *PROGRAM)
    names = _git(ROOT, *options).decode(errors="replace").splitlines()
    if not names:
        return ()
    by = f"both stack files were computed by the new one; it differs in {first_of(names)}"
    other = "what that does: pulumi preview, or make render of each and a diff"
    return (Part(title="The program changes", lines=(by, other)),)


if __name__ == "__main__":
    sys.exit(main())
