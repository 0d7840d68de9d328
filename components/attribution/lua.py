"""Fills `lua/attribution.lua` with the data of one filter chain, and has Envoy fetch it.

Python renders one table. Every string is quoted from a checked character set, and ranges are lines
of checked values, so nothing in a stack file can become code.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from components.attribution.envoy import TYPE, Json
from components.attribution.groups import Chain
from settings.catalogue import Route
from settings.vendors import OutcomeRule, Target, Vendor

SCRIPT = Path(__file__).parents[2] / "lua" / "attribution.lua"
SLOT = "local CATALOGUE = nil\n"

_LUA_TYPE = f"{TYPE}.extensions.filters.http.lua.v3.Lua"


def lua_filter(chain: Chain) -> Json:
    """Return the HTTP filter whose script istiod sends apart from the listener (ECDS).

    Within the listener a script that does not compile would leave a new pod without any outbound
    listener. Sent apart it costs labels only, and an edit cuts no connection.
    """
    return {
        "name": _lua_name(chain),
        "config_discovery": {
            "config_source": {
                "ads": {},
                "initial_fetch_timeout": "3s",
                "resource_api_version": "V3",
            },
            "type_urls": [_LUA_TYPE],
            "default_config": _lua_config("-- nothing to tell\n"),
        },
    }


def lua_extension(vendors: Sequence[Vendor], chain: Chain, targets: Sequence[Target]) -> Json:
    """Return the script under the name by which `lua_filter` asks for it."""
    script = attribution_script(vendors, chain, targets)
    return {"name": _lua_name(chain), "typed_config": _lua_config(script)}


def _lua_name(chain: Chain) -> str:
    return f"{chain.name}_lua"


def _lua_config(script: str) -> Json:
    return {"@type": _LUA_TYPE, "default_source_code": {"inline_string": script}}


def attribution_script(
    vendors: Sequence[Vendor], chain: Chain, targets: Sequence[Target] = ()
) -> str:
    """Return the Lua source that Envoy runs for a chain of `vendors`.

    It holds the chain's own ranges alone: Envoy keeps a copy of a script's data for each filter
    that runs it, on the main thread and on each worker.

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
    # Ranges are text that the script parses as Envoy loads it. A Lua table for each of 10,000
    # ranges would stay in memory.
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
    """Return one line: range, vendor, pool or `-`, and the ports unless the vendor has all."""
    ports = [",".join(str(ports) for ports in route.ports)] if route.ports else []
    return " ".join([str(route.network), route.vendor, route.pool or "-", *ports])


def _verdicts(vendor: Vendor) -> list[str]:
    if not vendor.outcomes:
        return []
    lines = [f"    [{quoted(vendor.name)}] = {{"]
    by_status = sorted(
        vendor.outcomes, key=lambda rule: rule.status
    )  # stable: rules of a status keep their order
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
