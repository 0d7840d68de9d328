"""A stack file to paste, from what was seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from discover.names import Presets
from discover.report import Row
from settings.crawlers import usable_namespace
from settings.hosts import MOST_LISTED_PORTS
from settings.loading import PROJECT
from settings.messages import as_yaml
from settings.vendors import RESERVED_NAMES

# Proxies also listen there, but so do sites that are reached directly, and storage.
NO_PROXY_PORTS = frozenset((22, 25, 53, 80, 123, 443, 465, 587, 853))
# Databases and queues, by IANA's registry and their documentation.
NO_PROXY_PORTS |= {1433, 2049, 2181, 3306, 4317, 5432, 5671, 5672, 6379, 6443, 9042, 9092, 9093}
NO_PROXY_PORTS |= {9200, 11211, 26379, 27017}
MOST_VENDORS = 20
NEAR = 1000  # ports between which a sticky session may move
FEW = 4
MOST_ADDRESSES = 50  # of a vendor: more belong into a file of ranges

Vendor = tuple[dict[str, Any], str]
"""A vendor's keys, and a comment."""


def stack_text(
    rows: Sequence[Row],
    presets: Presets,
    *,
    cluster: str,
    namespaces: Iterable[str],
    selector: Mapping[str, str],
) -> str | None:
    """Return a stack file with the vendors that were found; None if there is nothing to write.

    Destinations that the stack has already are left out, and so are those that are no proxies by
    their ports.
    """
    strangers = [row for row in rows if not row.known]
    found = [*_by_preset(strangers, presets), *_by_name(strangers), *_by_port(strangers)]
    vendors = _named_apart(found[:MOST_VENDORS])
    if not vendors:
        return None
    lines = ["config:", f"  {PROJECT}:cluster: {cluster}"]
    crawlers = {"namespaces": [*filter(_usable, namespaces)], "selector": dict(selector)}
    if own := {key: value for key, value in crawlers.items() if value}:
        lines.append(f"  {PROJECT}:crawlers: {as_yaml(own)}")
    lines.append(f"  {PROJECT}:vendors:")
    lines += [
        f"    - {as_yaml(keys)}{f'  # {comment}' if comment else ''}" for keys, comment in vendors
    ]
    return "\n".join(lines) + "\n"


def _named_apart(vendors: Iterable[Vendor]) -> list[Vendor]:
    """Return the vendors with names that a stack file takes, none twice."""
    taken = {*RESERVED_NAMES}
    renamed = []
    for keys, comment in vendors:
        name = base = keys["name"]
        number = 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        renamed.append(({**keys, "name": name}, comment))
    return renamed


def _usable(namespace: str) -> bool:
    with suppress(ValueError):
        return bool(usable_namespace(namespace))
    return False


def _by_preset(rows: Iterable[Row], presets: Presets) -> list[Vendor]:
    seen: dict[str, set[tuple[str, int]]] = defaultdict(set)
    perhaps: dict[str, bool] = {}
    for row in rows:
        if row.preset:
            perhaps[row.preset] = perhaps.get(row.preset, True) and row.perhaps
            if row.name:
                seen[row.preset].add((row.name, row.destination.port))
    vendors: list[Vendor] = []
    for name, only_port in perhaps.items():
        keys: dict[str, Any] = {"name": name, "preset": name}
        if more := seen[name] - presets.listed[name]:
            keys["hosts"] = _hosts(more | presets.listed[name])
        ports = sorted({row.destination.port for row in rows if row.preset == name})
        comment = f"perhaps: only this preset has port {', '.join(map(str, ports))}"
        vendors.append((keys, comment if only_port else ""))
    return vendors


def _by_name(rows: Iterable[Row]) -> list[Vendor]:
    seen: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for row in rows:
        if row.name and not row.preset:
            seen[_short(row.name)].add((row.name, row.destination.port))
    return [
        ({"name": name, "hosts": _hosts(found), "httpPorts": _ports({p for _, p in found})}, "")
        for name, found in seen.items()
    ]


def _short(host: str) -> str:
    """Return "vendor" of gw.vendor.example."""
    labels = host.lower().split(".")
    return labels[-2] if len(labels) > 1 else labels[0]


def _hosts(found: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    by_name: dict[str, set[int]] = defaultdict(set)
    for name, port in found:
        by_name[name].add(port)
    hosts = []
    for name, ports in sorted(by_name.items()):
        host: dict[str, Any] = {"name": name, "ports": _ports(ports)}
        if len(ports) > MOST_LISTED_PORTS:
            host["allowUnlistedPorts"] = True
        hosts.append(host)
    return hosts


def _ports(ports: Iterable[int]) -> list[int | str]:
    """Return ports as a stack file has them: many that are near each other become a range."""
    listed = sorted(ports)
    if len(listed) <= MOST_LISTED_PORTS:
        return [*listed]
    runs: list[list[int]] = []
    for port in listed:
        if runs and port - runs[-1][-1] <= NEAR:
            runs[-1].append(port)
        else:
            runs.append([port])
    few = [port for run in runs if len(run) <= FEW for port in run][: MOST_LISTED_PORTS - 1]
    many = [run for run in runs if len(run) > FEW]
    if not few:  # a name needs a port by number, or Istio does not take it
        few = [many[0].pop(0)]
    return sorted([*few, *(f"{run[0]}-{run[-1]}" for run in many)], key=_first)


def _first(ports: int | str) -> int:
    return int(str(ports).partition("-")[0])


def _by_port(rows: Iterable[Row]) -> list[Vendor]:
    """Return a vendor for all addresses that were used on the same ports."""
    ports: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if not row.preset and not row.name and row.destination.port not in NO_PROXY_PORTS:
            ports[str(row.destination.address)].add(row.destination.port)
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for address, used in ports.items():
        groups[tuple(sorted(used))].append(address)
    vendors: list[Vendor] = []
    for number, (together, addresses) in enumerate(groups.items(), 1):
        text = ", ".join(map(str, together[:3])) + ", …" * (len(together) > 3)
        comment = f"who has port {text} there? give it its name, or write it under destinations"
        if len(addresses) > MOST_ADDRESSES:
            comment += f"; {len(addresses) - MOST_ADDRESSES} more addresses: see discover.json"
        own = {"cidrs": addresses[:MOST_ADDRESSES], "httpPorts": _ports(together)}
        vendors.append(({"name": f"vendor-{number}", **own}, comment))
    return vendors


def left_out(rows: Iterable[Row]) -> str:
    """Return a line about what the stack file says nothing of."""
    rest = [
        row
        for row in rows
        if not (row.known or row.preset or row.name) and row.destination.port in NO_PROXY_PORTS
    ]
    if not rest:
        return ""
    ports = sorted({row.destination.port for row in rest})
    return (
        f"not in it: {len(rest)} destinations on ports {', '.join(map(str, ports[:6]))}"
        f"{', …' * (len(ports) > 6)} (sites without a proxy, storage; NAMES= tells proxies by name)"
    )
