"""Connections that Envoy keeps open at the vendor after the crawlers have left."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.crawlers import Address, allow_many_sockets, one_shot
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
from lab.processes import children

CONNECTIONS = 1_000
WAIT_SECONDS = 2.0
IDLE_TIMEOUTS_SECONDS = (1, 5, 30)


def left_open() -> list[Measure]:
    """Count the vendor's open connections after 1,000 crawlers connected, asked once and left."""
    allow_many_sockets()
    measures = []
    with tempfile.TemporaryDirectory() as name, children() as family:
        start_vendor(family, Path(name))
        measures.append(_measure("direct", [(PROXY, VENDOR.vendor_upstream)]))
    for seconds in IDLE_TIMEOUTS_SECONDS:
        with tempfile.TemporaryDirectory() as name, children() as family:
            start_vendor(family, Path(name))
            settings = one_vendor(PLACES[0], idle_timeout=seconds)
            proxy = sidecar(PLACES[0], Path(name), settings).start(family)
            measures.append(_measure(f"idleTimeout {seconds}s", proxy.sockets))
            family.check()
    return measures


def _measure(way: str, sockets: Sequence[Address]) -> Measure:
    with one_shot(sockets) as ask:
        ask(CONNECTIONS)
    at_once = open_at_vendor()
    time.sleep(WAIT_SECONDS)
    return Measure(
        name=f"idle at the vendor after 1,000 one-shots: {way}",
        value=open_at_vendor(),
        unit="sockets",
        note=f"{WAIT_SECONDS:.0f} s after the last crawler left; {at_once} at once",
    )
