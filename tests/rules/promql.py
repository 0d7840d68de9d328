"""Names in PromQL, for tests that ask what a rule or a panel reads."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[2] / "rules"

# In this order: an aggregation's labels stand between its name and its parenthesis.
_NOT_METRICS = (
    r'"(?:\\.|[^"\\])*"',  # strings
    r"\{[^}]*\}",  # matchers
    r"\[[^\]]*\]",  # ranges
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)",
    r"\b[a-z_0-9]+\s*(?=\()",  # functions and aggregations
    r"\b(?:and|or|unless|offset|bool|anchored|Inf|NaN)\b",
    r"\b[0-9][0-9.eE]*[a-z]*",  # numbers and durations
)


def metric_names(expression: str) -> set[str]:
    """Return the metrics that a PromQL expression selects by name."""
    for pattern in _NOT_METRICS:
        expression = re.sub(pattern, " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", expression))


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
