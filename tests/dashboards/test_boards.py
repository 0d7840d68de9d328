"""Boards as Grafana will load them: readable, in order, and about series that exist."""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from components.grafana.provisioning import DATASOURCE_UID
from components.prometheus.config import MONEY_METRICS
from dashboards import look
from dashboards.boards import boards, queries
from dashboards.fleet import TABLE_QUERIES, fleet
from dashboards.frame import TITLES, shown
from money.ledger import RECORDS as LEDGER_RECORDS
from tests.dashboards.stacks import BOARDS, SETTINGS, Json, panels_of
from tests.programs import run_to_end
from tests.rules.promql import alerts, limits, metric_names, records, rules
from tests.rules.test_rules import FAILURES, LEVELS, NO_FAILURES

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"

EVERY = [
    pytest.param(board, id=f"{stack} {name}")
    for stack, found in BOARDS.items()
    for name, board in found.items()
]
KINDS = {"timeseries", "stat", "table", "bargauge", "state-timeline", "text", "row"}
"""What the lab's own page draws."""
OF_ALERTS = {"ALERTS"}
"""Prometheus writes it for each alert that is pending or fires."""

# Grafana's grid: 30 pixels a unit and 8 between (GRID_CELL_HEIGHT, GRID_CELL_VMARGIN); above it
# are its own bar and the board's variables, around it the browser's.
UNIT, GAP, ABOVE, BROWSER = 30, 8, 110, 130


@pytest.fixture(params=EVERY)
def board(request: pytest.FixtureRequest) -> Json:
    return dict(request.param)


def test_each_board_has_its_address() -> None:
    """Links name boards by uid, provisioning by file: neither may drift."""
    for stack, found in BOARDS.items():
        known = {uid: TITLES[uid] for uid in shown(look.look_of(SETTINGS[stack]))}
        assert {name.removesuffix(".json") for name in found} == set(known)
        assert {board["uid"]: board["title"] for board in found.values()} == known
    assert "proxy-cost.json" in BOARDS["usual"]
    assert "proxy-cost.json" not in BOARDS["30 vendors"]  # which have no price
    assert "proxy-load-generator.json" not in BOARDS["30 vendors"]  # nor synthetic traffic
    assert "proxy-load-generator.json" in BOARDS["clusters"]  # another cluster may have some


def test_the_same_bytes_whoever_renders() -> None:
    """A board that changes by itself would roll Grafana at every deployment."""
    program = (
        "import sys; from dashboards.boards import boards; from tests.dashboards.stacks import "
        "SETTINGS; sys.stdout.write(str(boards(SETTINGS['usual'])))"
    )
    for seed in ("0", "1"):
        root = Path(__file__).parents[2]
        done = run_to_end(sys.executable, "-c", program, cwd=root, env={"PYTHONHASHSEED": seed})
        assert done.stdout == str(boards(SETTINGS["usual"]))


def test_every_panel_explains_itself(board: Json) -> None:
    """Nobody has to guess what a line means, in what unit it is, or what to do about it."""
    for panel in panels_of(board):
        options = panel["fieldConfig"]
        units = [options["defaults"].get("unit")]
        units += [p["value"] for o in options["overrides"] for p in o["properties"]]
        assert any(units), panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert len(panel["description"]) > 40, panel["title"]
        assert "rate()" not in panel["description"]
    assert board["description"].endswith(".")


def test_panels_are_told_apart(board: Json) -> None:
    """Grafana's links to a panel go by id, people's by title."""
    ids = [panel["id"] for panel in board["panels"]]
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0
    assert len(set(titles)) == len(titles)
    for panel in panels_of(board):
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


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


@pytest.mark.parametrize("stack", BOARDS)
def test_the_fleet_is_seen_without_scrolling(stack: str) -> None:
    """Who scrolls does not see the trouble in five seconds."""
    places = [panel["gridPos"] for panel in BOARDS[stack]["proxy-fleet.json"]["panels"]]
    units = max(place["y"] + place["h"] for place in places)
    assert ABOVE + BROWSER + units * (UNIT + GAP) <= 1080


def test_boards_are_drawn_by_the_labs_page_too(board: Json) -> None:
    """It knows these kinds of panels, and no other."""
    assert {panel["type"] for panel in board["panels"]} <= KINDS


def test_every_query_goes_to_the_data_source_chosen(board: Json) -> None:
    """dashboard-linter's template-datasource-rule and panel-datasource-rule."""
    source, cluster = board["templating"]["list"][:2]
    assert (source["type"], source["name"], source["query"]) == (
        *("datasource", "datasource", "prometheus"),
    )
    assert source["current"]["value"] == DATASOURCE_UID
    assert cluster["name"] == "cluster"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels_of(board):
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
    for other in (*board["templating"]["list"][1:], *board["annotations"]["list"]):
        assert other["datasource"] == chosen


def test_boards_read_recorded_series_only(board: Json) -> None:
    """Each name is a record of rules/, or a metric of the exporter, which has few series: no panel
    sums a thousand pods."""
    recorded = {rule["record"] for rule in records()} | limits() | OF_ALERTS | {*MONEY_METRICS}
    for title, expr in queries(board):
        names = metric_names(expr)
        assert names, title
        assert names <= recorded, title
    for variable in board["templating"]["list"][1:]:
        selected = re.fullmatch(r"label_values\(([\w:]+)[{,].*, \w+\)", variable["definition"])
        assert selected or variable["name"] == "cluster"
        name = variable["definition"].removeprefix("label_values(")
        assert re.match(r"[\w:]+", name)[0] in recorded  # type: ignore[index]


def test_every_record_is_read() -> None:
    """A record that no board, rule, message or runbook reads costs an evaluation every interval."""
    read = {name for rule in rules() for name in metric_names(rule["expr"])}
    shipped = [board for found in BOARDS.values() for board in found.values()]
    panels = [expr for board in shipped for _, expr in queries(board)]
    read |= {name for expr in panels for name in metric_names(expr)}
    messages = " ".join(alert["annotations"]["description"] for alert in alerts())
    messages += "".join(page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("*.md"))
    read |= {*re.findall(r"[a-z_]+:\w+:\w+", messages), *LEDGER_RECORDS}
    assert {rule["record"] for rule in records()} - read == set()


def test_every_label_of_the_records_is_on_a_panel() -> None:
    """A label that is stored a thousand times and that nobody can look at is a waste."""
    labels = set().union(*LEVELS.values()) - {"le", "pod", "job"}
    shown = "".join(json.dumps(board["panels"]) for board in BOARDS["usual"].values())
    assert {label for label in labels if not re.search(rf"\b{label}\b", shown)} == set()


def test_prometheus_parses_every_query(board: Json, promtool: Path, tmp_path: Path) -> None:
    """One typing error in PromQL is one panel with a red corner (target-promql-rule)."""
    expressions = [expr for _, expr in queries(board, vendor="vendor-a|vendor-b")]
    events = board["annotations"]["list"]
    assert [event["expr"] for event in events] == [event["target"]["expr"] for event in events]
    expressions += [event["expr"].replace("$cluster", "dev") for event in events]
    file = tmp_path / "panels.yml"
    found = [{"record": f"panel:{n}:expr", "expr": expr} for n, expr in enumerate(expressions)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": found}]}))
    run_to_end(promtool, "check", "rules", "--lint=none", file)


def test_variables_are_substituted() -> None:
    """Whoever asks without Grafana gets every vendor, or those named."""
    board = fleet(look.look_of(SETTINGS["usual"]))
    assert all("$" not in expr for _, expr in queries(board))
    by_title = dict(queries(board, vendor="vendor-a"))
    assert by_title["Failed requests by vendor"] == (
        "proxy_vendor:request_failures_per_requests:ratio_rate5m"
        '{cluster=~".*", proxy_vendor=~"vendor-a"}'
    )


@pytest.mark.parametrize("stack", BOARDS)
def test_the_terminal_asks_what_the_board_shows(stack: str) -> None:
    """The lab's table and the board cannot disagree: their queries are the same text."""
    asked = {expr for _, expr in queries(BOARDS[stack]["proxy-fleet.json"])}
    assert set(TABLE_QUERIES.values()) <= asked
    assert list(TABLE_QUERIES) == [
        "requests_per_second",
        "failure_ratio",
        "setup_p95_milliseconds",
        "bytes_per_second",
        "open_connections",
        "connections_per_second",
    ]


def test_a_new_vendor_or_cluster_shows_up_without_an_edit(board: Json) -> None:
    """`All` matches every value there is, not the list of the moment the page was opened."""
    for variable in board["templating"]["list"][1:]:
        assert (variable["multi"], variable["includeAll"]) == (True, True)
        assert variable["allValue"] == ".*"


def test_every_query_selects_the_clusters_chosen(board: Json) -> None:
    """Without it the same vendor of two clusters would be drawn as one."""
    for panel in panels_of(board):
        for target in panel["targets"]:
            names = rf"(?:\w+:\w+:\w+|ALERTS|{'|'.join(MONEY_METRICS)})"
            selectors = re.findall(rf"{names}(\{{[^}}]*\}})?", target["expr"])
            assert selectors, panel["title"]
            assert all('cluster=~"$cluster"' in text for text in selectors), panel["title"]


def test_a_name_tells_the_cluster_where_there_are_several() -> None:
    """Else the same vendor of two clusters has one name twice."""
    over_clusters = re.compile(
        r"(sort_desc\(|label_replace\()?(topk\(\d+, )?([\de]+ \* )?(sum|max) by \((?!cluster)"
    )
    for panel in itertools.chain(*map(panels_of, BOARDS["clusters"].values())):
        for target in panel["targets"]:
            if over_clusters.match(target["expr"]):
                continue
            if panel["type"] == "table":
                assert '"cluster": "Cluster"' in json.dumps(panel["transformations"])
            else:
                assert target["legendFormat"].endswith("{{cluster}}"), panel["title"]


def test_every_variable_is_used(board: Json) -> None:
    """One that changes nothing is a riddle."""
    text = json.dumps(board["panels"])
    for variable in board["templating"]["list"][1:]:
        assert f"${variable['name']}" in text, variable["name"]


@pytest.mark.parametrize("stack", SETTINGS)
def test_every_board_leads_to_the_others_of_its_stack(stack: str) -> None:
    uids = shown(look.look_of(SETTINGS[stack]))
    for board in BOARDS[stack].values():
        others = [f"/d/{uid}" for uid in uids if uid != board["uid"]]
        assert [each["url"] for each in board["links"]] == others


def test_links_lead_to_boards_and_keep_what_was_chosen(board: Json) -> None:
    """From the overview to the reason in three clicks, without choosing vendor and time anew."""
    assert all(each["includeVars"] and each["keepTime"] for each in board["links"])
    found = re.findall(r'"url": "(/d/[^"]*\?[^"]*)"', json.dumps(board["panels"]))
    for url in found:
        uid, _, chosen = url.removeprefix("/d/").partition("?")
        assert uid in TITLES
        parts = chosen.split("&")
        assert parts[:2] == ["${datasource:queryparam}", "${cluster:queryparam}"]
        assert parts[-1] == "${__url_time_range}"
        there = {one["name"] for one in BOARDS["usual"][f"{uid}.json"]["templating"]["list"]}
        for part in parts[2:-1]:
            name, _, value = part.removeprefix("var-").partition("=")
            assert name in there, url
            assert re.fullmatch(r"\$\{__(field\.labels\.\w+|data\.fields\.\w+)\}", value), url


def test_the_overview_leads_to_every_vendor() -> None:
    """Every panel of the Fleet board that names vendors opens theirs."""
    for panel in panels_of(BOARDS["usual"]["proxy-fleet.json"]):
        if "proxy_vendor)" in panel["targets"][0]["expr"] and panel["type"] != "stat":
            assert "/d/proxy-vendor?" in json.dumps(panel), panel["title"]


@pytest.mark.parametrize("stack", BOARDS)
def test_a_vendor_looks_alike_everywhere(stack: str) -> None:
    """Its colour is that of its place in the stack file, on every panel with a line a vendor."""
    names = [vendor.name for vendor in SETTINGS[stack].vendors]
    expected = look.look_of(SETTINGS[stack]).by_vendor()
    styles = [json.dumps(one["properties"]) for one in expected]
    assert len({*styles[: len(names)]}) == len(names)
    for panel in itertools.chain(*map(panels_of, BOARDS[stack].values())):
        legends = {t["legendFormat"].removesuffix(" {{cluster}}") for t in panel["targets"]}
        if panel["type"] == "timeseries" and legends == {"{{proxy_vendor}}"}:
            assert panel["fieldConfig"]["overrides"] == expected, panel["title"]
    for name, override in zip(names, expected, strict=False):
        pattern = override["matcher"]["options"].strip("/")
        assert re.search(pattern, name)
        assert re.search(pattern, f"{name} eu")
        assert not re.search(pattern, f"{name}1")


def test_every_outcome_has_its_colour() -> None:
    """And what is a failure stands in one list with the rules."""
    assert set(look.FAILURES) == FAILURES
    assert {*look.HARMLESS, "success"} == NO_FAILURES


def test_a_stack_of_30_vendors_shows_the_worst() -> None:
    """30 lines are a carpet; the table has them all."""
    board = BOARDS["30 vendors"]["proxy-fleet.json"]
    lines = [p for p in panels_of(board) if p["title"] == "Failed requests by vendor"]
    assert lines[0]["targets"][0]["expr"].startswith("topk(12, ")
    assert all(len(text) < 900_000 for text in boards(SETTINGS["30 vendors"]).values())
