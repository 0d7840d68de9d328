"""Which open connections an edit ends, and what istiod would refuse for a moment; pure.

Envoy keeps the connections of a filter chain that arrives unchanged, and drains those of one that
changes or goes. What a change of listeners and clusters does was measured: docs/rollout.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deployment import filters_of
from settings.stack import StackSettings

Json = dict[str, Any]
Match = tuple[str, str, str]
"""Listener, range, and the protocols of HTTP or nothing: no two chains may have the same."""

MAIN_LISTENER = "virtualOutbound"
CATCH_ALL = "Istio's catch-all"
"""The chain of what goes to nobody's address; a change of its log ends those connections."""


@dataclass(frozen=True, kw_only=True)
class Connections:
    """What an edit does to filter chains, listeners, clusters and what travels apart from them."""

    whole: tuple[str, ...]
    """Listeners whose every connection ends."""
    drained: dict[str, tuple[str, ...]]
    """The ranges of each chain that changes or goes; a pair of chains counts as one."""
    added: tuple[str, ...]
    kept: int
    """Chains as they were."""
    clusters_changed: tuple[str, ...]
    clusters_removed: tuple[str, ...]
    sent_apart: tuple[str, ...]
    """Scripts, labels and modules that change and end nothing."""
    moved: tuple[Moved, ...]
    """Ranges that pass from one EnvoyFilter to another."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A range that is in another EnvoyFilter after the edit.

    `pulumi up` writes one EnvoyFilter after the other. Until both are written two chains have the
    same range, and Envoy refuses the listener, or none has it.
    """

    before: str
    after: str
    ranges: tuple[str, ...]


@dataclass
class _Chains:
    by_name: dict[tuple[str, str], Json] = field(default_factory=dict)
    """Each chain by its listener and name."""
    filter_of: dict[Match, str] = field(default_factory=dict)
    listeners: dict[str, list[Json]] = field(default_factory=dict)
    clusters: dict[str, Json] = field(default_factory=dict)
    extensions: dict[str, Json] = field(default_factory=dict)


def connections(before: StackSettings, after: StackSettings) -> Connections:
    old, new = _chains(filters_of(before)), _chains(filters_of(after))
    whole = tuple(
        listener
        for listener, patches in sorted(old.listeners.items())
        if listener in new.listeners and new.listeners[listener] != patches
    )
    catch_all = (MAIN_LISTENER, CATCH_ALL)
    drained = [key for key, chain in old.by_name.items() if new.by_name.get(key) != chain]
    drained += [catch_all] if catch_all in new.by_name.keys() - old.by_name.keys() else []
    kept = old.clusters.keys() & new.clusters.keys()
    apart = {
        name
        for name in old.extensions.keys() & new.extensions.keys()
        if old.extensions[name] != new.extensions[name]
    }
    return Connections(
        whole=whole,
        drained={_name(key): _ranges(old.by_name.get(key, {})) for key in sorted(drained)},
        added=tuple(sorted({_name(key) for key in new.by_name.keys() - old.by_name.keys()})),
        kept=len({_name(key) for key in old.by_name} - {_name(key) for key in drained}),
        clusters_changed=tuple(
            sorted(one for one in kept if old.clusters[one] != new.clusters[one])
        ),
        clusters_removed=tuple(sorted(old.clusters.keys() - new.clusters.keys())),
        sent_apart=tuple(sorted(apart)),
        moved=tuple(_moved(old.filter_of, new.filter_of)),
    )


def _chains(filters: Mapping[str, Json]) -> _Chains:
    found = _Chains()
    for filter_name, spec in filters.items():
        for patch in spec["configPatches"]:
            value, kind = patch["patch"].get("value", {}), patch["applyTo"]
            listener = patch["match"].get("listener", {}).get("name", MAIN_LISTENER)
            if kind == "FILTER_CHAIN" and "name" in value:
                found.by_name[listener, value["name"]] = value
                match = value["filter_chain_match"]
                protocols = " ".join(match.get("application_protocols", ()))
                for block in match.get("prefix_ranges", ()):
                    text = f"{block['address_prefix']}/{block['prefix_len']}"
                    found.filter_of[listener, text, protocols] = filter_name
            elif kind == "CLUSTER":
                found.clusters[value["name"]] = value
            elif kind == "EXTENSION_CONFIG":
                found.extensions[value["name"]] = value
            elif kind == "NETWORK_FILTER":  # outside_log.py has the only one
                found.by_name[MAIN_LISTENER, CATCH_ALL] = patch
            else:
                found.listeners.setdefault(listener, []).append(patch)
    return found


def _name(key: tuple[str, str]) -> str:
    """Return the name that a pair of chains, for HTTP and for the rest, has in common."""
    listener, chain = key
    pair, _, kind = chain.rpartition("_")
    name = pair if kind in ("http", "opaque", "passive") else chain
    return name if listener == MAIN_LISTENER else f"{name} in {listener}"


def _ranges(chain: Json) -> tuple[str, ...]:
    blocks = chain.get("filter_chain_match", {}).get("prefix_ranges", ())
    return tuple(f"{block['address_prefix']}/{block['prefix_len']}" for block in blocks)


def _moved(old: Mapping[Match, str], new: Mapping[Match, str]) -> Iterator[Moved]:
    pairs: dict[tuple[str, str], set[str]] = {}
    for match, filter_name in old.items():
        after = new.get(match, filter_name)
        if after != filter_name:
            pairs.setdefault((filter_name, after), set()).add(match[1])
    for (before, after), ranges in sorted(pairs.items()):
        yield Moved(before=before, after=after, ranges=tuple(sorted(ranges)))
