"""Fills `lua/attribution.lua` with one vendor's data.

Python renders one table and nothing else. Every string is quoted from a checked
character set, so nothing a stack file says can become code.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from settings.model import OutcomeRule, Vendor
from settings.values import AddressRange

SCRIPT = Path(__file__).parents[2] / "lua" / "attribution.lua"
SLOT = "local CATALOGUE = nil\n"


def attribution_script(vendor: Vendor) -> str:
    """Return the Lua source that Envoy runs for `vendor`.

    Raises:
        ValueError: the script has no slot to fill, or a string cannot be quoted.
    """
    source = SCRIPT.read_text(encoding="utf-8")
    if source.count(SLOT) != 1:
        raise ValueError(f"{SCRIPT.name}: expected exactly one line {SLOT.strip()!r} to fill")
    return source.replace(SLOT, f"local CATALOGUE = {_catalogue(vendor)}\n")


def quoted(text: str) -> str:
    """Return `text` as a Lua string literal; everything but plain characters is escaped.

    Raises:
        ValueError: `text` holds a character outside printable ASCII.
    """
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{text!r} cannot be written into Lua: printable ASCII only")
    return '"' + "".join(c if c not in '"\\' else f"\\{c}" for c in text) + '"'


def _catalogue(vendor: Vendor) -> str:
    lines = ["{", f"  vendor = {quoted(vendor.name)},", "  ranges = {"]
    lines += [f"    {_range(entry)}," for entry in sorted(vendor.cidrs, key=_sort_key)]
    lines += ["  },", "  verdicts = {"]
    by_status = sorted(vendor.outcomes, key=lambda rule: rule.status)  # stable: keeps their order
    for status, rules in groupby(by_status, key=lambda rule: rule.status):
        lines += [f'    ["{status}"] = {{']
        lines += [f"      {_rule(rule)}," for rule in rules]
        lines += ["    },"]
    return "\n".join([*lines, "  },", "}"])


def _sort_key(entry: AddressRange) -> tuple[int, int, int]:
    network = entry.network
    return (network.version, int(network.network_address), network.prefixlen)


def _range(entry: AddressRange) -> str:
    pool = f", {quoted(entry.pool)}" if entry.pool else ""
    return f"{{ {quoted(str(entry.network))}{pool} }}"


def _rule(rule: OutcomeRule) -> str:
    parts = [f"outcome = {quoted(rule.outcome)}"]
    if rule.header is not None:
        # Envoy hands header names to Lua in lower case.
        parts.append(f"header = {quoted(rule.header.lower())}")
    if rule.contains is not None:
        parts.append(f"contains = {quoted(rule.contains)}")
    return "{ " + ", ".join(parts) + " }"
