"""Connections that stay open: the memory of tunnels, and sockets that crawlers left behind."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cpu import Proxy, private_mb, resident_mb
from benchmarks.crawlers import Address, allow_many_sockets, one_shot, tunnel
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
from lab.processes import LabError, children

CONNECTIONS = 1_000
WAIT_SECONDS = 2.0
IDLE_TIMEOUTS_SECONDS = (1, 5, 30)


def tunnel_memory() -> list[Measure]:
    """Measure Envoy's resident memory while 1,000 tunnels are open."""
    with _running() as envoy, contextlib.ExitStack() as calls:
        idle = resident_mb(envoy.pid)
        for _ in range(CONNECTIONS):
            calls.enter_context(tunnel(envoy.sockets[0]))
        if open_at_vendor() != CONNECTIONS:
            raise LabError(f"{open_at_vendor()} tunnels are open instead of {CONNECTIONS}")
        resident, private = resident_mb(envoy.pid), private_mb(envoy.pid)
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


def idle_sockets() -> list[Measure]:
    """Count the vendor's open connections after 1,000 crawlers connected, asked once and left."""
    with _running():
        measures = [_left_open("direct", (PROXY, VENDOR.vendor_upstream))]
    for seconds in IDLE_TIMEOUTS_SECONDS:
        with _running(idle_timeout=seconds) as envoy:
            measures.append(_left_open(f"idleTimeout {seconds}s", envoy.sockets[0]))
    return measures


def _left_open(way: str, address: Address) -> Measure:
    with one_shot([address]) as ask:
        ask(CONNECTIONS)
    at_once = open_at_vendor()
    time.sleep(WAIT_SECONDS)
    return Measure(
        name=f"idle at the vendor after 1,000 one-shots: {way}",
        value=open_at_vendor(),
        unit="sockets",
        note=f"{WAIT_SECONDS:.0f} s after the last crawler left; {at_once} at once",
    )


@contextlib.contextmanager
def _running(idle_timeout: int | None = None) -> Iterator[Proxy]:
    """Run the simulated vendor and an Envoy in front of it."""
    allow_many_sockets()
    with tempfile.TemporaryDirectory() as name, children() as family:
        start_vendor(family, Path(name))
        settings = one_vendor(PLACES[0], idle_timeout=idle_timeout)
        yield sidecar(PLACES[0], Path(name), settings).start(family)
        family.check()
