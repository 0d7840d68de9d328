"""A vendor's proxy behind TLS, and what passes on the wire before it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
SOCKS_METHOD = b"\x05\x00"
LIMIT_SECONDS = 10.0


class TlsVendor:
    """Takes what comes by TLS, or in clear without a context, and answers each first message.

    `seen` holds what it read inside TLS, `wire` all bytes that came to it, `names` the names that
    it was asked for.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.context = context
        self.seen: list[bytes] = []
        self.names: list[str | None] = []
        self.wire = bytearray()

    def serve(self, connection: socket.socket) -> None:
        connection.settimeout(LIMIT_SECONDS)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context and self.context.wrap_bio(incoming, outgoing, server_side=True)
        done = False
        while data := connection.recv(65536):
            self.wire += data
            if tls is None:
                connection.sendall(self._answer(data))
                continue
            incoming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                if not done:
                    tls.do_handshake()
                    done = True
                while plain := tls.read(65536):
                    tls.write(self._answer(plain))
            connection.sendall(outgoing.read())

    def _answer(self, data: bytes) -> bytes:
        self.seen.append(data)
        if data.startswith(b"\x05"):
            return SOCKS_METHOD
        return ESTABLISHED if data.startswith(b"CONNECT ") else GOOD


@contextlib.contextmanager
def tls_vendor(address: str, port: int, context: ssl.SSLContext | None) -> Iterator[TlsVendor]:
    """Run it until the block ends."""
    vendor = TlsVendor(context)
    if context is not None:
        context.sni_callback = lambda _object, name, _context: vendor.names.append(name)

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # ssl.SSLError is one: it was refused
            vendor.serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server((address, port), backlog=64) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield vendor
        listener.shutdown(socket.SHUT_RDWR)
