"""Which name and which preset an address has: DNS as it answers here, and well-known ports."""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml

from settings.loading import ROOT
from settings.values.addresses import IPAddress

PRESETS = ROOT / "presets"
DNS_SECONDS = 8.0  # for all names together

# Ports on which nearly anything may listen: they suggest no preset, and no vendor.
COMMON_PORTS = frozenset((80, 443, 1080, 3128, 5000, 8000, 8080, 8443, 8888, 9000, 60000))

Resolve = Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class Presets:
    """The names and ports of the well-known vendors."""

    hosts: Mapping[str, str]
    """The preset of each name; "*.vendor.example" stands for all below it."""
    listed: Mapping[str, frozenset[tuple[str, int]]]
    """For each preset, the names and ports that `preset:` alone brings."""
    ports: Mapping[str, frozenset[int]]
    """For each preset, the ports by number."""

    def of(self, name: str) -> str:
        """Return the preset that has a name, or an empty text."""
        below = name.split(".")
        wildcards = (f"*.{'.'.join(below[n:])}" for n in range(1, len(below)))
        return next((self.hosts[one] for one in (name, *wildcards) if one in self.hosts), "")

    @property
    def names(self) -> list[str]:
        """Return the names that DNS can be asked for."""
        return [name for name in self.hosts if "*" not in name]

    @cached_property
    def by_port(self) -> dict[int, str]:
        """The preset of each port that no other has, and that is not common."""
        holders = defaultdict(set)
        for name, ports in self.ports.items():
            for port in ports - COMMON_PORTS:
                holders[port].add(name)
        return {port: next(iter(names)) for port, names in holders.items() if len(names) == 1}


def read_presets(folder: Path = PRESETS) -> Presets:
    """Read the names and ports of `presets/*.yaml`."""
    hosts: dict[str, str] = {}
    listed, ports = {}, {}
    for file in sorted(folder.glob("*.yaml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        vendor = content["vendor"]
        own = [_host(one, vendor) for one in vendor.get("hosts", ())]
        others = [(one["name"], one["ports"]) for one in content.get("gateways", ())]
        for name, _ in [*own, *others]:
            hosts.setdefault(name, file.stem)
        listed[file.stem] = frozenset((name, port) for name, its in own for port in _numbers(its))
        ports[file.stem] = frozenset(port for _, its in [*own, *others] for port in _numbers(its))
    return Presets(hosts, listed, ports)


def _host(entry: Any, vendor: Mapping[str, Any]) -> tuple[str, Iterable[object]]:
    if isinstance(entry, str):
        return entry, vendor.get("httpPorts", ())
    return entry["name"], entry.get("ports", vendor.get("httpPorts", ()))


def _numbers(ports: Iterable[object]) -> set[int]:
    return {port for port in ports if isinstance(port, int)}


def by_dns(name: str) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


def names_of(names: Iterable[str], resolve: Resolve = by_dns) -> dict[IPAddress, str]:
    """Return the name of each address that DNS gives here for one of the names.

    The first name wins. A name that does not resolve in time is left out.
    """
    wanted = list(dict.fromkeys(names))
    answers: dict[str, list[str]] = {}

    def ask(name: str) -> None:
        try:
            answers[name] = list(resolve(name))
        except OSError:
            answers[name] = []

    # Daemons: a resolver that does not answer must not keep the program from its end.
    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in wanted]
    deadline = time.monotonic() + DNS_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    found: dict[IPAddress, str] = {}
    for name in wanted:
        for address in answers.get(name, ()):
            found.setdefault(ip_address(address.partition("%")[0]), name)
    return found
