"""`make reconcile`: is a vendor's invoice right?

Exit codes: 0 pay, 1 do not pay yet, 2 could not run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from money.command import (
    CommandError,
    Stack,
    add_stack,
    ledger_of,
    parse_month,
    stack_of,
    write_files,
)
from money.from_settings import contracts_of
from money.months import month_bounds
from money.quantities import Book
from money.reconcile.compare import reconcile
from money.reconcile.findings import ReconcileError
from money.reconcile.outputs import as_csv, as_focus, as_html, as_json, text_lines
from money.usage.account import URL, Credentials
from money.usage.apis import usage_of
from money.usage.csv_file import usage_of_file
from money.usage.figures import Usage, UsageError
from money.usage.from_settings import account_of
from settings.loading import SettingsError
from settings.masking import quoted
from settings.stack import StackSettings
from settings.vendors import Vendor
from tools.reports import add_out, could_not_run, finish, print_result

EXAMPLE = "docs/examples/Pulumi.prices.yaml"

AROUND = timedelta(days=1)
"""Before and after a month: the vendor's days may be of another time zone."""


def main(arguments: Sequence[str] | None = None, now: datetime | None = None) -> int:
    options = _options(arguments)
    target = "reconcile"
    try:
        stack = stack_of(options)
        settings = stack.settings
        vendor = _vendor(settings, options.vendor)
        # A folder holds those of several vendors; `make report` shows them all.
        target = f"reconcile-{vendor.name}"
        if options.out is not None:
            _remove_earlier(options.out, target)
        now = now or datetime.now(UTC)
        usage = _usage(options, vendor, now, os.environ)
        contracts = contracts_of(settings)
        found = reconcile(usage, _book(stack, usage, now), contracts)
        if options.out is not None:
            files = {f"{target}.html": as_html(found), f"{target}.csv": as_csv(found)}
            if focus := as_focus(usage, contracts):
                files[f"{target}-focus.csv"] = focus
            write_files(options.out, files)
    except SettingsError as error:
        return could_not_run(target, options.out, *error.findings)
    except (CommandError, ReconcileError, UsageError) as error:
        return could_not_run(target, options.out, str(error))
    except OSError as error:
        return could_not_run(target, None, f"OUT: cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        return could_not_run(target, options.out, "stopped")
    report = as_json(found)
    status = print_result("\n".join(text_lines(found)))
    return finish(target, options.out, {**report, "status": max(status, report["status"])})


def _vendor(settings: StackSettings, name: str) -> Vendor:
    names = [one.name for one in settings.vendors]
    if not name:
        raise CommandError(f"VENDOR: is not set; name one of {', '.join(names)}")
    if name not in names:
        raise CommandError(f"VENDOR: {quoted(name)} is unknown; name one of {', '.join(names)}")
    return settings.vendors[names.index(name)]


def _usage(
    options: argparse.Namespace, vendor: Vendor, now: datetime, environment: Mapping[str, str]
) -> Usage:
    """Read the vendor's figures, from its file or its API."""
    begin, end = month_bounds(*parse_month(options.month, now))
    start, last = begin.date(), min(end.date(), now.astimezone(UTC).date())
    if start == last:
        raise CommandError("MONTH: has no whole day yet; ask tomorrow, or for another month")
    where = f"of {vendor.name} is not in the stack; write it as in {EXAMPLE}"
    if bool(options.file) == options.api:
        raise CommandError("FILE, API: give one of them: FILE=invoice.csv, or API=1")
    if options.file:
        if vendor.usage is None or vendor.usage.csv is None:
            raise CommandError(f"FILE: usage.csv {where}")
        form = vendor.usage.csv
        return usage_of_file(Path(options.file), vendor.usage, form, vendor.name, start, last)
    account = account_of(vendor, environment.get(URL, ""))
    if account is None:
        raise CommandError(f"API: usage.api {where}")
    return usage_of(account, Credentials.of(environment), start, last)


def _book(stack: Stack, usage: Usage, now: datetime) -> Book:
    """Read the ledger around the month, up to the last hour that is over."""

    def midnight(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    with ledger_of(stack) as ledger:
        return ledger.read(
            midnight(usage.start) - AROUND, min(midnight(usage.end) + AROUND, this_hour)
        )


def _remove_earlier(out: Path, target: str) -> None:
    """Remove the last run's files: if this one fails, they would still say whether to pay."""
    for name in (f"{target}.html", f"{target}.csv", f"{target}-focus.csv"):
        (out / name).unlink(missing_ok=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make reconcile", description=__doc__)
    parser.add_argument("--vendor", default="", help="one of the stack's (VENDOR)")
    parser.add_argument("--file", default="", help="the vendor's CSV file (FILE)")
    parser.add_argument("--api", action="store_true", help="ask the vendor's usage API (API=1)")
    add_stack(parser)
    add_out(parser, "reconcile.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
