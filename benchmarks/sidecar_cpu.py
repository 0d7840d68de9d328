"""CPU that Envoy spends on a proxied request, with and without parts of the program."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.cpu import cpu_a_unit
from benchmarks.crawlers import kept_alive
from benchmarks.measure import Measure, cpu_ratio
from benchmarks.sidecars import PLACES, bare, one_vendor, sidecar, start_vendor, without_lua
from lab.processes import children

REQUESTS, WARM_UP = 100, 2_000


def http_chain() -> list[Measure]:
    """Compare the rendered HTTP chain with itself without Lua, and with a bare manager."""
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        starts = [
            sidecar(ports, folder, one_vendor(ports), change=change).start
            for ports, change in zip(PLACES, (None, without_lua, bare), strict=False)
        ]
        ours, no_lua, least = cpu_a_unit(starts, kept_alive, units=REQUESTS, warm_up=WARM_UP)
        family.check()
    return [
        cpu_ratio("CPU a request: HTTP chain / without Lua", ours, no_lua, goal=1.10),
        cpu_ratio("CPU a request: HTTP chain / bare manager", ours, least),
        cpu_ratio("CPU a request: without Lua / bare manager", no_lua, least),
    ]
