"""Requests to an HTTP proxy, and the reading of their answers."""

from __future__ import annotations

import re

from simulation.crawler.identity import Login
from simulation.crawler.sequence import PlannedRequest, host_of
from simulation.pages import BAN_MARK, CAPTCHA_MARK


class Answer:
    """Reads an HTTP answer piece by piece; it counts the body and does not keep it.

    Content-Length frames it, or chunks, as in answers that Envoy passes on without a length. An
    `endless` answer ends with its connection.
    """

    __slots__ = (
        "_chunked",
        "_connect",
        "_head",
        "_left",
        "banned",
        "by_vendor",
        "closes",
        "endless",
        "error",
        "garbage",
        "meant",
        "status",
    )

    def __init__(self, *, connect: bool = False) -> None:
        self._connect, self._head, self._left = connect, b"", 0
        self.status = 0  # until the head is complete
        self.by_vendor = self.banned = self.closes = self.endless = self.garbage = False
        self._chunked = False
        self.error: bytes | None = None  # the vendor's error header, lower case
        self.meant = ""  # the outcome that a simulated vendor means by an answer of its dialect

    def feed(self, data: memoryview) -> bool:
        """Take bytes; return True once the answer is complete, or is no HTTP."""
        if self._chunked:
            return self._last_chunk(data)
        if self.status:
            self._left -= len(data)
            return self._left <= 0 and not self.endless
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            self.garbage = self._head[:7] != b"HTTP/1."[: len(self._head)]
            return self.garbage
        head = self._head[: end + 2].lower()
        length = field(head, b"\r\ncontent-length:")
        self._left = int(length) if length and length.isdigit() else 0
        body = self._head[end + 4 : end + 4 + len(BAN_MARK)]
        if len(body) < min(self._left, len(BAN_MARK)):
            return False  # a ban page is not told from a page yet
        status = head[9:12]
        if not head.startswith(b"http/1.") or not status.isdigit():
            self.garbage = True
            return True
        self.status = int(status)
        bodiless = self.status in (204, 304) or (self._connect and self.status < 300)
        self._chunked = field(head, b"\r\ntransfer-encoding:") == b"chunked" and not bodiless
        # Envoy makes chunks of a refused CONNECT without a length, and often leaves out the last.
        whole_when_lost = self._connect or not self._chunked
        self.endless = length is None and not bodiless and whole_when_lost
        self.by_vendor = b"\r\nx-sim-vendor:" in head
        self.error = field(head, b"\r\nx-sim-error:") or field(head, b"\r\nproxy-status:")
        self.meant = (field(head, b"\r\nx-sim-outcome:") or b"").decode("latin-1")
        self.closes = b"\r\nconnection: close\r\n" in head or head.startswith(b"http/1.0")
        self.banned = body == BAN_MARK or body.startswith(CAPTCHA_MARK)
        rest, self._head = self._head[end + 4 :], b""
        if self._chunked:
            return self._last_chunk(memoryview(rest))
        self._left = 0 if bodiless else self._left - len(rest)
        return self._left <= 0 and not self.endless

    def refused(self) -> bool:
        """Return whether this is a CONNECT that opened no tunnel."""
        return self._connect and self.status >= 300

    def _last_chunk(self, data: memoryview) -> bool:
        """Take bytes of a chunked body; return True with its last chunk."""
        self._head += data
        while (line := self._head.find(b"\r\n")) >= 0:
            digits = self._head[:line].partition(b";")[0]
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", digits):
                self.garbage = True
                return True
            size = int(digits, 16)
            if len(self._head) < line + size + 4:
                return False
            self._head = self._head[line + size + 4 :]
            if not size:
                return True
        return False


def field(head: bytes, key: bytes) -> bytes | None:
    """Return a header's value out of a lower-cased head; `key` is from line end to colon."""
    start = head.find(key)
    if start < 0:
        return None
    start += len(key)
    return head[start : head.index(b"\r\n", start)].strip()


def plain_get(planned: PlannedRequest, suffix: str, login: Login) -> bytes:
    host = host_of(planned, suffix)
    field = "" if planned.fault == "auth-challenge" else login.field
    head = (
        f"GET http://{host}/p/{planned.size_bytes} HTTP/1.1\r\nHost: {host}\r\n"
        f"User-Agent: crawler\r\nAccept: */*\r\n{field}\r\n"
    )
    return head.encode()
