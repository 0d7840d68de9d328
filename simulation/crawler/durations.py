"""Quantiles of many durations in little memory."""

from __future__ import annotations

import math
from typing import Final


class Durations:
    """Seconds in buckets a sixteenth of an octave wide: quantiles to 3 %, memory bounded."""

    __slots__ = ("buckets", "count", "most_seconds", "total_seconds")

    LEAST_OCTAVE, MOST_OCTAVE = -20, 13  # 1 microsecond to 2.3 hours; beyond counts as the end
    PARTS = 16
    LAST = (MOST_OCTAVE - LEAST_OCTAVE) * PARTS - 1
    ORIGIN = (LEAST_OCTAVE + 2) * PARTS

    def __init__(self) -> None:
        self.buckets = [0] * (self.LAST + 1)
        self.count, self.total_seconds, self.most_seconds = 0, 0.0, 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_seconds += seconds
        if seconds > self.most_seconds:
            self.most_seconds = seconds
        part, octave = math.frexp(seconds)  # seconds = part * 2 ** octave, part from 0.5 to 1
        at = octave * self.PARTS + int(part * 2 * self.PARTS) - self.ORIGIN if seconds else 0
        self.buckets[at if 0 <= at <= self.LAST else self.LAST * (at > 0)] += 1

    def quantile(self, share: float) -> float:
        """Return the duration that `share` of all do not exceed; 0 if there is none."""
        left = share * self.count
        for at, count in enumerate(self.buckets):
            if count and left <= count:
                low, high = self._edge(at), self._edge(at + 1)
                return min(low + (high - low) * left / count, self.most_seconds)
            left -= count
        return self.most_seconds

    def _edge(self, at: int) -> float:
        octave, part = divmod(at, self.PARTS)
        return math.ldexp(1 + part / self.PARTS, octave + self.LEAST_OCTAVE)

    def upto(self, octave: int) -> int:
        """Return how many are below 2 ** octave seconds."""
        return sum(self.buckets[: (octave - self.LEAST_OCTAVE) * self.PARTS])

    def as_json(self) -> dict[str, object]:
        shown = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        return {
            "count": self.count,
            **{f"{key}_seconds": self.quantile(share) for key, share in shown.items()},
            "most_seconds": self.most_seconds,
        }


# The bounds of the histograms in /metrics: 61 microseconds to 64 seconds.
HISTOGRAM_OCTAVES: Final = range(-14, 7)


def histogram(labels: str, durations: Durations) -> list[tuple[str, float]]:
    """Return the samples of a histogram; `labels` is like `protocol="http"`, or empty."""
    prefix = f"{labels}," if labels else ""
    around = f"{{{labels}}}" if labels else ""
    buckets: list[tuple[str, float]] = [
        (f'_bucket{{{prefix}le="{2.0**octave}"}}', durations.upto(octave))
        for octave in HISTOGRAM_OCTAVES
    ]
    return [
        *buckets,
        (f'_bucket{{{prefix}le="+Inf"}}', durations.count),
        (f"_sum{around}", durations.total_seconds),
        (f"_count{around}", durations.count),
    ]
