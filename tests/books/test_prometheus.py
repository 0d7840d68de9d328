"""Raw samples from a server, and credentials that go nowhere else."""

from __future__ import annotations

import json
import urllib.parse
from types import SimpleNamespace

import pytest

import books.prometheus
from books.__main__ import main
from books.prometheus import Prometheus, PrometheusError
from tests.pages import serving

SECRET = "hunter2-not-to-be-seen"
LOCAL = {"PROMETHEUS_URL": "http://127.0.0.1:1"}


@pytest.fixture
def server():
    """A Prometheus that answers with what its `reply` returns."""
    found = SimpleNamespace(reply=lambda query: (200, vector([]), {}))
    with serving(lambda asked: found.reply(urllib.parse.parse_qs(asked.body.decode()))) as page:
        found.page, found.url = page, page.url
        yield found


def vector(result):
    return json.dumps({"status": "success", "data": {"result": result}}).encode()


def test_slices_of_a_window_make_one_series(server):
    """A long window is read minute by minute, without overlap."""
    metric = {"__name__": "up", "job": "sidecars"}

    def reply(asked):
        at = float(asked["time"][0])
        return 200, vector([{"metric": metric, "values": [[at, "1"], [at - 0.5, "7"]]}]), {}

    server.reply = reply
    [(labels, samples)] = Prometheus(server.url, {}).series("up", 1000.0, 1150.0)
    assert labels == metric
    assert samples == dict.fromkeys((1060000, 1120000, 1150000), 1) | dict.fromkeys(
        (1059500, 1119500, 1149500), 7
    )
    asked = [urllib.parse.parse_qs(one.body.decode())["query"] for one in server.page.asked]
    assert asked == [["up[60000ms]"], ["up[60000ms]"], ["up[30000ms]"]]


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({}, None),
        ({"PROMETHEUS_BEARER_TOKEN": SECRET}, f"Bearer {SECRET}"),
        ({"PROMETHEUS_USERNAME": "u", "PROMETHEUS_PASSWORD": "p"}, "Basic dTpw"),
    ],
)
def test_credentials_come_from_the_environment(server, environment, header):
    """Every user of the machine can read addresses and arguments."""
    list(Prometheus(server.url, environment).series("up", 0.0, 10.0))
    assert server.page.logins[0] == header


@pytest.mark.parametrize(
    ("status", "body", "headers", "words"),
    [
        (401, b"", {}, "answers 401: set PROMETHEUS_BEARER_TOKEN"),
        (302, b"", {"Location": "http://127.0.0.1:1/"}, "redirects"),
        (400, b'{"error": "parse error"}', {}, "answers 400 parse error"),
        (400, b'{"error": "one\\ntwo\\u001b[2J"}', {}, "answers 400 one two [2J"),
        (200, b"<html>", {}, "not as a Prometheus does"),
        (200, b"[" * 100_000, {}, "not as a Prometheus does"),
        (200, b" " * 2**20 + vector([]), {}, "answers with more than 1 MiB"),
        (200, b'{"status": "error", "error": "no"}', {}, "no"),
    ],
)
def test_a_bad_answer_is_one_line_without_credentials(
    server, status, body, headers, words, monkeypatch
):
    """A redirect is not followed: it would take the credentials along."""
    monkeypatch.setattr(books.prometheus, "MOST_BYTES", 2**20)
    server.reply = lambda asked: (status, body, headers)
    with pytest.raises(PrometheusError) as caught:
        Prometheus(server.url, {"PROMETHEUS_BEARER_TOKEN": SECRET}).now()
    line = str(caught.value)
    assert words in line
    assert (SECRET in line, "\n" in line) == (False, False)


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        ({"PROMETHEUS_URL": "prometheus:9090"}, (), "PROMETHEUS_URL: is no address"),
        ({"PROMETHEUS_URL": f"http://u:{SECRET}@127.0.0.1:1"}, (), "holds credentials"),
        (LOCAL, (), "cannot be reached"),
        (LOCAL, ("--window", "soon"), "WINDOW: 'soon' is not a"),
        (LOCAL, ("--window=0s",), "WINDOW: '0s' is no time"),
        (LOCAL, ("--lab-only", "N STOPS"), "N, STOPS: no effect on a running system"),
        (
            {**LOCAL, "PROMETHEUS_BEARER_TOKEN": f"{SECRET}\r\nX: y"},
            (),
            "PROMETHEUS_BEARER_TOKEN: holds a line break",
        ),
        (
            {**LOCAL, "PROMETHEUS_BEARER_TOKEN": SECRET, "PROMETHEUS_USERNAME": "u"},
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
    printed = capsys.readouterr().err
    assert words in printed
    assert (printed.count("\n"), SECRET in printed) == (1, False)
    assert json.loads((tmp_path / "audit.json").read_text())["status"] == 2
