"""Connections that stay open: the memory of tunnels, and sockets that crawlers left behind."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cpu import Proxy, private_mb, resident_mb
from benchmarks.crawlers import Address, allow_many_sockets, one_shot, tunnel, tunnels
from benchmarks.measure import Measure
from benchmarks.sidecars import (
    PLACES,
    PROXY,
    VENDOR,
    Sidecar,
    contender,
    contenders,
    one_vendor,
    open_at_vendor,
    start_raw_vendor,
    start_vendor,
)
from lab.processes import children

CONNECTIONS = 1_000
WAIT_SECONDS = 2.0
IDLE_TIMEOUTS_SECONDS = (1, 5, 30)


def tunnel_memory() -> list[Measure]:
    """Measure each contender's resident memory while 1,000 tunnels are open."""
    allow_many_sockets()
    measures: list[Measure] = []
    with tempfile.TemporaryDirectory() as name, children() as family:
        start_raw_vendor(family, Path(name))
        for inspect, envoy in contenders(Path(name)).items():
            measures += _with_tunnels(inspect, envoy)
        family.check()
    return measures


def _with_tunnels(inspect: str, envoy: Sidecar) -> Iterator[Measure]:
    with children() as family, contextlib.ExitStack() as calls:
        proxy = envoy.start(family)
        with tunnels(proxy.sockets) as ask:
            ask(100)
        idle = resident_mb(proxy.pid)
        for _ in range(CONNECTIONS):
            calls.enter_context(tunnel(proxy.sockets[0]))
        resident, private = resident_mb(proxy.pid), private_mb(proxy.pid)
        family.check()
    yield Measure(
        name=f"Envoy's resident memory at 1,000 open tunnels: {inspect}",
        value=resident,
        unit="MB",
        goal=70.0 if inspect == "http" else None,
        note=(
            f"{idle:.1f} MB with none; {private:.1f} MB are private, "
            f"{resident - private:.1f} MB pages of the program that a node's sidecars share"
        ),
    )
    yield Measure(
        name=f"memory of a tunnel: {inspect}",
        value=(resident - idle) * 1000 / CONNECTIONS,
        unit="kB",
        note=f"of {CONNECTIONS:,}",
    )


def idle_sockets() -> list[Measure]:
    """Count the vendor's open connections after 1,000 crawlers connected, asked once and left."""
    with _running():
        measures = [_left_open("direct", (PROXY, VENDOR.vendor_upstream))]
    with _running("passive") as envoy:
        measures.append(_left_open("passive", envoy.sockets[0], goal=0))
    for seconds in IDLE_TIMEOUTS_SECONDS:
        with _running(idle_timeout=seconds) as envoy:
            measures.append(_left_open(f"http, idleTimeout {seconds}s", envoy.sockets[0]))
    return measures


def _left_open(way: str, address: Address, goal: float | None = None) -> Measure:
    with one_shot([address]) as ask:
        ask(CONNECTIONS)
    at_once = open_at_vendor()
    time.sleep(WAIT_SECONDS)
    return Measure(
        name=f"idle at the vendor after 1,000 one-shots: {way}",
        value=open_at_vendor(),
        unit="sockets",
        goal=goal,
        note=f"{WAIT_SECONDS:.0f} s after the last crawler left; {at_once} at once",
    )


@contextlib.contextmanager
def _running(inspection: str = "http", idle_timeout: int | None = None) -> Iterator[Proxy]:
    """Run the simulated vendor and an Envoy in front of it."""
    allow_many_sockets()
    with tempfile.TemporaryDirectory() as name, children() as family:
        start_vendor(family, Path(name))
        settings = one_vendor(PLACES[0], idle_timeout=idle_timeout)
        yield contender(inspection, PLACES[0], Path(name), settings).start(family)
        family.check()
