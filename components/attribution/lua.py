"""Fills `lua/attribution.lua` with one chain's data.

Python renders one table and nothing else. Every string is quoted from a checked character set,
and ranges are lines of checked values, so nothing a stack file says can become code.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from components.attribution.groups import Chain
from settings.catalogue import Route
from settings.vendors import OutcomeRule, Target, Vendor

SCRIPT = Path(__file__).parents[2] / "lua" / "attribution.lua"
SLOT = "local CATALOGUE = nil\n"


def attribution_script(
    vendors: Sequence[Vendor], chain: Chain, targets: Sequence[Target] = ()
) -> str:
    """Return the Lua source that Envoy runs for a chain of `vendors`.

    Only the chain's own ranges: every filter that runs a script keeps a copy of its data, for
    the main thread and for each worker.

    Raises:
        ValueError: the script has no slot to fill, or a string cannot be quoted.
    """
    source = SCRIPT.read_text(encoding="utf-8")
    if source.count(SLOT) != 1:
        raise ValueError(f"{SCRIPT.name}: expected exactly one line {SLOT.strip()!r} to fill")
    return source.replace(SLOT, f"local CATALOGUE = {_catalogue(vendors, chain, targets)}\n")


def quoted(text: str) -> str:
    """Return `text` as a Lua string literal; everything but plain characters is escaped.

    Raises:
        ValueError: `text` holds a character outside printable ASCII.
    """
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{text!r} cannot be written into Lua: printable ASCII only")
    return '"' + "".join(c if c not in '"\\' else f"\\{c}" for c in text) + '"'


def _catalogue(vendors: Sequence[Vendor], chain: Chain, targets: Sequence[Target]) -> str:
    # Text, parsed once as Envoy loads it: a table for each of 10,000 ranges would stay in memory.
    lines = ["{", "  ranges = [["]
    lines += [_range(route) for route in chain.routes]
    lines += ["]],", "  verdicts = {"]
    for vendor in sorted(vendors, key=lambda vendor: vendor.name):
        lines += _verdicts(vendor)
    lines += ["  },", "  targets = {"]
    named = sorted((host, target.name) for target in targets for host in target.hosts)
    lines += [f"    [{quoted(host)}] = {quoted(name)}," for host, name in named]
    return "\n".join([*lines, "  },", "}"])


def _range(route: Route) -> str:
    """One line: range, vendor, pool or `-`, and the ports where they are not all."""
    ports = [",".join(str(ports) for ports in route.ports)] if route.ports else []
    return " ".join([str(route.network), route.vendor, route.pool or "-", *ports])


def _verdicts(vendor: Vendor) -> list[str]:
    if not vendor.outcomes:
        return []
    lines = [f"    [{quoted(vendor.name)}] = {{"]
    by_status = sorted(vendor.outcomes, key=lambda rule: rule.status)  # stable: keeps their order
    for status, rules in groupby(by_status, key=lambda rule: rule.status):
        lines += [f'      ["{status}"] = {{']
        lines += [f"        {_rule(rule)}," for rule in rules]
        lines += ["      },"]
    return [*lines, "    },"]


def _rule(rule: OutcomeRule) -> str:
    parts = [f"outcome = {quoted(rule.outcome)}"]
    if rule.header is not None:
        # Envoy hands header names to Lua in lower case.
        parts.append(f"header = {quoted(rule.header.lower())}")
    if rule.contains is not None:
        parts.append(f"contains = {quoted(rule.contains)}")
    return "{ " + ", ".join(parts) + " }"
