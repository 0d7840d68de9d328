"""Grafana's time ranges, `now-1h`, `now/d` or milliseconds, and how finely one is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?(?:/([dM]))?")

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


def moment(text: str, now: float, *, is_end: bool = False) -> float:
    """Return the Unix seconds of `now-6h`, `now/d`, `now/M` or milliseconds; days are of UTC.

    Raises:
        ValueError: it is none of these.
    """
    if text.isdecimal() and len(text) <= 15:
        return int(text) / 1000
    found = _RELATIVE.fullmatch(text)
    if not found:
        known = "now-<n><s|m|h|d|w>, with /d or /M behind it,"
        raise ValueError(f"time {text[:40]!r} is neither {known} nor milliseconds")
    number, unit, rounded = found.groups()
    value = now - (int(number) * _SECONDS[unit] if number else 0)
    return _rounded(value, rounded, is_end=is_end) if rounded else value


def span(start: str, end: str, *, points: int, scrape: float, now: float) -> Span:
    """Return the range with a step that gives at most `points` points a line.

    Args:
        scrape: seconds between two samples of a series: no step is shorter.
    """
    first, last = moment(start, now), moment(end, now, is_end=True)
    if not 0 <= first < last:
        raise ValueError(f"the range from {start} to {end} is empty")
    wanted = max((last - first) / max(1, points), scrape)
    step = next((one for one in _STEPS if one >= wanted), _STEPS[-1])
    return Span(first, last, float(step))


def _rounded(value: float, unit: str, *, is_end: bool) -> float:
    """Return the begin of the day or month; of a range's end, that of the next one."""
    day = datetime.fromtimestamp(value, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "d":
        return (day + timedelta(days=is_end)).timestamp()
    return (day.replace(day=1) + timedelta(days=32 * is_end)).replace(day=1).timestamp()
