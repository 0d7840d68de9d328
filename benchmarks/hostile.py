"""CPU of a megabyte that a hostile site or a hostile crawler made as costly to read as it can."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.cpu import Proxy, cpu_a_unit
from benchmarks.crawlers import Address, Load, Work, connected
from benchmarks.measure import Measure
from benchmarks.raw_vendor import ANSWERS, MEGABYTE
from benchmarks.sidecars import INSPECTIONS, contenders, start_raw_vendor
from lab.processes import children

TURNS, ROUNDS = 10, 1
PIPELINED = 256  # the module follows no more requests whose answers are still to come

SMALLEST = b"GET http://a/204/0 HTTP/1.1\r\nHost: a\r\n\r\n"
SMALLEST_ANSWER_BYTES = len(b"HTTP/1.1 204 No Content\r\n\r\n")

REQUESTS: Mapping[str, bytes] = {
    **{
        name: b"GET http://a/hostile/%b HTTP/1.1\r\nConnection: close\r\n\r\n" % name.encode()
        for name in ANSWERS
    },
    "request-header-lines": (
        b"GET http://a/hostile/nothing HTTP/1.1\r\nConnection: close\r\n"
        + b"a:b\r\n" * (MEGABYTE // len(b"a:b\r\n") - 20)
        + b"\r\n"
    ),
}
"""Each makes a megabyte pass, one way or the other, and ends the connection."""


def worst_megabyte() -> list[Measure]:
    """Measure each contender with each input; return the costliest of each."""
    milliseconds: dict[str, dict[str, float]] = defaultdict(dict)
    refused: set[tuple[str, str]] = set()
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_raw_vendor(family, folder)
        starts = [contenders(folder)[inspection].start for inspection in INSPECTIONS]
        for what, load in loads().items():

            def look(number: int, proxy: Proxy, what: str = what) -> None:
                request = REQUESTS.get(what)
                if request and is_refused(exchange(proxy.sockets[0], request)):
                    refused.add((INSPECTIONS[number], what))

            seconds = cpu_a_unit(
                starts,
                load,
                units=1,
                warm_up=2,
                rounds=ROUNDS,
                turns=TURNS,
                after_warm_up=look,
            )
            for inspection, (figure,) in zip(INSPECTIONS, seconds, strict=True):
                milliseconds[inspection][what] = figure * 1000
        family.check()
    return [_worst(one, milliseconds[one], refused) for one in INSPECTIONS]


def _worst(
    inspection: str, milliseconds: Mapping[str, float], refused: set[tuple[str, str]]
) -> Measure:
    worst = max(milliseconds, key=lambda name: milliseconds[name])
    each = [
        f"{name} {figure:.1f}{' (refused)' if (inspection, name) in refused else ''}"
        for name, figure in milliseconds.items()
    ]
    return Measure(
        name=f"CPU of the worst hostile MB: {inspection}",
        value=milliseconds[worst],
        unit="ms",
        note=f"{worst}; {', '.join(each)}",
    )


def loads() -> dict[str, Load]:
    singly = {what: functools.partial(_singly, request=REQUESTS[what]) for what in REQUESTS}
    return {**singly, "pipelined-256": _pipelined}


@contextlib.contextmanager
def _singly(addresses: Sequence[Address], request: bytes) -> Iterator[Work]:
    """Open a connection for each unit, and read until it ends."""

    def ask(count: int) -> None:
        for _ in range(count):
            exchange(addresses[0], request)

    yield ask


@contextlib.contextmanager
def _pipelined(addresses: Sequence[Address]) -> Iterator[Work]:
    """Exchange a megabyte of the smallest requests and answers for each unit."""
    each = PIPELINED * (len(SMALLEST) + SMALLEST_ANSWER_BYTES)
    with connected(addresses[0]) as call:

        def ask(count: int) -> None:
            for _ in range(round(count * MEGABYTE / each)):
                call.sendall(SMALLEST * PIPELINED)
                received = b""
                while received.count(b"\r\n\r\n") < PIPELINED:
                    received += call.recv(65536)

        yield ask


def exchange(address: Address, request: bytes) -> bytes:
    """Send a request; return what came until the connection ended, however it did."""
    received = []
    with connected(address) as call, contextlib.suppress(ConnectionError):
        call.sendall(request)
        while part := call.recv(65536):
            received.append(part)
    return b"".join(received)


def is_refused(answer: bytes) -> bool:
    """Return whether Envoy answered instead of the vendor, or cut the connection."""
    return not answer.startswith((b"HTTP/1.1 1", b"HTTP/1.1 2"))
