"""Whether each Prometheus can hold what its stack is expected to measure; pure.

Measured above 200 and 2,000 emulated sidecars (`make bench ONLY=prometheus-scale`), then rounded
up: 255 and 1,923 MB for 40,000 and 404,000 series of sidecars, 18 and 17 µs a sample; 6.2
bytes a sample in the write-ahead log, 2.9 to 3.3 in a block. Its chunks held 25 samples; full ones
hold 120, in fewer bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from components.prometheus.estimate import Estimate
from settings.loading import SettingsError
from settings.prometheus import OwnPrometheus
from settings.values.quantities import (
    cpu_millis,
    format_bytes,
    format_duration,
    memory_bytes,
)

GB = 10**9
HOUR = 3600

IDLE_BYTES = 100 * 10**6
SERIES_BYTES = 5_000
"""Memory for each series of a sidecar; what rules record of them is in it."""

SAMPLE_CPU_SECONDS = 20e-6
"""To scrape and store a sample of a sidecar, and to evaluate all rules."""

BLOCK_BYTES, LOG_BYTES = 3.2, 7.0
"""Disk for each sample."""

# Prometheus keeps the write-ahead log of up to three hours, and counts it against `retentionSize`
# (https://prometheus.io/docs/prometheus/latest/storage/).
LOG_SECONDS = 3 * HOUR

# The series of ended pods stay in memory for up to three hours: twice the series if pods live that
# long. Those that live an hour or less need more than this asks for.
GENERATIONS = 2

# For queries, compaction, and the replay after a restart, on a slower machine.
CPU_MARGIN = 2


def memory_needed(series: float) -> float:
    """Return the bytes of memory for this many series, of pods that run and of pods that ended."""
    return IDLE_BYTES + SERIES_BYTES * series


def disk_needed(samples_per_second: float, seconds: float) -> float:
    """Return the bytes of disk for the samples of this time."""
    return samples_per_second * (BLOCK_BYTES * seconds + LOG_BYTES * LOG_SECONDS)


def refuse_too_small(prometheus: OwnPrometheus, expected: Estimate) -> None:
    """Refuse a stack whose Prometheus would be killed, fall behind, or forget too early.

    Each replica holds everything, each shard its part.

    Raises:
        SettingsError: every number that is too small, and the one to write.
    """
    series = expected.series / prometheus.shards
    samples = expected.samples_per_second / prometheus.shards
    findings = [
        *_memory(prometheus, series),
        *_cpu(prometheus, samples),
        *_disk(prometheus, samples),
    ]
    if findings:
        raise SettingsError(findings)


def _memory(prometheus: OwnPrometheus, series: float) -> Iterator[str]:
    limit = prometheus.resources.limits.memory
    needed = memory_needed(GENERATIONS * series)
    if needed > memory_bytes(limit):
        yield (
            f"prometheus.resources.limits.memory: {limit} cannot hold {series:,.0f} series and as "
            f"many of ended pods (about {_gb(needed)}); write {_at_least(needed)}, or raise "
            "prometheus.shards, or correct crawlers.expectedPods"
        )


def _cpu(prometheus: OwnPrometheus, samples: float) -> Iterator[str]:
    limit = prometheus.resources.limits.cpu
    needed = CPU_MARGIN * SAMPLE_CPU_SECONDS * samples
    if needed > cpu_millis(limit) / 1000:
        yield (
            f"prometheus.resources.limits.cpu: {limit} cannot take in {samples:,.0f} samples/s "
            f'(about {needed:.1f} cores); write "{math.ceil(needed)}", or raise '
            "prometheus.shards or scrapeInterval, or correct crawlers.expectedPods"
        )


def _disk(prometheus: OwnPrometheus, samples: float) -> Iterator[str]:
    size, retention = prometheus.retention_size, prometheus.retention
    needed = disk_needed(samples, retention)
    if needed > size:
        # As the shipped values: the retained blocks are four fifths of the volume.
        storage = math.ceil(needed / GB) * GB / 0.8
        more = f" and storage {_at_least(storage)}" if storage > prometheus.storage else ""
        fitting = (size / samples - LOG_BYTES * LOG_SECONDS) / BLOCK_BYTES
        unit = 24 * HOUR if fitting >= 24 * HOUR else HOUR
        shorter = int(fitting // unit) * unit
        less = f', or retention "{format_duration(shorter)}"' if shorter > 0 else ""
        yield (
            f"prometheus.retentionSize: {format_bytes(size)} cannot hold "
            f"{format_duration(retention)} of {samples:,.0f} samples/s (about {_gb(needed)}); "
            f"write {_at_least(needed)}{more}{less}"
        )


def _gb(size: float) -> str:
    return f"{size / GB:.1f} GB"


def _at_least(size: float) -> str:
    return f'"{math.ceil(size / GB)}G"'
