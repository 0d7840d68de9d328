"""Reads requests to an HTTP proxy."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_HEAD_BYTES = 64 * 1024
CHUNKED = -1  # in the place of a body's length
MAX_CHUNK_LINE_BYTES = 1024


class Request(NamedTuple):
    method: bytes
    host: str  # without port, lower case
    path: bytes
    authorized: bool  # a Proxy-Authorization header came along
    body_bytes: int  # CHUNKED until the body has come
    close: bool
    authorization: bytes = b""  # that header's value
    expects: bool = False  # 100 Continue before it sends its body
    own_bytes: int = 0  # of its head, those that no target gets


def parse_request(head: bytes) -> Request | None:
    """Read a request head without its blank line; return None if it is not HTTP/1.x."""
    line, _, rest = head.partition(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return None
    method, target, version = words
    fields = b"\r\n" + rest.lower() + b"\r\n"
    if method == b"CONNECT":
        authority, path = target, b""
    elif target.startswith(b"http://"):
        authority, slash, path = target[7:].partition(b"/")
        path = slash + path
    else:
        authority, path = b"", target
    length = body_length(fields)
    if length is None:
        return None
    old = version == b"HTTP/1.0"
    at = fields.find(b"\r\nproxy-authorization:")
    own = len(head) + 4 if method == b"CONNECT" else len(target) - len(path) + _hop_bytes(fields)
    return Request(
        method,
        host_of_authority(authority).decode("latin-1").lower(),
        path,
        at >= 0,
        length,
        old or _closes(fields),
        rest[at + 20 :].partition(b"\r\n")[0].strip() if at >= 0 else b"",
        length != 0 and not old and b"\r\nexpect: 100-continue\r\n" in fields,
        own,
    )


def _hop_bytes(fields: bytes) -> int:
    """Return the size of the header lines that are for the proxy alone."""
    if b"\r\nproxy-" not in fields:
        return 0
    return sum(
        len(line) + 2
        for line in fields.split(b"\r\n")
        if line.startswith((b"proxy-authorization:", b"proxy-connection:"))
    )


def host_of_authority(authority: bytes) -> bytes:
    if authority.startswith(b"["):  # an IPv6 address
        return authority[1:].partition(b"]")[0]
    return authority.partition(b":")[0]


def body_length(fields: bytes) -> int | None:
    """Return the size of the body, or CHUNKED; None if the head contradicts itself."""
    if b"\r\ntransfer-encoding:" in fields:
        encoding = fields.partition(b"\r\ntransfer-encoding:")[2].partition(b"\r\n")[0].strip()
        # Both may be an attempt at smuggling (RFC 9112, 6.1).
        chunked = encoding == b"chunked" and b"\r\ncontent-length:" not in fields
        return CHUNKED if chunked else None
    _, found, rest = fields.partition(b"\r\ncontent-length:")
    if not found:
        return 0
    digits, _, others = rest.partition(b"\r\n")
    digits = digits.strip()
    known = (
        digits.isdigit() and len(digits) <= 18 and b"\r\ncontent-length:" not in b"\r\n" + others
    )
    return int(digits) if known else None


def _closes(fields: bytes) -> bool:
    """Return whether the client wants the connection to end after the answer."""
    if b"\r\nconnection:" not in fields:
        return False
    said = re.findall(rb"\r\nconnection:([^\r]*)", fields)
    return b"close" in {option.strip() for value in said for option in value.split(b",")}


def visibility_of(request: Request) -> str:
    return "tunnel" if request.method == b"CONNECT" else "http"


def fault_of(host: str) -> str:
    """Return the fault that a host name asks for: `fault-reset.sim.test` gives `reset`."""
    return host[6:].partition(".")[0] if host.startswith("fault-") else ""


class Body:
    """Reads a request's body, and keeps nothing but its size."""

    def __init__(self, length: int) -> None:
        self._chunked = length == CHUNKED
        self._left = 0 if self._chunked else length
        self._gap = False  # the line end after a chunk is still to come
        self._trailers = False
        self._room = MAX_HEAD_BYTES  # for trailers
        self.size = 0
        self.done = length == 0
        self.bad = False

    def take(self, data: bytes) -> bytes:
        """Take the body's part of `data`; return the rest, which may be an unfinished line."""
        while not self.done and not self.bad and data:
            part = min(self._left, len(data))
            self._left -= part
            if part:
                self.size += part
                data = data[part:]
                self.done = not self._left and not self._chunked
                self._gap = not self._left
                continue
            line, end, rest = data.partition(b"\r\n")
            if len(line) > MAX_CHUNK_LINE_BYTES:
                self.bad = True
            if not end or self.bad:
                break
            data = rest
            self._line(line)
        return data

    def _line(self, line: bytes) -> None:
        """Read a chunk's size, the end of a chunk, or a trailer."""
        if self._trailers:
            self._room -= len(line) + 2
            self.done, self.bad = not line, self._room < 0
        elif self._gap:
            self.bad, self._gap = bool(line), False
        else:
            digits = line.partition(b";")[0].strip()
            self.bad = not re.fullmatch(rb"[0-9a-fA-F]{1,15}", digits)
            self._left = 0 if self.bad else int(digits, 16)
            self._trailers = not self._left
