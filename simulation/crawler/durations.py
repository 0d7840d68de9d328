"""Many durations in little memory."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Final

BOUNDS: Final = [2.0**octave for octave in range(-14, 7)]  # 61 microseconds to 64 seconds


class Durations:
    """Seconds, counted in the buckets of a Prometheus histogram."""

    __slots__ = ("buckets", "count", "most_seconds", "total_seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.count, self.total_seconds, self.most_seconds = 0, 0.0, 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_seconds += seconds
        self.most_seconds = max(self.most_seconds, seconds)
        self.buckets[bisect_left(BOUNDS, seconds)] += 1

    def mean_seconds(self) -> float:
        return self.total_seconds / self.count if self.count else 0.0

    def as_json(self) -> dict[str, object]:
        mean = self.mean_seconds()
        return {"count": self.count, "mean_seconds": mean, "most_seconds": self.most_seconds}


def histogram(labels: str, durations: Durations) -> list[tuple[str, float]]:
    """Return the samples of a histogram; `labels` is like `protocol="http"`, or empty."""
    prefix = f"{labels}," if labels else ""
    around = f"{{{labels}}}" if labels else ""
    bounds = [*map(str, BOUNDS), "+Inf"]
    upto: list[float] = list(accumulate(durations.buckets))
    return [
        *((f'_bucket{{{prefix}le="{le}"}}', n) for le, n in zip(bounds, upto, strict=True)),
        (f"_sum{around}", durations.total_seconds),
        (f"_count{around}", durations.count),
    ]
