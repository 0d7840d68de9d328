"""What an hour to come brings: the same hour of the last weeks, at the level of the last days."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean, stdev

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
HISTORY = 4 * WEEK
"""Older hours say little about the level, and four of each hour of the week even out noise."""

LEAST_HOURS = 24
"""Less than a day of history does not know the night: see UNKNOWN_DAY."""
LEAST_DAY_HOURS = 6
"""Of a day with fewer recorded hours no total is compared."""
LEAST_PAIRS = 72
"""Of two weeks with fewer hours in common no growth is read."""
MOST_GROWTH = math.log(2) / 7
"""A day: traffic that doubled within a week hardly doubles in the next one too."""
TREND_DAYS = 14
"""Growth is expected to go on for so long; the level stays from there on."""

UNKNOWN_DAY = 1.0
UNKNOWN_WEEKEND = 0.25
"""Relative error of a level that no week, or not even a day, is known of: weekends of crawlers are
half as busy at most, which is a seventh of a week; the rest is for what else nobody has seen."""
UNKNOWN_GROWTH = 0.01
LEAST_ERROR = 0.02
OWN_SHARE = math.sqrt(4 / 3)
"""A day is compared with a mean of four to which it belongs, and differs less from that than from
the next one."""
SPREAD = 1.94
"""Standard errors from the middle to a bound: about nine of ten outcomes lie between, by
Student's t for the seven days that the errors are known from."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Volumes to be expected, as learnt from the hours before `now`."""

    now: datetime
    by_hour: tuple[float, ...]
    """By hour of the week, from Monday 0:00, at the level of `now`."""
    growth: float
    """Of the logarithm, a day."""
    level_error: float
    growth_error: float
    day_error: float
    """Relative standard errors: of the level, of its growth a day, and of one day alone."""

    def expected(self, hour: datetime) -> float:
        """Return the volume of the hour that begins then, also of a past one without data."""
        days = min((hour - self.now) / DAY, TREND_DAYS)
        return self.by_hour[_hour_of_week(hour)] * math.exp(self.growth * days)

    def error(self, days: float) -> float:
        """Return how far, relative to it, the sum of so many days to come may be off either way."""
        days = max(days, 1 / 24)
        variance = (
            self.level_error**2
            + self.day_error**2 / max(days, 1)
            # The level is that of half a week ago, and the middle of the days ahead is asked for.
            + (self.growth_error * (3.5 + min(days, TREND_DAYS) / 2)) ** 2
        )
        return SPREAD * math.sqrt(variance)


def outlook(volumes: Mapping[datetime, float], now: datetime) -> Outlook | None:
    """Learn from recorded hours; one without data is left out, and is no hour without traffic.

    Args:
        volumes: by the UTC beginning of each hour. Traffic is expected to have begun with the first
            that is not 0.
        now: the end of what is recorded.

    Returns:
        None where there was no traffic.
    """
    known = {hour: value for hour, value in volumes.items() if now - HISTORY <= hour < now}
    first = min((hour for hour, value in known.items() if value > 0), default=None)
    if first is None:
        return None
    known = {hour: value for hour, value in known.items() if hour >= first}
    growth, growth_error = _growth(known, now)
    levelled = {
        hour: value * math.exp(growth * ((now - hour) / DAY)) for hour, value in known.items()
    }
    by_hour = _by_hour(levelled)
    ratios = _day_ratios(levelled, by_hour, now)
    recent = {age: ratio for age, ratio in ratios.items() if age < 7}
    level = _level(levelled, by_hour, now)
    day_error = OWN_SHARE * stdev(ratios.values()) if len(ratios) > 1 else UNKNOWN_WEEKEND
    level_error = max(LEAST_ERROR, day_error / math.sqrt(max(1, len(recent))))
    if len(known) < LEAST_HOURS:
        level_error = UNKNOWN_DAY
    elif now - first < WEEK:
        level_error = max(level_error, UNKNOWN_WEEKEND)
    return Outlook(
        now=now,
        by_hour=tuple(level * value for value in by_hour),
        growth=growth,
        growth_error=growth_error,
        level_error=level_error,
        day_error=day_error,
    )


def _growth(known: Mapping[datetime, float], now: datetime) -> tuple[float, float]:
    """Return the growth of the logarithm a day, and its error, from weeks and those before them.

    The same hours are compared, so that neither a hole nor a weekend looks like a change. A single
    week's change is halved: it may have been a step, which does not go on.
    """
    changes = []
    for weeks in range(3):
        begin, end = now - (weeks + 1) * WEEK, now - weeks * WEEK
        pairs = [
            (value, known[hour - WEEK])
            for hour, value in known.items()
            if begin <= hour < end and hour - WEEK in known
        ]
        later, earlier = (sum(side) for side in zip(*pairs, strict=True)) if pairs else (0, 0)
        if len(pairs) >= LEAST_PAIRS and later > 0 and earlier > 0:
            changes.append(math.log(later / earlier) / 7)
    if not changes:
        return 0.0, UNKNOWN_GROWTH
    mean = fmean(changes)
    error = stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else abs(mean)
    # The less the weeks agree, the less of it goes on.
    going_on = mean * mean**2 / (mean**2 + error**2) if mean else 0.0
    growth = max(-MOST_GROWTH, min(MOST_GROWTH, going_on))
    return growth, math.hypot(error / 2, mean - growth)


def _by_hour(levelled: Mapping[datetime, float]) -> tuple[float, ...]:
    """Return the mean of each hour of the week; of one never seen, that of the hour of the day."""
    weekly: defaultdict[int, list[float]] = defaultdict(list)
    daily: defaultdict[int, list[float]] = defaultdict(list)
    for hour, value in levelled.items():
        weekly[_hour_of_week(hour)].append(value)
        daily[hour.hour].append(value)
    whole = fmean(levelled.values())
    return tuple(fmean(weekly[n] or daily[n % 24] or [whole]) for n in range(7 * 24))


def _day_ratios(
    levelled: Mapping[datetime, float], by_hour: tuple[float, ...], now: datetime
) -> dict[int, float]:
    """Return what each day had of what its recorded hours usually have, by its age in days."""
    sums: defaultdict[int, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for hour, value in levelled.items():
        day = sums[(now - HOUR - hour) // DAY]
        day[0] += 1
        day[1] += value
        day[2] += by_hour[_hour_of_week(hour)]
    return {
        age: had / usual
        for age, (hours, had, usual) in sums.items()
        if hours >= LEAST_DAY_HOURS and usual > 0
    }


def _level(levelled: Mapping[datetime, float], by_hour: tuple[float, ...], now: datetime) -> float:
    """Return what the last week had of what its recorded hours usually have."""
    recent = {hour: value for hour, value in levelled.items() if hour >= now - WEEK}
    usual = sum(by_hour[_hour_of_week(hour)] for hour in recent)
    return sum(recent.values()) / usual if usual > 0 else 1.0


def _hour_of_week(hour: datetime) -> int:
    return hour.weekday() * 24 + hour.hour
