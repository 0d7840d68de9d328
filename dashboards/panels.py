"""The shapes dashboards share, as Grafana's dashboard JSON. Pure: no ids, no positions.

`dashboard` numbers the panels and lays them out, so inserting one moves no other by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

SCHEMA_VERSION = 42  # Grafana 12's and 13's classic model; older ones are migrated on load
DATASOURCE: Json = {"type": "prometheus", "uid": "prometheus"}

_COLUMNS = 24  # the width of Grafana's grid
_PANEL_HEIGHT = 8
_STAT_HEIGHT = 4


def timeseries(
    *,
    title: str,
    unit: str,
    description: str,
    expr: str,
    legend: str = "{{cluster}} {{proxy_vendor}}",
    width: int = 8,
    maximum: float | None = None,
) -> Json:
    """Return lines over time, one a series.

    Args:
        unit: Grafana's id of it: "reqps", "percentunit", "ms", "Bps" (10^3), "cps", "short".
        legend: a label in double braces, or plain text.
        width: of 24 columns.
        maximum: top of the axis, for shares; None fits it to the data.
    """
    limits = {} if maximum is None else {"max": maximum}
    return {
        **_panel("timeseries", title, description, width, _PANEL_HEIGHT),
        "targets": [_target(expr, legend)],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                # From 0: a line that fills the panel by a wiggle of 1 % alarms for nothing.
                "min": 0,
                **limits,
                "custom": {"fillOpacity": 10, "showPoints": "never", "lineWidth": 1},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def stat(
    *,
    title: str,
    unit: str,
    description: str,
    expr: str,
    width: int = 6,
    red_above: float | None = None,
) -> Json:
    """Return one number with its recent course; `red_above` colours it, None leaves it plain."""
    steps: list[Json] = [{"color": "text" if red_above is None else "green", "value": None}]
    if red_above is not None:
        steps.append({"color": "red", "value": red_above})
    return {
        **_panel("stat", title, description, width, _STAT_HEIGHT),
        # Grafana shows the name where there is more than one series.
        "targets": [_target(expr, "{{cluster}}")],
        "fieldConfig": {
            "defaults": {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "area",
        },
    }


def table(
    *,
    title: str,
    unit: str,
    description: str,
    expr: str,
    columns: dict[str, str],
    value: str,
    width: int = 12,
) -> Json:
    """Return the present values, largest first, a row a series.

    Args:
        unit: of the value's column.
        columns: heading by label, in order; other labels are hidden.
        value: heading of the value's column.
    """
    order = {label: position for position, label in enumerate([*columns, "Value"])}
    return {
        **_panel("table", title, description, width, _PANEL_HEIGHT),
        "targets": [{**_target(expr, ""), "format": "table", "instant": True, "range": False}],
        "transformations": [
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True, "__name__": True},
                    "indexByName": order,
                    "renameByName": {**columns, "Value": value},
                },
            }
        ],
        "fieldConfig": {
            "defaults": {},
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": value},
                    "properties": [{"id": "unit", "value": unit}],
                }
            ],
        },
        "options": {"sortBy": [{"displayName": value, "desc": True}]},
    }


def row(title: str, *panels: Json) -> tuple[Json, ...]:
    """Return a row's heading and its panels."""
    heading = {"type": "row", "title": title, "collapsed": False, "panels": []}
    return ({**heading, "gridPos": {"w": _COLUMNS, "h": 1}}, *panels)


def dashboard(
    *,
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Json],
    rows: Sequence[tuple[Json, ...]],
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
        "templating": {"list": list(variables)},
        "annotations": {"list": []},
        "links": [],
        "panels": _place([panel for panels in rows for panel in panels]),
    }


def label_variable(*, name: str, label: str, metric: str, values: str) -> Json:
    """Return a variable with the values of a label on `metric`: any number of them, or all."""
    query = f"label_values({metric}, {values})"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor"},
        "definition": query,
        "multi": True,
        "includeAll": True,
        # Without it "All" becomes a list of those seen, and a new vendor is missing until reload.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,  # on each change of the time range
        "sort": 1,
    }


def _panel(kind: str, title: str, description: str, width: int, height: int) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
    }


def _target(expr: str, legend: str) -> Json:
    return {
        "refId": "A",
        "datasource": DATASOURCE,
        "expr": expr,
        "legendFormat": legend,
        "range": True,
    }


def _place(panels: Sequence[Json]) -> list[Json]:
    """Fill lines from the left; a line is as high as its highest panel."""
    placed, x, y, line_height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        size = panel["gridPos"]
        if x + size["w"] > _COLUMNS:
            x, y, line_height = 0, y + line_height, 0
        placed.append({"id": number, **panel, "gridPos": {"x": x, "y": y, **size}})
        x, line_height = x + size["w"], max(line_height, size["h"])
    return placed
