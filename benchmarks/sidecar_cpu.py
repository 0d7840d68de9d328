"""CPU that Envoy spends on a proxied request, with and without parts of the program."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.cpu import cpu_a_unit
from benchmarks.crawlers import kept_alive
from benchmarks.measure import Measure, cpu_ratio
from benchmarks.sidecars import (
    PLACES,
    Change,
    bare,
    one_vendor,
    sidecar,
    start_vendor,
    without_lua,
)
from lab.processes import children

REQUESTS, WARM_UP = 100, 2_000


def http_chain() -> list[Measure]:
    """Compare the rendered HTTP chain with itself without Lua, and with a bare manager.

    Its script has nothing to tell, or else tells of a pool, a target group and outcome rules.
    """
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        kinds: list[tuple[bool, Change | None]] = [
            *((False, None), (False, without_lua), (True, None), (True, without_lua)),
            (False, bare),
        ]
        starts = [
            sidecar(ports, folder, one_vendor(ports, tells=tells), change=change).start
            for ports, (tells, change) in zip(PLACES, kinds, strict=True)
        ]
        silent, no_lua, telling, untold, least = cpu_a_unit(
            starts, kept_alive, units=REQUESTS, warm_up=WARM_UP
        )
        family.check()
    return [
        cpu_ratio("CPU a request: Lua without hooks / without Lua", silent, no_lua, goal=1.05),
        cpu_ratio("CPU a request: Lua with hooks / without Lua", telling, untold, goal=1.12),
        cpu_ratio("CPU a request: HTTP chain / bare manager", silent, least),
        cpu_ratio("CPU a request: without Lua / bare manager", no_lua, least),
    ]
