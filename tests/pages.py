"""Servers on loopback whose answers a test chooses, and what they were asked."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request that reached a server."""

    method: str
    path: str
    """Without the query."""
    query: Mapping[str, str]
    body: bytes
    login: str | None
    """The header Authorization."""

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Page:
    """What is served, and who asked."""

    port: int
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def logins(self) -> list[str | None]:
        return [one.login for one in self.asked]


Answer = tuple[int, bytes, Mapping[str, str]]
"""Status, body and headers."""


@contextlib.contextmanager
def serving(
    answer: Callable[[Asked], Answer], port: int = 0, context: ssl.SSLContext | None = None
) -> Iterator[Page]:
    """Answer GET and POST, each in a thread of its own; by TLS with a context."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urllib.parse.urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = dict(urllib.parse.parse_qsl(parts.query))
            asked = Asked(self.command, parts.path, query, body, self.headers["Authorization"])
            page.asked.append(asked)
            status, content, headers = answer(asked)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 (http.server's name)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        page = Page(server.server_port)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield page
        finally:
            server.shutdown()


def answering(
    body: bytes, status: int = 200, context: ssl.SSLContext | None = None, **headers: str
) -> contextlib.AbstractContextManager[Page]:
    """Answer every request alike."""
    return serving(lambda asked: (status, body, headers), context=context)
