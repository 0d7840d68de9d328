"""Files, limits and errors of both programs."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from simulation.plans import PlanError

EXIT_CANNOT_RUN = 2
EXIT_NO_RESULT = 1  # the program ran, but its result could not be written
SPARE_FILES = 32  # beside a socket for each count in flight


def raise_file_limit(sockets: int = 0) -> None:
    """Allow as many open files, and so sockets, as this user may have: a shell allows 1,024.

    Raises:
        PlanError: `sockets` need more than that.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and sockets + SPARE_FILES > most:
        reason = f"and {SPARE_FILES} spare files are more than the {most} files allowed"
        raise PlanError([f"in flight: {sockets} {reason}: give less, or raise `ulimit -n`"])


def require_folder(option: str, path: Path) -> None:
    """Raise PlanError if a file could not be written there at the end."""
    if not path.absolute().parent.is_dir():
        raise PlanError([f"{option}: {path} is in no existing folder: create it first"])
    if path.is_dir():
        raise PlanError([f"{option}: {path} is a folder: give a file's name in it"])


def read_json(path: Path) -> object:
    """Return the JSON of a file; raise PlanError if it cannot be read, or holds none."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise PlanError([f"{path}: cannot be read as JSON: {error}"]) from None


def write_result(option: str, path: Path, content: object) -> str:
    """Write a run's result; return why that was not possible, or nothing."""
    try:
        write_json(path, content)
    except OSError as error:
        return f"{option}: {path} cannot be written: {error.strerror}"
    return ""


def write_json(path: Path, content: object) -> None:
    """Replace a file in one step, so that nobody reads half of it; a device is written to."""
    text = json.dumps(content, indent=1) + "\n"
    if path.exists() and not path.is_file():
        path.write_text(text)
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def named_bind(host: str, port: int) -> Iterator[None]:
    """Turn the error of a bind into a PlanError that says what to do."""
    try:
        yield
    except OSError as error:
        reason = {
            errno.EADDRINUSE: "is in use: stop what listens there, or change it in the plan",
            errno.EADDRNOTAVAIL: "is no address of this machine: add it, or change it in the plan",
            errno.EACCES: "is not allowed to this user: take a port from 1024 up",
        }.get(error.errno or 0, f"cannot be listened on: {error.strerror}")
        raise PlanError([f"{place(host, port)} {reason}"]) from None


def place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
