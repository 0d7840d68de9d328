"""Resident memory of a sidecar by what it does with connections: one vendor or nine, and after."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

from benchmarks.cpu import resident_mb
from benchmarks.crawlers import kept_alive, tunnels
from benchmarks.measure import Measure
from benchmarks.sidecars import (
    INSPECTIONS,
    PLACES,
    contender,
    contenders,
    one_vendor,
    start_raw_vendor,
    start_vendor,
)
from components.attribution.groups import CHAINS, chain_number
from lab.processes import children
from settings.stack import StackSettings
from settings.vendors import AddressRange

COUNTS = (1, 9)
REQUESTS, ROUNDS = 2_000, 3
CONNECTIONS = 100_000


def by_vendors() -> list[Measure]:
    """Measure each contender with one vendor and with nine, each of eight parts."""
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        address = str(spread_ranges(0)[0][10])
        start_vendor(family, folder, [address])
        measures = [
            _resident(inspection, count, folder, address)
            for count in COUNTS
            for inspection in INSPECTIONS
        ]
        family.check()
    return measures


def _resident(inspection: str, count: int, folder: Path, address: str) -> Measure:
    ports = PLACES[0]
    settings = vendors_of_all_parts(one_vendor(ports), count)
    envoy = contender(inspection, ports, folder, settings, addresses=[address])
    found, ready = [], []
    for _ in range(ROUNDS):
        with children() as family:
            proxy = envoy.start(family)
            with kept_alive(proxy.sockets) as ask:
                ask(REQUESTS)
                found.append(resident_mb(proxy.pid))
            ready.append(proxy.ready_seconds)
            family.check()
    return Measure(
        name=f"Envoy's resident memory, {count} vendor{'s' if count > 1 else ''}: {inspection}",
        value=statistics.median(found),
        unit="MB",
        note=(
            f"of {CHAINS} parts, after {REQUESTS:,} requests; "
            f"ready after {statistics.median(ready):.2f} s; {ROUNDS} rounds"
        ),
    )


def after_many_connections() -> list[Measure]:
    """Measure what passive inspection keeps of connections that have ended."""
    with tempfile.TemporaryDirectory() as name, children() as family:
        start_raw_vendor(family, Path(name))
        proxy = contenders(Path(name))["passive"].start(family)
        with tunnels(proxy.sockets) as ask:
            ask(CONNECTIONS // 10)
            before = resident_mb(proxy.pid)
            ask(CONNECTIONS)
            after = resident_mb(proxy.pid)
        family.check()
    return [
        Measure(
            name=f"memory kept of {CONNECTIONS:,} tunnels that ended: passive",
            value=after - before,
            unit="MB",
            goal=2.0,
            note=f"resident {after:.1f} - {before:.1f} MB",
        )
    ]


def vendors_of_all_parts(settings: StackSettings, count: int) -> StackSettings:
    """Return settings with `count` vendors like the only one, whose ranges need every chain."""
    vendors = tuple(
        settings.vendors[0].model_copy(
            update={
                "name": f"vendor-{number + 1}",
                "cidrs": tuple(AddressRange(one) for one in spread_ranges(number)),
            }
        )
        for number in range(count)
    )
    return settings.model_copy(update={"vendors": vendors})


def spread_ranges(number: int) -> list[IPv4Network]:
    """Return the first range of 127.<64 + number>.0.0/16 for each chain."""
    first: dict[int, IPv4Network] = {}
    for block in _blocks(number):
        first.setdefault(chain_number(block), block)
    return sorted(first.values())


def _blocks(number: int) -> Iterator[IPv4Network]:
    return IPv4Network(f"127.{64 + number}.0.0/16").subnets(new_prefix=24)
