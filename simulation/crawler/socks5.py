"""A SOCKS5 connection, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from simulation.crawler.identity import Login
from simulation.crawler.sequence import PlannedRequest

SOCKS_IPV4, SOCKS_NAME, SOCKS_IPV6 = 1, 3, 4  # RFC 1928, ATYP


class SizedReply:
    """A reply of a known number of bytes, the first of which are kept."""

    __slots__ = ("_left", "start")

    def __init__(self, size: int) -> None:
        self._left, self.start = size, b""

    def feed(self, data: memoryview) -> bool:
        self._left -= len(data)
        if len(self.start) < 2:
            self.start += data[:2]
        return self._left <= 0


class SocksReply:
    """RFC 1928's reply to a request: its size depends on the kind of address in it."""

    __slots__ = ("start",)

    def __init__(self) -> None:
        self.start = b""

    def feed(self, data: memoryview) -> bool:
        self.start += data
        if len(self.start) < 5:
            return self.start[1:2] not in (b"", b"\x00")  # refused: the rest need not come
        sizes = {SOCKS_IPV4: 4, SOCKS_IPV6: 16, SOCKS_NAME: 1 + self.start[4]}
        return len(self.start) >= 6 + sizes.get(self.start[3], 4)


class SocksStep(NamedTuple):
    """Bytes to send; the connection ends as `otherwise` if the reply has another `start`.

    `name` is method, login, request or payload.
    """

    name: str
    said: bytes
    reply: SizedReply | SocksReply
    start: bytes = b""
    otherwise: str = "refused"


def socks_steps(planned: PlannedRequest, suffix: str, login: Login | None) -> Iterator[SocksStep]:
    """Yield the steps of a connection (RFC 1928), with a login (RFC 1929) if there is one.

    A fault of the vendor is asked for by user name or host name.
    """
    fault = planned.fault
    if fault == "auth-challenge":
        yield SocksStep("method", b"\x05\x01\x01", SizedReply(2), b"\x05\x01")
    elif login is None:
        yield SocksStep("method", b"\x05\x01\x00", SizedReply(2), b"\x05\x00")
    else:
        yield SocksStep("method", b"\x05\x01\x02", SizedReply(2), b"\x05\x02")
        name = f"fault-{fault}" if fault == "auth-failed" else login.user
        user, password = name.encode(), login.password.encode()
        said = b"\x01%c%b%c%b" % (len(user), user, len(password), password)
        yield SocksStep("login", said, SizedReply(2), b"\x01\x00", "auth_failed")
    # The simulated vendor reads from the name how many bytes it takes and sends.
    asks = f"fault-{fault}" if fault else f"opaque-{planned.sent_bytes}-{planned.size_bytes}"
    host = f"{asks}.{suffix}".encode()
    request = b"\x05\x01\x00\x03" + bytes([len(host)]) + host + (443).to_bytes(2, "big")
    yield SocksStep("request", request, SocksReply(), b"\x05\x00")
    yield SocksStep("payload", b"\x00" * planned.sent_bytes, SizedReply(planned.size_bytes))
