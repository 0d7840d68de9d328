"""Proxies on every vendor address of the world, and servers on all others."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.mesh.control_plane import certify
from tests.mesh.networks import Network

PROXY_PORTS = (3128, 3140, 3145, 4444)
"""4444 is an HTTP port of no vendor."""
HOST_PORTS = {80: "http", 443: "tls", 25: "banner", 8025: "banner"}
BANNER = b"220 mail.sim.test ready\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

_BACKLOG = 1024
_SILENCE_SECONDS = 120.0


@dataclass
class Seen:
    """A connection as its server saw it; bytes are those on the wire."""

    address: str
    port: int
    kind: str = "?"
    received: int = 0
    sent: int = 0
    first: bytes = b""
    """The first request, decrypted."""


class Wire:
    """A socket that counts its bytes."""

    def __init__(self, connection: socket.socket, seen: Seen) -> None:
        self._connection, self._seen = connection, seen

    def peek(self) -> bytes:
        return self._connection.recv(8, socket.MSG_PEEK)

    def receive(self) -> bytes:
        data = self._connection.recv(65536)
        self._seen.received += len(data)
        return data

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)
        self._seen.sent += len(data)


class Secured:
    """TLS above a `Wire`, which counts the encrypted bytes."""

    def __init__(self, wire: Wire, context: ssl.SSLContext) -> None:
        self._wire = wire
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._until(self._tls.do_handshake)

    def _until(self, step):  # repeat `step` until it needs no more bytes; return its result
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._wire.receive()
                if not data:
                    raise ConnectionResetError from None
                self._in.write(data)
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if self._out.pending:
            self._wire.send(self._out.read())

    def receive(self) -> bytes:
        try:
            return bytes(self._until(lambda: self._tls.read(65536)))
        except (ssl.SSLZeroReturnError, ConnectionResetError):
            return b""

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()


@dataclass
class Servers:
    """All servers; each connection has its own thread."""

    tls: ssl.SSLContext
    seen: list[Seen] = field(default_factory=list)
    listening: list[socket.socket] = field(default_factory=list)

    def seen_at(self, address: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.address == address]

    def clear(self) -> None:
        self.seen = []

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        address, port = connection.getsockname()[:2]
        seen = Seen(address.removeprefix("::ffff:"), port)
        self.seen.append(seen)
        connection.settimeout(_SILENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(OSError):
            wire = Wire(connection, seen)
            if HOST_PORTS.get(port) == "banner":
                seen.kind = "banner"
                wire.send(BANNER)
                _echo(wire, seen)
                return
            first = wire.peek()
            if first[:1] == b"\x16":
                seen.kind = "tls"
                _speak(Secured(wire, self.tls), seen, "tls")
            elif first[:1] == b"\x05":
                _socks(wire, seen)
            else:
                _speak(wire, seen, "http")


def _speak(wire: Wire | Secured, seen: Seen, kind: str) -> None:
    """Answer HTTP requests; after a CONNECT, echo what comes, reversed."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            data = wire.receive()
            if not data:
                return
            buffer += data
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        seen.first = seen.first or head
        seen.kind = kind
        if head.startswith(b"CONNECT "):
            seen.kind = "tunnel" if kind == "http" else kind
            wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _echo(wire, seen, buffer)
            return
        wire.send(_answer_to(head))


def _answer_to(head: bytes) -> bytes:
    """Answer with the status that the path names: /status/407."""
    _, found, rest = head.partition(b"/status/")
    if not found:
        return ANSWER
    more = b"X-Sim-Error: traffic\r\n" if b"quota" in head.split(b"\r\n")[0] else b""
    return b"HTTP/1.1 " + rest[:3] + b" As asked\r\nContent-Length: 0\r\n" + more + b"\r\n"


def _echo(wire: Wire | Secured, seen: Seen, first: bytes = b"") -> None:
    data = first or wire.receive()
    while data:
        wire.send(data[::-1])
        data = wire.receive()


def _socks(wire: Wire, seen: Seen) -> None:
    seen.kind = "socks5"
    wire.receive()  # greeting: version, methods
    wire.send(b"\x05\x00")
    wire.receive()  # connect to a name
    wire.send(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    _echo(wire, seen)


@contextlib.contextmanager
def serving(world: Network, folder: Path) -> Iterator[Servers]:
    """Serve on all of the world's addresses until the block ends."""
    servers = Servers(_tls_context(folder))
    for port in (*PROXY_PORTS, *HOST_PORTS):
        for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            server = world.socket(family)
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((anywhere, port))
            server.listen(_BACKLOG)
            servers.listening.append(server)
            threading.Thread(target=servers._accept, args=(server,), daemon=True).start()
    try:
        yield servers
    finally:
        for server in servers.listening:
            server.shutdown(socket.SHUT_RDWR)
            server.close()


def _tls_context(folder: Path) -> ssl.SSLContext:
    certify(folder / "vendor", "vendor")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "vendor.pem", folder / "vendor.key")
    return context
