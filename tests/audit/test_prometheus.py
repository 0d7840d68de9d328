"""Raw samples from a server, and credentials that stay where they belong."""

from __future__ import annotations

import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from audit.__main__ import main
from audit.prometheus import Prometheus, PrometheusError

SECRET = "hunter2-not-to-be-seen"


class Server(BaseHTTPRequestHandler):
    """Answers as told by its server's `reply`; remembers what it was asked."""

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        asked = urllib.parse.parse_qs(self.rfile.read(size).decode())
        self.server.asked.append((asked, self.headers.get("Authorization")))
        status, body, headers = self.server.reply(asked)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Server) as found:
        found.asked, found.reply = [], lambda asked: (200, vector([]), {})
        found.url = f"http://127.0.0.1:{found.server_port}"
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def vector(result):
    return json.dumps({"status": "success", "data": {"result": result}}).encode()


def test_slices_of_a_window_make_one_series(server):
    """A long window is asked for minute by minute, without overlap."""
    metric = {"__name__": "up", "job": "sidecars"}

    def reply(asked):
        at = float(asked["time"][0])
        return 200, vector([{"metric": metric, "values": [[at, "1"], [at - 0.5, "7"]]}]), {}

    server.reply = reply
    [(labels, samples)] = Prometheus(server.url, {}).raw("up", 1000.0, 1150.0)
    assert labels == metric
    assert samples == {
        1060000: 1, 1059500: 7, 1120000: 1, 1119500: 7, 1150000: 1, 1149500: 7,
    }  # fmt: skip
    assert [asked["query"] for asked, _ in server.asked] == [
        ["up[60000ms]"], ["up[60000ms]"], ["up[30000ms]"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({}, None),
        ({"PROMETHEUS_BEARER_TOKEN": SECRET}, f"Bearer {SECRET}"),
        ({"PROMETHEUS_USERNAME": "u", "PROMETHEUS_PASSWORD": "p"}, "Basic dTpw"),
    ],
)
def test_credentials_come_from_the_environment(server, environment, header):
    """Never from an address or an argument, which every user of the machine can read."""
    list(Prometheus(server.url, environment).raw("up", 0.0, 10.0))
    assert server.asked[0][1] == header


@pytest.mark.parametrize(
    ("status", "body", "headers", "words"),
    [
        (401, b"", {}, "answers 401: set PROMETHEUS_BEARER_TOKEN"),
        (302, b"", {"Location": "http://127.0.0.1:1/"}, "redirects"),
        (400, b'{"error": "parse error"}', {}, "answers 400 parse error"),
        (200, b"<html>", {}, "not as a Prometheus does"),
        (200, b'{"status": "error", "error": "no"}', {}, "no"),
    ],
)
def test_a_bad_answer_is_one_line_without_credentials(server, status, body, headers, words):
    """Nor are they sent on to where a redirect leads."""
    server.reply = lambda asked: (status, body, headers)
    with pytest.raises(PrometheusError) as caught:
        Prometheus(server.url, {"PROMETHEUS_BEARER_TOKEN": SECRET}).now()
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        ({"PROMETHEUS_URL": ""}, (), "PROMETHEUS_URL: is no address"),
        ({"PROMETHEUS_URL": "prometheus:9090"}, (), "PROMETHEUS_URL: is no address"),
        ({"PROMETHEUS_URL": f"http://u:{SECRET}@127.0.0.1:1"}, (), "holds credentials"),
        ({"PROMETHEUS_URL": "http://127.0.0.1:1"}, (), "cannot be reached"),
        ({"PROMETHEUS_URL": "http://127.0.0.1:1"}, ("--window", "soon"), "WINDOW: 'soon' is not a"),
        ({"PROMETHEUS_URL": "http://127.0.0.1:1"}, ("--window=-1h",), "WINDOW: '-1h' is not a"),
        ({"PROMETHEUS_URL": "http://127.0.0.1:1"}, ("--window=",), "WINDOW: '' is not a"),
        ({"PROMETHEUS_URL": "http://127.0.0.1:1"}, ("--window=0s",), "WINDOW: '0s' is no time"),
        (
            {
                "PROMETHEUS_URL": "http://127.0.0.1:1",
                "PROMETHEUS_BEARER_TOKEN": SECRET,
                "PROMETHEUS_USERNAME": "u",
            },
            (),
            "are both set",
        ),
    ],
)
def test_what_cannot_run_is_one_line_and_code_2(
    environment, arguments, words, monkeypatch, capsys, tmp_path
):
    """Nothing was compared, which is not the same as nothing found."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert SECRET not in said
    assert json.loads((tmp_path / "audit.json").read_text())["status"] == 2
