"""`make verify` believes a forwarded Prometheus that speaks TLS by its name in the cluster."""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from books.prometheus import Prometheus, PrometheusError
from tests.certificates import Authority
from verify.trust import trusting

NAME = "prometheus.monitoring.svc"


class Page(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        data = {"resultType": "scalar", "result": [7.5, "7.5"]}
        body = json.dumps({"status": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
def url(authority, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        context = authority.server(tmp_path, [NAME])
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_name_in_the_cluster_is_enough(url, authority):
    assert Prometheus(url, {}, trusting(authority.pem, NAME)).now() == 7.5


def test_another_name_or_ca_is_not(url, authority):
    for trust in (
        trusting(authority.pem, "alertmanager.monitoring.svc"),
        trusting(Authority().pem, NAME),
        None,
    ):
        with pytest.raises(PrometheusError, match="certificate verify failed"):
            Prometheus(url, {}, trust).now()
