"""`make report`: what a month cost, as one HTML page, CSV and FOCUS.

Exit codes: 0 good, 1 the sums are not complete (no price, hours without data), 2 could not run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from books.prometheus import URL as MAIN_URL
from books.prometheus import Prometheus, PrometheusError
from money.charges import month_charges
from money.command import (
    CommandError,
    Ledger,
    Stack,
    add_stack,
    ledger_of,
    parse_month,
    stack_of,
    write_files,
)
from money.contract import Contract
from money.forecast.budgets import outcome_of, standings
from money.forecast.history import History, history_of, history_since
from money.from_settings import budgets_of, contracts_of
from money.months import month_before, month_bounds
from money.quantities import Book
from money.report.costs_csv import costs_csv
from money.report.figures import currencies, in_currency, tables, total, traffic_by_currency
from money.report.focus import focus_csv
from money.report.page import ENOUGH_COVERAGE, MonthOf, Report, page
from money.report.scorecard import p95_of, scorecard
from money.traffic import coverage
from settings.loading import MissingStackFileError, SettingsError
from tools.reports import add_out, could_not_run, finish, print_result

Json = dict[str, Any]

EARLIER_MONTHS = 5
"""That the trend shows before the month."""


def main(arguments: Sequence[str] | None = None, now: datetime | None = None) -> int:
    options = _options(arguments)
    now = now or datetime.now(UTC)
    try:
        if options.out is None:
            raise CommandError("OUT: is not set; name the folder that the page is written to")
        stack = stack_of(options)
        month = parse_month(options.month, now)
        report = _report(stack, options.out, month, now)
        files = {
            "report.html": page(report),
            "costs.csv": costs_csv(report.this.book, report.this.month),
            "focus.csv": focus_csv(report.this.month),
        }
        written = write_files(options.out, files)
    except MissingStackFileError as error:
        return could_not_run("report", options.out, *error.findings)
    except SettingsError as error:
        return finish("report", options.out, {"status": 1, "findings": [*error.findings]})
    except (CommandError, PrometheusError) as error:
        return could_not_run("report", options.out, str(error))
    except OSError as error:
        return could_not_run("report", None, f"OUT: cannot be written: {error}")
    except KeyboardInterrupt:
        return could_not_run("report", options.out, "stopped")
    result = _summary(report)
    lines = [
        f"{currency} {one['cost']}, {one['perThousandSuccesses'] or 'no'} per 1,000 successes"
        for currency, one in result["costs"].items()
    ]
    status = print_result("\n".join([*lines, *(str(path) for path in written)]))
    result["status"] = max(status, result["status"])
    return finish("report", options.out, result)


def _report(stack: Stack, out: Path, month: tuple[int, int], now: datetime) -> Report:
    contracts, budgets = contracts_of(stack.settings), budgets_of(stack.settings)
    with ledger_of(stack) as ledger:
        book, until = ledger.month(month, now)
        earlier = list(_earlier(ledger, contracts, month))
        last = until - timedelta(seconds=1)
        learnt = history_of(ledger.read(history_since(last), until)) if budgets else History()
    recorded = coverage(book, *month, until)
    this = _month_of(book, contracts, month, last.date(), recorded)
    url = os.environ.get(MAIN_URL)
    return Report(
        stack=stack.name,
        this=this,
        earlier=earlier,
        scores=scorecard(book, this.month),
        p95=p95_of(Prometheus(url, os.environ)) if url else None,
        budgets=standings(budgets, outcome_of(learnt, contracts, last)),
        reconciliations=list(_reconciliations(out, month)),
        until=until,
        made=now,
    )


def _earlier(
    ledger: Ledger, contracts: Sequence[Contract], month: tuple[int, int]
) -> Iterator[MonthOf]:
    """Yield the months before, the oldest first; the ledger may be younger."""
    months = [month_before(*month)]
    while len(months) < EARLIER_MONTHS:
        months.append(month_before(*months[-1]))
    for one in reversed(months):
        begin, end = month_bounds(*one)
        book = ledger.read(begin, end, by_day=True)
        if any(book.hours.values()):
            days = (end - begin).days
            recorded = sum(book.coverage.values()) / days
            yield _month_of(book, contracts, one, (end - timedelta(days=1)).date(), recorded)


def _month_of(
    book: Book, contracts: Sequence[Contract], month: tuple[int, int], last: date, recorded: float
) -> MonthOf:
    charges = month_charges(book, contracts, *month, through=last)
    return MonthOf(book=book, month=charges, contracts=contracts, recorded=recorded)


def _reconciliations(out: Path, month: tuple[int, int]) -> Iterator[Mapping[str, Any]]:
    """Yield what `make reconcile` left in the folder about this month."""
    for file in sorted(out.glob("reconcile*.json")):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and found.get("month") == f"{month[0]}-{month[1]:02}":
            yield found


def _summary(report: Report) -> Json:
    this = report.this
    month = this.month
    traffic = traffic_by_currency(this.book, this.contracts)
    costs: Json = {}
    for currency in currencies(month):
        views = tables(in_currency(month, currency), traffic.get(currency, {}))
        whole = total(views["vendor"])
        each = whole.per_thousand_successes
        costs[currency] = {
            "cost": str(whole.cost),
            "failedCost": str(whole.failed_cost),
            "successes": round(whole.traffic.successes),
            "perThousandSuccesses": None if each is None else f"{each:.4f}",
            **{
                f"by{''.join(word.capitalize() for word in view.split())}": [
                    {"name": list(line.name), "cost": str(line.cost)} for line in lines
                ]
                for view, lines in views.items()
            },
        }
    findings = [*_findings(report)]
    return {
        "status": 1 if findings else 0,
        "findings": findings,
        "month": f"{month.year}-{month.month:02}",
        "until": report.until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "coverage": round(this.recorded, 4),
        "costs": costs,
        "scorecard": [
            {
                "target": one.target,
                "vendor": one.vendor,
                "verdict": one.verdict,
                "requests": round(one.traffic.requests),
                "currency": one.currency,
                "costPerSuccess": one.cost_per_success,
                "success": one.success,
                "blocked": one.blocked,
            }
            for one in report.scores
        ],
    }


def _findings(report: Report) -> Iterator[str]:
    products = {(part.vendor, part.product) for part in report.this.month.without_price}
    for vendor, product in sorted(products):
        of_product = f", product {product}" if product else ""
        yield f"vendors: {vendor}{of_product} has traffic and no price; set its `billing`"
    if report.this.recorded < ENOUGH_COVERAGE:
        yield (
            f"ledger: only {report.this.recorded:.1%} of the month's hours were recorded; the rest "
            "costs nothing here, and something on the invoice (docs/runbooks/LedgerStale.md)"
        )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make report", description=__doc__)
    add_stack(parser)
    add_out(parser, "report.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
