"""What one sidecar knows of its connections: its admin page `clusters`, and lines of its log.

Neither names a user or a URL. Envoy keeps a host of an ORIGINAL_DST cluster while it has
connections and for up to 5 s more (`cleanup_interval`), so a count needs several samples.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple

from components.attribution.clusters import UNOWNED_CLUSTER_PREFIX
from components.attribution.groups import CLUSTER_PREFIX, DESTINATION_PREFIX
from components.attribution.names import NAMED_CLUSTER_PREFIX
from components.attribution.outside_log import KIND
from components.attribution.stats import PASSTHROUGH
from settings.values.addresses import IPAddress, split_endpoint

OURS = (CLUSTER_PREFIX, NAMED_CLUSTER_PREFIX, f"{DESTINATION_PREFIX}names_", DESTINATION_PREFIX)
"""The names of Envoy's clusters for the stack's vendors and destinations begin with these."""

NOBODYS = (PASSTHROUGH, UNOWNED_CLUSTER_PREFIX)
"""Envoy sends what goes to no vendor or destination of the stack to clusters whose names begin with
these. The second takes a shared address' ports that no vendor has."""


class Destination(NamedTuple):
    """Where connections go."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class Host(NamedTuple):
    """One destination in a sample; `known` is the vendor's or destination's name, if it has one."""

    destination: Destination
    known: str
    total: int
    active: int


class NotAPageError(ValueError):
    """What was read is no answer of Envoy's admin interface."""


def hosts_of(page: str) -> Iterator[Host]:
    """Yield the hosts of `clusters?format=json` that are outside the mesh.

    Raises:
        NotAPageError: it is another page.
    """
    try:
        for cluster in json.loads(page)["cluster_statuses"]:
            name = cluster["name"]
            known = next((name.removeprefix(own) for own in OURS if name.startswith(own)), "")
            if known or name.startswith(NOBODYS):
                for host in cluster.get("host_statuses", ()):
                    if socket := host["address"].get("socket_address"):
                        yield _host(socket, known, host.get("stats", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotAPageError(
            "clusters: what a sidecar answers is not Envoy's page; see whether its port 15000 is "
            "another program's"
        ) from None


def _host(socket: Mapping[str, Any], known: str, stats: Iterable[Mapping[str, Any]]) -> Host:
    # Protobuf's JSON writes a 64-bit number as text, and leaves a zero out.
    values = {stat["name"]: int(stat.get("value", 0)) for stat in stats}
    destination = Destination(ip_address(socket["address"]), int(socket["port_value"]))
    return Host(destination, known, values.get("cx_total", 0), values.get("cx_active", 0))


@dataclass(kw_only=True)
class Seen:
    """Connections to one destination, of one pod or of several."""

    connections: int = 0
    """Seen by the samples: those of a host that vanished in between two are missing."""
    active: int = 0
    """Open at the last sample that could be read."""
    logged: int = 0
    """Connections that ended, by the log."""
    sent: int = 0
    received: int = 0
    known: str = ""
    """The vendor or destination of the stack that has it."""
    server_names: set[str] = field(default_factory=set)


@dataclass
class Tally:
    """What several samples and the log of one pod add up to."""

    seen: defaultdict[Destination, Seen] = field(default_factory=lambda: defaultdict(Seen))
    _totals: Counter[Destination] = field(default_factory=Counter)

    def add_sample(self, page: str) -> None:
        hosts, totals = list(hosts_of(page)), Counter[Destination]()
        for seen in self.seen.values():
            seen.active = 0
        for host in hosts:
            totals[host.destination] += host.total
            self.seen[host.destination].active += host.active
            self.seen[host.destination].known = host.known
        for destination, total in totals.items():
            before = self._totals[destination]
            # A host that vanished and came back counts from zero.
            self.seen[destination].connections += total - before if total >= before else total
        self._totals = totals

    def add_log(self, lines: Iterable[str]) -> None:
        """Add the lines of `telemetry.logOutside`; any other is left alone."""
        for destination, values in filter(None, map(_entry, lines)):
            seen = self.seen[destination]
            seen.logged += 1
            seen.sent += _number(values.get("bytes_received"))  # by the crawler
            seen.received += _number(values.get("bytes_sent"))
            if isinstance(name := values.get("sni"), str) and name not in ("", "-"):
                seen.server_names.add(name)


def _entry(line: str) -> tuple[Destination, Mapping[str, Any]] | None:
    try:
        values = json.loads(line) if line.startswith("{") else None
        if not isinstance(values, dict) or values.get("log") != KIND:
            return None
        address, port = split_endpoint(str(values.get("destination")))
    except ValueError:  # half a line, where the log was cut
        return None
    return (Destination(address, port), values) if port else None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
