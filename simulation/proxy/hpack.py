"""Header blocks of HTTP/2 (RFC 7541), the reading side."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Final

HPACK_TABLE_BYTES = 4096  # of a dynamic table, where no setting says otherwise
# The static table (RFC 7541, appendix A).
HPACK_NAMES = """
:authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https
:status=200 :status=204 :status=206 :status=304 :status=400 :status=404 :status=500
accept-charset accept-encoding=gzip,_deflate accept-language accept-ranges accept
access-control-allow-origin age allow authorization cache-control content-disposition
content-encoding content-language content-length content-location content-range content-type
cookie date etag expect expires from host if-match if-modified-since if-none-match if-range
if-unmodified-since last-modified link location max-forwards proxy-authenticate
proxy-authorization range referer refresh retry-after server set-cookie
strict-transport-security transfer-encoding user-agent vary via www-authenticate
"""
HPACK_STATIC: Final = tuple(
    entry.replace("_", " ").encode().partition(b"=")[::2] for entry in HPACK_NAMES.split()
)
# Bits of every octet's code (appendix B), 0-9 and then letters. The codes are canonical: they
# follow from these sizes, the shorter first, octets of one size in order.
HUFFMAN_BITS = (
    "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878djde6"
    "f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn"
    "qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq"
)


def _huffman_codes() -> dict[tuple[int, int], int]:
    """Size and code to octet."""
    sizes = [int(digit, 36) for digit in HUFFMAN_BITS]
    codes, code, before = {}, 0, 0
    for octet in sorted(range(256), key=lambda octet: (sizes[octet], octet)):
        code <<= sizes[octet] - before
        before = sizes[octet]
        codes[before, code] = octet
        code += 1
    return codes


HUFFMAN: Final = _huffman_codes()


def huffman_text(coded: bytes) -> bytes:
    """Decode; what is no code ends the text, as its padding does."""
    found, size, code = bytearray(), 0, 0
    for octet in coded:
        for bit in range(7, -1, -1):
            size, code = size + 1, code << 1 | octet >> bit & 1
            if (read := HUFFMAN.get((size, code))) is not None:
                found.append(read)
                size = code = 0
    return bytes(found)


class Hpack:
    """Header blocks of one connection as fields; what cannot be read ends a block, quietly."""

    def __init__(self) -> None:
        self._dynamic: deque[tuple[bytes, bytes]] = deque()  # the newest first
        self._size, self._room = 0, HPACK_TABLE_BYTES

    def read(self, block: bytes) -> list[tuple[bytes, bytes]]:
        fields: list[tuple[bytes, bytes]] = []
        at = 0
        with contextlib.suppress(ValueError):
            while at < len(block):
                first = block[at]
                if first & 0x80:
                    entry, at = _hpack_integer(block, at, 7)
                    fields.append(self._entry(entry))
                elif first & 0xE0 == 0x20:
                    room, at = _hpack_integer(block, at, 5)
                    self._keep_within(min(room, HPACK_TABLE_BYTES))
                else:
                    entry, at = _hpack_integer(block, at, 6 if first & 0x40 else 4)
                    key = self._entry(entry)[0] if entry else b""
                    if not entry:
                        key, at = _hpack_text(block, at)
                    value, at = _hpack_text(block, at)
                    fields.append((key, value))
                    if first & 0x40:
                        self._dynamic.appendleft((key, value))
                        self._size += len(key) + len(value) + 32
                        self._keep_within(self._room)
        return fields

    def _entry(self, number: int) -> tuple[bytes, bytes]:
        known = len(HPACK_STATIC)
        if not 0 < number <= known + len(self._dynamic):
            raise ValueError("no such entry")
        return HPACK_STATIC[number - 1] if number <= known else self._dynamic[number - known - 1]

    def _keep_within(self, room: int) -> None:
        self._room = room
        while self._size > room:
            key, value = self._dynamic.pop()
            self._size -= len(key) + len(value) + 32


def _hpack_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """The integer in the low `bits` at `at` and behind, and where it ends."""
    most = (1 << bits) - 1
    found = block[at] & most if at < len(block) else most
    at += 1
    if found < most:
        return found, at
    for shift in range(0, 28, 7):  # no longer: sizes here are far below 2**28
        if at >= len(block):
            break
        found += (block[at] & 0x7F) << shift
        at += 1
        if not block[at - 1] & 0x80:
            return found, at
    raise ValueError("no end of an integer")


def _hpack_text(block: bytes, at: int) -> tuple[bytes, int]:
    """The text at `at`, and where it ends."""
    huffman = at < len(block) and block[at] & 0x80
    size, at = _hpack_integer(block, at, 7)
    said = block[at : at + size]
    return (huffman_text(said) if huffman else said), at + size
