"""Pages of metrics in the place of programs that a laptop does not run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Text = Callable[[], str]
"""Returns what the page says now."""


@dataclass
class Page:
    """A scraped page; without text it answers 503, as a program that is down."""

    text: Text | None


class QuietServer(ThreadingHTTPServer):
    """Prints no traceback when a client was killed or did not wait."""

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

        def do_POST(self) -> None:
            """Take the alerts that Prometheus hands to an Alertmanager."""
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing: Prometheus scrapes every second."""

    return Handler
