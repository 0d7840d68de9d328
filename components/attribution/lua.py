"""Fills `lua/attribution.lua` with the data of one group of vendors, and has Envoy fetch it.

Python renders one table. Every string is quoted from a checked character set, and ranges are lines
of checked values, so nothing in a stack file can become code.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from components.attribution.discovery import LUA_TYPE, http_filter
from components.attribution.envoy import Json
from components.attribution.groups import CLUSTER_PREFIX, Group, by_address
from settings.catalogue import Route
from settings.vendors import OutcomeRule, Target, Vendor

SCRIPT = Path(__file__).parents[2] / "lua" / "attribution.lua"
SLOT = "local CATALOGUE = nil\n"


def lua_filter(group: Group) -> Json:
    """Return the HTTP filter that runs a group's script.

    Every chain has it, and so a first pool, product, target group or outcome rule ends no
    connection.
    """
    return http_filter(script_name(group), LUA_TYPE)


def lua_extension(group: Group, targets: Sequence[Target]) -> Json:
    """Return the script under the name by which `lua_filter` asks for it.

    One that asks in vain would keep a starting sidecar waiting, so there is one without a script.
    """
    config: Json = {"@type": LUA_TYPE}
    if script := attribution_script(group, targets):
        config["default_source_code"] = {"inline_string": script}
    return {"name": script_name(group), "typed_config": config}


def script_name(group: Group) -> str:
    return f"{CLUSTER_PREFIX}{group.name}_lua"


def attribution_script(group: Group, targets: Sequence[Target] = ()) -> str:
    """Return the Lua source that Envoy runs for a group's chains; empty if it has nothing to tell.

    Envoy keeps a copy of a script's data for each chain that runs it, on the main thread and on
    each worker. So ranges are in it only if it has to look addresses up.

    Raises:
        ValueError: the script has no slot to fill, or a string cannot be quoted.
    """
    source = SCRIPT.read_text(encoding="utf-8")
    if source.count(SLOT) != 1:
        raise ValueError(f"{SCRIPT.name}: expected exactly one line {SLOT.strip()!r} to fill")
    if not (targets or _rules(group) or _sold(group) or has_pools(group)):
        return ""
    return source.replace(SLOT, f"local CATALOGUE = {_catalogue(group, targets)}\n")


def has_pools(group: Group) -> bool:
    return any(route.pool for chain in group.chains for route in chain.routes)


def _rules(group: Group) -> list[Vendor]:
    """Return the group's vendors that have outcome rules, sorted by name."""
    found = [vendor for vendor in group.vendors if vendor.outcomes]
    return sorted(found, key=lambda vendor: vendor.name)


def _sold(group: Group) -> list[Vendor]:
    """Return the group's vendors that have products, sorted by name."""
    return sorted(
        (vendor for vendor in group.vendors if vendor.products), key=lambda vendor: vendor.name
    )


def quoted(text: str) -> str:
    """Return `text` as a Lua string literal; everything but plain characters is escaped.

    Raises:
        ValueError: `text` holds a character outside printable ASCII.
    """
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{text!r} cannot be written into Lua: printable ASCII only")
    return '"' + "".join(c if c not in '"\\' else f"\\{c}" for c in text) + '"'


def _catalogue(group: Group, targets: Sequence[Target]) -> str:
    lines = ["{"]
    by_vendor = [*_rules(group), *_sold(group)]
    if has_pools(group) or (by_vendor and group.decides_by_port):
        # Ranges are text that the script parses as Envoy loads it. A Lua table for each of 10,000
        # ranges would stay in memory.
        routes = {route for chain in group.chains for route in chain.routes}
        in_order = sorted(routes, key=lambda route: (*by_address(route.network), route.vendor))
        lines += ["  ranges = [[", *(_range(route) for route in in_order), "]],"]
    else:
        lines += [f"  vendor = {quoted(group.vendors[0].name)},"]
    lines += ["  verdicts = {"]
    for vendor in _rules(group):
        lines += _verdicts(vendor)
    lines += ["  },", "  products = {"]
    for vendor in _sold(group):
        lines += [f"    [{quoted(vendor.name)}] = {{"]
        lines += [
            f"      {{ user = {quoted(one.user)}, name = {quoted(one.name)} }},"
            for one in vendor.products
        ]
        lines += ["    },"]
    lines += ["  },", "  targets = {"]
    named = sorted((host, target.name) for target in targets for host in target.hosts)
    lines += [f"    [{quoted(host)}] = {quoted(name)}," for host, name in named]
    return "\n".join([*lines, "  },", "}"])


def _range(route: Route) -> str:
    """Return one line: range, vendor, pool or `-`, and the ports unless the vendor has all."""
    ports = [",".join(str(ports) for ports in route.ports)] if route.ports else []
    return " ".join([str(route.network), route.vendor, route.pool or "-", *ports])


def _verdicts(vendor: Vendor) -> list[str]:
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
    if rule.kind != "any":
        parts.append(f"kind = {quoted(rule.kind)}")
    return "{ " + ", ".join(parts) + " }"
