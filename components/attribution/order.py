"""Which EnvoyFilter must exist before which.

A chain without its cluster answers 503. One without its extension keeps a starting sidecar waiting
for 3 s, and then passes traffic uncounted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.attribution.envoy import Json, mappings
from components.attribution.shared_addresses import TCP_PROXY_CLUSTER
from components.attribution.stats import PASSTHROUGH


def clusters_needed(spec: Json) -> dict[str, set[str]]:
    """Return the clusters that each filter chain of an EnvoyFilter leads to, by chain name."""
    return {
        chain["name"]: set(clusters_named(chain["filters"])) - {PASSTHROUGH}
        for chain in _values(spec, "FILTER_CHAIN")
    }


def clusters_held(spec: Json) -> set[str]:
    """Return the clusters that an EnvoyFilter adds."""
    return {cluster["name"] for cluster in _values(spec, "CLUSTER")}


def extensions_needed(spec: Json) -> dict[str, set[str]]:
    """Return the extensions for which each filter chain asks istiod, by chain name."""
    return {
        chain["name"]: set(_extensions_asked(chain["filters"]))
        for chain in _values(spec, "FILTER_CHAIN")
    }


def extensions_held(spec: Json) -> set[str]:
    """Return the extensions that an EnvoyFilter has istiod send."""
    return {extension["name"] for extension in _values(spec, "EXTENSION_CONFIG")}


def filters_before(filters: Mapping[str, Json]) -> dict[str, tuple[str, ...]]:
    """Return, for each EnvoyFilter, the others that hold what its chains need."""
    holder = {
        held: name
        for name, spec in filters.items()
        for held in clusters_held(spec) | extensions_held(spec)
    }
    before: dict[str, tuple[str, ...]] = {}
    for name, spec in filters.items():
        needed = set().union(*clusters_needed(spec).values(), *extensions_needed(spec).values())
        holders = {holder[one] for one in needed if one in holder}
        before[name] = tuple(sorted(holders - {name}))
    return before


def _values(spec: Json, apply_to: str) -> list[Json]:
    return [
        patch["patch"]["value"] for patch in spec["configPatches"] if patch["applyTo"] == apply_to
    ]


def _extensions_asked(node: Any) -> list[str]:
    """Return the name of every filter, within a part of a chain, that istiod configures apart."""
    return [one["name"] for one in mappings(node) if "config_discovery" in one]


def clusters_named(node: Any) -> list[str]:
    """Return every cluster that a part of a chain's configuration may send to."""
    found: list[str] = []
    for one in mappings(node):
        if one.get("object_key") == TCP_PROXY_CLUSTER:
            # The clusters are the quoted texts of a CEL expression.
            text = one["format_string"]["text_format_source"]["inline_string"]
            found += [part for part in text.split("'")[1::2] if part]
        elif isinstance(one.get("cluster"), str):
            found.append(one["cluster"])
    return found
