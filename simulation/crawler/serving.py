"""Runs a plan: its signals, its budget, and the pages /metrics and /books."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable

from simulation.crawler.admission import first_of
from simulation.crawler.books import Books
from simulation.crawler.metrics import metrics_page
from simulation.crawler.plan import Plan
from simulation.crawler.run import Crawler
from simulation.endpoint import METRICS_KIND, Page, Pages, listen


def pages_of(crawler: Crawler) -> Pages:
    def pages(method: str, path: str, body: bytes) -> Page:
        if path == "/books":
            return Page(json.dumps(crawler.books.as_json()))
        if path == "/metrics":
            page = metrics_page(crawler.books, crawler.in_flight, crawler.lag_seconds)
            return Page(page, METRICS_KIND)
        return Page("GET /metrics or /books\n", "text/plain", "404 Not Found")

    return pages


class Signals:
    """The first SIGTERM or SIGINT asks the run to end, the second ends it at once."""

    def __init__(self) -> None:
        self.stop, self.at_once = asyncio.Event(), asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, self._take)

    def _take(self) -> None:
        (self.at_once if self.stop.is_set() else self.stop).set()

    async def another(self) -> None:
        await (self.at_once if self.stop.is_set() else self.stop).wait()


async def crawl(plan: Plan, ended: Callable[[Books], None]) -> Books:
    """Run the plan to its end or to a signal, call `ended`, then keep the pages for a while.

    Raises:
        PlanError: the metrics port or the budget's file cannot be had.
    """
    signals = Signals()
    crawler = Crawler(plan)
    async with contextlib.AsyncExitStack() as open_until_the_end:
        if plan.metrics_port is not None:
            server = await listen(pages_of(crawler), plan.metrics_host, plan.metrics_port)
            open_until_the_end.callback(server.close)
        await crawler.run(signals.stop, signals.at_once)
        if budget := crawler.books.budget:
            with contextlib.suppress(OSError):  # reported already
                budget.keep(at_the_end=True)
        ended(crawler.books)
        if plan.linger_seconds and not signals.at_once.is_set():
            await first_of(signals.another(), seconds=plan.linger_seconds)
    return crawler.books
