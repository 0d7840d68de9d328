"""Whether the crawler's memory stays as it is: over time, and with 3,000 tunnels open."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.crawlers import allow_many_sockets
from benchmarks.generator import books_of, crawling, open_connections, plan_of, start_vendor
from benchmarks.measure import Measure
from benchmarks.memory import resident_mb
from benchmarks.sidecars import PLACES, one_vendor, sidecar
from lab import loopback
from lab.processes import Children, LabError, children

MOST_GROWTH_MB = 3.0
SETTLING_SHARE = 0.25  # of the time: pools and books of a run's first counts
TUNNELS = 3_000
OPENING_SECONDS = 60.0
RATE = 500
MIX = {"http": 0.4, "tunnel": 0.3, "tls": 0.1, "socks5": 0.1, "h2c": 0.1}


def duration_seconds() -> float:
    """Return DURATION of the environment, 120 where there is none.

    Raises:
        LabError: it is no number of seconds.
    """
    given = os.environ.get("DURATION", "120")
    if not re.fullmatch(r"\d{1,5}", given) or not int(given):
        raise LabError(f"DURATION: {given!r} is no duration: give whole seconds, such as 600")
    return float(given)


def over_time() -> list[Measure]:
    """Measure growth in a run of every protocol, with retries and sticky sessions."""
    seconds = duration_seconds()
    plan = plan_of(
        arrival="poisson",
        requests_per_second=RATE,
        in_flight_cap=200,
        mix=MIX,
        hosts={"count": 5000},
        retries={},
        session={"mode": "sticky", "sessions": 50, "seconds": 5},
        connection_reuse=20,
        duration_seconds=seconds,
    )
    with tempfile.TemporaryDirectory() as name, children() as family:
        start_vendor(family, Path(name))
        with crawling(plan, Path(name)) as process:
            first, last = _growth(process, family, seconds)
            books = books_of(process)
        family.check()
    return [_grown(f"over {seconds:.0f} s", first, last, f"{books['attempts']:,} counts")]


def open_tunnels() -> list[Measure]:
    """Measure growth while 3,000 tunnels stand in a sidecar; none of its limits may be met."""
    allow_many_sockets()
    seconds = duration_seconds() / 2
    ports = PLACES[0]
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        envoy = sidecar(ports, folder, one_vendor(ports)).start(family)
        # Each tunnel stands for a minute, then another takes its place.
        plan = plan_of(
            envoy.sockets[0],
            concurrency=TUNNELS,
            mix={"tunnel": 1},
            tunnel_hold_seconds={"uniform": [30, 90]},
            duration_seconds=OPENING_SECONDS + seconds,
        )
        with crawling(plan, folder) as process:
            _wait_until(lambda: open_connections() >= TUNNELS * 0.99, process, family)
            first, last = _growth(process, family, seconds)
            tunnels = open_connections()
            stats = loopback.get_text(f"http://127.0.0.1:{ports.envoy_admin}/stats")
            process.terminate()
            books_of(process)
        family.check()
    overflows = [int(count) for count in re.findall(r"_overflow: (\d+)$", stats, re.MULTILINE)]
    return [
        _grown(f"with {TUNNELS:,} open tunnels", first, last, f"{tunnels:,} stood at the end"),
        Measure(
            name=f"Envoy's overflows at {TUNNELS:,} open tunnels",
            value=float(sum(overflows)),
            unit="counts",
            goal=0.0,
            note=f"sum of {len(overflows)} `*_overflow`",
        ),
    ]


def _wait_until(done: Callable[[], bool], process: subprocess.Popen[str], family: Children) -> None:
    deadline = time.monotonic() + OPENING_SECONDS
    while not done():
        family.check()
        if process.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"{open_connections()} tunnels stand after {OPENING_SECONDS:.0f} s")
        time.sleep(0.5)


def _growth(
    process: subprocess.Popen[str], family: Children, seconds: float
) -> tuple[float, float]:
    """Return resident MB once the run has settled, and just before the seconds are over."""
    start = time.monotonic()
    found = []
    for share in (SETTLING_SHARE, 0.98):
        while time.monotonic() < start + share * seconds:
            family.check()
            time.sleep(0.2)
        if process.poll() is not None:
            raise LabError("the crawler ended too soon")
        found.append(resident_mb(process.pid))
    return found[0], found[1]


def _grown(when: str, first: float, last: float, note: str) -> Measure:
    return Measure(
        name=f"growth of the crawler's memory {when}",
        value=last - first,
        unit="MB",
        goal=MOST_GROWTH_MB,
        note=f"{first:.1f} to {last:.1f} MB resident; {note}",
    )
