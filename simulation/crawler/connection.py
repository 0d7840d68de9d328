"""One connection of the crawler."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

from simulation.crawler.books import Wire
from simulation.crawler.http1 import Answer
from simulation.crawler.outcomes import Seen
from simulation.crawler.tls import Tls


class Reply(Protocol):
    def feed(self, data: memoryview) -> bool: ...


# All connections read into the same memory: bytes are counted and looked at, never kept.
ARRIVED = memoryview(bytearray(256 * 1024))
DECRYPTED = memoryview(bytearray(16 * 1024))  # a TLS record


class Connection(asyncio.BufferedProtocol):
    """One connection of the crawler, one exchange at a time."""

    def __init__(self, wire: Wire) -> None:
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._transport: asyncio.Transport
        self._reply: Reply | None = None
        self._ended: asyncio.Future[str]
        self._timer: asyncio.TimerHandle  # ends the wait for a reply
        self._asked_at = 0.0
        self._tls: ssl.SSLObject | None = None
        self.lost = False
        self.sent = self.received = 0
        self.uses = 0
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._wire.connections += 1

    def get_buffer(self, sizehint: int) -> memoryview:
        return ARRIVED

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self._wire.received += nbytes
        if self._tls:
            self._pump(ARRIVED[:nbytes])
        elif self._reply is None:
            self.close()  # bytes without a request: the connection is unfit for another
        elif self._reply.feed(ARRIVED[:nbytes]):
            self._end("answered")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        complete = isinstance(self._reply, Answer) and self._reply.endless
        self._end("answered" if complete else "lost")

    def leave(self) -> None:
        """Give up waiting."""
        self._end("left")

    def close(self) -> None:
        self.lost = True
        self._transport.close()

    def _end(self, how: str) -> None:
        if self._reply is not None:
            self._reply = None
            self._timer.cancel()
            self._ended.set_result(how)

    def _expect(self, reply: Reply, seconds: float) -> None:
        self._reply = reply
        self._ended = self._loop.create_future()
        self._asked_at = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._end, "left")

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        self._wire.sent += len(data)
        self._transport.write(data)

    async def ask(self, data: bytes, reply: Reply, seconds: float) -> str:
        """Send, wait at most `seconds` for the whole reply, and return how it ended, as in Seen."""
        if self.lost:
            return "lost"
        self._expect(reply, seconds)
        self.write(data)
        return await self._ended

    async def request(self, data: bytes, answer: Answer, seconds: float) -> Seen:
        end = await self.ask(data, answer, seconds)
        return self._seen(end, answer)

    async def request_inside(
        self, tls: Tls, host: str, data: bytes, answer: Answer, seconds: float
    ) -> Seen:
        """Do a TLS handshake with the proxy, or the target in a tunnel; send the request inside."""
        if self.lost:
            return Seen("lost", answer)
        # start_tls would need a second transport, and lose bytes that came before it.
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls, self._sessions = tls.begin(self._incoming, self._outgoing, host), tls
        self._inside = data
        self._expect(answer, seconds)
        self._pump(ARRIVED[:0])
        return self._seen(await self._ended, answer)

    def _pump(self, arrived: memoryview) -> None:
        assert self._tls
        if self._reply is None:
            return
        self._incoming.write(arrived)
        try:
            if self._inside:
                self._tls.do_handshake()
                self._sessions.keep(self._tls)
                self._tls.write(self._inside)
                self._inside = b""
            while size := cast(int, self._tls.read(len(DECRYPTED), DECRYPTED)):
                if self._reply.feed(DECRYPTED[:size]):
                    self._end("answered")
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._end("lost")
        if self._outgoing.pending:
            self.write(self._outgoing.read())

    def _seen(self, end: str, answer: Answer) -> Seen:
        if answer.garbage:
            end = "garbage"
        return Seen(end, answer, self._loop.time() - self._asked_at)
