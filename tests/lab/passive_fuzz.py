"""Generated exchanges through a passive sidecar and without one, and what it keeps of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lab.inspection import with_inspection
from lab.processes import Children, children
from lab.system import EXTENSIONS, load_settings, rendered_envoy, start_envoy, wait_until_ready
from tests.lab.conftest import Sidecar, free_ports
from tests.lab.hostile import (
    HOSTS,
    METHODS,
    OPENINGS,
    WORDS,
    Dice,
    written,
)
from tests.lab.script import PATIENT, Ends, Record, Script, Turn, Waits, play

SEED = 20_261_129
FIRST = {"direct": IPv4Address("127.20.0.1"), "envoy": IPv4Address("127.1.0.1")}
ROUND = 50_000  # each has an address of its own
CRAWLERS = 64
GOES = 3  # which of two ends comes first is sometimes chance, without us too
GOOD = Turn(
    sends=(b"GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n",),
    answers=(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",),
)
ENDS: tuple[Ends, ...] = ("crawler", "crawler", "vendor", "half-close", "crawler resets")
EVERY_BYTE = bytes(range(256))


class Maker(Dice):
    """Makes scripts: what crawlers and vendors say, in segments cut anywhere."""

    def cut(self, message: bytes) -> tuple[bytes, ...]:
        """Return the message in one to five segments, mostly in one."""
        most = max(0, min(len(message) - 1, 4))
        places = sorted(self.randint(1, len(message) - 1) for _ in range(self.randint(0, most)))
        if self.random() < 0.6 or not places:
            return (message,) if message else ()
        bounds = [0, *dict.fromkeys(places), len(message)]
        return tuple(message[a:b] for a, b in itertools.pairwise(bounds))

    def turn(self, sends: bytes, answers: bytes) -> Turn:
        return Turn(sends=self.cut(sends), answers=self.cut(answers))

    def framed(self) -> Turn:
        method = self.choice(METHODS)
        return self.turn(self.framed_request(method), self.framed_answer(method))

    def broken(self) -> Turn:
        method = self.choice(METHODS)
        request, answer = self.framed_request(method), self.framed_answer(method)
        kind = self.random()
        return self.turn(
            self.mutated(request) if kind < 0.6 else request,
            self.mutated(answer) if kind > 0.4 else answer,
        )

    def tunnel(self) -> list[Turn]:
        code = self.choice((200, 200, 200, 299, 407, 502, self.randint(100, 999)))
        head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (code, self.choice((b"OK", b"")), self.headers())
        asks = b"CONNECT %b HTTP/1.1\r\n%b\r\n" % (self.choice(HOSTS), self.headers())
        inside = [
            self.turn(self.text(EVERY_BYTE, 4000), self.text(EVERY_BYTE, 4000))
            for _ in range(self.randint(0, 3))
        ]
        return [self.turn(asks, head), *inside]

    def socks(self) -> list[Turn]:
        """A SOCKS5 connection, each message of it perhaps wounded."""
        name, login = self.choice(HOSTS)[:255], self.random() < 0.5
        by_name = b"\x03%c%b" % (len(name), name)
        where = self.choice((b"\x01" + self.randbytes(4), b"\x04" + self.randbytes(16), by_name))
        turns = [(b"\x05\x01\x02", b"\x05\x02") if login else (b"\x05\x02\x00\x01", b"\x05\x00")]
        if login:
            user, status = self.text(EVERY_BYTE, 255), self.choice((0, 0, 1))
            turns.append((b"\x01%c%b\x02pw" % (len(user), user), b"\x01%c" % status))
        reply = self.choice((0, 0, 0, *range(10), 255))
        turns.append((b"\x05\x01\x00" + where + b"\x01\xbb", b"\x05%c\x00\x01" % reply + bytes(6)))
        turns.append((self.text(EVERY_BYTE, 900), self.text(EVERY_BYTE, 900)))
        return [self.turn(self.wounded(sends), self.wounded(says)) for sends, says in turns]

    def wounded(self, message: bytes) -> bytes:
        """Return the message, one time in five with a byte changed, added or left out."""
        at, kind = self.randrange(len(message)), self.random()
        if kind < 0.1:
            return message[:at] + self.randbytes(1) + message[at + 1 :]
        if kind < 0.15:
            return message[:at] + self.randbytes(1) + message[at:]
        return message[:at] + message[at + 1 :] if kind < 0.2 and len(message) > 1 else message

    def script(self) -> Script:
        kind = self.random()
        if kind < 0.35:
            turns = [self.framed() for _ in range(self.randint(1, 5))]
        elif kind < 0.7:
            turns = [self.framed() for _ in range(self.randint(0, 2))] + [self.broken()]
            turns += [self.framed() for _ in range(self.randint(0, 2))]
        elif kind < 0.8:
            turns = self.tunnel()
        elif kind < 0.9:
            turns = self.socks()
        elif kind < 0.95:
            first = self.choice(OPENINGS) + self.text(EVERY_BYTE, 400)
            turns = [self.turn(first, self.choice(WORDS) + self.text(EVERY_BYTE, 400))]
        else:
            sends, answer, _ = self.choice(WRITTEN)
            turns = [self.turn(sends, answer)]
        return Script(turns=tuple(turns), ends=self.choice(ENDS), pipelined=self.random() < 0.2)


WRITTEN = written()


def scripts(count: int, seed: int = SEED) -> list[Script]:
    maker = Maker(seed)
    return [maker.script() for _ in range(count)]


@dataclass(frozen=True)
class Running:
    sidecar: Sidecar
    family: Children
    envoy: int
    """Its process number."""

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self.envoy}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def counted(self) -> int:
        """Return how many requests and connections the module has counted."""
        opaque = self.sidecar.counter("istio_tcp_connections_opened_total")
        return self.sidecar.counter("istio_requests_total") + opaque


@contextlib.contextmanager
def running_on_every_address(folder: Path, inspect: str = "passive") -> Iterator[Running]:
    """Run an Envoy that reads every vendor so, on every address of loopback."""
    ports = free_ports()
    settings = with_inspection(load_settings(ports), inspect)
    rendered = rendered_envoy(settings, ["0.0.0.0"], ports, folder)
    with children() as family:
        envoy = start_envoy(family, rendered, folder)
        wait_until_ready(family, "envoy", f"http://127.0.0.1:{ports.envoy_admin}/ready")
        yield Running(Sidecar(ports, folder / EXTENSIONS), family, envoy)


def played(
    wanted: Sequence[Script], running: Running, side: str, waits: Waits = PATIENT
) -> list[Record]:
    """Play all scripts `direct` or through `envoy`; return their records."""
    ports, found = running.sidecar.ports, []
    for start in range(0, len(wanted), ROUND):
        some = {str(FIRST[side] + n): one for n, one in enumerate(wanted[start : start + ROUND])}
        where = ports.vendor_upstream
        crawler_port = ports.vendor if side == "envoy" else where
        records = asyncio.run(play(some, vendor_port=where, crawler_port=crawler_port, waits=waits))
        found += [records[address] for address in some]
        running.family.check()
    return found


def differences(
    wanted: Sequence[Script], running: Running, waits: Waits = PATIENT
) -> list[tuple[Script, Record, Record]]:
    """Return each script that goes otherwise through the sidecar, with both records.

    What differs is played again: an end that sometimes comes first, with or without a sidecar, is
    no difference.
    """
    direct, through = (played(wanted, running, side, waits) for side in ("direct", "envoy"))
    found = [all_ for all_ in zip(wanted, direct, through, strict=True) if all_[1] != all_[2]]
    for _ in range(GOES if found else 0):
        again = [script for script, *_ in found]
        direct, through = (played(again, running, side, waits) for side in ("direct", "envoy"))
        found = [
            (script, one, other)
            for (script, *_), one, other in zip(found, direct, through, strict=True)
            if one != other
        ]
    return found


def good_requests_count(running: Running, count: int) -> bool:
    """Whether the module still counts: `count` good requests, each on its connection."""
    before = running.counted()
    good = Script(turns=(GOOD,))
    records = played([good] * count, running, "envoy")
    assert all(record.answered == GOOD.answered for record in records)
    return running.counted() - before == count


class _Answering(asyncio.Protocol):
    """A vendor that answers whatever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(GOOD.answered)


async def one_shots(address: str, port: int, upstream: int, count: int) -> None:
    """Make `count` connections of one request each, which the crawler closes."""

    async def crawl() -> None:
        for _ in range(count // CRAWLERS):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(GOOD.sent)
            await reader.readexactly(len(GOOD.answered))
            writer.close()

    loop = asyncio.get_running_loop()
    async with await loop.create_server(_Answering, address, upstream, backlog=4096):
        await asyncio.gather(*(crawl() for _ in range(CRAWLERS)))


def memory_kib(running: Running, connections: int) -> tuple[int, int]:
    """Return Envoy's resident memory after a tenth of the connections, and after all of them."""
    ports, address = running.sidecar.ports, "127.1.0.10"
    resident = []
    for share in (0.1, 0.9):
        count = round(connections * share)
        asyncio.run(one_shots(address, ports.vendor, ports.vendor_upstream, count))
        resident.append(running.resident_kib())
    return resident[0], resident[1]
