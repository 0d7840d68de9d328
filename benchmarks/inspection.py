"""Measure what each `inspect` costs: squid and a plain TCP proxy do the same work beside them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.cpu import Start, cpu_a_unit
from benchmarks.crawlers import Load, kept_alive, one_shot, through_a_tunnel, tunnels
from benchmarks.measure import Measure, cpu_ratio
from benchmarks.sidecars import PLACES, contenders, start_raw_vendor, start_vendor
from benchmarks.squid import NOT_INSTALLED, Squid, squid_program
from lab.processes import children

Figures = Mapping[str, list[float]]


def requests() -> list[Measure]:
    """Compare the CPU of plain proxied requests, on kept connections and on new ones."""
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        starts: dict[str, Start] = {n: one.start for n, one in contenders(folder).items()}
        program = squid_program()
        if program:
            squid = Squid(program=program, ports=PLACES[3], folder=folder / "squid")
            starts["squid"] = squid.start
        else:
            print(NOT_INSTALLED, file=sys.stderr)
        kept = _figures(starts, kept_alive, units=100, warm_up=2_000)
        starts.pop("squid", None)
        new = _figures(starts, one_shot, units=50, warm_up=500)
        family.check()
    rows = [
        _ratio("keep-alive request", kept, "passive", "plain", 1.35),
        _ratio("keep-alive request", kept, "passive", "http", 0.35),
        _ratio("keep-alive request", kept, "http", "plain"),
        _ratio("one-shot request", new, "passive", "plain", 1.25),
        _ratio("one-shot request", new, "http", "plain"),
    ]
    if program:
        rows += [
            _ratio("keep-alive request", kept, one, "squid with access log")
            for one in ("passive", "http")
        ]
    return rows


def through_tunnels() -> list[Measure]:
    """Compare the CPU of CONNECT tunnels, and of the megabytes in one."""
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_raw_vendor(family, folder)
        starts: dict[str, Start] = {n: one.start for n, one in contenders(folder).items()}
        opened = _figures(starts, tunnels, units=50, warm_up=500)
        megabytes = _figures(starts, through_a_tunnel, units=8, warm_up=32)
        family.check()
    return [
        _ratio("tunnel", opened, "passive", "plain", 1.25),
        _ratio("tunnel", opened, "http", "plain"),
        _ratio("MB in a tunnel", megabytes, "passive", "plain", 1.03),
        _ratio("MB in a tunnel", megabytes, "http", "plain"),
    ]


def _figures(starts: Mapping[str, Start], load: Load, *, units: int, warm_up: int) -> Figures:
    found = cpu_a_unit(list(starts.values()), load, units=units, warm_up=warm_up)
    return dict(zip(starts, found, strict=True))


def _ratio(
    unit: str, figures: Figures, first: str, second: str, goal: float | None = None
) -> Measure:
    name = f"CPU a {unit}: {first} / {second}"
    return cpu_ratio(name, figures[first], figures[second.split()[0]], goal=goal)
