"""Label selectors, as Kubernetes evaluates them; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def matches(selector: Json | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects an object with these labels; an empty one selects all."""
    selector = selector or {}
    wanted = selector.get("matchLabels") or {}
    if not wanted.items() <= labels.items():
        return False
    return all(_holds(one, labels) for one in selector.get("matchExpressions") or ())


def _holds(expression: Json, labels: Mapping[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    values = expression.get("values") or ()
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) is (operator == "Exists")


def labels_of(one: Json) -> dict[str, str]:
    return one["metadata"].get("labels") or {}


def annotations_of(one: Json) -> dict[str, str]:
    return one["metadata"].get("annotations") or {}


def title(one: Json) -> str:
    """Return how a finding calls an object: "Sidecar crawlers/default"."""
    metadata = one["metadata"]
    where = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{one['kind']} {where}{metadata['name']}"
