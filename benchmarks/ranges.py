"""What 10,000 ranges of a vendor cost compared with 10."""

from __future__ import annotations

import functools
import random
import statistics
import tempfile
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from benchmarks.cpu import Proxy, cpu_a_unit, resident_mb
from benchmarks.crawlers import kept_alive
from benchmarks.measure import Measure, cpu_ratio
from benchmarks.sidecars import PLACES, one_vendor, sidecar, start_vendor
from lab.processes import children

FEW, MANY = 10, 10_000
DESTINATIONS = 100
"""How many addresses the crawlers use, the same for both sidecars."""

REQUESTS, WARM_UP, ROUNDS = 100, 2_000, 11  # more rounds than usual, for a goal of 2 %


def ranges(count: int) -> list[IPv4Network]:
    """Return /24 blocks of loopback that the lab does not use, shuffled the same way each time."""
    blocks = list(IPv4Network("127.64.0.0/10").subnets(new_prefix=24))
    return random.Random(1).sample(blocks, MANY)[:count]


def destinations(blocks: Sequence[IPv4Network]) -> list[str]:
    """Return addresses, evenly many from each range."""
    each = DESTINATIONS // len(blocks)
    return [str(block[number]) for block in blocks for number in range(1, each + 1)]


def many_ranges() -> list[Measure]:
    """Compare a sidecar that knows 10,000 ranges of its vendor with one that knows 10."""
    started: list[list[Proxy]] = [[], []]
    memory: list[list[float]] = [[], []]

    def look(number: int, proxy: Proxy) -> None:
        started[number].append(proxy)
        memory[number].append(resident_mb(proxy.pid))

    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        addresses = destinations(ranges(FEW))  # which are among the 10,000, too
        start_vendor(family, folder, addresses)
        sidecars = [
            sidecar(ports, folder, one_vendor(ports, ranges=ranges(count)), addresses=addresses)
            for ports, count in zip(PLACES, (MANY, FEW), strict=False)
        ]
        requests = cpu_a_unit(
            [each.start for each in sidecars],
            functools.partial(kept_alive, connections=DESTINATIONS),
            units=REQUESTS,
            warm_up=WARM_UP,
            rounds=ROUNDS,
            after_warm_up=look,
        )
        family.check()
    ready = [statistics.median(proxy.ready_seconds for proxy in each) for each in started]
    resident = [statistics.median(each) for each in memory]
    return [
        cpu_ratio("CPU a request: 10,000 ranges / 10", *requests, goal=1.02),
        Measure(
            name="Envoy's start-up: 10,000 ranges / 10",
            value=ready[0] / ready[1],
            note=f"{ready[0]:.2f} s / {ready[1]:.2f} s until it is ready",
        ),
        Measure(
            name="memory added by 10,000 ranges",
            value=resident[0] - resident[1],
            unit="MB",
            goal=10.0,
            note=f"resident {resident[0]:.1f} - {resident[1]:.1f} MB, after {WARM_UP:,} requests",
        ),
    ]
