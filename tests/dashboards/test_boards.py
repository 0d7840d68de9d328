"""Boards as Grafana will load them: readable, in order, and about series that exist."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.boards import boards, queries
from dashboards.fleet import TABLE_QUERIES, fleet
from tests.rules.promql import alerts, limits, metric_names, records, rules

BOARDS = {name: json.loads(text) for name, text in boards().items()}
Json = dict[str, Any]


def _panels(board: Json) -> list[Json]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


@pytest.fixture(params=[*BOARDS.values()], ids=[*BOARDS])
def board(request: pytest.FixtureRequest) -> Json:
    return dict(request.param)


def test_the_fleet_board_has_its_address() -> None:
    """Links and provisioning name boards by uid and file: neither may drift."""
    assert set(BOARDS) == {"fleet.json"}
    assert BOARDS["fleet.json"]["uid"] == "fleet"


def test_the_same_bytes_whoever_renders() -> None:
    """A board that changes by itself would roll Grafana at every deployment."""
    program = "import sys; from dashboards.boards import boards; sys.stdout.write(str(boards()))"
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": seed},
        )
        assert done.stdout == str(boards())


def test_every_panel_explains_itself(board: Json) -> None:
    """Nobody has to guess what a line means or in what unit it is."""
    for panel in _panels(board):
        options = panel["fieldConfig"]
        units = [options["defaults"].get("unit")]
        units += [p["value"] for o in options["overrides"] for p in o["properties"]]
        assert any(units), panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert len(panel["description"]) > 40, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}


def test_panels_are_told_apart(board: Json) -> None:
    """Grafana's links to a panel go by id, people's by title."""
    ids = [panel["id"] for panel in board["panels"]]
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0
    assert len(set(titles)) == len(titles)


def test_no_panel_lies_on_another(board: Json) -> None:
    """Each has its own place on the grid of 24 columns, and rows are full."""
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(p["x"] >= 0 and p["x"] + p["w"] <= 24 and p["h"] > 0 for p in places)
    for a, b in itertools.combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (a, b)
    for y in {p["y"] for p in places}:
        assert sum(p["w"] for p in places if p["y"] == y) == 24


def test_boards_read_recorded_series_only(board: Json) -> None:
    """Each name is a record of rules/: no panel without data, none that sums a thousand pods."""
    recorded = {rule["record"] for rule in records()} | limits()
    for title, expr in queries(board):
        names = metric_names(expr)
        assert names, title
        assert names <= recorded, title
    for variable in board["templating"]["list"]:
        name = variable["definition"].removeprefix("label_values(").split(",")[0]
        assert name in recorded


def test_every_record_is_read() -> None:
    """A record that no board, rule or message reads costs an evaluation every interval."""
    levels = ("workload_proxy_vendor", "team_proxy_vendor", "proxy_vendor_pool")
    by_part = {f"{level}:proxy_bytes:rate5m" for level in (*levels, "proxy_vendor_target")}
    read = {name for rule in rules() for name in metric_names(rule["expr"])}
    panels = [expr for board in BOARDS.values() for _, expr in queries(board)]
    read |= {name for expr in panels for name in metric_names(expr)}
    messages = " ".join(alert["annotations"]["description"] for alert in alerts())
    read |= set(re.findall(r"[a-z_]+:\w+:\w+", messages))
    assert {rule["record"] for rule in records()} - read - by_part == set()


def test_prometheus_parses_every_panel(board: Json, promtool: Path, tmp_path: Path) -> None:
    """One typing error in PromQL is one panel with a red corner."""
    expressions = [expr for _, expr in queries(board, vendor="vendor-a|vendor-b")]
    file = tmp_path / "panels.yml"
    found = [{"record": f"panel:{n}:expr", "expr": expr} for n, expr in enumerate(expressions)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": found}]}))
    done = subprocess.run(
        [str(promtool), "check", "rules", "--lint=none", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_variables_are_substituted() -> None:
    """Whoever asks without Grafana gets every vendor, or those named."""
    assert all("$" not in expr for _, expr in queries(fleet()))
    by_title = dict(queries(fleet(), vendor="vendor-a"))
    assert by_title["Requests"] == (
        'proxy_vendor:istio_requests:rate5m{cluster=~".*", proxy_vendor=~"vendor-a"}'
    )


def test_the_terminal_asks_what_the_board_shows() -> None:
    """The lab's table and the board cannot disagree: their queries are the same text."""
    assert set(TABLE_QUERIES.values()) <= {expr for _, expr in queries(fleet())}
    assert list(TABLE_QUERIES) == [
        "requests_per_second",
        "failure_ratio",
        "setup_p95_milliseconds",
        "bytes_per_second",
        "open_connections",
        "connections_per_second",
    ]


def test_a_new_vendor_or_cluster_shows_up_without_an_edit() -> None:
    """`All` matches every value there is, not the list of the moment the page was opened."""
    cluster, vendor = fleet()["templating"]["list"]
    assert (cluster["name"], vendor["name"]) == ("cluster", "vendor")
    for variable in (cluster, vendor):
        assert (variable["multi"], variable["includeAll"]) == (True, True)
        assert variable["allValue"] == ".*"


def test_every_query_selects_the_clusters_chosen(board: Json) -> None:
    """Without it the same vendor of two clusters would be drawn as one, or twice under one name."""
    for panel in _panels(board):
        for target in panel["targets"]:
            selectors = re.findall(r"\w+:\w+:\w+(\{[^}]*\})?", target["expr"])
            assert all('cluster=~"$cluster"' in text for text in selectors), panel["title"]
            if "sum by" not in target["expr"] and panel["type"] != "table":
                assert target["legendFormat"].startswith("{{cluster}}"), panel["title"]
