"""What 10,000 ranges cost more than 10: on requests, in memory, at start and to render."""

from __future__ import annotations

import functools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from ipaddress import IPv4Network
from itertools import islice
from pathlib import Path

from benchmarks.cpu import Proxy, cpu_a_unit
from benchmarks.crawlers import kept_alive, one_shot
from benchmarks.measure import Measure, cpu_ratio
from benchmarks.memory import resident_mb
from benchmarks.sidecars import PLACES, Sidecar, one_vendor, sidecar, start_vendor
from lab.processes import Children, LabError, children
from lab.system import FOLDER, ROOT
from settings.loading import PROJECT

FEW, MANY = 10, 10_000
DESTINATIONS = 100
"""Addresses that crawlers use, the same before both sidecars."""

REQUESTS, WARM_UP, REQUEST_ROUNDS = 100, 2_000, 11  # a goal of 2 % needs more rounds
CONNECTIONS, WARM_UP_CONNECTIONS, CONNECTION_ROUNDS = 20, 200, 5
RENDER_ROUNDS = 5
RENDER_SECONDS = 60.0


def ranges(count: int) -> list[IPv4Network]:
    """Return /24 blocks of loopback in no order, the same in every run; no vendor's of the lab."""
    blocks = list(IPv4Network("127.64.0.0/10").subnets(new_prefix=24))
    return random.Random(1).sample(blocks, MANY)[:count]


def destinations(blocks: Sequence[IPv4Network]) -> list[str]:
    """Return addresses spread evenly over these ranges."""
    each = DESTINATIONS // len(blocks)
    return [str(block[number]) for block in blocks for number in range(1, each + 1)]


def many_ranges() -> list[Measure]:
    """Compare a sidecar that knows 10,000 ranges of its vendor with one that knows 10."""
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        addresses = destinations(ranges(FEW))  # the first of many, too
        start_vendor(family, folder, addresses)
        sidecars = [
            sidecar(ports, folder, one_vendor(ports, ranges=ranges(count)), addresses=addresses)
            for ports, count in zip(PLACES, (MANY, FEW), strict=False)
        ]
        requests, seconds, resident = _requests(sidecars)
        connections = cpu_a_unit(
            [one.start for one in sidecars],
            one_shot,
            units=CONNECTIONS,
            warm_up=WARM_UP_CONNECTIONS,
            rounds=CONNECTION_ROUNDS,
        )
        family.check()
    many, few = (statistics.median(each) for each in seconds)
    return [
        cpu_ratio("CPU a request: 10,000 ranges / 10", *requests, goal=1.02),
        cpu_ratio("CPU a one-shot connection: 10,000 ranges / 10", *connections),
        Measure(
            name="Envoy's start-up: 10,000 ranges / 10",
            value=many / few,
            note=f"{many:.2f} s / {few:.2f} s to ready",
        ),
        _added("memory added by 10,000 ranges", resident),
    ]


def _requests(
    sidecars: Sequence[Sidecar],
) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """Return, by sidecar and round: CPU a request, seconds to ready, MB after a little traffic."""
    seconds: list[list[float]] = [[] for _ in sidecars]
    resident: list[list[float]] = [[] for _ in sidecars]

    def start(number: int, family: Children) -> Proxy:
        proxy, to_ready = sidecars[number].started(family)
        seconds[number].append(to_ready)
        return proxy

    requests = cpu_a_unit(
        [functools.partial(start, number) for number in range(len(sidecars))],
        functools.partial(kept_alive, connections=DESTINATIONS),
        units=REQUESTS,
        warm_up=WARM_UP,
        rounds=REQUEST_ROUNDS,
        after_warm_up=lambda number, proxy: resident[number].append(resident_mb(proxy.pid)),
    )
    return requests, seconds, resident


def _added(name: str, resident: Sequence[Sequence[float]]) -> Measure:
    many, few = (statistics.median(each) for each in resident)
    return Measure(
        name=name,
        value=many - few,
        unit="MB",
        goal=10.0,
        note=f"resident {many:.1f} MB - {few:.1f} MB, after {WARM_UP:,} requests",
    )


def render() -> list[Measure]:
    """Measure `make render` of a stack file with 10,000 ranges."""
    seconds, largest = [], 0
    FOLDER.mkdir(exist_ok=True)  # ranges come from a file inside the project
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        stack, ranges = folder / "Pulumi.many.yaml", folder / "ranges.txt"
        blocks = islice(IPv4Network("11.0.0.0/8").subnets(new_prefix=24), MANY)
        ranges.write_text("".join(f"{block}\n" for block in blocks))
        vendor = {"name": "vendor-a", "cidrsFile": str(ranges.relative_to(ROOT))}
        config = {f"{PROJECT}:cluster": "many", f"{PROJECT}:vendors": [vendor]}
        stack.write_text(json.dumps({"config": config}))  # JSON is YAML
        for _ in range(RENDER_ROUNDS):
            started = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "render", "--stack", "many", "--out", str(folder / "out")],
                cwd=ROOT,
                env={**os.environ, "STACK_FILE": str(stack)},
                capture_output=True,
                text=True,
                timeout=RENDER_SECONDS,
                check=False,
            )
            seconds.append(time.monotonic() - started)
            if done.returncode != 0:
                raise LabError(f"render failed: {(done.stderr.strip() or '?').splitlines()[-1]}")
        files = [*(folder / "out").glob("**/EnvoyFilter-*.yaml")]
        largest = max((file.stat().st_size for file in files), default=0)
    return [
        Measure(
            name="time to render 10,000 ranges",
            value=statistics.median(seconds),
            unit="s",
            goal=5.0,
            note=f"largest of {len(files)} EnvoyFilters {largest / 1e6:.2f} MB as YAML",
        )
    ]
