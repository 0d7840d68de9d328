"""HTTP/2 in clear, as much as one small GET needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulation.frames import (
    H2_ACK,
    H2_DATA,
    H2_END_HEADERS,
    H2_END_STREAM,
    H2_GOAWAY,
    H2_HEADERS,
    H2_MAX_FRAME_BYTES,
    H2_PADDED,
    H2_PING,
    H2_PREFACE,
    H2_PRIORITY,
    H2_RST_STREAM,
    H2_SETTINGS,
    h2_frame,
)

HPACK_STATUS_200 = 0x88  # entry 8 of the static table


def hpack_literal(key: bytes, value: bytes) -> bytes:
    """A header without indexing and without Huffman code; both are a size and the bytes."""
    return b"\x00" + b"".join(_hpack_size(len(each)) + each for each in (key, value))


def _hpack_size(size: int) -> bytes:
    if size < 127:
        return bytes([size])
    size -= 127
    found = [127]
    while size >= 128:
        found.append(size % 128 + 128)
        size //= 128
    return bytes([*found, size])


def h2_get(host: str, path: str, fields: Mapping[str, str]) -> bytes:
    """All a client says until the answer: preface, empty settings, one GET on stream 1."""
    headers = {":method": "GET", ":scheme": "http", ":authority": host, ":path": path, **fields}
    block = b"".join(
        hpack_literal(key.lower().encode(), value.encode()) for key, value in headers.items()
    )
    get = h2_frame(H2_HEADERS, H2_END_HEADERS | H2_END_STREAM, 1, block)
    return H2_PREFACE + h2_frame(H2_SETTINGS, 0, 0, b"") + get


class H2Answer:
    """The answer to `h2_get` as it comes in; settings and pings are acknowledged by `write`.

    It must fit the windows a connection starts with: nothing is said about flow control.
    """

    __slots__ = ("_rest", "_write", "good")

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._rest, self._write = b"", write
        self.good = False  # a 200 has come

    def feed(self, data: memoryview) -> bool:
        """Take bytes; True once the answer is complete, was refused, or is no HTTP/2."""
        self._rest += data
        while len(self._rest) >= 9:
            size = int.from_bytes(self._rest[:3], "big")
            if size > H2_MAX_FRAME_BYTES:
                self.good = False
                return True
            if len(self._rest) < 9 + size:
                return False
            head, payload = self._rest[:9], self._rest[9 : 9 + size]
            self._rest = self._rest[9 + size :]
            if self._frame(head[3], head[4], payload):
                return True
        return False

    def _frame(self, kind: int, flags: int, payload: bytes) -> bool:
        if kind in (H2_SETTINGS, H2_PING) and not flags & H2_ACK:
            self._write(h2_frame(kind, H2_ACK, 0, payload if kind == H2_PING else b""))
        elif kind == H2_HEADERS:
            start = bool(flags & H2_PADDED) + 5 * bool(flags & H2_PRIORITY)
            # Trailers are headers too, and carry no status.
            self.good = self.good or payload[start : start + 1] == bytes([HPACK_STATUS_200])
        elif kind in (H2_RST_STREAM, H2_GOAWAY):
            self.good = False
            return True
        return kind in (H2_DATA, H2_HEADERS) and bool(flags & H2_END_STREAM)
