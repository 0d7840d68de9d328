"""Tells Prometheus that a backup is complete: a page that it scrapes, then the pod ends."""

from __future__ import annotations

import http.server
import socket
import socketserver
import threading
import time

METRIC = "prometheus_backup_completed_timestamp_seconds"
PAGE = "# HELP {name} When the newest backup was complete.\n# TYPE {name} gauge\n{name} {value}\n"


class _Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # http.server's own would ask DNS for the pod's name.
        socketserver.TCPServer.server_bind(self)


def serve_until_scraped(port: int, scrapers: int, seconds: float) -> bool:
    """Serve the moment of this call until clients of so many addresses have read it.

    Returns:
        Whether they have, within `seconds`.
    """
    page = PAGE.format(name=METRIC, value=int(time.time())).encode()
    clients: set[str] = set()
    scraped = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(http.HTTPStatus.OK)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
            clients.add(self.client_address[0])
            if len(clients) >= scrapers:
                scraped.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _Server(("", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = scraped.wait(seconds)
        server.shutdown()
    return done
