"""Vendors as a stack file has them, and their rendered EnvoyFilters, read as istiod would."""

from __future__ import annotations

from typing import Any

from components.attribution.render import envoy_filters
from settings.vendors import AddressRange, Vendor


def vendor(name: str, *cidrs: str | dict[str, str], **more: Any) -> Vendor:
    ranges = tuple(AddressRange.parse(cidr) for cidr in cidrs)
    return Vendor(name=name, cidrs=ranges, **more)


def render(*vendors: Vendor, **more: Any) -> dict[str, Any]:
    return envoy_filters(vendors, **{"timeout_after_seconds": 10, "selector": {}, **more})


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
