"""Serves the page that Prometheus scrapes, and the one that the kubelet probes."""

from __future__ import annotations

import http.server
import socket
import socketserver
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from money.exporter.page import KIND

CLIENT_SECONDS = 10.0  # else a client that says nothing keeps its thread for ever


class Answer(NamedTuple):
    status: http.HTTPStatus
    text: str


Pages = Callable[[str], Answer]
"""Returns the answer to a path."""


class PageServer(http.server.ThreadingHTTPServer):
    """A server on every address of the pod, IPv4 or IPv6."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def __init__(self, port: int, pages: Pages) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = CLIENT_SECONDS

            def do_GET(self) -> None:
                status, text = pages(self.path.partition("?")[0])
                content = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", KIND)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Else each scrape that breaks off puts a traceback into the log.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # http.server's own would ask DNS for the pod's name.
        socketserver.TCPServer.server_bind(self)
