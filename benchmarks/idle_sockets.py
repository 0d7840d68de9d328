"""Connections that crawlers left and that stay open at the vendor for a while."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.crawlers import Address, allow_many_sockets, one_shot
from benchmarks.measure import Measure
from benchmarks.sidecars import PLACES, PROXY, VENDOR, one_vendor, sidecar
from benchmarks.vendors import CountingVendor, counting_vendor
from lab.processes import children

CONNECTIONS = 1_000
LOOK_AFTER_SECONDS = 2.0
IDLE_TIMEOUTS_SECONDS = (1, 5, 30)


def left_behind() -> list[Measure]:
    """Count the vendor's open connections after 1,000 crawlers came, asked once and left."""
    allow_many_sockets()
    measures = []
    socket_of_vendor = (PROXY, VENDOR.vendor_upstream)
    with counting_vendor(socket_of_vendor) as vendor:
        most, later = _after_the_crawlers(vendor, [socket_of_vendor])
    measures.append(_measure("direct", most, later))
    for seconds in IDLE_TIMEOUTS_SECONDS:
        with (
            tempfile.TemporaryDirectory() as name,
            children() as family,
            counting_vendor(socket_of_vendor) as vendor,
        ):
            settings = one_vendor(PLACES[0], idle_timeout=seconds)
            proxy = sidecar(PLACES[0], Path(name), settings).start(family)
            most, later = _after_the_crawlers(vendor, proxy.sockets)
            family.check()
        measures.append(_measure(f"idleTimeout {seconds}s", most, later))
    return measures


def _after_the_crawlers(vendor: CountingVendor, sockets: Sequence[Address]) -> tuple[int, int]:
    """Return how many connections are open when the last crawler leaves, and later."""
    with one_shot(sockets) as ask:
        ask(CONNECTIONS)
    most = vendor.connections
    time.sleep(LOOK_AFTER_SECONDS)
    return most, vendor.connections


def _measure(way: str, most: int, later: int) -> Measure:
    return Measure(
        name=f"idle at the vendor after 1,000 one-shots: {way}",
        value=later,
        unit="sockets",
        note=f"{LOOK_AFTER_SECONDS:.0f} s after the last left; {most} when it did",
    )
