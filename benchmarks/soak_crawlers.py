"""The soak's crawlers: connections of all ages at a steady rate, and exact books."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from benchmarks.crawlers import CONNECT, Address

PAUSE_SECONDS = 0.1
"""Between two exchanges of a connection."""

STATUSES = (200, 200, 200, 200, 404, 403, 429, 503)
SIZES_BYTES = (0, 100, 6_000, 32_000, 147_000)

# Connections of each kind by how long they live; None is the whole run.
AGES: tuple[tuple[tuple[float, float] | None, dict[str, int]], ...] = (
    ((2, 10), {"http": 12, "tunnel": 8, "socks": 2, "opaque": 2}),
    ((30, 300), {"http": 8, "tunnel": 8, "socks": 1, "opaque": 1}),
    (None, {"http": 6, "tunnel": 8, "socks": 1, "opaque": 1}),
)

SOCKS_GREETING = b"\x05\x01\x00"
SOCKS_REQUEST = b"\x05\x01\x00\x03\x0dshop.sim.test\x01\xbb"


@dataclass
class Books:
    """The crawlers' own books. `counts` is by visibility and status; "0" stands for no status."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    opaque: int = 0
    sent: int = 0
    received: int = 0
    exchanges: int = 0
    open: int = 0


class Crawler:
    """One connection, from its start to its end."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, books: Books
    ) -> None:
        self._reader, self._writer, self._books = reader, writer, books

    async def live(self, kind: str, until: float, chance: random.Random) -> None:
        """Do exchanges until then."""
        prepare: dict[str, Callable[[], Awaitable[None]]] = {
            "tunnel": self._open_tunnel,
            "socks": self._shake_hands,
            "opaque": self._say_something_else,
        }
        if kind in prepare:
            await prepare[kind]()
        while time.monotonic() < until:
            size = chance.choice(SIZES_BYTES)
            if kind == "http":
                await self._request(chance.choice(STATUSES), size)
            else:
                await self._pull(b"%d\n" % size, size)
            self._books.exchanges += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _request(self, status: int, size: int) -> None:
        self._send(b"GET http://a/%d/%d HTTP/1.1\r\nHost: a\r\n\r\n" % (status, size))
        await self._head(b"HTTP/1.1 %d " % status)
        await self._read(size)
        self._books.counts["http", str(status)] += 1

    async def _open_tunnel(self) -> None:
        self._send(CONNECT)
        await self._head(b"HTTP/1.1 200 ")
        self._books.counts["tunnel", "200"] += 1

    async def _shake_hands(self) -> None:
        self._send(SOCKS_GREETING)
        await self._read(2)
        self._send(SOCKS_REQUEST)
        await self._read(10)
        self._books.counts["socks", "0"] += 1

    async def _say_something_else(self) -> None:
        self._books.opaque += 1
        await self._pull(b"\x16\x03\x01 1000\n", 1000)

    async def _pull(self, ask: bytes, size: int) -> None:
        self._send(ask)
        await self._read(size)

    def _send(self, data: bytes) -> None:
        self._writer.write(data)
        self._books.sent += len(data)

    async def _head(self, start: bytes) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._books.received += len(head)
        if not head.startswith(start):
            raise ConnectionError(f"{head[:40]!r} came instead of {start!r}")

    async def _read(self, size: int) -> None:
        await self._reader.readexactly(size)
        self._books.received += size


async def crawl(address: Address, seconds: float, books: Books) -> None:
    """Keep connections of all AGES until the end; raise what a crawler met."""
    end = time.monotonic() + seconds
    seeds = count()
    async with asyncio.TaskGroup() as group:
        for ages, kinds in AGES:
            for kind, number in kinds.items():
                for _ in range(number):
                    chance = random.Random(next(seeds))
                    lives = _lives(end, ages, chance)
                    group.create_task(_one_after_another(address, kind, lives, chance, books))


def _lives(end: float, ages: tuple[float, float] | None, chance: random.Random) -> Iterator[float]:
    """Yield until when each connection lives, one after another."""
    while time.monotonic() < end:
        yield min(end, time.monotonic() + chance.uniform(*ages)) if ages else end


async def _one_after_another(
    address: Address, kind: str, lives: Iterator[float], chance: random.Random, books: Books
) -> None:
    await asyncio.sleep(chance.uniform(0, PAUSE_SECONDS))  # else all would ask at once
    for until in lives:
        reader, writer = await asyncio.open_connection(*address)
        books.open += 1
        try:
            await Crawler(reader, writer, books).live(kind, until, chance)
        finally:
            books.open -= 1
            writer.close()
        await writer.wait_closed()
