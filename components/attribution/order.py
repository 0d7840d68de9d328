"""Which EnvoyFilter must exist before which: a chain without its cluster answers 503."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.attribution.envoy import Json
from components.attribution.shared_addresses import TCP_PROXY_CLUSTER
from components.attribution.stats import PASSTHROUGH


def clusters_needed(spec: Json) -> dict[str, set[str]]:
    """Return the clusters that each filter chain of an EnvoyFilter leads to, by chain name."""
    found: dict[str, set[str]] = {}
    for patch in spec["configPatches"]:
        if patch["applyTo"] == "FILTER_CHAIN":
            chain = patch["patch"]["value"]
            found[chain["name"]] = set(_clusters_named(chain["filters"])) - {PASSTHROUGH}
    return found


def clusters_held(spec: Json) -> set[str]:
    """Return the clusters that an EnvoyFilter adds."""
    return {
        patch["patch"]["value"]["name"]
        for patch in spec["configPatches"]
        if patch["applyTo"] == "CLUSTER"
    }


def filters_before(filters: Mapping[str, Json]) -> dict[str, tuple[str, ...]]:
    """Return, for each EnvoyFilter, the other EnvoyFilters that hold clusters of its chains."""
    holder = {cluster: name for name, spec in filters.items() for cluster in clusters_held(spec)}
    before: dict[str, tuple[str, ...]] = {}
    for name, spec in filters.items():
        needed = set().union(*clusters_needed(spec).values())
        holders = {holder[cluster] for cluster in needed if cluster in holder}
        before[name] = tuple(sorted(holders - {name}))
    return before


def _clusters_named(node: Any) -> list[str]:
    """Return every cluster that a part of a chain's configuration may send to."""
    if isinstance(node, list):
        return [name for item in node for name in _clusters_named(item)]
    if not isinstance(node, dict):
        return []
    if node.get("object_key") == TCP_PROXY_CLUSTER:
        # The clusters are the quoted texts of a CEL expression.
        text = node["format_string"]["text_format_source"]["inline_string"]
        return [part for part in text.split("'")[1::2] if part]
    own = [node["cluster"]] if isinstance(node.get("cluster"), str) else []
    return own + [name for value in node.values() for name in _clusters_named(value)]
