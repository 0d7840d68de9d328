"""What a program of this package does around its own work."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

from traffic.plans import PlanError

EXIT_CANNOT_RUN = 2
SPARE_FILES = 32  # beside a socket for each count in flight


def raise_file_limit(sockets: int = 0) -> None:
    """A socket is a file: take as many as this user may have, not the shell's 1,024.

    Raises:
        PlanError: that is less than `sockets` need.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and sockets + SPARE_FILES > most:
        fix = "give less, or raise `ulimit -n`"
        raise PlanError([f"in flight: {sockets} are more than the {most} files allowed: {fix}"])


def require_folder(option: str, path: Path) -> None:
    """Raise PlanError where a file could not be written at the end."""
    if not path.absolute().parent.is_dir():
        raise PlanError([f"{option}: {path} is in no existing folder: create it first"])


def write_json(path: Path, content: object) -> None:
    """Replace the file in one step, so a reader never sees half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)


def place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
