"""A simulated vendor as its own process on loopback addresses of its own, and a crawler."""

from __future__ import annotations

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
PATIENCE_SECONDS = 0.6


def free_port(address: str) -> int:
    with socket.socket() as sock:
        sock.bind((address, 0))
        port: int = sock.getsockname()[1]
        return port


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the two programs as a pod would: one file, from anywhere."""
    return subprocess.run(
        [sys.executable, str(ROOT / "traffic" / f"{program}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=15,
        cwd="/",
        env={**os.environ, **environment},
    )


@dataclass
class Vendors:
    """Two vendors and an address outside, served by one process."""

    folder: Path
    process: subprocess.Popen[str]
    control_port: int
    vendors: list[dict[str, Any]]
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

    def plan(self, **changes: Any) -> dict[str, Any]:
        plan = {"seed": 3, "count": 100, "vendors": self.vendors, "concurrency": 32}
        return {**plan, "patience_seconds": PATIENCE_SECONDS, **changes}

    def write(self, plan: object) -> Path:
        path = self.folder / f"plan-{next(self.numbers)}.json"
        path.write_text(json.dumps(plan))
        return path

    def start_crawler(self, plan: object, *arguments: str) -> subprocess.Popen[str]:
        program = str(ROOT / "traffic" / "crawler.py")
        return subprocess.Popen(
            [sys.executable, program, "--plan", str(self.write(plan)), *arguments],
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
    """Keys a test module adds to the vendors' plan."""
    return {}


@pytest.fixture
def vendors(tmp_path: Path, plan_changes: dict[str, Any]) -> Iterator[Vendors]:
    chance = random.Random()
    first, second, third = (
        f"127.{chance.randint(20, 250)}.{chance.randint(1, 250)}.{10 + n}" for n in range(3)
    )
    dead = first.rsplit(".", 1)[0] + ".99"
    described = [
        {
            "name": name,
            "address": address,
            "port": free_port(address),
            "opaque_port": free_port(address),
            "dead_address": dead,
        }
        for name, address in (("vendor-a", first), ("vendor-b", second))
    ]
    outside = {"address": third, "port": free_port(third)}
    listen = [
        {"vendor": vendor["name"], "address": vendor["address"], "port": vendor[key]}
        for vendor in described
        for key in ("port", "opaque_port")
    ]
    control_port = free_port("127.0.0.1")
    plan = {
        "listen": [*listen, {"vendor": "outside", **outside}],
        "control_port": control_port,
        "patience_seconds": PATIENCE_SECONDS,
        "slow_seconds": 5,
        **plan_changes,
    }
    path = tmp_path / "vendor.json"
    path.write_text(json.dumps(plan))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "traffic" / "vendor.py"), "--plan", str(path), "--books", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        assert process.stderr.readline().startswith("vendor: 5 addresses"), "the vendor is not up"
        yield Vendors(tmp_path, process, control_port, described, outside)
        process.send_signal(signal.SIGTERM)
        books, complaints = process.communicate(timeout=3)
        assert (process.returncode, complaints) == (0, ""), "the vendor did not end quietly"
        assert json.loads(books)["counts"] is not None
    finally:
        process.kill()
        process.communicate()
