"""What the commands on a month's money share: the stack's contracts, and the way to its ledger."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from books.prometheus import PASSWORD, USER, Prometheus, PrometheusError
from money.daily import month_before, month_bounds
from money.ledger import read_book
from money.quantities import Book
from settings.masking import quoted

URL = "LEDGER_URL"
LOGIN = {USER: "LEDGER_USERNAME", PASSWORD: "LEDGER_PASSWORD"}

Month = tuple[int, int]


class CommandError(Exception):
    """The command could not run: one line, with what to do."""


def parse_month(text: str, now: datetime) -> Month:
    """Read `2026-11`; without it, return the month before this one.

    Raises:
        CommandError: it is no month, or has not begun.
    """
    if not text:
        return month_before(now.year, now.month)
    found = re.fullmatch(r"(20\d\d)-(0[1-9]|1[0-2])", text)
    if not found:
        raise CommandError(f"MONTH: {quoted(text)} is no month; write it as 2026-11")
    month = int(found[1]), int(found[2])
    if month_bounds(*month)[0] > now:
        raise CommandError(f"MONTH: {text} has not begun (it is {now:%Y-%m-%d}, UTC)")
    return month


@contextmanager
def opened_ledger(environment: Mapping[str, str] = os.environ) -> Iterator[Prometheus]:
    """Reach the ledger by its address.

    Raises:
        CommandError: no address is given, or it does not answer.
    """
    if URL not in environment:
        raise CommandError(f"{URL}: is not set; give the ledger's address")
    login = {key: environment[name] for key, name in LOGIN.items() if name in environment}
    try:
        yield Prometheus(environment[URL], login)
    except PrometheusError as error:
        # It names the variables of the main Prometheus.
        raise CommandError(str(error).replace("PROMETHEUS_", "LEDGER_")) from None


def read_month(ledger: Prometheus, month: Month, now: datetime) -> tuple[Book, datetime]:
    """Return a month's hours, and until when they are known: its end, or the ledger's last hour."""
    begin, end = month_bounds(*month)
    this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    book = read_book(ledger, begin, min(end, this_hour))
    if end <= this_hour:
        return book, end
    known = [*book.coverage, *book.hours]
    return book, max(known) + timedelta(hours=1) if known else begin
