"""Crawlers that send requests at a rate and keep tunnels open while the stack changes.

No edit may fail a request. Which tunnels an edit may cut, each test says.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.mesh.kubelet import Pod
from tests.mesh.mesh import Mesh
from tests.mesh.names import address_of

Target = tuple[str, int]

DRAIN_SECONDS = 4  # Istio's default is 45
MARGIN_SECONDS = 2.0
LEAST_REQUESTS = 200
DRAINS_SOON = {"proxy.istio.io/config": f"drainDuration: {DRAIN_SECONDS}s"}
"""Annotations of a pod whose edits a test can wait for."""

TARGETS = {
    "vendor-a": ("10.1.0.10", 3128),
    "vendor-b": ("10.2.0.10", 3128),
    "vendor-b, second range": ("10.2.200.10", 3128),
    "vendor-c": ("10.3.0.10", 3128),
    "vendor-d": ("10.1.8.10", 3128),
    "vendor-f": ("10.6.0.10", 3128),
    "vendor-g": ("10.6.0.10", 3140),
    "vendor-h": ("fd00:a::10", 3128),
    "vendor-i": ("10.7.0.10", 3128),
    "no vendor": ("10.200.0.5", 80),
}
"""What the tests' stack has by address."""

PING_SECONDS = 0.5
TIMEOUT_SECONDS = 60.0
KEPT = 20
"""Kept-alive connections; as many requests go out on new connections."""

_REQUEST = b"GET http://site-1.sim.test/ HTTP/1.1\r\nHost: site-1.sim.test\r\n\r\n"
_CONNECT = b"CONNECT site-1.sim.test:443 HTTP/1.1\r\nHost: site-1.sim.test:443\r\n\r\n"


@dataclass
class Cut:
    """A tunnel that ended although its crawler kept it open."""

    target: str
    at: float


@dataclass
class Load:
    """Traffic from one or several pods; `targets` are (address or host name, port) by name."""

    pods: Sequence[Pod]
    targets: dict[str, Target]
    requests_per_second: int
    tunnels_each: int
    requests: int = 0
    failed: list[str] = field(default_factory=list)
    cut: list[Cut] = field(default_factory=list)
    open: Counter[str] = field(default_factory=Counter)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def mark(self) -> None:
        """Forget what was counted."""
        self.requests = 0
        self.failed, self.cut = [], []

    def all_open(self) -> bool:
        return all(self.open[name] == self.tunnels_each * len(self.pods) for name in self.targets)

    @property
    def most_open(self) -> int:
        return self.tunnels_each * len(self.pods) * len(self.targets)

    async def run(self) -> None:
        tunnels = [
            asyncio.create_task(self._tunnel(pod, name))
            for pod in self.pods
            for name in self.targets
            for _ in range(self.tunnels_each)
        ]
        # Half of the requests go over kept connections.
        pace = 2 * KEPT / self.requests_per_second
        turns = itertools.cycle(self.targets)
        requests = [
            asyncio.create_task(self._ask(self.pods[n % len(self.pods)], next(turns), pace, keep))
            for keep in (True, False)
            for n in range(KEPT)
        ]
        await self._stop.wait()
        for task in tunnels:
            task.cancel()
        # A crawler that ends waits for the answers to what it has asked.
        await asyncio.gather(*tunnels, *requests, return_exceptions=True)

    async def _open(self, pod: Pod, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.targets[name]
        address = await self._loop.run_in_executor(None, address_of, pod, host)
        sock = pod.network.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setblocking(False)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self._loop.sock_connect(sock, (address, port))
        return await asyncio.open_connection(sock=sock)

    async def _tunnel(self, pod: Pod, name: str) -> None:
        """Keep a tunnel open and send pings through it; open another when it is cut."""
        while True:
            writer = None
            try:
                reader, writer = await self._open(pod, name)
                writer.write(_CONNECT)
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                assert b" 200 " in head, head
                self.open[name] += 1
                try:
                    while True:
                        writer.write(b"ping")
                        async with asyncio.timeout(TIMEOUT_SECONDS):
                            assert await reader.readexactly(4) == b"gnip"
                        await asyncio.sleep(PING_SECONDS)
                finally:
                    self.open[name] -= 1
            except (OSError, EOFError, TimeoutError, AssertionError):
                self.cut.append(Cut(name, time.time()))
                await asyncio.sleep(0.1)
            finally:
                if writer:
                    writer.close()

    async def _ask(self, pod: Pod, name: str, pace: float, keep: bool) -> None:
        """Send a request every `pace` seconds."""
        streams = None
        while not self._stop.is_set():
            fresh = streams is None
            started = time.monotonic()
            self.requests += 1
            try:
                streams = streams or await self._open(pod, name)
                head = await self._exchange(*streams)
            except (OSError, EOFError, TimeoutError) as error:
                if streams:
                    streams[1].close()
                streams = None
                if fresh or isinstance(error, TimeoutError):
                    self.failed.append(f"{name}: {error!r}")
                else:
                    continue  # the kept connection was closed: HTTP clients send again at once
            else:
                if b" 200 " not in head:
                    self.failed.append(f"{name}: {head[:60]!r}")
                if streams and (not keep or b"connection: close" in head.lower()):
                    streams[1].close()
                    streams = None
            await asyncio.sleep(max(0.0, pace - (time.monotonic() - started)))

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(_REQUEST)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
        return head


@contextmanager
def running(
    pods: Sequence[Pod], targets: dict[str, Target], *, requests_per_second: int, tunnels_each: int
) -> Iterator[Load]:
    """Run the load on another thread until the block ends."""
    load = Load(pods, targets, requests_per_second, tunnels_each)
    thread = threading.Thread(target=lambda: load._loop.run_until_complete(load.run()))
    thread.start()
    try:
        yield load
    finally:
        load._loop.call_soon_threadsafe(load._stop.set)
        thread.join()
        load._loop.close()


@dataclass(frozen=True)
class Plan:
    """The load of a module's edits: the fixture `load` runs the module's `LOAD` on one pod."""

    targets: dict[str, Target]
    requests_per_second: int = 200
    tunnels_each: int = 20
    servers: str = "servers"
    """The fixture that serves the targets: `dns` where some are names."""


@contextmanager
def observed(
    mesh: Mesh,
    load: Load,
    what: str,
    record: Callable[[str, object], None],
    *,
    cut_ones: frozenset[str] = frozenset(),
    failing: float = 0.0,
) -> Iterator[set[str]]:
    """Watch an edit until its drain is over; give the targets whose tunnels were cut.

    `cut_ones` are targets whose tunnels will be cut, and are waited for; `failing` is the share of
    requests that may fail.
    """
    mesh.until(load.all_open)
    load.mark()
    cut: set[str] = set()
    since = time.time()
    yield cut
    mesh.settled(load.pods, since)
    time.sleep(DRAIN_SECONDS)
    mesh.until(lambda: not any(pod.is_draining() for pod in load.pods), why="it drains for ever")
    mesh.until(lambda: cut_ones <= {one.target for one in load.cut}, why="too few tunnels are cut")
    time.sleep(MARGIN_SECONDS)
    mesh.until(lambda: load.requests > LEAST_REQUESTS, why="there is no load")
    cut |= {one.target for one in load.cut}
    seconds = [one.at - since for one in load.cut]
    record(
        what,
        {
            "failed requests": f"{len(load.failed)} of {load.requests}",
            f"tunnels cut of {load.most_open}": len(load.cut),
            "whose": "everybody's" if cut == set(load.targets) else ", ".join(sorted(cut)),
            "after seconds": f"{min(seconds):.0f}-{max(seconds):.0f}" if seconds else "",
        },
    )
    assert len(load.failed) <= failing * load.requests, load.failed
