"""Memory of a process, as the kernel counts it."""

from __future__ import annotations

import re
from pathlib import Path


def resident_mb(pid: int) -> float:
    """Return resident memory in MB: its own, and the pages of its program that it has touched."""
    return _megabytes(pid, "VmRSS")


def own_mb(pid: int) -> float:
    """Return resident memory in MB that no other process can share."""
    return _megabytes(pid, "RssAnon")


def _megabytes(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)  # proc(5): kB are 1,024
    if match is None:
        raise ValueError(f"/proc/{pid}/status has no {field}")
    return int(match[1]) * 1024 / 1e6
