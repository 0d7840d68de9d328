"""The bytes of one accepted connection: layers of TLS, and reading that pauses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable

from simulation.proxy.requests import MAX_HEAD_BYTES
from simulation.proxy.tls import Tls
from simulation.proxy.vendor import Vendor

LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN
PAUSED_BY_READER, PAUSED_BY_FLOOD = 1, 2  # why nothing is read


class Stream(asyncio.Protocol):
    """A connection below its protocols: bytes, TLS sessions, and back pressure.

    `_take` reads from `_buffer`, which holds the plain bytes of the innermost TLS session. Memory
    stays bounded: nothing is taken while the client does not read its answers, and nothing is
    received while the buffer is full.
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
        """Return whether the client has yet to read its answers."""
        return self._paused & PAUSED_BY_READER > 0

    def _go_on(self) -> None:
        """Take what has come meanwhile."""
        if not self._transport.is_closing() and not self._choked():
            self._take()

    def _arrive(self, data: bytes, first: int) -> None:
        """Decrypt what came for the TLS session `first` and those inside it, and take it."""
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
        """Take the rest of the buffer and all that follows as TLS."""
        early, self._buffer = self._buffer, b""
        self._sessions.append(Tls(self._context))
        if early:
            self._arrive(early, len(self._sessions) - 1)

    def _write(self, data: bytes, depth: int | None = None) -> None:
        """Send through every TLS session, or those outside `depth`."""
        for session in reversed(self._sessions[:depth]):
            data = session.seal(data)
        self._sent += len(data)
        self._vendor.bytes += len(data)
        self._transport.write(data)

    def _finish(self) -> None:
        """Close once everything is sent; take no more."""
        self._take = self._ignore
        self._transport.close()

    def _close_cleanly(self) -> None:
        """Close every TLS session, then the connection."""
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
        """Keep some requests while an earlier one waits."""
        if len(self._buffer) > MAX_HEAD_BYTES:
            self._pause(PAUSED_BY_FLOOD)
