"""What the viewer's pages may ask: the boards' own queries, filled as Grafana fills them."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.parse
from datetime import UTC, datetime

import pytest

from dashboards.boards import boards
from lab.money import with_prices
from lab.pictures import CALM, PICTURES
from lab.ports import Ports
from lab.scenarios import SCENARIOS
from lab.system import ROOT, load_settings
from lab.viewer.png import MOST_BYTES
from lab.viewer.questions import Questions
from lab.viewer.server import serving
from lab.viewer.times import moment, span
from lab.viewer.variables import chosen, filled
from tests.pages import answering

# Of dist/ in the npm package uplot 1.6.32.
VENDORED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}

VENDOR = {
    "name": "vendor",
    "type": "query",
    "query": {"query": 'label_values(up{cluster=~"$cluster"}, proxy_vendor)'},
    "multi": True,
    "includeAll": True,
    "allValue": ".*",
    "current": {"value": ["$__all"]},
}
CLUSTER = VENDOR | {"name": "cluster", "query": {"query": "label_values(up, cluster)"}}
SOURCE = {"name": "datasource", "type": "datasource", "current": {"value": "prometheus"}}
BOARD = {
    "uid": "one",
    "title": "One",
    "time": {"from": "now-1h", "to": "now"},
    "templating": {"list": [SOURCE, CLUSTER, VENDOR]},
    "annotations": {"list": []},
    "panels": [
        {
            "id": 7,
            "type": "timeseries",
            "title": "Up",
            "targets": [{"refId": "A", "expr": 'up{proxy_vendor=~"$vendor"}'}],
        }
    ],
}
EMPTY = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}}).encode()


@pytest.fixture
def viewer():
    """The address of a viewer of BOARD before a Prometheus without any series."""
    with answering(EMPTY) as prometheus:
        url = f"http://127.0.0.1:{prometheus.port}"
        with serving(Questions({"one": BOARD}, url, 1.0)) as address:
            yield urllib.parse.urlsplit(address).port


def ask(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


@pytest.mark.parametrize("name", VENDORED)
def test_the_charting_library_is_as_published(name):
    """Minified code that somebody changed here would be read by nobody."""
    content = (ROOT / "lab/viewer/vendored" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == VENDORED[name]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (["vendor-a"], '{v=~"vendor-a"}'),
        (["a", "b"], '{v=~"(a|b)"}'),
        (["a.b"], r'{v=~"a\\.b"}'),
        (["$__all"], '{v=~".*"}'),
        (['x"} or up{y="'], r'{v=~"x\"\\} or up\\{y=\""}'),
        (["x\\"], r'{v=~"x\\\\"}'),
    ],
)
def test_values_are_filled_in_as_grafana_does(value, wanted):
    """A value is an alternative of a regular expression, and never more of the query."""
    values = {"vendor": chosen(value)}
    assert filled('{v=~"$vendor"}', values) == wanted
    assert filled('{v=~"${vendor}"}', values) == wanted


def test_a_variable_outside_a_string_is_refused():
    """Whoever opens the page chooses values, not an expression."""
    with pytest.raises(ValueError, match=r"\$label stands outside a string"):
        filled("sum by ($label) (up)", {"label": ("pod) or (up",)})


def test_a_variable_that_nobody_defined_is_named():
    with pytest.raises(ValueError, match=r"\$vendr"):
        filled('up{a="$vendr"}', {})


def test_steps_are_grafanas():
    """No more points than pixels, and no step below a scrape."""
    hour = span("now-1h", "now", points=600, scrape=15, now=1e9)
    assert (hour.end - hour.start, hour.step) == (3600, 15)
    for wrong in ("yesterday", "now-1y", "now-", "now/y", "1h", "-5"):
        with pytest.raises(ValueError):
            moment(wrong, 1e9)
    with pytest.raises(ValueError, match="empty"):
        span("now", "now-1h", points=10, scrape=1, now=1e9)


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        ("now/d", "now/d", ["2026-12-05 00:00", "2026-12-06 00:00"]),
        ("now-1w", "now", ["2026-11-28 15:30", "2026-12-05 15:30"]),
        ("now-1w/d", "now", ["2026-11-28 00:00", "2026-12-05 15:30"]),
        ("now/M", "now/M", ["2026-12-01 00:00", "2027-01-01 00:00"]),
    ],
)
def test_days_weeks_and_months_are_those_of_grafanas_links(start, end, wanted):
    """A whole day or month begins at its first moment and ends at its last."""
    now = datetime(2026, 12, 5, 15, 30, tzinfo=UTC).timestamp()
    found = span(start, end, points=600, scrape=15, now=now)
    moments = [datetime.fromtimestamp(one, UTC) for one in (found.start, found.end)]
    assert [f"{one:%Y-%m-%d %H:%M}" for one in moments] == wanted


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 302),
        ("/d/one", 200),
        ("/static/viewer.js", 200),
        ("/static/uPlot.iife.min.js", 200),
        ("/api/boards/one", 200),
        ("/api/boards/one/panels/7?var-vendor=a", 200),
        ("/api/boards/one/panels/8", 404),
        ("/api/boards/two", 404),
        ("/api/boards/one/panels/7?from=never", 400),
        ("/api/boards/one/variables/datasource", 400),
        ("/api/boards/one/variables/vendor", 200),
        ("/static/..%2Fserver.py", 404),
        ("/static/uPlot.LICENSE", 404),
        ("/api/v1/query?query=up", 404),
        ("/api/query?query=up", 404),
    ],
)
def test_it_serves_boards_and_nothing_else(viewer, path, status):
    """No open relay to Prometheus, and no file but the pages'."""
    answered, headers, body = ask(viewer, path)
    assert answered == status, body
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_foreign_name_that_leads_here_is_refused(viewer):
    """A site could have its name resolve to 127.0.0.1, and read the answers as its own."""
    assert ask(viewer, "/api/boards", Host="evil.test")[0] == 421
    assert ask(viewer, "/api/boards", Host=f"localhost:{viewer}")[0] == 200


def test_prometheus_own_words_reach_the_page():
    """A panel with an error says what Prometheus said, not that something went wrong."""
    refused = json.dumps({"status": "error", "error": "parse error: unexpected )"}).encode()
    with answering(refused, status=400) as prometheus:
        questions = Questions({"one": BOARD}, f"http://127.0.0.1:{prometheus.port}", 1.0)
        (answer,) = questions.panel("one", "7", {})["targets"]
    assert answer["error"] == "Up: parse error: unexpected )"


def test_alerts_are_regions():
    """An alert that fired twice is two regions, and ends where its samples end."""
    values = [[t, "1"] for t in (0, 60, 120, 600, 660)]
    series = [{"metric": {"alertname": "A"}, "values": values}]
    told = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}})
    note = {"name": "Alerts", "expr": "ALERTS", "iconColor": "#D55E00"}
    board = BOARD | {"annotations": {"list": [note]}}
    with answering(told.encode()) as prometheus:
        questions = Questions({"one": board}, f"http://127.0.0.1:{prometheus.port}", 1.0)
        regions = questions.annotations("one", {"from": ["now-1h"], "points": ["60"]})
    assert [(one["from"], one["to"]) for one in regions] == [(0, 120_000), (600_000, 660_000)]


def test_the_pictures_are_small_and_of_boards_that_there_are():
    """A board that was renamed, or a picture taken by other means, is not noticed otherwise."""
    situations = [CALM, *(scenario.name for scenario in SCENARIOS)]
    names = boards(with_prices(load_settings(Ports()), Ports()))
    known = {f"{name.removesuffix('.json')}-{one}.png" for name in names for one in situations}
    for file in PICTURES.iterdir():
        assert file.name in known
        assert file.stat().st_size <= MOST_BYTES, file
