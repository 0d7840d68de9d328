"""What a laptop has no program for, as a page of metrics: istiod, Grafana, a second sidecar."""

from __future__ import annotations

import sys
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


class QuietServer(ThreadingHTTPServer):
    """Says nothing of a client that was killed or did not wait."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def served(pages: dict[int, Page]) -> Iterator[None]:
    """Serve each page on its port of loopback, at every path, for the length of the block."""
    with ExitStack() as stack:
        for port, page in pages.items():
            server = stack.enter_context(QuietServer(("127.0.0.1", port), _handler(page)))
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
