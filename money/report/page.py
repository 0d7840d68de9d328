"""The finance report of a month: one HTML page that needs nothing beside it."""

from __future__ import annotations

from calendar import month_name
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from money.charges import Charge, Month
from money.contract import Contract
from money.exact import cents
from money.forecast.budgets import Standing
from money.forecast.month import BOUNDS
from money.months import month_bounds
from money.quantities import Book, Part
from money.report.figures import (
    ZERO,
    Line,
    currencies,
    daily,
    in_cents,
    in_currency,
    sums,
    tables,
    total,
    traffic_by_currency,
)
from money.report.html import Markup, document, facts, html, paragraph, table
from money.report.pictures import REST, budget_bar, legend, share_bar, stacked_bars
from money.report.scorecard import Score
from money.report.scores import scorecard_part
from money.traffic import Traffic

MOST_SERIES = 7
"""Of a picture: more vendors than this share the last colour."""

ENOUGH_COVERAGE = 0.995
NOTHING = {
    "product": "no product",
    "team": "no team: days without traffic",
    "target group": "no target group",
}
KINDS = {"usage": "traffic", "commitment": "commitments", "addresses": "addresses"}

FAILED = (
    "“Failed” is what requests and tunnels cost that were refused or brought no answer. Metrics "
    "cannot tell a retry from a first attempt, so this sum stands for what retries cost."
)
ADDS_UP = (
    "Lines are rounded to cents so that every table adds up to its total. Fixed sums are spread "
    "over the month's days, and by each day's traffic. costs.csv has all digits."
)


@dataclass(frozen=True, kw_only=True)
class MonthOf:
    """A month with the traffic and the contracts that make its charges."""

    book: Book
    month: Month
    contracts: Sequence[Contract]
    recorded: float
    """Share of its hours, so far, that the ledger has data of."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the page shows."""

    stack: str
    this: MonthOf
    earlier: Sequence[MonthOf]
    """Oldest first; those without data are left out."""
    scores: Sequence[Score]
    p95: Mapping[str, float] | None
    """Milliseconds by vendor; None if no main Prometheus was asked."""
    budgets: Sequence[Standing]
    reconciliations: Sequence[Mapping[str, Any]]
    """What `make reconcile` wrote."""
    until: datetime
    """The end of what the ledger has."""
    made: datetime


def page(report: Report) -> str:
    month = report.this.month
    title = f"Proxy costs, {month_name[month.month]} {month.year}"
    return document(title, _parts(report, title))


def _parts(report: Report, title: str) -> Iterator[str]:
    this = report.this
    traffic = traffic_by_currency(this.book, this.contracts)
    yield f"<h1>{title}</h1>"
    yield paragraph(_state(report), "quiet")
    yield from _warnings(report, traffic.get("", {}))
    if not this.month.charges:
        yield paragraph("No contract charged anything in this month.")
    for currency in currencies(this.month):
        yield from _of_currency(report, currency, traffic.get(currency, {}))
    yield from _budgets(report.budgets, is_running=_is_running(report))
    yield from _reconciliations(report)
    yield from scorecard_part(report.scores, report.p95)
    yield "<h2>How to read this</h2>"
    yield paragraph(ADDS_UP)
    yield paragraph(FAILED)
    yield paragraph(
        "Costs are what the contracts of the stack say of the traffic that was measured. They are "
        "no invoice; “make reconcile” compares them with one. Taxes and credits are in no sum."
    )


def _state(report: Report) -> str:
    made = f"Stack {report.stack}. Made {report.made:%Y-%m-%d %H:%M} UTC."
    if _is_running(report):
        return f"{made} The month is not over: figures are up to {report.until:%Y-%m-%d %H:%M} UTC."
    return f"{made} The whole month, in UTC."


def _is_running(report: Report) -> bool:
    return report.until < month_bounds(report.this.month.year, report.this.month.month)[1]


def _warnings(report: Report, unpriced: Mapping[Part, Traffic]) -> Iterator[str]:
    recorded = report.this.recorded
    if recorded < ENOUGH_COVERAGE:
        yield paragraph(
            f"Only {recorded:.1%} of the hours were recorded. The traffic of the others is not in "
            "these figures, but it will be on the invoice.",
            "warn",
        )
    by_product: dict[str, Traffic] = {}
    for part, one in unpriced.items():
        name = f"{part.vendor}, {part.product}" if part.product else part.vendor
        by_product[name] = by_product.get(name, Traffic()) + one
    for name, one in sorted(by_product.items()):
        yield paragraph(
            f"No price for {name}: {one.requests:,.0f} requests and {_gb(one)} GB are in no sum "
            "below. Set “billing” of the vendor.",
            "warn",
        )


def _of_currency(report: Report, currency: str, traffic: Mapping[Part, Traffic]) -> Iterator[str]:
    charges = in_currency(report.this.month, currency)
    views = tables(charges, traffic)
    whole = total(views["vendor"])
    yield f"<h2>Costs in {html(currency)}</h2>"
    yield facts(_facts(report, currency, charges, whole))
    names = _series(views["vendor"])
    yield "<h3>By day and vendor</h3>"
    yield stacked_bars(
        [(str(day.day), _with_rest(amounts, names)) for day, amounts in daily(charges)],
        names,
        title=f"Cost by day in {currency}",
        every=2,
    )
    yield legend(names)
    yield from _trend(report, currency, names)
    for view, lines in views.items():
        yield f"<h3>By {view}</h3>"
        yield _lines(view, lines, whole)
    yield "<h3>What the money is for</h3>"
    yield _kinds(charges, whole)


def _facts(
    report: Report, currency: str, charges: Sequence[Charge], whole: Line
) -> Iterator[tuple[str, str, str]]:
    yield "Cost", f"{_money(whole.cost)} {currency}", _compared(report, currency, whole.cost)
    each = whole.per_thousand_successes
    succeeded = f"{whole.traffic.successes:,.0f} successes"
    yield "Per 1,000 successes", _price(each), succeeded
    share = _percent(whole.failed_cost, whole.cost)
    yield "Failed", _money(whole.failed_cost), f"{share} of the cost"
    fixed = sum((one.cost for one in charges if one.kind != "usage"), ZERO)
    yield "Fixed sums", _money(cents(fixed)), f"{_percent(fixed, whole.cost)} of the cost"


def _compared(report: Report, currency: str, cost: Decimal) -> str:
    if _is_running(report):
        return "month to date"
    if not report.earlier:
        return ""
    last = report.earlier[-1].month
    before = cents(sum((one.cost for one in in_currency(last, currency)), ZERO))
    if not before:
        return ""
    change = (cost - before) / before
    return f"{change:+.1%} against {month_name[last.month]}"


def _trend(report: Report, currency: str, names: Sequence[str]) -> Iterator[str]:
    """Show the months side by side, if there are earlier ones."""
    months = [*report.earlier, report.this]
    if len(months) < 2:
        return
    rows, lines = [], []
    for one in months:
        charges = in_currency(one.month, currency)
        label = f"{one.month.year}-{one.month.month:02}"
        if one is report.this and _is_running(report):
            label += " to date"
        elif one.recorded < ENOUGH_COVERAGE:
            label += f" ({one.recorded:.0%} recorded)"
        by_vendor = sums(charges, lambda charge: charge.part.vendor)
        rows.append((label, _with_rest(by_vendor, names)))
        traffic = traffic_by_currency(one.book, one.contracts).get(currency, {})
        whole = total(tables(charges, traffic)["vendor"])
        lines.append(
            (
                label,
                _money(whole.cost),
                f"{whole.traffic.successes:,.0f}",
                _price(whole.per_thousand_successes),
                _percent(whole.failed_cost, whole.cost),
            )
        )
    yield "<h3>By month</h3>"
    yield stacked_bars(rows, names, title=f"Cost by month in {currency}", height=160)
    header = ("Month", "Cost", "Successes", "Per 1,000 successes", "Failed")
    yield table(header, lines)


def _lines(view: str, lines: Sequence[Line], whole: Line) -> str:
    words = 2 if view == "product" else 1
    names = ("Vendor", "Product") if view == "product" else (view.capitalize(),)
    header = (*names, "Cost", "Share", "Failed", "Requests", "Success", "Per 1,000 successes", "GB")
    rows = [(*_name(view, line), *_cells(line, whole.cost)) for line in lines]
    last = ("Total", *[""] * (words - 1), *_cells(whole, whole.cost))
    return table(header, [*rows, last], words=words, total=True)


def _name(view: str, line: Line) -> tuple[str, ...]:
    *before, last = line.name
    return (*before, last or NOTHING.get(view, "unknown"))


def _cells(line: Line, whole: Decimal) -> tuple[object, ...]:
    share = line.cost / whole if whole else ZERO
    requests, successes = line.traffic.requests, line.traffic.successes
    return (
        _money(line.cost),
        Markup(f"{share_bar(float(share))} {share:.1%}"),
        _money(line.failed_cost),
        f"{requests:,.0f}",
        f"{successes / requests:.1%}" if requests else "",
        _price(line.per_thousand_successes),
        _gb(line.traffic),
    )


def _kinds(charges: Sequence[Charge], whole: Line) -> str:
    by_kind = in_cents(sums(charges, lambda one: KINDS[one.kind]), whole.cost)
    rows = [
        (name, _money(cost), _percent(cost, whole.cost)) for name, cost in sorted(by_kind.items())
    ]
    last = ("Total", _money(whole.cost), _percent(whole.cost, whole.cost))
    return table(("Kind", "Cost", "Share"), [*rows, last], total=True)


def _budgets(budgets: Sequence[Standing], *, is_running: bool) -> Iterator[str]:
    if not budgets:
        return
    yield "<h2>Budgets</h2>"
    header = ("Budget", "", "Limit", "Used", "Whole month, expected", "Limit reached")
    yield table(header, [_budget(one, is_running=is_running) for one in budgets], words=2)
    yield paragraph(
        "The bar is what is used, the red line the limit, and the whisker what the whole month "
        "will use, in nine of ten months.",
        "quiet",
    )


def _budget(one: Standing, *, is_running: bool) -> Sequence[object]:
    limit, bounds, forecast = one.budget.limit, None, ""
    # Of a month that is over there is nothing to forecast.
    if is_running and one.forecast:
        low, expected, high = (one.forecast[bound] for bound in BOUNDS)
        bounds, forecast = (
            (float(low), float(high)),
            f"{_money(expected)} ({_money(low)} to {_money(high)})",
        )
    reached = one.runs_out if is_running or one.used >= limit else None
    return (
        one.budget.name,
        Markup(budget_bar(float(one.used), bounds, float(limit))),
        f"{_money(limit)} {one.unit}",
        f"{_money(one.used)} ({_percent(one.used, limit)})",
        forecast,
        f"{reached:%d %b}" if reached else "no",
    )


def _reconciliations(report: Report) -> Iterator[str]:
    yield "<h2>Reconciliation with invoices</h2>"
    vendors = sorted({one.part.vendor for one in report.this.month.charges})
    known = {str(one.get("vendor", "")): one for one in report.reconciliations}
    rows = []
    for vendor in sorted({*vendors, *known} - {""}):
        if vendor not in known:
            why = "Run “make reconcile” with the same OUT to have it here."
            rows.append((vendor, "not compared", why))
            continue
        one = known[vendor]
        state = {0: "agrees", 1: "differs"}.get(one.get("status", 2), "could not be compared")
        findings = "; ".join(map(str, one.get("findings") or ()))
        rows.append((vendor, state, str(one.get("sentence") or findings)))
    yield table(("Vendor", "State", "Why"), rows, words=3)


def _series(lines: Sequence[Line]) -> list[str]:
    names = [line.name[0] for line in lines]
    return names if len(names) <= MOST_SERIES else [*names[: MOST_SERIES - 1], REST]


def _with_rest(amounts: Mapping[str, Decimal], names: Sequence[str]) -> dict[str, Decimal]:
    found = {name: amount for name, amount in amounts.items() if name in names}
    if REST in names:
        found[REST] = sum(amounts.values(), ZERO) - sum(found.values(), ZERO)
    return found


def _money(amount: Decimal) -> str:
    return f"{cents(amount):,}"


def _price(amount: Decimal | None) -> str:
    """Prices of 1,000 successes may be below a cent."""
    if amount is None:
        return ""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}"


def _percent(part: Decimal, whole: Decimal) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _gb(traffic: Traffic) -> str:
    return f"{traffic.wire_bytes / 1e9:,.1f}"
