"""Runs simulated vendors of any behaviour, and connects to them byte by byte."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from simulation.crawler.tls import tls_context
from tests.simulation.conftest import (
    TIMEOUT_AFTER_SECONDS,
    WAIT_SECONDS,
    Serving,
    crawl,
    free_ports,
    serving,
)

PASSWORDS = {"PASSWORD_A": "hush", "PASSWORD_B": "quiet"}
RIGHT = "crawler:hush"
NORMAL_QUANTILE = 3.0902  # of the standard normal distribution, at 0.999


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """One connection, in clear or in TLS; `user` is "name:password" or nothing."""

    def __init__(self, port: int, *, tls: bool = False) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.wrap()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def wrap(self) -> None:
        self.socket = tls_context().wrap_socket(self.socket)

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def ask(
        self,
        target: str = "http://site.sim.test/p/500",
        *,
        method: str = "GET",
        user: str = "",
        fields: str = "",
        body: bytes = b"",
        version: str = "1.1",
    ) -> Answer:
        if user:
            fields += f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}\r\n"
        self.send(f"{method} {target} HTTP/{version}\r\n{fields}\r\n".encode() + body)
        return self.answer(method)

    def connect(self, host: str = "site.sim.test", *, user: str = "") -> Answer:
        return self.ask(f"{host}:443", method="CONNECT", user=user)

    def answer(self, method: str = "GET") -> Answer:
        found = http.client.HTTPResponse(self.socket, method=method)
        found.begin()
        tunnel = method == "CONNECT" and found.status == 200
        body = b"" if tunnel else found.read()
        found.close()
        return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, body)

    def page(self) -> bytes:
        """The next answer's body, of several that come at once."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        return self.receive(int(head.lower().partition(b"content-length:")[2].split()[0]))

    def receive(self, size: int) -> bytes:
        found = b""
        while len(found) < size and (data := self.socket.recv(size - len(found))):
            found += data
        return found

    def rest(self) -> bytes:
        """All until the other side closes."""
        return b"".join(iter(lambda: self.socket.recv(65536), b""))

    def socks(self, user: str = "", host: bytes = b"site.sim.test") -> bytes:
        """Shake hands with a SOCKS5 proxy; its reply to the request, or to what failed before."""
        name, _, password = user.encode().partition(b":")
        self.send(b"\x05\x01\x02" if user else b"\x05\x01\x00")
        if (method := self.receive(2)) == b"\x05\x02":
            self.send(b"\x01%c%b%c%b" % (len(name), name, len(password), password))
            method = self.receive(2)
        if method[1]:
            return method
        self.send(b"\x05\x01\x00\x03%c%b\x01\xbb" % (len(host), host))
        return self.receive(10)


@dataclass(kw_only=True)
class VendorProcess(Serving):
    """The vendors' process; `control` calls its control endpoint."""

    ports: dict[str, int]

    def client(self, vendor: str, *, tls: bool = False) -> Client:
        return Client(self.ports[vendor], tls=tls)

    def one(self, vendor: str, **how: Any) -> Answer:
        """Ask on a connection of its own."""
        with self.client(vendor) as client:
            return client.ask(**how)

    def control(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and content; a body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.control_port, timeout=WAIT_SECONDS
        )
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with contextlib.closing(connection):
            connection.request(method, path, raw)
            answer = connection.getresponse()
            said = answer.read().decode()
            kind = answer.headers["Content-Type"]
            return answer.status, json.loads(said) if kind == "application/json" else said

    def change(self, vendor: str, **keys: object) -> None:
        assert self.control("POST", f"/vendors/{vendor}", keys)[0] == 200

    def books(self, vendor: str, *, settled: bool = True) -> dict[str, Any]:
        """This vendor's rows, once all its connections have ended."""
        books = self.settled_books() if settled else json.loads(self.get("/books"))
        del books["open"]
        return {
            what: [
                {key: value for key, value in row.items() if key != "vendor"}
                for row in rows
                if row["vendor"] == vendor
            ]
            for what, rows in books.items()
        }

    def counts(self, vendor: str) -> dict[tuple[str, str], int]:
        rows = self.books(vendor)["counts"]
        return {(row["visibility"], row["outcome"]): row["count"] for row in rows}

    def refusals(self, vendor: str) -> dict[str, int]:
        return {row["code"]: row["count"] for row in self.books(vendor)["refusals"]}

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def crawl(self, vendor: str, **changes: Any) -> dict[str, Any]:
        """The crawler's books of a run against one vendor."""
        place = {"name": vendor, "address": "127.0.0.1", "port": self.ports[vendor]}
        plan = {
            "count": 200,
            "seed": 5,
            "mix": {"http": 0.6, "tunnel": 0.4},
            "concurrency": 8,
            "timeout_after_seconds": TIMEOUT_AFTER_SECONDS,
            "password_env": "CRAWLER_LOGIN",
            "vendors": [place],
            **changes,
        }
        return crawl(self.write(plan), CRAWLER_LOGIN="crawler-session-c1:hush")


@contextlib.contextmanager
def vendor_process(
    folder: Path, behaviours: Mapping[str, object], **keys: Any
) -> Iterator[VendorProcess]:
    """Start a vendor for each behaviour; it must end without having complained."""
    *ports, control = free_ports(["127.0.0.1"] * (len(behaviours) + 1))
    plan = {
        "listen": [
            {"vendor": vendor, "address": "127.0.0.1", "port": port}
            for vendor, port in zip(behaviours, ports, strict=True)
        ],
        "vendors": {vendor: behaviour for vendor, behaviour in behaviours.items() if behaviour},
        "control_port": control,
        "slow_seconds": 0.2,
        "seed": 17,
        **keys,
    }
    with serving(plan, folder, **PASSWORDS) as found:
        yield VendorProcess(**vars(found), ports=dict(zip(behaviours, ports, strict=True)))


def for_all_tests(behaviours: Mapping[str, object], **keys: Any) -> Any:
    """Return a fixture: vendors of these behaviours, for all tests of a file."""

    @pytest.fixture(scope="module")
    def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VendorProcess]:
        with vendor_process(tmp_path_factory.mktemp("vendors"), behaviours, **keys) as found:
            yield found

    return vendors


def is_likely(seen: Sequence[float], expected: Sequence[float]) -> bool:
    """Pearson's chi-square test at level 0.001, by Wilson and Hilferty's approximation."""
    assert min(expected) >= 5
    distance = sum((a - b) ** 2 / b for a, b in zip(seen, expected, strict=True))
    freedom = len(seen) - 1
    part = 2 / (9 * freedom)
    return distance < freedom * (1 - part + NORMAL_QUANTILE * math.sqrt(part)) ** 3
