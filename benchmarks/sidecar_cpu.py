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
    contender,
    one_vendor,
    sidecar,
    start_vendor,
    switched_off,
    without_bytes,
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


def kill_switch() -> list[Measure]:
    """Compare both modes of reading with what `crawlers.mode: off` leaves of them."""
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        kinds = [(how, change) for how in ("http", "passive") for change in (None, switched_off)]
        starts = [
            contender(how, ports, folder, one_vendor(ports, tells=True), change=change).start
            for ports, (how, change) in zip(PLACES, kinds, strict=False)
        ]
        http, http_off, passive, passive_off = cpu_a_unit(
            starts, kept_alive, units=REQUESTS, warm_up=WARM_UP
        )
        family.check()
    return [
        cpu_ratio("CPU a request: http, mode off / full", http_off, http),
        cpu_ratio("CPU a request: passive, mode off / full", passive_off, passive),
    ]


def products() -> list[Measure]:
    """Compare both modes with four products and with none, where every request has a user.

    A chain without products has no hook for requests at all, unless it has pools or target groups.
    """
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        kinds = [(tells, sells) for tells in (False, True) for sells in (False, True)]
        http = [
            sidecar(ports, folder, one_vendor(ports, tells=tells, sells=sells)).start
            for ports, (tells, sells) in zip(PLACES, kinds, strict=False)
        ]
        passive = [
            contender("passive", ports, folder, one_vendor(ports, sells=sells)).start
            for ports, sells in zip(PLACES, (False, True), strict=False)
        ]
        none, four, none_told, four_told = cpu_a_unit(
            http, kept_alive, units=REQUESTS, warm_up=WARM_UP
        )
        unread, read = cpu_a_unit(passive, kept_alive, units=REQUESTS, warm_up=WARM_UP)
        family.check()
    unit = "CPU a request"
    return [
        cpu_ratio(f"{unit}: http with products / without", four, none, goal=1.05),
        cpu_ratio(f"{unit}: http with products and pools / pools", four_told, none_told, goal=1.05),
        cpu_ratio(f"{unit}: passive with products / without", read, unread, goal=1.05),
    ]


def counters_of_bytes() -> list[Measure]:
    """Compare the rendered HTTP chain with itself without the counters of bytes.

    They are two sums and four more labels in CEL for each request; in a mesh istio.stats evaluates
    them, here Envoy's stats access logger. The passive module has always counted bytes.
    """
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        kinds = [(tells, change) for tells in (False, True) for change in (None, without_bytes)]
        starts = [
            sidecar(ports, folder, one_vendor(ports, tells=tells), change=change).start
            for ports, (tells, change) in zip(PLACES, kinds, strict=False)
        ]
        counted, uncounted, told, told_uncounted = cpu_a_unit(
            starts, kept_alive, units=REQUESTS, warm_up=WARM_UP
        )
        family.check()
    unit = "CPU a request: http with counters of bytes / without"
    return [
        cpu_ratio(unit, counted, uncounted),
        cpu_ratio(f"{unit}, with pools and targets", told, told_uncounted),
    ]
