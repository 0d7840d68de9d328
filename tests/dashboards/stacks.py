"""Stacks whose boards are looked at: a usual one, one of 30 vendors, and one over clusters."""

from __future__ import annotations

import json
from typing import Any

from dashboards.boards import boards
from settings.loading import parse_settings
from tests.rules.promql import STACK

Json = dict[str, Any]

MANY = {
    "cluster": "dev",
    "vendors": [
        {
            "name": f"vendor-{number}",
            "cidrs": [{"range": f"10.{number}.0.0/16", "pool": f"pool-{number}"}],
        }
        for number in range(1, 31)
    ],
}
SEVERAL = {
    **STACK,
    "prometheus": {
        "federateFrom": [{"cluster": "eu", "url": "https://eu.example.com", "stack": "eu"}]
    },
}
SETTINGS = {
    name: parse_settings(stack)
    for name, stack in {"usual": STACK, "30 vendors": MANY, "clusters": SEVERAL}.items()
}
BOARDS: dict[str, dict[str, Json]] = {
    stack: {name: json.loads(text) for name, text in boards(settings).items()}
    for stack, settings in SETTINGS.items()
}
"""By stack and file name."""


def panels_of(board: Json) -> list[Json]:
    """Return what is drawn: rows are headings."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]
