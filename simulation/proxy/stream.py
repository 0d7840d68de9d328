"""The bytes of one accepted connection: layers of TLS, and reading that pauses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable

from simulation.proxy.requests import MAX_HEAD_BYTES
from simulation.proxy.rule import Vendor
from simulation.proxy.tls import Tls

LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN
PAUSED_BY_READER, PAUSED_BY_FLOOD = 1, 2  # why nothing is read


class Stream(asyncio.Protocol):
    """A connection without the protocols it speaks.

    `_buffer` holds what is still to be taken, out of the innermost TLS session where there are
    any; `_take` takes it. What waits is bounded: nothing is taken while an answer waits for its
    reader, and nothing read while the buffer is full.
    """

    def __init__(self, vendor: Vendor, tls: ssl.SSLContext) -> None:
        self._vendor, self._context = vendor, tls
        self._transport: asyncio.Transport
        self._take: Callable[[], None] = self._ignore
        self._buffer = b""
        self._sessions: list[Tls] = []  # the outermost first
        self._sent = self._received = 0
        self._paused = 0

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        self._vendor.bytes += len(data)
        self._arrive(data, 0)

    def pause_writing(self) -> None:
        self._pause(PAUSED_BY_READER)

    def resume_writing(self) -> None:
        self._resume(PAUSED_BY_READER)
        self._go_on()

    def _pause(self, why: int) -> None:
        self._paused |= why
        self._transport.pause_reading()

    def _resume(self, why: int) -> None:
        self._paused &= ~why
        if not self._paused:
            self._transport.resume_reading()

    def _choked(self) -> bool:
        """The answers until now still wait for their reader."""
        return self._paused & PAUSED_BY_READER > 0

    def _go_on(self) -> None:
        """Take what has waited meanwhile."""
        if not self._transport.is_closing() and not self._choked():
            self._take()

    def _arrive(self, data: bytes, first: int) -> None:
        """Hand on what came for the TLS session `first`, or came plain."""
        for depth in range(first, len(self._sessions)):
            session = self._sessions[depth]
            data = session.open(data)
            if said := session.pending():
                self._write(said, depth)
        if data:
            self._buffer = self._buffer + data if self._buffer else data
            self._take()
        if any(session.ended for session in self._sessions):
            self._finish()

    def _open_session(self) -> None:
        """What comes from now on is TLS, and the rest of the buffer already."""
        early, self._buffer = self._buffer, b""
        self._sessions.append(Tls(self._context))
        if early:
            self._arrive(early, len(self._sessions) - 1)

    def _write(self, data: bytes, depth: int | None = None) -> None:
        """Send through every TLS session, or those outside of `depth`."""
        for session in reversed(self._sessions[:depth]):
            data = session.seal(data)
        self._sent += len(data)
        self._vendor.bytes += len(data)
        self._transport.write(data)

    def _finish(self) -> None:
        """Send what is on its way, take no more, close."""
        self._take = self._ignore
        self._transport.close()

    def _part(self) -> None:
        """End the connection as the one who has said all there is to say."""
        for depth in range(len(self._sessions) - 1, -1, -1):
            self._write(self._sessions[depth].farewell(), depth)
        self._finish()

    def _reset(self) -> None:
        sock: socket.socket = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self._transport.abort()

    def _ignore(self) -> None:
        self._buffer = b""

    def _keep(self) -> None:
        """Requests that come behind one that still waits: a few."""
        if len(self._buffer) > MAX_HEAD_BYTES:
            self._pause(PAUSED_BY_FLOOD)
