"""Crawlers that ask DNS before each connection, and count what they sent to whom."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from socket import socket

from tests.mesh import crawler
from tests.mesh.kubelet import Pod
from tests.mesh.names import GATEWAYS, LISTED, OTHER, PASSIVE, resolve

REQUESTS_EACH = 10
"""Plain requests over one connection."""
PING_SECONDS = 1.0

Key = tuple[str, str]
"""A vendor, and the visibility with which it counts."""


def _pages(sock: socket) -> int:
    assert all(crawler.ask(sock).code == 200 for _ in range(REQUESTS_EACH)), "not answered with 200"
    return REQUESTS_EACH


def _tunnel(sock: socket) -> int:
    assert crawler.tunnel_over(sock).echoed == crawler.PAYLOAD[::-1], "no tunnel"
    return 1


def _socks5(sock: socket) -> int:
    assert crawler.socks5_over(sock).echoed == crawler.PAYLOAD[::-1], "no SOCKS5 connection"
    return 1


WAYS: dict[str, tuple[Callable[[socket], int], float]] = {
    "http": (_pages, 0.5),
    "tunnel": (_tunnel, 0.3),
    "socks5": (_socks5, 0.3),
}
"""What is done over a connection, and after how many seconds the next one begins."""


def visibility(vendor: str, way: str) -> str:
    if way != "socks5":
        return way
    return "socks" if vendor in PASSIVE else "opaque"


@dataclass
class NamedLoad:
    """What was sent, and what went wrong."""

    pod: Pod
    vendors: Sequence[str]
    sent: Counter[Key] = field(default_factory=Counter)
    connections: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    pings: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _kept: list[tuple[str, socket]] = field(default_factory=list)

    def connect(self, vendor: str, port: int = LISTED) -> socket:
        """Open a connection as a crawler does: by name; the kernel picks its port."""
        address = resolve(self.pod, GATEWAYS[vendor])
        sock = self.pod.network.socket()
        sock.settimeout(60)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def _repeat(self, vendor: str, way: str, port: int) -> None:
        speak, pace = WAYS[way]
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += pace
            try:
                with self.connect(vendor, port) as sock:
                    count = speak(sock)
            except (OSError, AssertionError) as error:
                with self._lock:
                    self.failed.append(f"{vendor} {way}: {error!r}")
            else:
                with self._lock:
                    self.sent[vendor, visibility(vendor, way)] += count
                    self.connections[vendor] += 1

    def _keep(self, stack: ExitStack, vendor: str, way: str, port: int) -> None:
        """Open a tunnel that stays; it counts as one, for most vendors when it ends."""
        sock = stack.enter_context(self.connect(vendor, port))
        WAYS[way][0](sock)
        self._kept.append((f"{vendor} {way}", sock))
        self.sent[vendor, visibility(vendor, way)] += 1
        self.connections[vendor] += 1

    def _ping(self) -> None:
        while not self._stop.wait(PING_SECONDS):
            for name, sock in list(self._kept):
                try:
                    alive = crawler.exchange(sock) == crawler.PAYLOAD[::-1]
                except OSError:
                    alive = False
                self.pings += 1
                if not alive:
                    self.cut.append(name)
                    self._kept.remove((name, sock))


@contextmanager
def running(pod: Pod, vendors: Sequence[str], *, kept_each: int) -> Iterator[NamedLoad]:
    """Run the load on threads until the block ends; tunnels are open before it begins.

    Args:
        kept_each: how many CONNECT tunnels, and how many SOCKS5 ones, stay open to each vendor.
    """
    load = NamedLoad(pod, vendors)
    with ExitStack() as stack:
        for vendor in vendors:
            for way in ("tunnel", "socks5"):
                for number in range(kept_each):
                    load._keep(stack, vendor, way, (LISTED, OTHER)[number % 2])
        threads = [
            threading.Thread(target=load._repeat, args=(vendor, way, port))
            for vendor in vendors
            for way, port in (("http", LISTED), ("tunnel", LISTED), ("socks5", LISTED))
        ]
        threads += [
            threading.Thread(target=load._repeat, args=(vendor, "tunnel", OTHER))
            for vendor in vendors
        ]
        threads.append(threading.Thread(target=load._ping))
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load._stop.set()
            for thread in threads:
                thread.join()
