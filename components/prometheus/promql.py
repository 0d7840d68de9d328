"""Names in PromQL: what a rule or a panel reads."""

from __future__ import annotations

import re

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
