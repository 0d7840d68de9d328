"""The PromQL in a dashboard, for programs that query Prometheus without Grafana."""

from __future__ import annotations

from collections import defaultdict
from string import Template
from typing import Any


def queries(board: dict[str, Any], **variables: str) -> list[tuple[str, str]]:
    """Return (panel title, PromQL) of every panel, in the board's order.

    Args:
        variables: the value of each `$name`, as a regular expression; `.*` if not given.
    """
    return [
        (panel["title"], substitute(target["expr"], **variables))
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]


def substitute(expr: str, **variables: str) -> str:
    """Return the PromQL with each `$name` replaced as Grafana would for one value or for all."""
    return Template(expr).substitute(defaultdict(lambda: ".*", variables))
