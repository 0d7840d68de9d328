"""The HTTP endpoint of both programs: metrics, books, and the vendors' behaviour."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from simulation.plans import host_to_bind
from simulation.process import named_bind

MAX_BODY_BYTES = 64 * 1024
REQUEST_SECONDS = 5
LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)


class Page(NamedTuple):
    content: str
    kind: str = "application/json"
    status: str = "200 OK"


METRICS_KIND = "text/plain; version=0.0.4"
Pages = Callable[[str, str, bytes], Page]  # method, path, body


async def listen(pages: Pages, host: str, port: int) -> asyncio.Server:
    """Serve the pages until the server is closed; raise PlanError if the port cannot be had."""
    with named_bind(host, port):
        serve = functools.partial(_serve, pages)
        return await asyncio.start_server(serve, host_to_bind(host), port)


async def _serve(pages: Pages, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(
        *(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError),
        # At the program's end Python 3.11 would print a traceback of a cancelled handler.
        asyncio.CancelledError,
    ):
        async with asyncio.timeout(REQUEST_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, *_ = (*head.decode("latin-1").split(" ", 2), "", "")
            found = LENGTH.search(head)
            size = int(found[1]) if found else 0
            if size > MAX_BODY_BYTES:
                fix = f"give at most {MAX_BODY_BYTES} bytes\n"
                page = Page(fix, "text/plain", "413 Content Too Large")
            else:
                page = pages(method, path, await reader.readexactly(size))
            body = page.content.encode()
            head = f"HTTP/1.1 {page.status}\r\nContent-Type: {page.kind}\r\n".encode()
            head += b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            writer.write(head + body)
            await writer.drain()
    writer.close()
