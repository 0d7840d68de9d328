"""Reading rendered EnvoyFilters."""

from __future__ import annotations

from typing import Any


def values(filters: dict[str, Any], apply_to: str) -> list[dict[str, Any]]:
    return [
        patch["patch"]["value"]
        for spec in filters.values()
        for patch in spec["configPatches"]
        if patch["applyTo"] == apply_to
    ]


def by_name(filters: dict[str, Any], apply_to: str) -> dict[str, dict[str, Any]]:
    return {value["name"]: value for value in values(filters, apply_to)}


def nested(node: Any, key: str) -> list[Any]:
    """Return every value of `key` anywhere in a JSON tree."""
    if isinstance(node, dict):
        own = [node[key]] if key in node else []
        return own + [found for child in node.values() for found in nested(child, key)]
    if isinstance(node, list):
        return [found for child in node for found in nested(child, key)]
    return []
