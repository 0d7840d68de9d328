"""A board for a server that also has other clusters' records: the same panels, a line a cluster."""

from __future__ import annotations

import re
from typing import Any

from dashboards.panels import label_variable

Json = dict[str, Any]

_RECORD = re.compile(r"\b\w+:\w+:\w+\b(\{)?")


def by_cluster(board: Json, metric: str) -> Json:
    """Return the board with a variable `cluster`, in every query and in the lines' names.

    Sums go over the clusters chosen. The own cluster's records have no `cluster`: they are in
    "All", and their lines have the vendor's name alone.

    Args:
        metric: a record that every cluster has.
    """
    variable = label_variable(name="cluster", label="Cluster", metric=metric, of="cluster")
    return {
        **board,
        "templating": {"list": [variable, *board["templating"]["list"]]},
        "panels": [_panel(panel) for panel in board["panels"]],
    }


def _panel(panel: Json) -> Json:
    if "targets" not in panel:
        return panel
    return {
        **panel,
        "targets": [_target(target) for target in panel["targets"]],
        **(
            {"transformations": [_first_column(one) for one in panel["transformations"]]}
            if panel["type"] == "table"
            else {}
        ),
    }


def _target(target: Json) -> Json:
    summed = re.search(r"\bsum\b", target["expr"])
    legend = target["legendFormat"]
    if not summed:
        legend = f"{{{{cluster}}}} {legend}".strip()
    return {
        **target,
        "expr": _RECORD.sub(_of_the_chosen, target["expr"]),
        "legendFormat": legend,
    }


def _of_the_chosen(found: re.Match[str]) -> str:
    chosen = 'cluster=~"$cluster"'
    return f"{found[0]}{chosen}, " if found[1] else f"{found[0]}{{{chosen}}}"


def _first_column(transformation: Json) -> Json:
    options = transformation["options"]
    return {
        **transformation,
        "options": {
            **options,
            "indexByName": {
                "cluster": 0,
                **{label: place + 1 for label, place in options["indexByName"].items()},
            },
            "renameByName": {"cluster": "Cluster", **options["renameByName"]},
        },
    }
