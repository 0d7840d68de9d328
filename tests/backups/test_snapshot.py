"""The snapshot of a Prometheus that speaks TLS: its CA is checked before the password is sent."""

from __future__ import annotations

import http.server
import threading
from typing import ClassVar

import pytest

from backups.names import BackupError
from backups.objects import snapshot
from tests.certificates import Authority


class Page(http.server.BaseHTTPRequestHandler):
    seen: ClassVar[list[str | None]] = []

    def do_POST(self):
        self.seen.append(self.headers["Authorization"])
        body = b'{"data": {"name": "20261130T010203Z-1"}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def prometheus(tmp_path):
    """Return its address, and a folder with a login and the CA."""
    folder = tmp_path / "tls"
    context = Authority().server(folder, ["127.0.0.1"])
    (folder / "username").write_text("prometheus")
    (folder / "password").write_text("secret")
    Page.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_the_ca_of_monitoring_is_trusted(prometheus):
    url, folder = prometheus
    assert snapshot(url, folder, folder / "ca.crt") == "20261130T010203Z-1"
    assert len(Page.seen) == 1


def test_another_gets_no_password(prometheus, tmp_path):
    url, folder = prometheus
    (tmp_path / "other.crt").write_text(Authority().pem)
    for ca in (tmp_path / "other.crt", None):
        with pytest.raises(BackupError, match="certificate verify failed"):
            snapshot(url, folder, ca)
    assert Page.seen == []
