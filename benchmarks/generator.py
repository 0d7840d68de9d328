"""The project's own crawler, run against a simulated vendor with no sidecar in between."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.crawlers import Address
from benchmarks.sidecars import PROXY, VENDOR
from lab import loopback
from lab.processes import Children, LabError, require_free
from lab.system import wait_until_ready

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
RUN_SECONDS = 900.0
PAGE_BYTES = 1000
DIRECT: Address = (PROXY, VENDOR.vendor_upstream)
"""Where the simulated vendor listens."""


def start_vendor(family: Children, folder: Path) -> int:
    """Start a simulated vendor at DIRECT; return its process number."""
    control = VENDOR.vendor_control
    listen = [{"vendor": "vendor-a", "address": DIRECT[0], "port": DIRECT[1]}]
    plan = folder / "vendor.json"
    plan.write_text(json.dumps({"listen": listen, "control_port": control}))
    require_free([DIRECT, ("127.0.0.1", control)])
    pid = family.start(
        "vendor",
        [sys.executable, "-m", "simulation.proxy", "--plan", str(plan)],
        log=folder / "vendor.log",
        environment={"PYTHONPATH": str(ROOT)},
    )
    wait_until_ready(family, "vendor", f"http://127.0.0.1:{control}/healthz")
    return pid


def open_connections() -> int:
    """Return how many connections the vendor has."""
    return int(loopback.get_json(f"http://127.0.0.1:{VENDOR.vendor_control}/books")["open"])


def plan_of(address: Address = DIRECT, **keys: object) -> Json:
    """Return a crawler's plan for one vendor, pages of one size."""
    vendor = {"name": "vendor-a", "address": address[0], "port": address[1]}
    target = {"sizes_bytes": [[1, PAGE_BYTES]]}
    return {"vendors": [vendor], "target": target, "connection_reuse": 1_000_000, **keys}


@contextlib.contextmanager
def crawling(plan: Json, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Give a crawler at work; it is ended with the block."""
    path = folder / "crawler.json"
    path.write_text(json.dumps(plan))
    command = [sys.executable, "-m", "simulation.crawler", "--json", "--plan", str(path)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def books_of(process: subprocess.Popen[str]) -> Json:
    """Wait for a crawler's end.

    Raises:
        LabError: it failed, or met anything that its plan does not intend.
    """
    said, complaints = process.communicate(timeout=RUN_SECONDS)
    if process.returncode:
        raise LabError(f"the crawler ended with {process.returncode}: {complaints.strip()}")
    books: Json = json.loads(said)
    if books["unexpected"]:
        raise LabError(f"the crawler met what nobody intended: {books['unexpected'][:3]}")
    return books


def cpu_of(command: Sequence[str], folder: Path) -> float:
    """Run a program to its end; return its CPU seconds, those of its start included.

    Raises:
        LabError: it failed.
    """
    log = folder / "client.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise LabError(f"{command[2]} failed: {log.read_text()[-300:]}")
    return used.ru_utime + used.ru_stime
