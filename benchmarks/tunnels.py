"""What tunnels cost: CPU for their bytes, and memory while they are open."""

from __future__ import annotations

import contextlib
import socket
import statistics
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cpu import ROUNDS, TURNS, in_turn, private_mb, resident_mb
from benchmarks.crawlers import (
    CONNECT,
    TIMEOUT_SECONDS,
    Address,
    Work,
    allow_many_sockets,
    connected,
    tunnel,
)
from benchmarks.measure import Measure
from benchmarks.sidecars import (
    PLACES,
    PROXY,
    VENDOR,
    one_vendor,
    open_at_vendor,
    sidecar,
    start_vendor,
)
from lab.plan import OUTSIDE_ADDRESS
from lab.processes import LabError, children

MEGABYTES_A_TURN = 7
TUNNELS = 1_000
_MEGABYTE = memoryview(b"x" * 1_000_000)


def throughput() -> list[Measure]:
    """Compare bytes a CPU second in a CONNECT tunnel with those of Istio's own catch-all.

    One Envoy carries both: an address in a vendor's range takes the program's HTTP chain, an
    address outside every range the plain TCP proxy that Istio has for all connections.
    """
    ports, upstream = PLACES[0], VENDOR.vendor_upstream
    with (
        tempfile.TemporaryDirectory() as name,
        children() as family,
        _source((PROXY, upstream)),
        _source((OUTSIDE_ADDRESS, upstream)),
    ):
        addresses = (PROXY, OUTSIDE_ADDRESS)
        envoy = sidecar(ports, Path(name), one_vendor(ports), addresses=addresses).start(family)
        with tunnel(envoy.sockets[0]) as ours, connected(envoy.sockets[1]) as plain:
            pids, works = [envoy.pid, envoy.pid], [_reading(ours), _reading(plain)]
            in_turn(pids, works, units=1)
            rounds = [in_turn(pids, works, units=MEGABYTES_A_TURN) for _ in range(ROUNDS)]
        family.check()
    ratios = [plain / tunnelled for tunnelled, plain in rounds]
    speeds = [1 / statistics.median(seconds) / 1000 for seconds in zip(*rounds, strict=True)]
    return [
        Measure(
            name="bytes a CPU second: tunnel / plain TCP proxy",
            value=statistics.median(ratios),
            note=(
                f"{speeds[0]:.2f} GB / {speeds[1]:.2f} GB a CPU second; {ROUNDS} rounds of "
                f"{MEGABYTES_A_TURN * TURNS} MB, {min(ratios):.2f} to {max(ratios):.2f}"
            ),
        )
    ]


def memory() -> list[Measure]:
    """Measure Envoy's resident memory while 1,000 tunnels are open."""
    allow_many_sockets()
    with (
        tempfile.TemporaryDirectory() as name,
        children() as family,
        contextlib.ExitStack() as calls,
    ):
        ports = PLACES[0]
        start_vendor(family, Path(name))
        envoy = sidecar(ports, Path(name), one_vendor(ports)).start(family)
        idle = resident_mb(envoy.pid)
        for _ in range(TUNNELS):
            calls.enter_context(tunnel(envoy.sockets[0]))
        if open_at_vendor() != TUNNELS:
            raise LabError(f"{open_at_vendor()} tunnels are open instead of {TUNNELS}")
        resident, private = resident_mb(envoy.pid), private_mb(envoy.pid)
        family.check()
    return [
        Measure(
            name="Envoy's resident memory at 1,000 open tunnels",
            value=resident,
            unit="MB",
            goal=70.0,
            note=(
                f"{idle:.1f} MB with none; {private:.1f} MB are private, "
                f"{resident - private:.1f} MB pages of the program that a node's sidecars share"
            ),
        )
    ]


def _reading(call: socket.socket) -> Work:
    """Return a function that reads that many megabytes from a connection to `_source`."""
    buffer = bytearray(1 << 18)

    def read(megabytes: int) -> None:
        call.sendall(bytes([megabytes]))
        left = megabytes * len(_MEGABYTE)
        while left:
            received = call.recv_into(buffer, min(left, len(buffer)))
            if not received:
                raise LabError("the connection ended before its last byte")
            left -= received

    return read


@contextlib.contextmanager
def _source(address: Address) -> Iterator[None]:
    """Accept one connection, answer its CONNECT if there is one, and send megabytes.

    Each byte received is the number of megabytes to send; no benchmark asks for 67, a "C".
    """
    with socket.create_server(address) as listener:
        listener.settimeout(TIMEOUT_SECONDS)
        thread = threading.Thread(target=_serve_one, args=(listener,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join(TIMEOUT_SECONDS)


def _serve_one(listener: socket.socket) -> None:
    with contextlib.suppress(OSError), listener.accept()[0] as call:
        asked = call.recv(1)
        if asked == CONNECT[:1]:
            while not asked.endswith(b"\r\n\r\n"):
                asked += call.recv(4096)
            call.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            asked = call.recv(1)
        while asked:
            for _ in range(asked[0]):
                call.sendall(_MEGABYTE)
            asked = call.recv(1)
