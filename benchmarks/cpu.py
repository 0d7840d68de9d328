"""CPU time of proxies that do the same work in turn.

Two processes of one program differ by up to a tenth: where their memory lies decides what the
processor's caches keep of it. So every round starts all contenders anew, and within a round they
take short turns, so that a slow spell of the machine falls on all of them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.crawlers import Address, Load, Work
from lab.processes import Children, children

ROUNDS = 7
TURNS = 30
"""In a round; each some ten milliseconds of work."""


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A running proxy, and where crawlers connect to it."""

    pid: int
    sockets: tuple[Address, ...]


Start = Callable[[Children], Proxy]


def cpu_a_unit(
    starts: Sequence[Start],
    load: Load,
    *,
    units: int,
    warm_up: int,
    rounds: int = ROUNDS,
    after_warm_up: Callable[[int, Proxy], None] | None = None,
) -> list[list[float]]:
    """Return each contender's CPU seconds a unit of the load, one figure a round.

    Args:
        starts: start the contenders.
        load: gives what makes a proxy do units of work.
        units: of work in a turn.
        warm_up: units of work before anything is measured.
        rounds: figures to return for each.
        after_warm_up: called with a contender's number and its process, in every round.
    """
    figures: list[list[float]] = [[] for _ in starts]
    for number in range(rounds):
        # Who starts first and asks first is as often the one as the other.
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
            seconds = in_turn(pids, works, units=units)
            family.check()
        for contender, figure in zip(order, seconds, strict=True):
            figures[contender].append(figure)
    return figures


def in_turn(pids: Sequence[int], works: Sequence[Work], *, units: int) -> list[float]:
    """Return the CPU seconds a unit that each process spends on its own work."""
    spent = [0.0 for _ in works]
    for _ in range(TURNS):
        # Always in this order: one that had two turns in a row would find its caches warm.
        for number, (pid, work) in enumerate(zip(pids, works, strict=True)):
            before = cpu_seconds(pid)
            work(units)
            spent[number] += cpu_seconds(pid) - before
    return [seconds / (units * TURNS) for seconds in spent]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, all its threads; exact where /proc counts 10 ms ticks."""
    # clock_getcpuclockid(3): what the C library makes of a process number.
    return time.clock_gettime((~pid << 3) | 2)
