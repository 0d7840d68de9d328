"""Grafana's time ranges and query steps: `now-1h`, `now/M`, milliseconds; `$__interval`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?(?:/([mhdM]))?")
_DURATION = re.compile(r"(\d{1,6})(ms|[smhdw])")

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
    scrape: float
    """Between two samples of a series: no step is shorter."""

    @property
    def length(self) -> float:
        return self.end - self.start

    def built_in(self) -> dict[str, str]:
        """Return Grafana's own variables, without the dollar."""
        milliseconds = round(self.step * 1000)
        # Four scrapes at least: a rate needs two samples, and one may be missing.
        rate = max(self.step + self.scrape, 4 * self.scrape)
        return {
            "__interval": f"{milliseconds}ms",
            "__interval_ms": str(milliseconds),
            "__rate_interval": f"{round(rate * 1000)}ms",
            "__range": f"{max(1, round(self.length))}s",
            "__range_s": str(max(1, round(self.length))),
            "__range_ms": str(max(1000, round(self.length * 1000))),
            "__from": str(round(self.start * 1000)),
            "__to": str(round(self.end * 1000)),
        }


def moment(text: str, now: float, *, is_end: bool = False) -> float:
    """Return the Unix seconds of `now-6h`, `now/M` or milliseconds; rounding is in UTC.

    Raises:
        ValueError: it is none of these.
    """
    if text.isdecimal() and len(text) <= 15:
        return int(text) / 1000
    found = _RELATIVE.fullmatch(text)
    if not found:
        raise ValueError(f"time {text[:40]!r} is neither now-<n><s|m|h|d|w> nor milliseconds")
    number, unit, rounded = found.groups()
    value = now - (int(number) * _SECONDS[unit] if number else 0)
    return _rounded(value, rounded, is_end=is_end) if rounded else value


def span(start: str, end: str, *, points: int, scrape: float, now: float, least: str = "") -> Span:
    """Return the range with a step that gives at most `points` points a line.

    Args:
        least: Grafana's "Min interval" of the panel or target: "1m".
    """
    first, last = moment(start, now), moment(end, now, is_end=True)
    if not 0 <= first < last:
        raise ValueError(f"the range from {start} to {end} is empty")
    wanted = max((last - first) / max(1, points), scrape, seconds_of(least) if least else 0.0)
    step = next((one for one in _STEPS if one >= wanted), _STEPS[-1])
    return Span(first, last, float(step), scrape)


def seconds_of(duration: str) -> float:
    """Return the seconds of "30s" or "1m"; a leading ">" as Grafana allows it."""
    found = _DURATION.fullmatch(duration.removeprefix(">"))
    if not found:
        return 0.0
    return int(found[1]) * (0.001 if found[2] == "ms" else _SECONDS[found[2]])


def _rounded(value: float, unit: str, *, is_end: bool) -> float:
    at = datetime.fromtimestamp(value, UTC)
    begin = at.replace(second=0, microsecond=0)
    if unit in "hdM":
        begin = begin.replace(minute=0)
    if unit in "dM":
        begin = begin.replace(hour=0)
    if unit == "M":
        begin = begin.replace(day=1)
    if not is_end:
        return begin.timestamp()
    following = {
        "m": begin + timedelta(minutes=1),
        "h": begin + timedelta(hours=1),
        "d": begin + timedelta(days=1),
        "M": (begin + timedelta(days=32)).replace(day=1),
    }
    return following[unit].timestamp()
