"""Grafana's time ranges and query steps: `now-1h` or milliseconds, and how finely one is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhd]))?")

# Steps on which two screens of different width agree, in seconds.
_STEPS = (
    *(1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600),
    *(7200, 10800, 21600, 43200, 86400, 604800),
)


@dataclass(frozen=True)
class Span:
    """A range of time and how finely it is asked; everything in seconds."""

    start: float
    end: float
    step: float


def moment(text: str, now: float) -> float:
    """Return the Unix seconds of `now-6h` or milliseconds.

    Raises:
        ValueError: it is neither.
    """
    if text.isdecimal() and len(text) <= 15:
        return int(text) / 1000
    found = _RELATIVE.fullmatch(text)
    if not found:
        raise ValueError(f"time {text[:40]!r} is neither now-<n><s|m|h|d> nor milliseconds")
    number, unit = found.groups()
    return now - (int(number) * _SECONDS[unit] if number else 0)


def span(start: str, end: str, *, points: int, scrape: float, now: float) -> Span:
    """Return the range with a step that gives at most `points` points a line.

    Args:
        scrape: seconds between two samples of a series: no step is shorter.
    """
    first, last = moment(start, now), moment(end, now)
    if not 0 <= first < last:
        raise ValueError(f"the range from {start} to {end} is empty")
    wanted = max((last - first) / max(1, points), scrape)
    step = next((one for one in _STEPS if one >= wanted), _STEPS[-1])
    return Span(first, last, float(step))
