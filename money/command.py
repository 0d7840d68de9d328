"""What the commands on a month's money share: the stack's ledger, and the month."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from books.prometheus import PASSWORD, TOKEN, USER, Prometheus, PrometheusError
from components.prometheus.config import LEDGER_APP
from discover.kubectl import KubectlError
from money.ledger import read_book
from money.months import month_before, month_bounds
from money.quantities import Book
from settings.loading import load_stack, stack_file
from settings.masking import quoted
from settings.stack import StackSettings
from tools.reports import add_cluster
from verify.cluster import Cluster
from verify.reach import others_server, own_server

URL = "LEDGER_URL"

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
    add_cluster(parser)


def stack_of(options: argparse.Namespace) -> Stack:
    """Read the stack's file.

    Raises:
        SettingsError: there is none, or it is wrong.
    """
    file = load_stack(stack_file(options.stack))
    context = options.context or file.context
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


def write_files(out: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files by renaming, so that nobody reads half of one; return where they are."""
    for name, text in texts.items():
        temporary = out / f"{name}.tmp"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(out / name)
    return [out / name for name in texts]


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
    except KubectlError as error:
        raise CommandError(f"{error}, or the ledger with {URL}=") from None
    except PrometheusError as error:
        raise CommandError(str(error)) from None


@contextmanager
def opened(
    settings: StackSettings, context: str = "", environment: Mapping[str, str] = os.environ
) -> Iterator[Prometheus]:
    """Reach the server that keeps a stack's hours; pass `settings.cluster` to `read_book`.

    Args:
        context: of kubectl; empty is its current one.
        environment: LEDGER_URL takes precedence over the stack, with LEDGER_USERNAME and
            LEDGER_PASSWORD, or LEDGER_BEARER_TOKEN. So lost hours can be read from Prometheus.

    Raises:
        PrometheusError: the stack keeps no hours, or the server does not answer as it should.
        KubectlError: the cluster does not let it be reached.
    """
    url = environment.get(URL)
    ledger = settings.ledger
    if url:
        try:
            names = {name: name.replace("PROMETHEUS", "LEDGER") for name in (TOKEN, USER, PASSWORD)}
            login = {name: environment.get(own, "") for name, own in names.items()}
            yield Prometheus(url, login)
        except PrometheusError as error:
            raise PrometheusError(str(error).replace("PROMETHEUS_", "LEDGER_")) from None
    elif ledger.url:
        with others_server(Cluster(context), ledger.url, ledger.login_secret) as store:
            yield store
    elif settings.runs_ledger:
        with own_server(Cluster(context), settings, LEDGER_APP, LEDGER_APP) as own:
            yield own
    else:
        raise PrometheusError(
            f"ledger: this stack keeps no hours; set ledger.enabled, or name a server in {URL}"
        )
