"""What the commands on a month's money share: the stack's ledger, and the month."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from books.prometheus import Prometheus, PrometheusError
from discover.kubectl import KubectlError
from money.daily import month_before, month_bounds
from money.ledger import read_book
from money.opening import opened
from money.quantities import Book
from settings.loading import load_stack, stack_file
from settings.masking import quoted
from settings.stack import StackSettings

CONTEXT_KEY = "kubernetes:context"

Month = tuple[int, int]


class CommandError(Exception):
    """The command could not run: one line, with what to do."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack whose money is asked about."""

    name: str
    settings: StackSettings
    context: str
    """Of kubectl; empty is its current one."""


def add_stack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--month", default="", help="such as 2026-11; default: the last (MONTH)")
    parser.add_argument("--stack", default="dev", help="Pulumi.<stack>.yaml")
    parser.add_argument("--context", default="", help="of kubeconfig, not the stack's (CONTEXT)")


def stack_of(options: argparse.Namespace) -> Stack:
    """Read the stack's file.

    Raises:
        SettingsError: there is none, or it is wrong.
    """
    file = load_stack(stack_file(options.stack))
    context = options.context or str(file.config.get(CONTEXT_KEY, ""))
    return Stack(name=options.stack, settings=file.settings, context=context)


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


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The hours of one stack's vendors."""

    prometheus: Prometheus
    settings: StackSettings

    def read(self, begin: datetime, end: datetime, *, by_day: bool = False) -> Book:
        """Return the book without destinations that are no vendors, and so never have a price."""
        cluster = self.settings.cluster
        book = read_book(self.prometheus, begin, end, cluster=cluster, by_day=by_day)
        vendors = {one.name for one in self.settings.vendors}
        hours = {
            hour: {part: one for part, one in parts.items() if part.vendor in vendors}
            for hour, parts in book.hours.items()
        }
        return Book(hours=hours, wire=book.wire, coverage=book.coverage)

    def month(self, month: Month, now: datetime) -> tuple[Book, datetime]:
        """Return a month's hours, and until when they are known: its end, or the last hour."""
        begin, end = month_bounds(*month)
        this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        book = self.read(begin, min(end, this_hour))
        if not any(book.hours.values()):
            raise CommandError(
                f"MONTH: the ledger has nothing of {month[0]}-{month[1]:02}; ask for another "
                "month, or see whether this is the stack's ledger"
            )
        if end <= this_hour:
            return book, end
        return book, max([*book.coverage, *book.hours]) + timedelta(hours=1)


@contextmanager
def ledger_of(stack: Stack) -> Iterator[Ledger]:
    """Reach the ledger.

    Raises:
        CommandError: it cannot be reached, or does not answer.
    """
    try:
        with opened(stack.settings, stack.context) as prometheus:
            yield Ledger(prometheus=prometheus, settings=stack.settings)
    except (KubectlError, PrometheusError) as error:
        raise CommandError(str(error)) from None
