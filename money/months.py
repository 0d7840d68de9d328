"""Months, which are UTC's."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta


def month_bounds(year: int, month: int) -> tuple[datetime, datetime]:
    """Return a month's beginning, and its end, which is outside."""
    begin = datetime(year, month, 1, tzinfo=UTC)
    return begin, next_month(begin)


def month_before(year: int, month: int) -> tuple[int, int]:
    return (year, month - 1) if month > 1 else (year - 1, 12)


def month_of(moment: datetime) -> datetime:
    """Return the beginning of the month in which `moment` is."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    return month_of(month + timedelta(days=31))


def days_of(year: int, month: int) -> list[date]:
    return [date(year, month, day) for day in range(1, monthrange(year, month)[1] + 1)]
