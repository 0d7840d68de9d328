"""A simulated vendor as its own process on loopback addresses of its own, and a crawler."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_AFTER_SECONDS = 0.6


def free_ports(addresses: list[str]) -> list[int]:
    """Return a free port on each address, no two alike."""
    with contextlib.ExitStack() as taken:
        ports = []
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = taken.enter_context(socket.socket(family))
            sock.bind((address, 0))
            ports.append(int(sock.getsockname()[1]))
        return ports


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the two programs as a pod does: from the folder that holds the package."""
    return subprocess.run(
        [sys.executable, "-m", f"simulation.{program}", *arguments],
        capture_output=True,
        text=True,
        timeout=15,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def page_with(url: str, wanted: str) -> str:
    """Return the page once `wanted` is on it, within 5 seconds."""
    deadline, found = time.monotonic() + 5, ""
    while wanted not in found and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
            found = answer.read().decode()
        time.sleep(0.02)
    assert wanted in found
    return found


@dataclass
class Vendors:
    """Two vendors, one that shows its connections alone, and an address outside: one process."""

    folder: Path
    process: subprocess.Popen[str]
    control_port: int
    vendors: list[dict[str, Any]]
    hidden: dict[str, Any]
    outside: dict[str, Any]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control_port}{path}") as answer:
            body: str = answer.read().decode()
            return body

    def settled_books(self) -> dict[str, Any]:
        """The vendor's books once it has seen the last connection end."""
        deadline = time.monotonic() + 3
        while (books := json.loads(self.get("/books")))["open"] and time.monotonic() < deadline:
            time.sleep(0.02)
        return dict(books)

    def wait_for_connections(self, wanted: int) -> None:
        """Until so many have been accepted; a slow answer is still to come then."""
        deadline, found = time.monotonic() + 5, 0
        while found < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
            rows = json.loads(self.get("/books"))["connections"]
            found = sum(row["count"] for row in rows)
        assert found >= wanted

    def plan(self, **changes: Any) -> dict[str, Any]:
        plan = {"seed": 3, "count": 100, "vendors": self.vendors, "concurrency": 32}
        return {**plan, "timeout_after_seconds": TIMEOUT_AFTER_SECONDS, **changes}

    def write(self, plan: object) -> Path:
        path = self.folder / f"plan-{next(self.numbers)}.json"
        path.write_text(json.dumps(plan))
        return path

    def start_crawler(self, plan: object, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "simulation.crawler",
                "--plan",
                str(self.write(plan)),
                *arguments,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def crawl(self, **changes: Any) -> dict[str, Any]:
        """The crawler's books of a whole run, which must be a quiet one."""
        done = run("crawler", "--json", "--plan", str(self.write(self.plan(**changes))))
        assert (done.returncode, done.stderr) == (0, "")
        return dict(json.loads(done.stdout))


@pytest.fixture
def run_program() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run


@pytest.fixture
def plan_changes() -> dict[str, Any]:
    """Keys that a test module adds to the vendors' plan."""
    return {}


@pytest.fixture
def addresses() -> list[str]:
    """Addresses of vendor-a, vendor-b, the hidden vendor and outside; the last one is unused."""
    chance = random.Random()
    network = f"127.{chance.randint(20, 250)}.{chance.randint(1, 250)}"
    return [f"{network}.{number}" for number in (10, 11, 12, 13, 99)]


@pytest.fixture
def vendors(
    tmp_path: Path, addresses: list[str], plan_changes: dict[str, Any]
) -> Iterator[Vendors]:
    *own, outside_address, dead = addresses
    places = [address for address in own for _ in range(2)]
    *ports, outside_port, control_port = free_ports([*places, outside_address, "127.0.0.1"])
    described = [
        {
            "name": name,
            "address": address,
            "port": ports[2 * index],
            "opaque_port": ports[2 * index + 1],
            "dead_address": dead,
        }
        for index, (name, address) in enumerate(
            zip(("vendor-a", "vendor-b", "hidden"), own, strict=True)
        )
    ]
    outside = {"address": outside_address, "port": outside_port}
    listen = [
        {
            "vendor": vendor["name"],
            "address": vendor["address"],
            "port": vendor[key],
            "opaque": vendor["name"] == "hidden",
        }
        for vendor in described
        for key in ("port", "opaque_port")
    ]
    hidden = {**described.pop(), "visible": "connections"}
    plan = {
        "listen": [*listen, {"vendor": "outside", **outside}],
        "control_port": control_port,
        "timeout_after_seconds": TIMEOUT_AFTER_SECONDS,
        "slow_seconds": 5,
        **plan_changes,
    }
    path = tmp_path / "vendor.json"
    path.write_text(json.dumps(plan))
    process = subprocess.Popen(
        [sys.executable, "-m", "simulation.proxy", "--plan", str(path), "--books", "-"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        assert process.stderr.readline().startswith("vendor: 7 addresses"), "the vendor is not up"
        yield Vendors(tmp_path, process, control_port, described, hidden, outside)
        process.send_signal(signal.SIGTERM)
        books, complaints = process.communicate(timeout=3)
        assert (process.returncode, complaints) == (0, ""), "the vendor did not end quietly"
        assert json.loads(books)["counts"] is not None
    finally:
        process.kill()
        process.communicate()
