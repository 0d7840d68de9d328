"""Scripted exchanges over sockets, with an Envoy between the two ends or with none at all.

A script says what the crawler sends, in segments, what the vendor answers, and who ends the
connection how. Each run of a script has a loopback address of its own: what a vendor receives
there, however late, belongs to it. Both ends keep every byte and how the other end left.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Ends = Literal["crawler", "crawler resets", "half-close", "vendor", "vendor resets"]

AT_ONCE = 100
SEGMENT_SECONDS = 0.01  # between two segments: they arrive apart
LINGER_SECONDS = 0.2  # after everything has come: nothing more may, and the connection stays

# Envoy dates an answer that has no date; its own header is in lower case.
_DATE_OF_ENVOY = re.compile(rb"\r\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")


@dataclass(frozen=True, kw_only=True)
class Waits:
    """How long each end waits for what comes next, in seconds."""

    vendor_quiet: float
    """The vendor takes what has come for the whole request when it is what was sent, or else, since
    Envoy may have changed it, after this long without a further byte."""
    crawler_quiet: float
    silence: float
    """Without any answer."""
    leave: float
    """For an end to get from the crawler to the vendor."""


PATIENT = Waits(vendor_quiet=30, crawler_quiet=30, silence=30, leave=30)
"""Where nothing is changed: all that is sent comes, however late on a busy machine."""

PARSED = Waits(vendor_quiet=0.15, crawler_quiet=0.3, silence=1.6, leave=0.5)
"""Where HTTP is parsed, some never comes. The silence is more than the listener filters' time-out,
and leaving less than `idleTimeout`."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What the crawler sends next, and what the vendor answers once it has all of it."""

    sends: tuple[bytes, ...] = ()
    """Segments. None at all: the vendor speaks unasked."""
    answers: tuple[bytes, ...] = ()

    @property
    def sent(self) -> bytes:
        return b"".join(self.sends)

    @property
    def answered(self) -> bytes:
        return b"".join(self.answers)


@dataclass(frozen=True, kw_only=True)
class Script:
    turns: tuple[Turn, ...]
    ends: Ends = "crawler"
    """`half-close`: the crawler ends its sending side with its last segment, and the vendor closes
    once it has answered."""
    pipelined: bool = False
    """The crawler sends all its turns in one segment."""


@dataclass(frozen=True)
class Record:
    """What both ends saw; an end is `open`, `closed` or `reset`."""

    answered: bytes
    """What the crawler received."""
    crawler_saw: str
    received: tuple[bytes, ...]
    """What the vendor received, by connection."""
    vendor_saw: tuple[str, ...]


class End(asyncio.Protocol):
    """One end of a connection: what came, and how the other end left."""

    def __init__(self, made: Callable[[End], None] = lambda end: None) -> None:
        self.received = bytearray()
        self.other = "open"
        self._made = made
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._made(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def eof_received(self) -> bool:
        self.other = "closed"
        self._changed.set()
        return True  # the sending side stays

    def connection_lost(self, error: Exception | None) -> None:
        if self.other == "open":
            self.other = "reset" if error else "closed"
        self._changed.set()

    async def until(self, condition: Callable[[], bool], quiet: float) -> bool:
        """Wait until it holds, or nothing happens for `quiet` seconds; return whether it does."""
        while not condition():
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), quiet)
            except TimeoutError:
                return condition()
        return True

    async def send(self, segments: Sequence[bytes], *, and_end: bool = False) -> None:
        """Send them apart; `and_end` has the last one and the end of sending leave as one."""
        for number, segment in enumerate(segments):
            if number:
                await asyncio.sleep(SEGMENT_SECONDS)
            if and_end and number == len(segments) - 1:
                own = self.transport.get_extra_info("socket")
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            self.transport.write(segment)
        if and_end:
            self.end_sending()

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        own = self.transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    def end_sending(self) -> None:
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()


@dataclass
class _Run:
    script: Script
    waits: Waits
    next_turn: int = 0
    vendors: list[End] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def connected(self, vendor: End) -> None:
        self.vendors.append(vendor)
        self.tasks.append(asyncio.get_running_loop().create_task(self._serve(vendor)))

    async def _serve(self, vendor: End) -> None:
        turns, taken = self.script.turns, 0
        while self.next_turn < len(turns):
            turn = turns[self.next_turn]
            size = await _take(vendor, taken, turn.sent, self.waits)
            if size is None:
                break
            taken += size
            self.next_turn += 1
            await vendor.send(turn.answers)
        if self.next_turn == len(turns):
            if self.script.ends == "vendor":
                vendor.end_sending()
            elif self.script.ends == "vendor resets":
                await asyncio.sleep(SEGMENT_SECONDS * 5)  # a reset would overtake the answer
                vendor.reset()
        await vendor.until(lambda: vendor.other != "open", 60)
        vendor.transport.close()


async def _take(vendor: End, start: int, expected: bytes, waits: Waits) -> int | None:
    """Return how many bytes the next request has; None if the crawler left instead."""

    def whole() -> bool:
        return vendor.received.startswith(expected, start)

    while not whole():
        seen = len(vendor.received)
        await vendor.until(
            lambda seen=seen: whole() or vendor.other != "open" or len(vendor.received) > seen,
            waits.vendor_quiet if seen > start else 60,
        )
        if len(vendor.received) == seen and not whole():
            return seen - start if seen > start else None
    return len(expected)


async def _crawl(run: _Run, address: str, port: int) -> Record:
    script = run.script
    _, crawler = await asyncio.get_running_loop().create_connection(End, address, port)
    groups = [script.turns] if script.pipelined else [(turn,) for turn in script.turns]
    expected = b""
    for number, group in enumerate(groups):
        segments = [segment for turn in group for segment in turn.sends]
        ends = script.ends == "half-close" and number == len(groups) - 1
        await crawler.send([b"".join(segments)] if script.pipelined else segments, and_end=ends)
        expected += b"".join(turn.answered for turn in group)
        await _hear(crawler, expected, run.waits)
        if crawler.other != "open":
            break
    stays = script.ends in ("crawler", "crawler resets")
    await crawler.until(
        lambda: crawler.other != "open", LINGER_SECONDS if stays else run.waits.silence
    )
    answered, saw = bytes(crawler.received), crawler.other
    if script.ends == "crawler resets" and saw == "open":
        crawler.reset()
    crawler.transport.close()
    for vendor in run.vendors:
        await vendor.until(lambda vendor=vendor: vendor.other != "open", run.waits.leave)
    record = Record(
        answered=_DATE_OF_ENVOY.sub(b"\r\ndate: now\r\n", answered),
        crawler_saw=saw,
        received=tuple(bytes(vendor.received) for vendor in run.vendors),
        vendor_saw=tuple(vendor.other for vendor in run.vendors),
    )
    for vendor in run.vendors:
        vendor.transport.abort()
    for task in run.tasks:
        task.cancel()
    return record


async def _hear(crawler: End, expected: bytes, waits: Waits) -> None:
    """Wait for the answer; once something else came, until nothing more does."""
    start = len(crawler.received)

    def settled() -> bool:
        return crawler.received.startswith(expected) or crawler.other != "open"

    if await crawler.until(lambda: settled() or len(crawler.received) > start, waits.silence):
        await crawler.until(settled, waits.crawler_quiet)


async def play(
    scripts: Mapping[str, Script], *, vendor_port: int, crawler_port: int, waits: Waits
) -> dict[str, Record]:
    """Play every script, many at once; return the records by address.

    Args:
        scripts: by address.
        vendor_port: where the vendor listens, on every address.
        crawler_port: where crawlers connect: `vendor_port`, or an Envoy's.
    """
    loop = asyncio.get_running_loop()
    runs = {address: _Run(script, waits) for address, script in scripts.items()}

    def connected(vendor: End) -> None:
        own = vendor.transport.get_extra_info("sockname")[0]
        if own in runs:  # who else connects is a stranger to this test
            runs[own].connected(vendor)

    server = await loop.create_server(lambda: End(connected), "0.0.0.0", vendor_port, backlog=4096)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(address: str, run: _Run) -> Record:
        async with gate:
            return await _crawl(run, address, crawler_port)

    async with server:
        records = await asyncio.gather(*(one(*item) for item in runs.items()))
    return dict(zip(runs, records, strict=True))
