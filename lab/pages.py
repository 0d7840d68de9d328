"""What a laptop has no program for, as a page of metrics: istiod, Grafana, a second sidecar."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Text = Callable[[], str]
"""Gives the page of now."""


@dataclass
class Page:
    """A scraped page; None is a program that is away (503)."""

    text: Text | None


@contextmanager
def served(pages: dict[int, Page]) -> Iterator[None]:
    """Serve each page on its port of loopback, at every path, for the length of the block."""
    with ExitStack() as stack:
        for port, page in pages.items():
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", port), _handler(page)))
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            stack.callback(server.shutdown)
        yield


def _handler(page: Page) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = page.text
            body = text().encode() if text else b""
            self.send_response(200 if text else 503)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: each second a scrape."""

    return Handler
