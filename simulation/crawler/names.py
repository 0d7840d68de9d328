"""Host names of vendors, resolved as a crawler does: again for a connection once the answer is old.

A plan's `name_server` is asked over UDP (RFC 1035). Without one the machine's resolver is, which
tells no TTL.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, cast

from simulation.plans import ip_address, text, whole

TRIES, TRY_SECONDS = 3, 1.0
UNTOLD_TTL_SECONDS = 1.0  # the machine's resolver has a cache of its own
A, AAAA, CLASS_IN = 1, 28, 1
BYTES: Final = {A: 4, AAAA: 16}
RECURSE = 0x0100
LONGEST_NAME = 253
Server = tuple[str, int]


class Resolved(NamedTuple):
    """The addresses in the order of the answer, and for how many seconds they hold."""

    addresses: tuple[str, ...]
    seconds: float


class Names:
    """Keeps each name's answer for its TTL; connections that start at once share one question."""

    def __init__(self, server: Server | None) -> None:
        self._server = server
        self._known: dict[str, tuple[str, float]] = {}  # address, and until when
        self._asked: dict[str, asyncio.Task[str]] = {}

    async def address(self, host: str) -> str:
        """Return the first address of a name.

        Raises:
            socket.gaierror: it has none, or nobody answers.
        """
        address, until = self._known.get(host, ("", 0.0))
        if address and asyncio.get_running_loop().time() < until:
            return address
        if host not in self._asked:
            self._asked[host] = asyncio.create_task(self._resolve(host))
        # One connection that is given up must not take the answer from the others.
        return await asyncio.shield(self._asked[host])

    async def _resolve(self, host: str) -> str:
        loop = asyncio.get_running_loop()
        try:
            found = await (ask(self._server, host) if self._server else ask_machine(host))
            self._known[host] = found.addresses[0], loop.time() + found.seconds
            return found.addresses[0]
        finally:
            del self._asked[host]


async def ask_machine(host: str) -> Resolved:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return Resolved(tuple(str(entry[4][0]) for entry in found), UNTOLD_TTL_SECONDS)


async def ask(server: Server, host: str) -> Resolved:
    """Ask a name server for IPv4 addresses, and for IPv6 where there are none.

    Raises:
        socket.gaierror: there is neither, or no answer came.
    """
    for kind in BYTES:
        found = read_answer(await _exchange(server, question(host, kind)), kind)
        if found.addresses:
            return found
    raise socket.gaierror(socket.EAI_NONAME, "the name has no address")


def question(host: str, kind: int) -> bytes:
    labels = [label.encode() for label in host.rstrip(".").split(".")]
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    head = struct.pack(">HHHHHH", secrets.randbits(16), RECURSE, 1, 0, 0, 0)
    return head + name + struct.pack(">HH", kind, CLASS_IN)


def read_answer(said: bytes, kind: int) -> Resolved:
    """Read the addresses of one kind, wherever CNAMEs led; their TTL is the shortest."""
    addresses, seconds = [], []
    try:
        for found, ttl, data in _records(said):
            if found == kind and len(data) == BYTES[kind]:
                addresses.append(str(ipaddress.ip_address(data)))
                seconds.append(ttl)
    except (IndexError, struct.error):
        raise socket.gaierror(socket.EAI_FAIL, "the name server's answer is no DNS") from None
    return Resolved(tuple(addresses), float(min(seconds, default=0)))


def _records(said: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, TTL and data of each record in the answer's section."""
    questions, answers = struct.unpack_from(">HH", said, 4)
    at = 12
    for _ in range(questions):
        at = _behind_name(said, at) + 4
    for _ in range(answers):
        at = _behind_name(said, at)
        kind, _, ttl, size = struct.unpack_from(">HHIH", said, at)
        at += 10
        yield kind, ttl, said[at : at + size]
        at += size


def _behind_name(said: bytes, at: int) -> int:
    while said[at]:
        if said[at] >= 0xC0:  # RFC 1035, 4.1.4: two bytes that point at the rest of the name
            return at + 2
        at += 1 + said[at]
    return at + 1


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, asked: bytes) -> None:
        self._asked = asked
        self.said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._asked)

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        if data[:2] == self._asked[:2] and len(data) >= 12 and not self.said.done():
            self.said.set_result(data)


async def _exchange(server: Server, asked: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    for _ in range(TRIES):
        transport, answer = await loop.create_datagram_endpoint(
            lambda: _Answer(asked), remote_addr=server
        )
        try:
            async with asyncio.timeout(TRY_SECONDS):
                return await answer.said
        except TimeoutError:
            pass
        finally:
            transport.close()
    raise socket.gaierror(socket.EAI_AGAIN, "the name server does not answer")


# Checks of a plan's keys


def host_name(value: object) -> str:
    found = text(value)
    labels = found.split(".")
    if not found.isascii() or len(found) > LONGEST_NAME or not all(0 < len(x) < 64 for x in labels):
        raise ValueError("is not a host name: give one such as gw.vendor.example")
    if not all(each.isalnum() or each in "-." for each in found):
        raise ValueError("is not a host name: give letters, digits, hyphens and dots")
    return found


def name_server(value: object) -> Server:
    address, _, port = text(value).rpartition(":")
    try:
        return ip_address(address.strip("[]")), whole(1, 65535)(int(port))
    except ValueError:
        raise ValueError("is no name server: give one such as 127.0.0.1:53") from None
