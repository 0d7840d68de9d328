"""Scripted exchanges through several Envoys at once: thousands in seconds, every byte kept.

Crawler and vendor are both played here. An exchange has a loopback address of its own, so what a
vendor receives there, however late, belongs to it. Answers and requests are read by their framing:
where a chunk or a segment ends is the kernel's doing and not compared.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.endpoints import endpoints
from lab.ports import Ports
from lab.processes import Children, children
from lab.system import EXTENSIONS, load_settings, rendered_envoy, start_envoy, wait_until_ready
from tests.lab.conftest import Sidecar, free_ports

Json = dict[str, Any]

AT_ONCE = 64
SILENCE_SECONDS = 0.4  # after this long without an answer the crawler leaves
DEFAULT_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
# Envoy dates an answer that has no date: lower case, at the end.
_DATE_OF_ENVOY = re.compile(rb"\r\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What a crawler sends on one connection, and what the vendor answers."""

    address: str
    sends: bytes
    port_offset: int = 28
    """Where the crawler connects, from the base of `lab.ports`; 28 is everybody's HTTP port."""
    methods: tuple[bytes, ...] = (b"GET",)
    """One for each answer that the crawler waits for."""
    answers: tuple[bytes, ...] = ()
    """In the order of the requests; `DEFAULT_ANSWER` once they are used up."""
    closes: bool = False
    """The vendor closes behind its last answer."""
    hangs_up: bool = False
    """The vendor resets at the first byte."""
    in_tunnel: bytes = b""
    """Sent once a CONNECT is granted; the vendor sends it back, reversed, and closes."""


@dataclass
class Record:
    """What the two ends saw. `ending`: answered, closed (by Envoy), or silent."""

    answers: list[bytes] = field(default_factory=list)
    ending: str = "silent"
    received: list[bytes] = field(default_factory=list)
    """By the vendor, on whichever of its connections."""
    pieces: list[bytes] = field(default_factory=list)
    """What the vendor had received of a request when its connection ended."""
    connections: int = 0
    """At the vendor. Not compared: behind a request that is already waiting, Envoy sometimes opens
    one more."""

    @property
    def seen(self) -> tuple[list[bytes], str, list[bytes], list[bytes]]:
        """All that must not differ."""
        return self.answers, self.ending, self.received, sorted(self.pieces)


class Messages:
    """Cuts a stream of HTTP/1 into messages; `raw` once it is none any more."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.raw = False

    def head(self) -> bytes | None:
        end = self.buffer.find(b"\r\n\r\n")
        return None if end < 0 else bytes(self.buffer[: end + 4])

    def take(self, head: bytes, size: int | None) -> bytes | None:
        """Remove and return head and body; None while the body is not complete."""
        if size is None:
            return self._take_chunked(head)
        end = len(head) + size
        if len(self.buffer) < end:
            return None
        message = bytes(self.buffer[:end])
        del self.buffer[:end]
        return message

    def _take_chunked(self, head: bytes) -> bytes | None:
        at, body = len(head), bytearray()
        while (line_end := self.buffer.find(b"\r\n", at)) >= 0:
            try:
                size = int(self.buffer[at:line_end].split(b";")[0], 16)
            except ValueError:
                self.raw = True
                return None
            at = line_end + 2
            if size == 0:
                end = self.buffer.find(b"\r\n", at)
                if end == at:
                    del self.buffer[: at + 2]
                    return head + body
                trailers_end = self.buffer.find(b"\r\n\r\n", at)
                if trailers_end < 0:
                    return None
                body += self.buffer[at : trailers_end + 4]
                del self.buffer[: trailers_end + 4]
                return head + body
            if len(self.buffer) < at + size + 2:
                return None
            body += self.buffer[at : at + size]
            at += size + 2
        return None


def body_size(head: bytes) -> int | None:
    """Return the length of the body a head announces, None for a chunked one."""
    if _CHUNKED.search(head):
        return None
    length = _LENGTH.search(head)
    return int(length[1]) if length else 0


class _Crawler(asyncio.Protocol):
    def __init__(self, exchange: Exchange, record: Record, ended: asyncio.Future[None]) -> None:
        self._exchange, self._record, self._ended = exchange, record, ended
        self._messages = Messages()
        self._answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._exchange.sends)

    def data_received(self, data: bytes) -> None:
        self._messages.buffer += data
        while not self._messages.raw and not self._ended.done() and self._next_answer():
            pass
        echo = self._exchange.in_tunnel[::-1]
        if self._messages.raw and echo and self._messages.buffer.endswith(echo):
            self._end("answered")  # Envoy would close a second later: its delayed_close_timeout

    def connection_lost(self, error: Exception | None) -> None:
        self._end("closed")

    def leave(self) -> None:
        self._end("silent")

    def _next_answer(self) -> bool:
        messages = self._messages
        head = messages.head()
        if head is None:
            return False
        status = _STATUS.match(head)
        if status is None:
            messages.raw = True
            return False
        code, method = int(status[1]), self._exchange.methods[self._answered]
        interim = 100 <= code < 200 and code != 101
        if code == 101 or (method == b"CONNECT" and 200 <= code < 300):
            messages.raw = True
            self._transport.write(self._exchange.in_tunnel)
            return False
        bodiless = interim or method == b"HEAD" or code in (204, 304)
        size = 0 if bodiless else body_size(head)
        if size == 0 and not bodiless and not _LENGTH.search(head):
            messages.raw = True  # ends with its connection
            return False
        message = messages.take(head, size)
        if message is None:
            return False
        self._record.answers.append(_DATE_OF_ENVOY.sub(b"\r\ndate: -\r\n", message))
        if not interim:
            self._answered += 1
            if self._answered == len(self._exchange.methods) or _CLOSES.search(head):
                self._end("answered")
        return True

    def _end(self, ending: str) -> None:
        if self._ended.done():
            return
        self._record.ending = ending
        if self._messages.buffer and (self._messages.raw or ending != "answered"):
            rest = bytes(self._messages.buffer)
            self._record.answers.append(_DATE_OF_ENVOY.sub(b"\r\ndate: -\r\n", rest))
        self._ended.set_result(None)
        self._transport.close()


class _Vendor(asyncio.Protocol):
    def __init__(self, runs: dict[str, _Run]) -> None:
        self._runs = runs

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        address = transport.get_extra_info("sockname")[0]
        # Who else connects is a stranger: the listener is on every address of the machine.
        self._run = self._runs.get(address) or _Run(Exchange(address=address, sends=b""))
        self._run.connections.append(transport)
        self._messages = Messages()
        self._tunnel = False
        self._run.record.connections += 1

    def data_received(self, data: bytes) -> None:
        exchange, messages = self._run.exchange, self._messages
        if exchange.hangs_up:
            self._transport.abort()
            return
        messages.buffer += data
        while not self._tunnel and (head := messages.head()) is not None:
            message = messages.take(head, body_size(head))
            if message is None:
                break
            self._run.record.received.append(message)
            self._answer(tunnel=head.startswith(b"CONNECT "))
        if messages.buffer and bytes(messages.buffer) == exchange.in_tunnel:
            self._transport.write(exchange.in_tunnel[::-1])
            self._transport.close()
        elif not self._run.answered and bytes(messages.buffer) == exchange.sends:
            self._answer(tunnel=False)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._messages.buffer:
            self._run.record.pieces.append(bytes(self._messages.buffer))

    def _answer(self, *, tunnel: bool) -> None:
        run = self._run
        answers = run.exchange.answers
        answer = answers[run.answered] if run.answered < len(answers) else DEFAULT_ANSWER
        run.answered += 1
        self._transport.write(answer)
        status = _STATUS.match(answer)
        self._tunnel = tunnel and status is not None and status[1].startswith(b"2")
        if run.exchange.closes and run.answered >= len(answers):
            self._transport.close()


@dataclass
class _Run:
    exchange: Exchange
    record: Record = field(default_factory=Record)
    answered: int = 0
    connections: list[asyncio.Transport] = field(default_factory=list)


async def run(
    exchanges: Sequence[Exchange], sides: Sequence[Ports], *, with_vendor: bool = True
) -> list[list[Record]]:
    """Have every exchange through the Envoy of every side; return their records by side.

    Args:
        exchanges: each with an address that no other has.
        sides: where the Envoys listen, and where they look for the vendor.
        with_vendor: whether somebody is there.
    """
    loop = asyncio.get_running_loop()
    runs = [{exchange.address: _Run(exchange) for exchange in exchanges} for _ in sides]
    servers = [
        await loop.create_server(
            lambda own=own: _Vendor(own), ("0.0.0.0", "::1"), ports.vendor_upstream, backlog=4096
        )
        for own, ports in zip(runs, sides, strict=True)
        if with_vendor
    ]
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(exchange: Exchange) -> None:
        async with gate:
            await asyncio.gather(
                *(
                    _crawl(own[exchange.address], ports.base + exchange.port_offset)
                    for own, ports in zip(runs, sides, strict=True)
                )
            )

    await asyncio.gather(*map(one, exchanges))
    await asyncio.sleep(0.3)  # what is still under way to a vendor whose crawler has left
    for own in runs:
        for each in own.values():
            for connection in each.connections:
                connection.abort()
    await asyncio.sleep(0)
    for server in servers:
        server.close()
        await server.wait_closed()
    return [[own[exchange.address].record for exchange in exchanges] for own in runs]


async def _crawl(own: _Run, port: int) -> None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    _, crawler = await loop.create_connection(
        lambda: _Crawler(own.exchange, own.record, ended), own.exchange.address, port
    )
    while not ended.done():
        heard = len(own.record.answers)
        await asyncio.wait([ended], timeout=SILENCE_SECONDS)
        if len(own.record.answers) == heard:
            crawler.leave()
    if own.record.ending == "answered":
        for connection in own.connections:
            connection.close()


@dataclass(frozen=True)
class Twins:
    """The rendered sidecar, and one that runs the same chains without what is ours in them."""

    family: Children
    ours: Sidecar
    control: Sidecar
    folder: Path
    port_offsets: tuple[int, ...]
    """Where they listen: `Exchange.port_offset`."""

    @property
    def sides(self) -> tuple[Ports, Ports]:
        return self.ours.ports, self.control.ports


@contextmanager
def twins(folder: Path) -> Iterator[Twins]:
    """Run both, on every IPv4 address of loopback and on ::1."""
    with children() as family:
        started = []
        for name in ("ours", "control"):
            ports = free_ports()
            own = folder / name
            own.mkdir()
            settings = load_settings(ports)
            addresses = [one.address for one in endpoints(settings.vendors, ports)]
            rendered = rendered_envoy(settings, addresses, ports, own)
            resources = rendered.bootstrap["static_resources"]
            offsets = _listen_everywhere(resources["listeners"][0], ports)
            for cluster in resources["clusters"]:
                if "original_dst_lb_config" in cluster:
                    cluster["original_dst_lb_config"]["upstream_port_override"] = (
                        ports.vendor_upstream
                    )
            if name == "control":
                strip(resources["listeners"][0])
            start_envoy(family, rendered, own)
            wait_until_ready(family, name, f"http://127.0.0.1:{ports.envoy_admin}/ready")
            started.append(Sidecar(ports, own / EXTENSIONS))
        yield Twins(family, *started, folder, offsets)


def _listen_everywhere(listener: Json, ports: Ports) -> tuple[int, ...]:
    """Have the listener on every address of its ports; return these, from their base."""
    rendered = [
        listener["address"],
        *(more["address"] for more in listener["additional_addresses"]),
    ]
    numbers = {one["socket_address"]["port_value"] for one in rendered}
    sockets = [
        {"socket_address": {"address": address, "port_value": number}}
        for number in sorted(numbers)
        for address in ("0.0.0.0", "::1")
    ]
    listener["address"] = sockets[0]
    listener["additional_addresses"] = [{"address": socket} for socket in sockets[1:]]
    return tuple(sorted(number - ports.base for number in numbers))


def strip(listener: Json) -> None:
    """Leave of our chains the parsers with their settings, the routes and the clusters.

    Where vendors share a range the constant stays: routes and clusters are chosen by it.
    """
    for chain in listener["filter_chains"]:
        *before, last = chain["filters"]
        config = last["typed_config"]
        config.pop("access_log", None)  # the stand-in for istio.stats
        if "http_filters" in config:
            config["http_filters"] = config["http_filters"][-1:]  # the router
            for host in config["route_config"]["virtual_hosts"]:
                del host["response_headers_to_add"]  # the set-up time, which a filter took out
        chosen = "filter_state" in str(config) or "envoy.tcp_proxy.cluster" in str(before)
        chain["filters"] = [*(before if chosen else []), last]
