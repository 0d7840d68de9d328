"""A vendor that does as it is asked and checks nothing: for megabytes, hostile answers, the soak.

GET http://x/404/1000          that status, with a body of 1,000 bytes
GET http://x/hostile/NAME      one of ANSWERS; then the connection closes
CONNECT, SOCKS5 or TLS         each further line is a number of bytes to send
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping
from typing import cast

BLOCK = memoryview(b"x" * 262_144)
MEGABYTE = 1_000_000


def _repeated(start: bytes, part: bytes, end: bytes) -> bytes:
    return start + part * ((MEGABYTE - len(start) - len(end)) // len(part)) + end


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"

ANSWERS: Mapping[str, bytes] = {
    "1-byte-chunks": _repeated(_CHUNKED, b"1\r\nx\r\n", b"0\r\n\r\n"),
    "chunk-extensions": _repeated(_CHUNKED, b"1;a=b\r\nx\r\n", b"0\r\n\r\n"),
    "trailer-lines": _repeated(_CHUNKED + b"0\r\n", b"a:b\r\n", b"\r\n"),
    "header-lines": _repeated(_EMPTY, b"a:b\r\n", b"\r\n"),
    "1xx-heads": _repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n", _EMPTY + b"\r\n"),
}
"""Answers of a megabyte that cost the most to read."""

NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"

SOCKS_CHOSEN = b"\x05\x00"
SOCKS_SUCCEEDED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


class RawVendor(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._take: Callable[[], bool] = self._detect
        self._answers = bytearray()
        self._left = 0
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del self._take  # it refers to this connection, which would wait for the garbage collector

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and self._take():
            pass
        if self._answers:  # to pipelined requests at once, which is dearest to read
            self._transport.write(bytes(self._answers))
            self._answers.clear()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._send()

    def _detect(self) -> bool:
        first = {0x05: self._socks_greeting, 0x16: self._numbers}
        self._take = first.get(self._buffer[0], self._request)
        return True

    def _request(self) -> bool:
        """Answer a request; return whether there may be another in the buffer."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        line = bytes(self._buffer[: self._buffer.index(b"\r\n")])
        del self._buffer[: end + 4]
        method, target, _ = line.split(b" ")
        if method == b"CONNECT":
            self._transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self._take = self._numbers
            return True
        _, kind, last = target.decode().rsplit("/", 2)
        if kind == "hostile":
            self._transport.write(ANSWERS.get(last, NOTHING))
            self._transport.close()
            return False
        self._answers += _answer(int(kind), int(last))
        return True

    def _socks_greeting(self) -> bool:
        if len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            return False
        del self._buffer[: 2 + self._buffer[1]]
        self._transport.write(SOCKS_CHOSEN)
        self._take = self._socks_request
        return True

    def _socks_request(self) -> bool:
        # Names only: version, command, 0, type, length, name, port.
        if len(self._buffer) < 5 or len(self._buffer) < 7 + self._buffer[4]:
            return False
        del self._buffer[: 7 + self._buffer[4]]
        self._transport.write(SOCKS_SUCCEEDED)
        self._take = self._numbers
        return True

    def _numbers(self) -> bool:
        """Send as many bytes as the lines say, whatever else stands in them."""
        end = self._buffer.find(b"\n")
        if end < 0:
            return False
        digits = bytes(byte for byte in self._buffer[:end] if 0x30 <= byte <= 0x39)
        del self._buffer[: end + 1]
        self._left += int(digits or b"0")
        self._send()
        return True

    def _send(self) -> None:
        while self._left and not self._full:
            part = min(self._left, len(BLOCK))
            self._left -= part
            self._transport.write(BLOCK[:part])


def _answer(status: int, size: int) -> bytes:
    if status == 204:
        return NOTHING
    head = b"HTTP/1.1 %d Raw\r\nContent-Length: %d\r\n\r\n" % (status, size)
    return head + BLOCK[:size]


async def serve(address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(RawVendor, address, port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.address, options.port))


if __name__ == "__main__":
    main()
