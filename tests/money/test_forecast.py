"""The forecast of a month: how near it is, and what it does where little is known."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from money.contract import Budget, Contract, Rule, Tier
from money.forecast.budgets import Standing, outcome_of, standings
from money.forecast.history import history_of
from money.forecast.hours import WEEK, outlook
from money.quantities import Book
from tests.money.months import BEGIN, HOUR, MONTH, PART, book_of, quantities_of, seeded_hours

DAY = timedelta(days=1)
SEEDS = range(20)
MID_MONTH = MONTH + 15 * DAY


def gigabytes(limit: float) -> Budget:
    return Budget(name="all", limit=Decimal(limit), currency="")


def standing(book: Book, now: datetime, budget: Budget, *contracts: Contract) -> Standing:
    (found,) = standings([budget], outcome_of(history_of(book), contracts, now))
    return found


def near(found: Decimal, wanted: Decimal, share: float) -> bool:
    return abs(found - wanted) <= Decimal(share) * wanted


def reached(hours: dict[datetime, float], limit: float) -> datetime | None:
    total = 0.0
    for hour in sorted(hours):
        total += hours[hour] / 1e9 if hour >= MONTH else 0
        if total >= limit:
            return hour
    return None


def test_the_day_of_exhaustion_is_within_two_days_in_nine_of_ten_months() -> None:
    """Twenty seeded months, asked on the 16th, with 3 % of the hours missing; limits of 70 to 98 %
    of what the month uses, so that all of them run out."""
    errors, within = [], 0
    for seed in SEEDS:
        chance = random.Random(1000 + seed)
        hours = seeded_hours(seed)
        total = sum(size for hour, size in hours.items() if hour >= MONTH) / 1e9
        limit = total * chance.uniform(0.7, 0.98)
        lost = {hour for hour in hours if chance.random() < 0.03}
        book = book_of(hours, MID_MONTH, keeps=lambda hour, lost=lost: hour not in lost)  # type: ignore[misc]
        found = standing(book, MID_MONTH, gigabytes(limit))
        true = reached(hours, limit)
        assert true
        assert found.runs_out, f"seed {seed}: it would run out on {true}"
        errors.append((found.runs_out - true) / DAY)
        within += found.forecast["low"] <= Decimal(total) <= found.forecast["high"]
    good = sum(abs(error) <= 2 for error in errors)
    print(
        f"{good} of {len(errors)} within 2 days, worst {max(map(abs, errors)):.1f}; "
        f"bounds hold in {within} of {len(errors)}"
    )
    assert good >= 0.9 * len(errors)
    assert within >= 0.75 * len(errors)


def test_an_hour_without_data_is_no_hour_without_traffic() -> None:
    """A ledger that lost three days expects what the whole one does."""
    hours = seeded_hours(1)
    lost = (MONTH + 5 * DAY, MONTH + 8 * DAY)
    holed = book_of(hours, MID_MONTH, keeps=lambda hour: not lost[0] <= hour < lost[1])
    whole = standing(book_of(hours, MID_MONTH), MID_MONTH, gigabytes(1e6))
    found = standing(holed, MID_MONTH, gigabytes(1e6))
    assert found.used < Decimal("0.9") * whole.used, "what is not metered is not called used"
    assert found.forecast["expected"] == pytest.approx(
        whole.forecast["expected"], rel=Decimal("0.03")
    )


def test_half_an_hour_counts_as_what_it_is() -> None:
    """The rest of an hour in which Prometheus was away for a while is missing, like a lost hour."""
    hours = seeded_hours(2)
    book = book_of(hours, MID_MONTH)
    halved = {hour: quantities_of(size * 0.6) for hour, size in hours.items() if hour < MID_MONTH}
    partial = Book(
        hours={hour: {PART: each} for hour, each in halved.items()},
        wire={},
        coverage=dict.fromkeys(halved, 0.6),
    )
    whole, found = (standing(each, MID_MONTH, gigabytes(1e6)) for each in (book, partial))
    assert found.forecast["expected"] == pytest.approx(
        whole.forecast["expected"], rel=Decimal("0.01")
    )


@pytest.mark.parametrize(("hours", "bounds"), [(23, False), (24, True)])
def test_less_than_a_day_gives_no_forecast(hours: int, bounds: bool) -> None:
    now = MONTH + hours * HOUR
    found = standing(book_of(seeded_hours(3, MONTH), now), now, gigabytes(1e6))
    assert bool(found.forecast) is bounds
    assert found.used > 0


def test_little_history_has_wide_bounds() -> None:
    """Three days know no weekend: the bounds say so, and narrow as weeks pass."""

    def width(days: int) -> Decimal:
        now = MONTH + 15 * DAY
        book = book_of(seeded_hours(4, now - days * DAY), now)
        ends = standing(book, now, gigabytes(1e6)).forecast
        return (ends["high"] - ends["low"]) / ends["expected"]

    widths = [width(days) for days in (2, 4, 9, 15)]
    assert widths[0] > Decimal("0.5")
    assert widths[1] > Decimal("0.5")
    assert widths[2] < widths[1]
    assert widths[3] < Decimal("0.4")


def test_a_weekend_is_expected() -> None:
    """On a Friday night the next two days are not like the last five."""
    saturday = datetime(2026, 11, 14, tzinfo=UTC)
    flat = {BEGIN + n * HOUR: 10.0 for n in range((saturday - BEGIN) // HOUR)}
    hours = {hour: size / 2 if hour.weekday() >= 5 else size for hour, size in flat.items()}
    learnt = outlook(hours, saturday)
    assert learnt
    assert learnt.expected(saturday + 12 * HOUR) == pytest.approx(5)
    assert learnt.expected(saturday + 60 * HOUR) == pytest.approx(10)


def test_a_new_level_is_learnt_within_a_week() -> None:
    """Crawlers that doubled ten days ago are expected to stay at that, and not to double again."""
    hours = {
        BEGIN + n * HOUR: 20.0 if BEGIN + n * HOUR >= MID_MONTH - 10 * DAY else 10.0
        for n in range((MID_MONTH - BEGIN) // HOUR)
    }
    learnt = outlook(hours, MID_MONTH)
    assert learnt
    expected = sum(learnt.expected(MID_MONTH + n * HOUR) for n in range(7 * 24)) / (7 * 24)
    assert 17 < expected < 25


def test_what_ended_is_not_expected_again() -> None:
    hours = {BEGIN + n * HOUR: 10.0 for n in range((MID_MONTH - BEGIN) // HOUR)}
    hours |= {hour: 0.0 for hour in hours if hour >= MID_MONTH - WEEK}
    learnt = outlook(hours, MID_MONTH)
    assert learnt
    assert learnt.expected(MID_MONTH + HOUR) == 0
    assert outlook(dict.fromkeys(hours, 0.0), MID_MONTH) is None


def test_money_is_forecast_by_the_contracts_tiers() -> None:
    """Half of the month is within what the commitment includes and costs nothing: the rest will."""
    hours = dict.fromkeys(seeded_hours(0), 1e9)  # 1 GB an hour: 720 in the month
    rule = Rule(kind="perGB", tiers=(Tier(up_to=None, price=Decimal(2)),), unit="GB")
    contract = Contract(
        vendor="vendor-a",
        product="",
        currency="USD",
        valid_from=None,
        rules=(rule,),
        commitment=Decimal(300),
        included=Decimal(400),
    )
    budget = Budget(name="a", vendor="vendor-a", limit=Decimal(450), currency="USD")
    found = standing(book_of(hours, MID_MONTH), MID_MONTH, budget, contract)
    assert found.used == Decimal(160), "16 of 30 days of the commitment"
    assert near(found.forecast["expected"], Decimal(300 + 2 * 320), 0.01)
    # After 400 hours the included GB are used, and 166.67 USD of the commitment. From there each
    # day adds 10 of the commitment and 24 GB for 2 each.
    assert found.runs_out
    assert abs(found.runs_out - (MONTH + 400 * HOUR + 283.33 / 58 * DAY)) < HOUR


def test_a_limit_that_was_reached_says_when() -> None:
    hours = dict.fromkeys(seeded_hours(0), 1e9)
    found = standing(book_of(hours, MID_MONTH), MID_MONTH, gigabytes(100))
    assert found.used == 360
    assert found.runs_out == MONTH + 100 * HOUR


def test_a_limit_above_the_forecast_is_not_reached() -> None:
    hours = dict.fromkeys(seeded_hours(0), 1e9)
    assert standing(book_of(hours, MID_MONTH), MID_MONTH, gigabytes(800)).runs_out is None


def test_each_budget_counts_what_it_covers() -> None:
    hours = dict.fromkeys(seeded_hours(0), 1e9)
    other = PART._replace(vendor="vendor-b", team="team-b")
    both = {
        hour: {PART: quantities_of(size), other: quantities_of(2 * size)}
        for hour, size in hours.items()
        if hour < MID_MONTH
    }
    book = Book(hours=both, wire={}, coverage={})
    for budget, used in (
        ({}, 1080),
        ({"vendor": "vendor-a"}, 360),
        ({"team": "team-b"}, 720),
        ({"product": "residential", "team": "team-a"}, 360),
        ({"vendor": "vendor-c"}, 0),
    ):
        asked = Budget(name="one", limit=Decimal(10**6), currency="", **budget)
        found = standing(book, MID_MONTH, asked)
        assert found.used == used, budget
        assert near(found.forecast["expected"], Decimal(2 * used), 0.01), budget


def test_the_month_ends_with_the_year() -> None:
    december, january = datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    hours = dict.fromkeys(seeded_hours(0, BEGIN, january), 1e9)
    now = december + 20 * DAY
    found = standing(book_of(hours, now), now, gigabytes(700))
    assert near(found.forecast["expected"], Decimal(744), 0.01)
    assert found.runs_out
    assert abs(found.runs_out - (december + 700 * HOUR)) < DAY
