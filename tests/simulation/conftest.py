"""Simulated vendors as their own process on loopback addresses of their own, and a crawler."""

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
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_AFTER_SECONDS = 0.6
WAIT_SECONDS = 60.0
"""For what usually takes less than a second: a busy machine is no failure."""
OK = b"HTTP/1.1 200 OK\r\nX-Sim-Vendor: a\r\nContent-Length: 0\r\n\r\n"


def start(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start one of the two programs as a pod does: from the folder that holds the package."""
    return subprocess.Popen(
        [sys.executable, "-m", f"simulation.{program}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    process = start(program, *arguments, **environment)
    try:
        said, complaints = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, said, complaints)


def crawl(plan: Path, **environment: str) -> dict[str, Any]:
    """Return the crawler's books of a whole run, which must be a quiet one."""
    done = run("crawler", "--json", "--plan", str(plan), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def counts(books: dict[str, Any]) -> dict[tuple[str, str, str], int]:
    return {
        (row["vendor"], row["visibility"], row["outcome"]): row["count"] for row in books["counts"]
    }


def lines(
    rows: list[dict[str, Any]], *, mirrored: bool = False
) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Connections, bytes sent and received by vendor and protocol; a peer's if `mirrored`."""
    first, second = "bytes_sent", "bytes_received"
    if mirrored:
        first, second = second, first
    return {
        (row["vendor"], row.get("protocol", "")): (row["connections"], row[first], row[second])
        for row in rows
    }


def page_with(url: str, wanted: str) -> str:
    """Return the page once `wanted` is on it."""
    deadline, found = time.monotonic() + WAIT_SECONDS, ""
    while wanted not in found and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
            found = answer.read().decode()
        time.sleep(0.02)
    assert wanted in found
    return found


@dataclass(kw_only=True)
class Serving:
    """The vendors' process and its control endpoint."""

    folder: Path
    process: subprocess.Popen[str]
    control_port: int
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control_port}{path}") as answer:
            return str(answer.read().decode())

    def settled_books(self) -> dict[str, Any]:
        """Return the vendors' books once they have seen the last connection end."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (books := json.loads(self.get("/books")))["open"] and time.monotonic() < deadline:
            time.sleep(0.02)
        return dict(books)

    def write(self, plan: object) -> Path:
        path = self.folder / f"plan-{next(self.numbers)}.json"
        path.write_text(json.dumps(plan))
        return path


@contextlib.contextmanager
def serving(plan: Mapping[str, Any], folder: Path, **environment: str) -> Iterator[Serving]:
    """Start the vendors of a plan; they must end without having complained."""
    path = folder / "vendor.json"
    path.write_text(
        json.dumps({"timeout_after_seconds": TIMEOUT_AFTER_SECONDS, "slow_seconds": 5, **plan})
    )
    process = start("proxy", "--plan", str(path), "--books", "-", **environment)
    assert process.stderr
    try:
        count = len(plan["listen"])
        said = f"vendor: {count} address{'' if count == 1 else 'es'}, books at "
        assert process.stderr.readline().startswith(said), "the vendors are not up"
        yield Serving(folder=folder, process=process, control_port=plan["control_port"])
        process.send_signal(signal.SIGTERM)
        books, complaints = process.communicate(timeout=WAIT_SECONDS)
        assert (process.returncode, complaints) == (0, ""), "the vendors did not end quietly"
        assert json.loads(books)["counts"] is not None
    finally:
        process.kill()
        process.communicate()


@dataclass(kw_only=True)
class Vendors(Serving):
    """Two vendors, one that shows its connections alone, and an address outside: one process."""

    vendors: list[dict[str, Any]]
    hidden: dict[str, Any]
    outside: dict[str, Any]

    def wait_for(self, wanted: int, rows: str = "connections") -> None:
        """Wait until so many have been accepted or counted; a slow answer is still to come then."""
        deadline, found = time.monotonic() + WAIT_SECONDS, 0
        while found < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
            found = sum(row["count"] for row in json.loads(self.get("/books"))[rows])
        assert found >= wanted

    def plan(self, **changes: Any) -> dict[str, Any]:
        plan = {"seed": 3, "count": 100, "vendors": self.vendors, "concurrency": 32}
        return {**plan, "timeout_after_seconds": TIMEOUT_AFTER_SECONDS, **changes}

    def start_crawler(self, plan: object, *arguments: str) -> subprocess.Popen[str]:
        return start("crawler", "--plan", str(self.write(plan)), *arguments)

    def crawl(self, **changes: Any) -> dict[str, Any]:
        return crawl(self.write(self.plan(**changes)))


@pytest.fixture
def run_program() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run


@pytest.fixture
def addresses() -> list[str]:
    """Addresses of vendor-a, vendor-b, the hidden vendor and outside; the last one is unused."""
    chance = random.Random()
    network = f"127.{chance.randint(20, 250)}.{chance.randint(1, 250)}"
    return [f"{network}.{number}" for number in (10, 11, 12, 13, 99)]


@pytest.fixture
def visible() -> str:
    """What a sidecar sees of vendor-a and vendor-b."""
    return "requests"


@pytest.fixture
def vendors(tmp_path: Path, addresses: list[str], visible: str) -> Iterator[Vendors]:
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
            "visible": visible,
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
            "visible": "connections" if vendor["name"] == "hidden" else visible,
        }
        for vendor in described
        for key in ("port", "opaque_port")
    ]
    hidden = {**described.pop(), "visible": "connections"}
    plan = {"listen": [*listen, {"vendor": "outside", **outside}], "control_port": control_port}
    with serving(plan, tmp_path) as found:
        yield Vendors(**vars(found), vendors=described, hidden=hidden, outside=outside)


Treat = Callable[[socket.socket], None]


def saying(said: bytes) -> Treat:
    """Answer the first bytes of a connection with the given ones, and close it."""

    def treat(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(said)

    return treat


def answer_all(connection: socket.socket, after_seconds: float = 0.0) -> None:
    """Answer every request of a connection with an empty page."""
    while connection.recv(65536):
        time.sleep(after_seconds)
        connection.sendall(OK)


@contextlib.contextmanager
def answering(treat: Treat, place: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[dict[str, Any]]:
    """Listen as a vendor that treats each connection so, in a thread of its own."""

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            treat(connection)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=one, args=[connection], daemon=True).start()

    with socket.create_server(place) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield {"name": "peer", "address": "127.0.0.1", "port": listener.getsockname()[1]}


@pytest.fixture
def peer() -> Iterator[Callable[[Treat], dict[str, Any]]]:
    """Start vendors that treat each connection as the given function does."""
    with contextlib.ExitStack() as started:
        yield lambda treat: started.enter_context(answering(treat))
