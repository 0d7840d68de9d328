"""The shipped rules, for tests that ask what they read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from components.prometheus.promql import metric_names

__all__ = ["RULES", "alerts", "group_of", "metric_names", "record_groups", "records", "rules"]

RULES = Path(__file__).parents[2] / "rules"


@cache
def _groups() -> list[dict[str, Any]]:
    return [
        group
        for file in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    ]


def group_of(alert: str) -> str:
    """Return the name of the group an alert is in."""
    return next(
        str(group["name"])
        for group in _groups()
        if any(rule.get("alert") == alert for rule in group["rules"])
    )


def record_groups() -> list[dict[str, Any]]:
    """Return the groups that record."""
    return [group for group in _groups() if "record" in group["rules"][0]]


def rules() -> list[dict[str, Any]]:
    """Return every rule of rules/, in the order of the files."""
    return [rule for group in _groups() for rule in group["rules"]]


def records() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "record" in rule]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]
