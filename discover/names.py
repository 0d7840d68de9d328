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

from settings.presets import preset, preset_names
from settings.values.addresses import IPAddress
from settings.vendors import ports_of

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


def read_presets() -> Presets:
    """Return the names and ports of `presets/`."""
    hosts: dict[str, str] = {}
    listed, ports = {}, {}
    for name in preset_names():
        known = preset(name)
        vendor = known.example()
        listed[name] = frozenset(
            (host.name, port) for host in vendor.hosts for port in ports_of(vendor, host)
        )
        numbers = {span.first for span in known.ports if span.first == span.last}
        ports[name] = frozenset(numbers | {port for _, port in listed[name]})
        for host in (*(host.name for host in vendor.hosts), *(one.name for one in known.gateways)):
            hosts.setdefault(host, name)
    return Presets(hosts, listed, ports)


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
