"""All metrics of one read of the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal

from money.charges import Charge, month_charges
from money.contract import Budget, Contract
from money.exporter.page import Family, Sample
from money.exporter.prices import price_families
from money.forecast.budgets import Standing, outcome_of, standings
from money.forecast.history import History
from money.forecast.hours import DAY
from money.forecast.month import month_so_far
from money.quantities import Part

MOST_PARTS = 2000
"""Series of each of the two costs; of what is more, the cheapest are one series for each vendor and
currency. Prices have at most 20 series for each product, budgets 6 each."""
OTHER = "other"

Line = tuple[Part, str]
"""A part, and the currency."""


def figures(
    history: History, contracts: Sequence[Contract], budgets: Sequence[Budget], now: datetime
) -> list[Family]:
    """Return the metrics at `now`."""
    outcome = outcome_of(history, contracts, now)
    charges = outcome.so_far.charges.charges
    seen = {part for parts in history.days.values() for part in parts}
    return [
        _costs("proxy_cost_month_to_date", "Cost of this UTC month until now.", charges),
        _costs(
            "proxy_cost_last_day",
            "Cost of yesterday, a UTC day.",
            _charges_of(history, contracts, (now - DAY).date()),
        ),
        *price_families(outcome.so_far.book, contracts, now, seen),
        *_budget_families(standings(budgets, outcome)),
        Family(
            "proxy_ledger_last_hour_timestamp_seconds",
            "The end of the newest hour in the ledger.",
            [Sample({}, history.end.timestamp())] if history.end else [],
        ),
    ]


def _charges_of(history: History, contracts: Sequence[Contract], day: date) -> list[Charge]:
    month = datetime(day.year, day.month, 1)
    book = month_so_far(history, month)
    charges = month_charges(book, contracts, day.year, day.month, through=day).charges
    return [charge for charge in charges if charge.day == day]


def _costs(name: str, meaning: str, charges: Iterable[Charge]) -> Family:
    sums: defaultdict[Line, Decimal] = defaultdict(Decimal)
    for charge in charges:
        sums[charge.part, charge.currency] += charge.cost
    samples = [
        Sample(
            {
                "proxy_vendor": part.vendor,
                "proxy_pool": part.product,
                "team": part.team,
                "proxy_target": part.target,
                "currency": currency,
            },
            cost,
        )
        for (part, currency), cost in sorted(_bounded(sums).items())
    ]
    return Family(name, meaning, samples)


def _bounded(sums: dict[Line, Decimal]) -> dict[Line, Decimal]:
    if len(sums) <= MOST_PARTS:
        return sums
    by_cost = sorted(sums, key=lambda line: (-sums[line], line))
    kept = {line: sums[line] for line in by_cost[:MOST_PARTS]}
    for part, currency in by_cost[MOST_PARTS:]:
        rest = (Part(part.vendor, OTHER, OTHER, OTHER), currency)
        kept[rest] = kept.get(rest, Decimal()) + sums[part, currency]
    return kept


def _budget_families(found: Sequence[Standing]) -> list[Family]:
    def labels(standing: Standing, **more: str) -> dict[str, str]:
        return {"budget": standing.budget.name, "unit": standing.unit, **more}

    return [
        Family(
            "proxy_budget_limit",
            "What a budget allows in a month, in its currency or in GB (10^9 bytes).",
            [Sample(labels(each), each.budget.limit) for each in found],
        ),
        Family(
            "proxy_budget_used",
            "What this UTC month has used of it.",
            [Sample(labels(each), each.used) for each in found],
        ),
        Family(
            "proxy_budget_forecast",
            "What the whole month will use of it; nine of ten months end between low and high.",
            [
                Sample(labels(each, bound=bound), amount)
                for each in found
                for bound, amount in each.forecast.items()
            ],
        ),
        Family(
            "proxy_budget_exhaustion_timestamp_seconds",
            "When its limit is reached, in the past or as expected; none if not in this month.",
            [
                Sample({"budget": each.budget.name}, each.runs_out.timestamp())
                for each in found
                if each.runs_out
            ],
        ),
    ]
