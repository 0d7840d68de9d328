"""The shapes that boards share, as Grafana's dashboard JSON. Pure: no ids, no positions.

`dashboard` numbers the panels and lays them out, so inserting one moves no other by hand.
Only these kinds of panels are used, because the lab's own page draws no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

SCHEMA_VERSION = 42  # Grafana 12's and 13's classic model; older ones are migrated on load
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}

# These colours, from the palette in look.py, show how good a value is. Panels write the name of a
# state beside its colour, since some people cannot tell the colours apart.
GOOD, WARNING, CRITICAL = "#009E73", "#E69F00", "#D55E00"

COLUMNS = 24
"""The width of Grafana's grid."""

_PANEL_HEIGHT = 8
_STAT_HEIGHT = 4

Query = str | Sequence[tuple[str, str]]
"""PromQL, or several with the legend of each."""
Limits = Sequence[tuple[float, str]]
"""Values from which on a colour holds, rising; below the first it is GOOD."""


def limits(warning: float | None = None, critical: float | None = None) -> Limits:
    """Return where a value that should be low becomes a warning, and critical."""
    steps = ((warning, WARNING), (critical, CRITICAL))
    return tuple((value, colour) for value, colour in steps if value is not None)


def at_least(warning: float, good: float) -> Limits:
    """Return the same for a value that should be high: from where on it is a warning, and good."""
    return ((warning, WARNING), (good, GOOD))


def timeseries(
    *,
    title: str,
    unit: str,
    description: str,
    expr: Query,
    legend: str = "",
    width: int = 8,
    height: int = _PANEL_HEIGHT,
    maximum: float | None = None,
    colours: Sequence[Json] = (),
    above: Limits = (),
    links: Sequence[Json] = (),
    stacked: bool = False,
    absent: str = "",
) -> Json:
    """Return lines over time, one a series.

    Args:
        unit: Grafana's id of it: "reqps", "percentunit", "ms", "Bps" (10^3), "cps", "short".
        legend: a label in double braces, or plain text; several queries have their own.
        width: of 24 columns.
        maximum: top of the axis, for shares; None fits it to the data.
        colours: overrides by the series' names (look.py); others have one by their place.
        above: dashed lines, where something begins to be wrong.
        links: where a click on a line leads.
        stacked: whether the lines add up to a whole.
        absent: what is shown in the place of "No data", where that is no trouble.
    """
    custom: Json = {
        # Filled lines of a dozen vendors are mud.
        "fillOpacity": 25 if stacked else 0,
        "showPoints": "never",
        "lineWidth": 2,
        # A gap is a gap: a line drawn over it would hide that nothing was measured.
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if above else "off"},
    }
    defaults: Json = {
        "unit": unit,
        # From 0: a line that fills the panel by a wiggle of 1 % alarms for nothing.
        "min": 0,
        **({} if maximum is None else {"max": maximum}),
        # Not by name: that palette has colours that nobody sees on a dark page.
        "color": {"mode": "palette-classic"},
        "custom": custom,
        **({"thresholds": _steps(above)} if above else {}),
        **({"links": [*links]} if links else {}),
        **({"noValue": absent} if absent else {}),
    }
    return {
        **_panel("timeseries", title, description, width, height),
        "targets": _targets(expr, legend),
        "fieldConfig": {"defaults": defaults, "overrides": [*colours]},
        "options": {
            "legend": {
                "showLegend": True,
                "displayMode": "list",
                "placement": "bottom",
                "calcs": ["lastNotNull"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def stat(
    *,
    title: str,
    unit: str,
    description: str,
    expr: Query,
    legend: str = "{{cluster}}",
    width: int = 6,
    height: int = _STAT_HEIGHT,
    decimals: int | None = None,
    above: Limits = (),
    below: Limits = (),
    links: Sequence[Json] = (),
) -> Json:
    """Return one number with its recent course, plain unless there are limits.

    Args:
        above: for what should be low: where it is a warning, and critical.
        below: for what should be high: rising values, the last of them GOOD.
    """
    steps = _steps(above or below, first=CRITICAL if below else GOOD if above else "text")
    defaults: Json = {
        "unit": unit,
        "thresholds": steps,
        "color": {"mode": "thresholds"},
        **({} if decimals is None else {"decimals": decimals}),
        **({"links": [*links]} if links else {}),
    }
    return {
        **_panel("stat", title, description, width, height),
        # Grafana shows the name where there is more than one series.
        "targets": _targets(expr, legend),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "area",
            "textMode": "auto",
        },
    }


def bargauge(
    *,
    title: str,
    unit: str,
    description: str,
    expr: str,
    legend: str,
    width: int = 8,
    height: int = _PANEL_HEIGHT,
    maximum: float | None = None,
    above: Limits = (),
    colours: Sequence[Json] = (),
    links: Sequence[Json] = (),
    absent: str = "",
) -> Json:
    """Return a bar for the present value of each series, the largest first."""
    mode = "thresholds" if above else "palette-classic"
    defaults: Json = {
        "unit": unit,
        "min": 0,
        **({} if maximum is None else {"max": maximum}),
        "color": {"mode": mode},
        "thresholds": _steps(above),
        **({"links": [*links]} if links else {}),
        **({"noValue": absent} if absent else {}),
    }
    return {
        **_panel("bargauge", title, description, width, height),
        # An instant query's result has an order, and Grafana keeps it.
        "targets": [
            {**target, "instant": True, "range": False}
            for target in _targets(f"sort_desc({expr})", legend)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": [*colours]},
        "options": {
            "orientation": "horizontal",
            "displayMode": "basic",
            "valueMode": "color",
            "showUnfilled": True,
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }


def state_timeline(
    *,
    title: str,
    description: str,
    expr: Query,
    states: Mapping[float, tuple[str, str]],
    legend: str = "",
    width: int = 12,
    height: int = _PANEL_HEIGHT,
    links: Sequence[Json] = (),
) -> Json:
    """Return a band for each series, coloured by its state.

    Args:
        states: word and colour of each value.
    """
    defaults: Json = {
        "unit": "short",
        "color": {"mode": "thresholds"},
        "thresholds": _steps((), first="text"),
        "mappings": _words(states),
        "custom": {"fillOpacity": 80, "lineWidth": 0, "spanNulls": False},
        **({"links": [*links]} if links else {}),
    }
    return {
        **_panel("state-timeline", title, description, width, height),
        "targets": _targets(expr, legend),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "mergeValues": True,
            "showValue": "never",
            "alignValue": "left",
            "rowHeight": 0.85,
            "perPage": 20,
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    }


def table(
    *,
    title: str,
    description: str,
    labels: Mapping[str, str],
    values: Sequence[Json],
    sort_by: Sequence[str],
    width: int = 12,
    height: int = _PANEL_HEIGHT,
    cells: Mapping[str, Sequence[Json]] | None = None,
) -> Json:
    """Return the present values of one or more queries, a row for each set of labels.

    The queries must give the same labels and no metric's name, or their rows would not meet.

    Args:
        labels: heading by label, in order; without `cluster` that label is hidden.
        values: the columns after them (`column`), the first of them `Value #A`.
        sort_by: headings, the first decides.
        cells: further properties of a column, by its heading.
    """
    refs = [chr(ord("A") + position) for position in range(len(values))]
    hidden = () if "cluster" in labels else ("cluster",)
    headings = {
        **labels,
        **{f"Value #{ref}": one["heading"] for ref, one in zip(refs, values, strict=True)},
        # So Grafana names the column of a query that is alone, or alone has an answer.
        **({"Value": values[0]["heading"]} if len(values) == 1 else {}),
    }
    properties: dict[str, list[Json]] = {one["heading"]: [*one["properties"]] for one in values}
    for heading, more in (cells or {}).items():
        properties.setdefault(heading, []).extend(more)
    return {
        **_panel("table", title, description, width, height),
        "targets": [
            {**_target(one["expr"], "", ref), "format": "table", "instant": True, "range": False}
            for ref, one in zip(refs, values, strict=True)
        ],
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True, **dict.fromkeys(hidden, True)},
                    "indexByName": {name: position for position, name in enumerate(headings)},
                    "renameByName": headings,
                },
            },
        ],
        "fieldConfig": {
            "defaults": {"custom": {"align": "auto", "cellOptions": {"type": "auto"}}},
            "overrides": [
                {"matcher": {"id": "byName", "options": heading}, "properties": found}
                for heading, found in properties.items()
            ],
        },
        "options": {
            "showHeader": True,
            "cellHeight": "sm",
            "sortBy": [{"displayName": heading, "desc": True} for heading in sort_by],
        },
    }


def column(
    heading: str,
    unit: str,
    expr: str,
    *,
    above: Limits = (),
    states: Mapping[float, tuple[str, str]] | None = None,
    decimals: int | None = None,
) -> Json:
    """Return a column of a table: its numbers coloured by limits, or by the words of its states."""
    properties: list[Json] = [{"id": "unit", "value": unit}]
    if decimals is not None:
        properties.append({"id": "decimals", "value": decimals})
    if above:
        properties.append({"id": "thresholds", "value": _steps(above, first="text")})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    if states:
        properties += coloured_cells(_words(states))
    return {"heading": heading, "expr": expr, "properties": properties}


def coloured_cells(mappings: Sequence[Json], links: Sequence[Json] = ()) -> list[Json]:
    """Return the properties of a column whose words have colours and lead somewhere."""
    return [
        {"id": "mappings", "value": [*mappings]},
        {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        *([{"id": "links", "value": [*links]}] if links else []),
    ]


def row(title: str, *panels: Json) -> tuple[Json, ...]:
    """Return a row's heading and its panels."""
    heading = {"type": "row", "title": title, "collapsed": False, "panels": []}
    return ({**heading, "gridPos": {"w": COLUMNS, "h": 1}}, *panels)


def dashboard(
    *,
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Json],
    rows: Sequence[Sequence[Json]],
    links: Sequence[Json],
    annotations: Sequence[Json] = (),
) -> Json:
    """Return the dashboard, its panels numbered and placed row by row."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["proxy-observability"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # one crosshair over all panels
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "refresh": "30s",
        # Below 10 s nothing new would have been scraped.
        "timepicker": {"refresh_intervals": ["10s", "30s", "1m"]},
        "templating": {"list": [*variables]},
        "annotations": {"list": [*annotations]},
        "links": [*links],
        "panels": _place([panel for panels in rows for panel in panels]),
    }


def _panel(kind: str, title: str, description: str, width: int, height: int) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
    }


def _targets(expr: Query, legend: str) -> list[Json]:
    asked = [(expr, legend)] if isinstance(expr, str) else [*expr]
    return [
        _target(query, name, chr(ord("A") + position))
        for position, (query, name) in enumerate(asked)
    ]


def _target(expr: str, legend: str, ref: str) -> Json:
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "expr": expr,
        "legendFormat": legend,
        "range": True,
    }


def _steps(found: Limits, first: str = GOOD) -> Json:
    steps: list[Json] = [{"color": first, "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in found]
    return {"mode": "absolute", "steps": steps}


def _words(states: Mapping[float, tuple[str, str]]) -> list[Json]:
    """Return the value mappings that write each state as a word in its colour."""
    options = {
        f"{value:g}": {"text": word, "color": colour, "index": index}
        for index, (value, (word, colour)) in enumerate(states.items())
    }
    return [{"type": "value", "options": options}]


def _place(panels: Sequence[Json]) -> list[Json]:
    """Fill lines from the left; a line is as high as its highest panel."""
    placed, x, y, line_height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        size = panel["gridPos"]
        if x + size["w"] > COLUMNS:
            x, y, line_height = 0, y + line_height, 0
        placed.append({"id": number, **panel, "gridPos": {"x": x, "y": y, **size}})
        x, line_height = x + size["w"], max(line_height, size["h"])
    return placed
