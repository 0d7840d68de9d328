"""What Prometheus costs with every rule, by the number of sidecars.

The CPU of the process that emulates the sidecars is not counted. Each size takes some minutes:
rules cost less until the five minutes that they look back are full.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from benchmarks.cpu import cpu_seconds, resident_mb
from benchmarks.emulated_sidecars import Fleet
from benchmarks.measure import Measure
from benchmarks.monitored import SCRAPE_SECONDS, VENDORS, monitored, number_from
from components.prometheus.capacity import SAMPLE_CPU_SECONDS, memory_needed

SIZES = (200, 500, 1_000, 2_000)
GOAL_SIZE, MOST_MB, MOST_CORES = 1_000, 1_000.0, 0.3
WARM_UP_SECONDS = 330.0
# An hour on average: each minute a sixtieth of the pods is new, and Prometheus' head still holds
# the series of those that ended.
WORKED_SECONDS = (1_800.0, 5_400.0)


def by_sidecars() -> list[Measure]:
    """Measure each size, or the one that SIDECARS names, for DURATION seconds."""
    seconds = number_from("DURATION", 120)
    sizes = (number_from("SIDECARS", 0),) if os.environ.get("SIDECARS") else SIZES
    return [row for size in sizes for row in _rows(size, seconds)]


def _rows(sidecars: int, seconds: int) -> Iterator[Measure]:
    """Run one Prometheus until its rules' windows are full, then watch it."""
    fleet = Fleet(
        name="crawl",
        sidecars=sidecars,
        worked_seconds=WORKED_SECONDS,
        last_scrape_seconds=20.0,
        vendors=VENDORS,
        staggered=True,
    )
    judged = sidecars == GOAL_SIZE
    with monitored([fleet]) as running:
        running.wait(WARM_UP_SECONDS)
        before, started = cpu_seconds(running.prometheus_pid), time.monotonic()
        most = 0.0
        while time.monotonic() < started + seconds:
            running.wait(5.0)
            most = max(most, resident_mb(running.prometheus_pid))
        spent = cpu_seconds(running.prometheus_pid) - before
        of_sidecars = 'scrape_samples_post_metric_relabeling{job="sidecars"} > 0'
        scraped, kept = running.value(f"avg({of_sidecars})"), running.value(f"sum({of_sidecars})")
        series = running.value("prometheus_tsdb_head_series")
        yield Measure(
            name=f"Prometheus' memory, {sidecars:,} sidecars",
            value=most,
            unit="MB",
            goal=MOST_MB if judged else None,
            note=f"{scraped:.0f} series a sidecar, {series:,.0f} in all",
        )
        yield Measure(
            name="... as expected of a stack ÷ measured",
            value=memory_needed(kept) / 10**6 / most,
            note="components/prometheus/capacity.py, without its margin",
        )
        rules = (
            f"sum(avg_over_time(prometheus_rule_group_last_duration_seconds[{max(60, seconds)}s]))"
        )
        cores = spent / (time.monotonic() - started)
        yield Measure(
            name=f"Prometheus' CPU, {sidecars:,} sidecars",
            value=cores,
            unit="cores",
            goal=MOST_CORES if judged else None,
            note=f"{running.value(rules):.2f} s to evaluate all rules, every {SCRAPE_SECONDS} s",
        )
        yield Measure(
            name="... as expected of a stack ÷ measured",
            value=SAMPLE_CPU_SECONDS * kept / SCRAPE_SECONDS / cores,
            note="the same",
        )
