"""What a budget has used, what the month will probably use of it, and on which day it runs out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from money.charges import Month, month_charges
from money.contract import Budget, Contract
from money.forecast.history import History
from money.forecast.hours import DAY
from money.forecast.month import Bound, month_so_far, months_ahead
from money.months import month_of, next_month
from money.quantities import Book

GB = Decimal(10**9)
PLACES = Decimal("0.000001")
"""Of money less than anybody pays, of traffic a kilobyte."""


@dataclass(frozen=True, kw_only=True)
class Priced:
    """A month's traffic and what it costs."""

    book: Book
    """A day under its first hour."""
    charges: Month


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A month until now, and as it will probably end."""

    so_far: Priced
    ahead: Mapping[Bound, Priced]
    """Empty where the ledger has less than a day."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A budget's month. Amounts are in its currency, or in GB (10^9 bytes)."""

    budget: Budget
    used: Decimal
    forecast: Mapping[Bound, Decimal]
    """The whole month's use; empty where there is no forecast."""
    runs_out: datetime | None
    """When the limit is reached: a past moment, or the expected one; None if not in this month."""

    @property
    def unit(self) -> str:
        return self.budget.currency or "GB"


def outcome_of(history: History, contracts: Sequence[Contract], now: datetime) -> Outcome:
    """Price the month of `now` by its contracts, once for all budgets.

    The forecast is of traffic, and priced as traffic is: a tier that is reached later counts, and
    so does what a commitment includes.
    """
    month = month_of(now)

    def priced(book: Book, through: date) -> Priced:
        charges = month_charges(book, contracts, month.year, month.month, through=through)
        return Priced(book=book, charges=charges)

    last = (next_month(month) - DAY).date()
    return Outcome(
        so_far=priced(month_so_far(history, month), now.date()),
        ahead={bound: priced(book, last) for bound, book in months_ahead(history, month).items()},
    )


def standings(budgets: Iterable[Budget], outcome: Outcome) -> list[Standing]:
    return [_standing(budget, outcome) for budget in budgets]


def _standing(budget: Budget, outcome: Outcome) -> Standing:
    used = _by_day(budget, outcome.so_far)
    whole = {bound: _by_day(budget, each) for bound, each in outcome.ahead.items()}
    runs_out = _reached(used, budget.limit)
    if runs_out is None and whole:
        runs_out = _reached(whole["expected"], budget.limit)
    return Standing(
        budget=budget,
        used=_total(used),
        forecast={bound: _total(days) for bound, days in whole.items()},
        runs_out=runs_out,
    )


def _by_day(budget: Budget, month: Priced) -> dict[date, Decimal]:
    """Return what a month's days use of a budget.

    Bytes are those of the parts: of a tunnel that is still open they are not there yet.
    """
    days: defaultdict[date, Decimal] = defaultdict(Decimal)
    if budget.currency:
        for charge in month.charges.charges:
            if charge.currency == budget.currency and budget.covers(charge.part):
                days[charge.day] += charge.cost
        return dict(days)
    for hour, parts in month.book.hours.items():
        amounts = (own.wire_bytes for part, own in parts.items() if budget.covers(part))
        days[hour.date()] += Decimal(sum(amounts)) / GB
    return dict(days)


def _total(days: Mapping[date, Decimal]) -> Decimal:
    return sum(days.values(), Decimal()).quantize(PLACES)


def _reached(days: Mapping[date, Decimal], limit: Decimal) -> datetime | None:
    """Return when the days' sum reaches the limit, within the day by the share of its amount."""
    together = Decimal()
    for day in sorted(days):
        before, together = together, together + days[day]
        if together >= limit:
            share = (limit - before) / days[day] if days[day] else Decimal()
            begin = datetime.combine(day, time(), tzinfo=UTC)
            return begin + timedelta(days=float(max(share, Decimal())))
    return None
