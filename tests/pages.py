"""A server on loopback that answers every request alike."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Page:
    """What is served, and who asked."""

    port: int
    logins: list[str | None] = field(default_factory=list)
    """The header Authorization of each request."""


@contextlib.contextmanager
def answering(
    body: bytes, status: int = 200, context: ssl.SSLContext | None = None
) -> Iterator[Page]:
    """Serve this body for GET and POST, by TLS with a context."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page.logins.append(self.headers["Authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 (http.server's name)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        page = Page(server.server_port)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield page
        server.shutdown()
