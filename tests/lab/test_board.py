"""The boards on a running system: no panel is empty, and the live table is fed by one."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from dashboards.boards import boards, queries
from lab.demo import COLUMNS, measure, table_text
from lab.system import running
from tests.lab.conftest import free_ports, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """With vendors of each way of inspection: a panel about Lua or the module needs its own."""
    folder = tmp_path_factory.mktemp("lab") / "demo"
    quiet = {"say": lambda line: None}
    ports = free_ports()
    with running(ports=ports, folder=folder, inspect="mixed", priced=True, **quiet) as lab:
        lab.start_crawler(count=None, requests_per_second=300)
        yield lab


OF_A_CLUSTER = {
    *("Volumes used", "Sidecars: CPU of all", "Sidecars: memory of all"),
    *("Sidecar nearest to its limit", "Sidecars that istiod configures"),
    *("Configuration reaches a sidecar", "Configurations refused", "Alertmanager: messages"),
    *("Alerts that Prometheus could not hand over", "Grafana: queries"),
    "Billed and metered, of the last day compared",
}
"""Panels about kubelets, istiod, Alertmanager, Grafana, and vendors' own figures, which this lab
has not."""


def test_every_panel_has_data(lab):
    """A board with a query that nothing answers is a board that lies by silence."""
    asked = defaultdict(list)
    for file, text in boards(lab.settings).items():
        for title, expression in queries(json.loads(text)):
            asked[file, title].append(expression)
    assert len(asked) > 80

    def empty():
        return {
            title
            for (_, title), expressions in asked.items()
            if not any(lab.query(expression) for expression in expressions)
        }

    until(lambda: empty() <= OF_A_CLUSTER, seconds=300)
    assert {title for _, title in asked} >= OF_A_CLUSTER


def test_the_live_table_shows_every_vendor_and_the_outside(lab):
    """Each vendor's line is complete; what is outside every range has its own line."""

    def lines():
        table = measure(lab)
        text = table_text(table, {}, 1.0).splitlines()
        complete = [line for line in text if line.startswith("vendor-") and " - " not in line]
        outside = [line for line in text if line.startswith("outside")]
        # Of a vendor that is not looked into there is no request to tell of.
        bare = [line.split() for line in text if line.startswith("vendor-i")]
        done = len(complete) == 11 and outside and bare and bare[0][1:4] == ["-", "-", "-"]
        return (text, outside) if done else None

    text, _ = until(lines, seconds=120)
    assert text[1].split()[0] == "vendor"
    for _, heading, *_ in COLUMNS:
        assert heading in text[1]


def test_the_live_table_fits_a_terminal_of_eighty_columns():
    """A wrapped line would be drawn over wrongly, and leave scraps."""
    table = {key: {"vendor-a": 12345.6, "outside": float("nan")} for key, *_ in COLUMNS}
    *rows, alerts = table_text(table, {"B": ["vendor-a", "vendor-b"], "A": [""]}, 3.0).splitlines()
    assert max(map(len, rows)) < 80
    assert alerts == "alerts firing: A, B (a b)"


def test_the_live_table_ends_with_a_total():
    """What all vendors carry together; shares and quantiles have no sum."""
    table = {key: {"vendor-a": 10.0, "vendor-b": 5.0} for key, *_ in COLUMNS}
    total = next(line for line in table_text(table, {}, 3.0).splitlines() if line[:5] == "total")
    assert total.split() == ["total", "15.0", "-", "-", "0", "15", "15.0"]
