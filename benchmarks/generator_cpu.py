"""What a count costs the project's crawler, beside what it costs an aiohttp client."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.generator import DIRECT, cpu_of, plan_of, start_vendor
from benchmarks.measure import Measure
from lab.processes import children

ROUNDS = 5
WARM_UP = 500  # in both runs of a pair: their difference holds neither start nor imports
COUNTS = {"http": 15_000, "tunnel": 2_500}
GOALS = {"http": 3.0, "tunnel": 1.3}
NAMES = {"http": "keep-alive HTTP", "tunnel": "CONNECT with TLS inside"}


def against_aiohttp() -> list[Measure]:
    """Compare counts a CPU second of both, each asking the same vendor for the same pages."""
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        measures = [_compared(kind, folder) for kind in COUNTS]
        family.check()
    return measures


def _compared(kind: str, folder: Path) -> Measure:
    def crawler(count: int) -> list[str]:
        path = folder / "plan.json"
        path.write_text(json.dumps(plan_of(mix={kind: 1}, count=count)))
        return [sys.executable, "-m", "simulation.crawler", "--json", "--plan", str(path)]

    def client(count: int) -> list[str]:
        proxy = f"http://{DIRECT[0]}:{DIRECT[1]}"
        return [sys.executable, "-m", "benchmarks.aiohttp_client", proxy, str(count), kind]

    ours: list[float] = []
    theirs: list[float] = []
    for number in range(ROUNDS):
        # Who goes first is as often the one as the other.
        for rates, command in [(ours, crawler), (theirs, client)][:: -1 if number % 2 else 1]:
            rates.append(_counts_a_cpu_second(command, COUNTS[kind], folder))
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Measure(
        name=f"counts a CPU second, {NAMES[kind]}: crawler / aiohttp",
        value=statistics.median(ratios),
        goal=GOALS[kind],
        at_least=True,
        note=(
            f"{statistics.median(ours):,.0f} / {statistics.median(theirs):,.0f}; "
            f"{ROUNDS} rounds, {min(ratios):.2f} to {max(ratios):.2f}"
        ),
    )


def _counts_a_cpu_second(command: Callable[[int], list[str]], count: int, folder: Path) -> float:
    before = cpu_of(command(WARM_UP), folder)
    return count / (cpu_of(command(WARM_UP + count), folder) - before)
