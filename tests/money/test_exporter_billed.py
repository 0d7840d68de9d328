"""What vendors say of yesterday, asked once a day and compared with whole days alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from money.exporter.billed import BilledDays
from money.forecast.history import History, history_of
from money.quantities import Book, Wire

HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
MORNING = datetime(2026, 11, 3, 6, tzinfo=UTC)
PASSWORD = "a-password-of-the-vendor"


def history(*, without: int = 0) -> History:
    """Two days of 1 GB an hour to vendor-a, the second without its last hours."""
    hours = [BEGIN + n * HOUR for n in range(48 - without)]
    wire = {"vendor-a": Wire(bytes_sent=1e8, bytes_received=9e8)}
    return history_of(
        Book(
            hours={hour: {} for hour in hours},
            wire=dict.fromkeys(hours, wire),
            coverage=dict.fromkeys(hours, 1.0),
        )
    )


class Vendor:
    def __init__(self) -> None:
        self.asked: list[date] = []
        self.is_away = False

    def __call__(self, start: date, end: date) -> Mapping[date, float]:
        assert end - start == timedelta(days=1)
        self.asked.append(start)
        if self.is_away:
            raise OSError(f"no answer to {PASSWORD}")
        return {start: 30e9}


def samples(billed: BilledDays, book: History, now: datetime) -> list[tuple[str, float]]:
    return [
        (family.name, float(value))
        for family in billed.families(book, now)
        for _, value in family.samples
    ]


BOTH = [("proxy_billed_bytes_last_day", 30e9), ("proxy_metered_bytes_last_day", 24e9)]


def test_a_vendor_is_asked_once_for_a_day_that_ended_six_hours_ago() -> None:
    vendor, lines = Vendor(), list[str]()
    billed = BilledDays({"vendor-a": vendor}, lines.append)
    for minutes in range(0, 300, 5):
        now = MORNING + timedelta(minutes=minutes)
        assert samples(billed, history(), now) == BOTH
    assert vendor.asked == [date(2026, 11, 2)]
    assert lines == []


def test_before_the_morning_the_day_before_yesterday_is_the_last() -> None:
    vendor = Vendor()
    billed = BilledDays({"vendor-a": vendor}, print)
    assert samples(billed, history(without=24), MORNING - HOUR) == BOTH
    assert vendor.asked == [date(2026, 11, 1)]


@pytest.mark.parametrize("lost", [1, 12])
def test_a_day_of_which_the_ledger_lost_hours_is_not_compared(lost: int) -> None:
    billed = BilledDays({"vendor-a": Vendor()}, print)
    assert samples(billed, history(without=lost), MORNING) == []


def test_a_vendor_without_traffic_here_may_still_bill_some() -> None:
    billed = BilledDays({"vendor-b": Vendor()}, print)
    assert samples(billed, history(), MORNING)[1] == ("proxy_metered_bytes_last_day", 0)


def test_a_vendor_that_does_not_answer_is_asked_each_hour_and_told_without_secrets() -> None:
    vendor, lines = Vendor(), list[str]()
    vendor.is_away = True
    other = Vendor()
    billed = BilledDays({"vendor-b": vendor, "vendor-a": other}, lines.append)
    for minutes in range(0, 150, 5):
        assert samples(billed, history(), MORNING + timedelta(minutes=minutes)) == BOTH
    assert len(vendor.asked) == 3
    assert lines == ["the usage of vendor-b was not read: OSError"] * 3
    assert len(other.asked) == 1


def test_a_figure_that_is_days_old_is_not_the_last_days() -> None:
    vendor = Vendor()
    billed = BilledDays({"vendor-a": vendor}, print)
    assert samples(billed, history(), MORNING) == BOTH
    vendor.is_away = True
    assert samples(billed, history(), MORNING + timedelta(days=1)) == BOTH
    assert samples(billed, history(), MORNING + timedelta(days=2)) == []
