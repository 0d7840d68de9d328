"""The crawlers of the benchmarks: they only ask and wait, since the proxy's cost is measured."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice

from lab.processes import LabError

Address = tuple[str, int]
Work = Callable[[int], None]
"""Do that many units of work; raise LabError when one fails."""

Load = Callable[[Sequence[Address]], contextlib.AbstractContextManager[Work]]
"""Open connections to a proxy at these addresses; give the function that makes it work."""

TIMEOUT_SECONDS = 10.0
REQUEST = (
    b"GET http://shop.sim.test/p/1000 HTTP/1.1\r\n"
    b"Host: shop.sim.test\r\n"
    b"User-Agent: bench\r\n"
    b"Accept: */*\r\n"
    b"Proxy-Authorization: Basic "
    # A residential vendor's, with a product and a session in the user name.
    b"YnJkLWN1c3RvbWVyLWhsXzEyMzQtem9uZS1yZXNpLWNvdW50cnktdXMtc2Vzc2lvbi03ZjNhOTpiZW5jaA==\r\n"
    b"\r\n"
)
CONNECT = b"CONNECT shop.sim.test:443 HTTP/1.1\r\nHost: shop.sim.test:443\r\n\r\n"


@contextlib.contextmanager
def kept_alive(addresses: Sequence[Address], connections: int = 16) -> Iterator[Work]:
    """Send requests over kept-alive connections: one on each, then wait for all answers."""
    with contextlib.ExitStack() as opened:
        calls = [
            opened.enter_context(connected(address))
            for address in islice(cycle(addresses), connections)
        ]

        def ask(count: int) -> None:
            for first in range(0, count, connections):
                asked = calls[: count - first]
                for call in asked:
                    call.sendall(REQUEST)
                for call in asked:
                    _read_answer(call)

        yield ask


@contextlib.contextmanager
def one_shot(addresses: Sequence[Address]) -> Iterator[Work]:
    """Open a connection for each request, to these addresses in turn."""
    turns = cycle(addresses)

    def ask(count: int) -> None:
        for address in islice(turns, count):
            with connected(address) as call:
                call.sendall(REQUEST)
                _read_answer(call)

    yield ask


@contextlib.contextmanager
def tunnels(addresses: Sequence[Address]) -> Iterator[Work]:
    """Open a tunnel for each unit, have a thousand bytes sent through it, and close it."""
    turns = cycle(addresses)

    def ask(count: int) -> None:
        for address in islice(turns, count):
            with tunnel(address) as call:
                _pull(call, 1_000)

    yield ask


@contextlib.contextmanager
def through_a_tunnel(addresses: Sequence[Address]) -> Iterator[Work]:
    """Have megabytes sent through one tunnel, which stays open."""
    with tunnel(addresses[0]) as call:
        yield lambda megabytes: _pull(call, megabytes * 1_000_000)


def tunnel(address: Address) -> socket.socket:
    """Return a connection after its CONNECT was answered 200.

    Raises:
        LabError: CONNECT got another answer, or none.
    """
    call = connected(address)
    call.sendall(CONNECT)
    _read_head(call)
    return call


def connected(address: Address) -> socket.socket:
    """Return a connection with a time limit for every wait.

    Raises:
        LabError: nothing listens at the address.
    """
    try:
        call = socket.create_connection(address, TIMEOUT_SECONDS)
    except OSError as error:
        raise LabError(f"{address[0]}:{address[1]} cannot be reached: {error}") from None
    call.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return call


def allow_many_sockets() -> None:
    """Raise the limit of open files as far as possible; Envoy inherits it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _pull(call: socket.socket, size: int) -> None:
    """Ask the raw vendor for that many bytes, and read them."""
    call.sendall(b"%d\n" % size)
    while size > 0:
        size -= len(_receive(call))


def _read_answer(call: socket.socket) -> None:
    head, body = _read_head(call)
    length = int(head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])
    while len(body) < length:
        body += _receive(call)


def _read_head(call: socket.socket) -> tuple[bytes, bytes]:
    """Return the head of a 200, and what has arrived of the body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _receive(call)
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise LabError(f"a request was answered {head.splitlines()[0]!r}")
    return head, body


def _receive(call: socket.socket) -> bytes:
    try:
        part = call.recv(65536)
    except OSError as error:
        raise LabError(f"no answer from the proxy: {error}") from None
    if not part:
        raise LabError("the proxy closed a connection before its answer was complete")
    return part
