"""CPU time of proxies that do the same work in turn, and memory of a process.

Two processes of one program differ by up to a tenth, since the processor's caches keep more of
one than of the other. So every round starts all proxies anew, and within a round they take short
turns, so that a slow spell of the machine falls on all of them.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crawlers import Address, Load, Work
from lab.processes import Children, children

ROUNDS = 7
TURNS = 30
"""Turns of each proxy in a round; a turn takes some ten milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A running proxy, and where crawlers connect to it."""

    pid: int
    sockets: tuple[Address, ...]
    ready_seconds: float
    """The time from the start of its process until it was ready."""


Start = Callable[[Children], Proxy]


def cpu_a_unit(
    starts: Sequence[Start],
    load: Load,
    *,
    units: int,
    warm_up: int,
    rounds: int = ROUNDS,
    turns: int = TURNS,
    after_warm_up: Callable[[int, Proxy], None] | None = None,
) -> list[list[float]]:
    """Return each proxy's CPU seconds a unit of work, one figure a round.

    Args:
        starts: the functions that start the proxies.
        load: gives the function that makes a proxy work.
        units: units of work in a turn.
        warm_up: units of work before anything is measured.
        rounds: figures to return for each proxy.
        turns: of each proxy in a round.
        after_warm_up: called in every round with a proxy's number and its process.
    """
    figures: list[list[float]] = [[] for _ in starts]
    for number in range(rounds):
        # Each proxy starts first in every other round.
        order = list(range(len(starts)))[:: -1 if number % 2 else 1]
        with children() as family, contextlib.ExitStack() as loads:
            pids, works = [], []
            for contender in order:
                proxy = starts[contender](family)
                work = loads.enter_context(load(proxy.sockets))
                work(warm_up)
                if after_warm_up:
                    after_warm_up(contender, proxy)
                pids.append(proxy.pid)
                works.append(work)
            seconds = in_turn(pids, works, units=units, turns=turns)
            family.check()
        for contender, figure in zip(order, seconds, strict=True):
            figures[contender].append(figure)
    return figures


def in_turn(
    pids: Sequence[int], works: Sequence[Work], *, units: int, turns: int = TURNS
) -> list[float]:
    """Return the CPU seconds a unit that each process spends on its own work."""
    spent = [0.0 for _ in works]
    for _ in range(turns):
        # The order never changes: a process with two turns in a row would find its caches warm.
        for number, (pid, work) in enumerate(zip(pids, works, strict=True)):
            before = cpu_seconds(pid)
            work(units)
            spent[number] += cpu_seconds(pid) - before
    return [seconds / (units * turns) for seconds in spent]


def cpu_seconds(pid: int) -> float:
    """Return a process's CPU time of all threads, exactly; /proc counts in ticks of 10 ms."""
    # clock_getcpuclockid(3) makes a clock number of a process number in this way.
    return time.clock_gettime((~pid << 3) | 2)


def resident_mb(pid: int) -> float:
    """Return a process's resident memory in MB, the pages of its program included."""
    return _megabytes(pid, "VmRSS")


def private_mb(pid: int) -> float:
    """Return the resident memory in MB that a process shares with no other."""
    return _megabytes(pid, "RssAnon")


def _megabytes(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)  # proc(5): kB are 1,024
    if match is None:
        raise ValueError(f"/proc/{pid}/status has no {field}")
    return int(match[1]) * 1024 / 1e6
