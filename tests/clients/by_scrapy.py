"""Does the jobs on standard input as a Scrapy spider with Scrapy's defaults; prints what it saw."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.http import Request, Response
from twisted.python.failure import Failure

from tests.clients.jobs import REQUEST_SECONDS, answer

SETTINGS = {
    "DOWNLOAD_TIMEOUT": REQUEST_SECONDS,
    "DOWNLOAD_VERIFY_CERTIFICATES": True,
    "LOG_ENABLED": False,
    "TELNETCONSOLE_ENABLED": False,  # else it listens on a port
}
jobs: list[dict[str, Any]] = json.load(sys.stdin)
found: list[list[dict[str, Any]]] = [[] for _ in jobs]


class Visitor(scrapy.Spider):
    """Fetches the pages of a job one after another, and the jobs at the same time."""

    name = "visitor"

    async def start(self) -> AsyncIterator[Request]:
        for number, _ in enumerate(jobs):
            for request in self._next(number):
                yield request

    def _next(self, number: int) -> Iterator[Request]:
        job, at = jobs[number], len(found[number])
        if at < len(job["urls"]):
            yield Request(
                job["urls"][at],
                callback=self.parse,
                errback=self.failed,
                meta={"proxy": job["proxy"], "handle_httpstatus_all": True, "job": number},
                dont_filter=True,
            )

    def parse(self, response: Response, **_: Any) -> Iterator[Request]:
        number = response.meta["job"]
        headers = {k.decode(): v[-1].decode() for k, v in response.headers.items()}
        found[number].append(vars(answer(response.status, response.body, headers)))
        return self._next(number)

    def failed(self, failure: Failure) -> Iterator[Request]:
        number = failure.request.meta["job"]  # type: ignore[attr-defined]
        refused = re.search(r"'status': (\d{3})", str(failure.value))
        code = int(refused[1]) if refused else None
        found[number].append({"code": code, "error": type(failure.value).__name__})
        return self._next(number)


logging.disable()
process = CrawlerProcess(SETTINGS)
process.crawl(Visitor)
process.start()
print(json.dumps(found))
