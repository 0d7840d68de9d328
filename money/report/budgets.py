"""The budgets' month, as the page shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from money.contract import Budget, Contract
from money.forecast.budgets import Standing, outcome_of, standings
from money.forecast.history import history_of
from money.quantities import Book
from money.report.page import BudgetLine


def budget_lines(
    budgets: Sequence[Budget],
    book: Book,
    contracts: Sequence[Contract],
    until: datetime,
    *,
    is_over: bool,
) -> Iterator[BudgetLine]:
    """Yield a line a budget.

    Args:
        book: the hours since `history_since`, which a forecast learns from.
        until: the end of what the ledger has, or of the month.
        is_over: then there is nothing to forecast.
    """
    outcome = outcome_of(history_of(book), contracts, until - timedelta(seconds=1))
    for one in standings(budgets, outcome):
        yield _line(one, is_over=is_over)


def _line(one: Standing, *, is_over: bool) -> BudgetLine:
    forecast = one.forecast
    is_reached = one.used >= one.budget.limit
    return BudgetLine(
        name=one.budget.name,
        unit=one.unit,
        limit=one.budget.limit,
        used=one.used,
        forecast=None
        if is_over or not forecast
        else (forecast["low"], forecast["expected"], forecast["high"]),
        reached=one.runs_out if is_reached or not is_over else None,
    )
