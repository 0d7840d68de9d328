"""The boards in Debian's Chromium: variables, range, links, every kind of panel, no complaint.

The first boards are the test's own, with each kind of panel, on a Prometheus that scrapes itself.
"""

from __future__ import annotations

import base64
import os
import shutil

import pytest

from lab.processes import children
from lab.system import running
from lab.viewer.in_lab import board_questions
from lab.viewer.png import MOST_BYTES, small_png
from lab.viewer.questions import Questions
from lab.viewer.server import serving
from lab.viewer.speed import measured, speed_table
from tests.lab.conftest import free_ports, until
from tests.lab.server import start_prometheus
from tests.ports import free_block
from tools.chromium import PROGRAM, REMEDY, Page
from tools.chromium import running as chromium

BROWSER_SECONDS = 300.0
READY = "document.body && document.body.dataset.state === 'ready'"
STATES = (
    "[...document.querySelectorAll('[data-panel]')]"
    ".map((one) => [one.ariaLabel, one.dataset.state, one.innerText])"
)
UP = 'up{proxy_vendor=~"$vendor"}'
LINK = "/d/detail?var-vendor=${__field.labels.proxy_vendor}&${cluster:queryparam}"


def panel(number, kind, title, target=None, *, defaults=None, **more):
    config = {"defaults": defaults or {}, "overrides": []}
    target = {"refId": "A", "expr": UP, "legendFormat": "{{proxy_vendor}}"} | (target or {})
    place = {"x": (number % 3) * 8, "y": number // 3 * 6, "w": 8, "h": 6}
    return {
        "id": number,
        "type": kind,
        "title": title,
        "gridPos": place,
        "targets": [target],
        "fieldConfig": config,
        **more,
    }


def query_variable(name, query):
    return {
        "type": "query",
        "name": name,
        "label": name,
        "query": {"query": query},
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"value": ["$__all"]},
        "sort": 1,
    }


TABLE = {"format": "table", "instant": True}
WORDS = [{"type": "value", "options": {"1": {"text": "<b>up</b>", "color": "#009E73"}}}]
LIMITS = {"steps": [{"color": "text", "value": None}, {"color": "#D55E00", "value": 0.5}]}
# Nobody may be led there; of the second one browsers read "//evil.test".
ELSEWHERE = [{"title": "Elsewhere", "url": "javascript:alert(1)"}]
AWAY = [{"title": "Away", "url": "/\\evil.test"}]
OVERVIEW = {
    "uid": "overview",
    "title": "Overview",
    "time": {"from": "now-5m", "to": "now"},
    "refresh": "",
    "annotations": {"list": [{"name": "Up", "expr": "up", "iconColor": "#0072B2"}]},
    "templating": {
        "list": [
            query_variable("cluster", "label_values(up, cluster)"),
            query_variable("vendor", "label_values(up{cluster=~'$cluster'}, proxy_vendor)"),
        ]
    },
    "panels": [
        panel(0, "timeseries", "Lines", defaults={"links": [{"title": "Open", "url": LINK}]}),
        panel(
            1,
            "stat",
            "Number",
            defaults={"thresholds": LIMITS, "unit": "percentunit", "links": ELSEWHERE},
        ),
        panel(2, "bargauge", "Bars", {"instant": True}, defaults={"max": 2, "links": AWAY}),
        panel(3, "state-timeline", "States", defaults={"mappings": WORDS}),
        panel(
            4,
            "table",
            "Table",
            TABLE,
            defaults={"unit": "reqps"},
            transformations=[
                {"id": "merge", "options": {}},
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True},
                        "renameByName": {"proxy_vendor": "Vendor", "Value": "Up"},
                    },
                },
            ],
            options={"sortBy": [{"displayName": "Vendor", "desc": True}]},
        ),
        panel(5, "stat", "Unit", defaults={"unit": "furlong"}),
        panel(6, "canvas", "Later"),
        panel(7, "stat", "Wrong", {"expr": "up +"}),
        panel(9, "table", "Other", TABLE, transformations=[{"id": "reduce", "options": {}}]),
        panel(8, "timeseries", "Nothing", {"expr": 'up{job="none"}'}),
    ],
}
DETAIL = OVERVIEW | {"uid": "detail", "title": "Detail", "panels": OVERVIEW["panels"][:1]}


@pytest.fixture(scope="module")
def browser():
    if not shutil.which(PROGRAM):
        missing = f"{PROGRAM}: not on PATH; {REMEDY}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with chromium(seconds=BROWSER_SECONDS) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of the test's own boards."""
    port = free_block()
    here = {"targets": [f"127.0.0.1:{port}"]}
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": vendor,
                "static_configs": [here | {"labels": {"proxy_vendor": vendor, "cluster": "lab"}}],
            }
            for vendor in ("vendor-a", "vendor-b")
        ],
    }
    with children() as family:
        url = start_prometheus(family, tmp_path_factory.mktemp("viewer"), config, port)
        questions = Questions({"overview": OVERVIEW, "detail": DETAIL}, url, 1.0)

        def is_scraped():
            rows = {row.panel: row.series for row in measured(questions)}
            return rows["Lines"] == 2

        until(is_scraped)
        with serving(questions) as served:
            yield served


def states(page):
    page.wait(READY)
    return {title: (state, text) for title, state, text in page.evaluate(STATES)}


def choose_range(page, start):
    page.evaluate(
        f"(range => {{ range.value = '{start}'; range.dispatchEvent(new Event('change')); }})"
        "(document.querySelector('#range'))"
    )
    page.wait(f"location.search.includes('from={start}')")
    page.wait(READY)


def test_every_kind_of_panel_is_drawn_or_named(browser, address):
    """What Grafana's model says is on the page; what the page cannot draw, it names."""
    page = Page(browser)
    page.open(address)
    found = states(page)
    print("first picture:", page.evaluate("document.body.dataset.drawn"), "ms")
    kinds = {title: state for title, (state, _) in found.items()}
    drawn = ("Lines", "Number", "Bars", "States", "Table")
    unknown = {"Later": "unsupported", "Other": "unsupported", "Unit": "failed"}
    rest = {"Wrong": "failed", "Nothing": "empty"}
    assert kinds == dict.fromkeys(drawn, "drawn") | unknown | rest
    assert "vendor-b" in found["Lines"][1]
    assert "100%" in found["Number"][1]
    assert "<b>up</b>" in found["States"][1]
    assert found["Table"][1].index("vendor-b") < found["Table"][1].index("vendor-a")
    assert "1 req/s" in found["Table"][1]
    assert "furlong" in found["Unit"][1]
    assert "canvas" in found["Later"][1]
    assert "reduce" in found["Other"][1]
    assert "parse error" in found["Wrong"][1]
    assert page.evaluate("getComputedStyle(document.querySelector('.number')).color") == (
        "rgb(213, 94, 0)"  # a value of 1 has reached 0.5
    )
    assert page.evaluate("document.querySelectorAll('a[href^=javascript]').length") == 0
    assert page.evaluate("[...document.links].every((one) => one.host === location.host)")
    assert page.complaints() == []


def test_a_variable_and_a_range_stay_on_the_way_to_another_board(browser, address):
    """Overview to detail: the vendor clicked is chosen there, cluster and range are kept."""
    page = Page(browser)
    page.open(f"{address}/d/overview?var-vendor=All")  # as Grafana takes it too
    assert "vendor-b" in states(page)["Lines"][1]
    page.evaluate("document.querySelector('#var-vendor input[value=vendor-a]').click()")
    page.wait("location.search.includes('var-vendor=vendor-a')")
    assert "vendor-b" not in states(page)["Lines"][1]
    choose_range(page, "now-15m")
    tab = page.evaluate("document.querySelector('#boards a[href^=\"/d/detail\"]').href")
    assert "from=now-15m" in tab
    assert "var-vendor=vendor-a" in tab
    page.evaluate("document.querySelector('[data-panel] a[href^=\"/d/detail\"]').click()")
    page.wait("location.pathname === '/d/detail'")
    assert list(states(page)) == ["Lines"]
    parameters = page.evaluate("[...new URLSearchParams(location.search)]")
    assert ["var-vendor", "vendor-a"] in parameters
    assert ["var-cluster", "$__all"] in parameters
    assert page.complaints() == []


def test_a_range_that_nobody_knows_can_be_left(browser, address):
    """Nothing of the board can be asked with it, so the page shows the reason and the choice."""
    page = Page(browser)
    page.open(f"{address}/d/detail?from=never")
    page.wait(READY)
    assert "'never' is neither" in page.evaluate("document.querySelector('#trouble').innerText")
    choose_range(page, "now-15m")
    assert "vendor-b" in states(page)["Lines"][1]


def test_a_picture_is_small_and_whole(browser, address):
    """Pictures are in the repository; with a palette they show what the screenshot showed."""
    page = Page(browser, width=1200, height=800)
    page.open(f"{address}/d/overview")
    page.wait(READY)
    screenshot = page.picture()
    picture = small_png(Page(browser), screenshot)
    assert len(picture) < min(MOST_BYTES, len(screenshot))
    script = (
        "(async () => { const image = new Image(); image.src = 'data:image/png;base64,%s';"
        " await image.decode(); return [image.naturalWidth, image.naturalHeight]; })()"
    )
    empty = Page(browser)
    assert empty.evaluate(script % base64.b64encode(picture).decode()) == [1200, 800]


def test_every_shipped_board_opens_on_a_running_lab(browser, tmp_path):
    """No panel fails, is beyond this page, or makes the console complain."""
    folder, ports = tmp_path / "demo", free_ports()
    with running(ports=ports, folder=folder, say=lambda line: None, inspect="mixed") as lab:
        lab.start_crawler(count=None, requests_per_second=300)
        questions = board_questions(lab)
        until(lambda: lab.query("proxy_vendor:request_failures_per_requests:ratio_rate5m"))
        page = Page(browser)
        with serving(questions, ports.viewer) as address:
            for uid in questions.boards:
                page.open(f"{address}/d/{uid}")
                page.wait(READY)
                found = states(page)
                assert found
                bad = {t: s for t, s in found.items() if s[0] in ("failed", "unsupported")}
                assert bad == {}, uid
        assert page.complaints() == []
        print(speed_table(measured(questions)))
