"""Crawlers of the benchmarks: as little as asks and waits, so that the proxy is what costs."""

from __future__ import annotations

import contextlib
import functools
import resource
import selectors
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import cast

from lab.processes import LabError

Address = tuple[str, int]
Work = Callable[[int], None]
"""Does that many units of work and returns; raises LabError when one fails."""

Load = Callable[[Sequence[Address]], contextlib.AbstractContextManager[Work]]
"""Gives what makes the proxy at these addresses work, to its end."""

TIMEOUT_SECONDS = 10.0
REQUEST = (
    b"GET http://shop.sim.test/p/1000 HTTP/1.1\r\n"
    b"Host: shop.sim.test\r\n"
    b"User-Agent: bench\r\n"
    b"Accept: */*\r\n"
    b"Proxy-Authorization: Basic YmVuY2g6YmVuY2g=\r\n"
    b"\r\n"
)
CONNECT = b"CONNECT shop.sim.test:443 HTTP/1.1\r\nHost: shop.sim.test:443\r\n\r\n"


@contextlib.contextmanager
def kept_alive(addresses: Sequence[Address], connections: int = 16) -> Iterator[Work]:
    """Give requests over connections to these addresses in turn, one at a time on each."""
    calls = {connected(address): bytearray() for address in islice(cycle(addresses), connections)}
    with contextlib.ExitStack() as opened, selectors.DefaultSelector() as selector:
        for call in calls:
            opened.enter_context(call)
            selector.register(call, selectors.EVENT_READ)
        yield functools.partial(_ask_all, calls, selector)


def _ask_all(
    calls: dict[socket.socket, bytearray], selector: selectors.BaseSelector, count: int
) -> None:
    to_send = count
    for call in islice(calls, count):
        call.sendall(REQUEST)
        to_send -= 1
    answered = 0
    while answered < count:
        ready = selector.select(TIMEOUT_SECONDS)
        if not ready:
            raise LabError(f"no answer within {TIMEOUT_SECONDS:.0f} s")
        for key, _ in ready:
            call = cast(socket.socket, key.fileobj)
            if _answered(call, calls[call]):
                answered += 1
                if to_send > 0:
                    call.sendall(REQUEST)
                    to_send -= 1


@contextlib.contextmanager
def one_shot(addresses: Sequence[Address]) -> Iterator[Work]:
    """Give connections to these addresses in turn: opened, asked once, closed."""
    turns = cycle(addresses)

    def ask(count: int) -> None:
        for address in islice(turns, count):
            with connected(address) as call:
                call.sendall(REQUEST)
                received = bytearray()
                while not _answered(call, received):
                    pass

    yield ask


def tunnel(address: Address) -> socket.socket:
    """Return a connection whose CONNECT has been granted.

    Raises:
        LabError: it was not.
    """
    call = connected(address)
    call.sendall(CONNECT)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        received = call.recv(4096)
        if not received:
            raise LabError(f"{address[0]}:{address[1]} closed the connection before its answer")
        head += received
    if not head.startswith(b"HTTP/1.1 200 "):
        raise LabError(f"CONNECT was answered {head.splitlines()[0]!r}")
    return call


def connected(address: Address) -> socket.socket:
    """Return a connection whose every wait is bounded.

    Raises:
        LabError: there is nobody.
    """
    try:
        call = socket.create_connection(address, TIMEOUT_SECONDS)
    except OSError as error:
        raise LabError(f"{address[0]}:{address[1]} cannot be reached: {error}") from None
    call.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return call


def allow_many_sockets() -> None:
    """Raise the limit of open files, which Envoy inherits, as far as the machine lets."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _answered(call: socket.socket, received: bytearray) -> bool:
    """Read on; whether the answer is whole, and then `received` is empty again."""
    try:
        part = call.recv(65536)
    except OSError as error:
        raise LabError(f"no answer from the proxy: {error}") from None
    if not part:
        raise LabError("the proxy closed a connection in use")
    received += part
    head, blank, body = bytes(received).partition(b"\r\n\r\n")
    if not blank or len(body) < _length(head):
        return False
    if not head.startswith(b"HTTP/1.1 200 "):
        raise LabError(f"a request was answered {head.splitlines()[0]!r}")
    received.clear()
    return True


def _length(head: bytes) -> int:
    _, _, behind = head.lower().partition(b"\r\ncontent-length:")
    return int(behind.split(b"\r\n", 1)[0])
