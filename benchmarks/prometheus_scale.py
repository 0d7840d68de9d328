"""What Prometheus costs with every rule, by the number of sidecars; Istio's own labels beside it.

The sidecars are emulated by another process, whose time is not counted. Each row takes some
minutes: rules are not at their full price before their window of five minutes is full.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.cpu import cpu_seconds
from benchmarks.emulated_sidecars import Crowd
from benchmarks.generator_memory import duration_seconds
from benchmarks.measure import Measure
from benchmarks.memory import resident_mb
from benchmarks.monitored import SCRAPE_SECONDS, VENDORS, Monitored, monitored
from lab.processes import LabError

SIZES = (200, 500, 1_000, 2_000)
ISTIO_SIZES = (200, 500)
GOAL_SIZE, MOST_MB, MOST_CORES = 1_000, 1_000.0, 0.3
WARM_UP_SECONDS = 330.0
# An hour on average: each minute a sixtieth of the pods is new, and the head holds series of
# those that were.
WORKED_SECONDS = (1_800.0, 5_400.0)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one Prometheus took while it was watched."""

    sidecars: int
    series_a_sidecar: float
    head_series: float
    resident_mb: float
    cores: float
    rules_seconds: float
    """To evaluate all rules once; they are evaluated each 15 s."""


def measured(sidecars: int, seconds: float, *, ours: bool) -> Cost:
    """Run one Prometheus until its rules' windows are full, then watch it."""
    crowd = Crowd(
        name="crawl",
        sidecars=sidecars,
        worked_seconds=WORKED_SECONDS,
        last_scrape_seconds=20.0,
        vendors=VENDORS,
        labels="ours" if ours else "istio",
        staggered=True,
    )
    with monitored([crowd], ours=ours) as running:
        running.wait(WARM_UP_SECONDS)
        before, started = cpu_seconds(running.prometheus_pid), time.monotonic()
        most = 0.0
        while time.monotonic() < started + seconds:
            running.wait(5.0)
            most = max(most, resident_mb(running.prometheus_pid))
        spent = cpu_seconds(running.prometheus_pid) - before
        return Cost(
            sidecars=sidecars,
            series_a_sidecar=_scraped(running),
            head_series=running.value("prometheus_tsdb_head_series"),
            resident_mb=most,
            cores=spent / (time.monotonic() - started),
            rules_seconds=running.value(
                "sum(avg_over_time(prometheus_rule_group_last_duration_seconds"
                f"[{max(60, int(seconds))}s]))"
            ),
        )


def _scraped(running: Monitored) -> float:
    return running.value('avg(scrape_samples_post_metric_relabeling{job="sidecars"} > 0)')


def wanted_sizes(sizes: Sequence[int]) -> Sequence[int]:
    """Return SIDECARS of the environment alone, all `sizes` where there is none.

    Raises:
        LabError: it is no number of sidecars.
    """
    given = os.environ.get("SIDECARS", "")
    if not given:
        return sizes
    if not re.fullmatch(r"\d{1,5}", given) or not int(given):
        raise LabError(f"SIDECARS: {given!r} is no number of sidecars: give one, such as 1000")
    return (int(given),)


def _measures(sizes: Sequence[int], *, ours: bool) -> list[Measure]:
    seconds = duration_seconds()
    costs = [measured(size, seconds, ours=ours) for size in wanted_sizes(sizes)]
    return [measure for cost in costs for measure in _rows(cost, ours=ours)]


def _rows(cost: Cost, *, ours: bool) -> list[Measure]:
    at = f"{cost.sidecars:,} sidecars" + ("" if ours else " with Istio's own statistics")
    judged = ours and cost.sidecars == GOAL_SIZE
    return [
        Measure(
            name=f"Prometheus' memory, {at}",
            value=cost.resident_mb,
            unit="MB",
            goal=MOST_MB if judged else None,
            note=f"{cost.series_a_sidecar:.0f} series a sidecar, {cost.head_series:,.0f} in all",
        ),
        Measure(
            name=f"Prometheus' CPU, {at}",
            value=cost.cores,
            unit="cores",
            goal=MOST_CORES if judged else None,
            note=f"{cost.rules_seconds:.2f} s to evaluate all rules, each {SCRAPE_SECONDS} s",
        ),
    ]


of_ours: Callable[[], list[Measure]] = partial(_measures, SIZES, ours=True)
of_istio: Callable[[], list[Measure]] = partial(_measures, ISTIO_SIZES, ours=False)
