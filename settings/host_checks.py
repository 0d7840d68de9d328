"""What names in `hosts` cannot say together: one name, one address, and a way to it."""

from __future__ import annotations

from collections.abc import Iterator

from settings.catalogue import Catalogue, Route
from settings.destinations import listed_names
from settings.hosts import MOST_LISTED_PORTS, Host
from settings.section import Location, Problem, path_text, repeated
from settings.stack import StackSettings
from settings.values.addresses import IPNetwork

# A port that is read as HTTP takes 0.8 MB of each sidecar and 15 ms of its start (Envoy 1.40, two
# workers): with 400 it needed 399 MB of the 512 that it may have (settings/istio.py).
MOST_LISTED_PORTS_OF_ALL = 200


def hosts_of(settings: StackSettings) -> Iterator[tuple[Location, Host]]:
    lists = {
        "vendors": [vendor.hosts for vendor in settings.vendors],
        "destinations": [destination.hosts for destination in settings.destinations],
    }
    for key, owners in lists.items():
        for index, hosts in enumerate(owners):
            for number, host in enumerate(hosts):
                yield (key, index, "hosts", number), host


def hosts_are_unique(settings: StackSettings) -> Iterator[Problem]:
    yield from repeated(
        ((at, host.name) for at, host in hosts_of(settings)),
        "keep it where it belongs; products that differ only by user name are one vendor",
    )


def virtual_addresses_are_nobodys(settings: StackSettings) -> Iterator[Problem]:
    """A connection to one must mean one name."""
    taken = Catalogue(
        Route(network=network, vendor=where, pool="") for network, where in _ranges(settings)
    )
    holders: dict[object, tuple[Location, Host]] = {}
    for at, host in hosts_of(settings):
        before, other = holders.setdefault(host.address, (at, host))
        if other.name != host.name:
            yield Problem(
                at,
                f"{host.name!r} has the virtual address {host.address}, as {path_text(before)} "
                f"({other.name}); write a virtualAddress of 240.241.0.0/16 for one of them",
            )
        if covering := taken.covering(host.address):
            yield Problem(
                at,
                f"{host.name!r} has the virtual address {host.address}, which lies in "
                f"{covering[0].vendor} ({covering[0].network}); write a virtualAddress that no "
                "machine has, like 240.241.0.9",
            )


def _ranges(settings: StackSettings) -> Iterator[tuple[IPNetwork, str]]:
    """Yield every range of the stack that has machines, and where it stands."""
    for index, vendor in enumerate(settings.vendors):
        for number, block in enumerate(vendor.cidrs):
            yield block.network, block.where or path_text(("vendors", index, "cidrs", number))
    for index, destination in enumerate(settings.destinations):
        for number, network in enumerate(destination.cidrs):
            yield network, path_text(("destinations", index, "cidrs", number))
    for at, network in settings.network.ranges:
        yield network, path_text(at)


def hosts_have_listed_ports(settings: StackSettings) -> Iterator[Problem]:
    """Istio needs a port to know a name, and each is a listener in every sidecar."""
    listed = listed_names(settings.vendors, settings.destinations)
    total = 0
    for (at, _), (host, ports) in zip(hosts_of(settings), listed, strict=True):
        before, total = total, total + (0 if host.retired else len(ports))
        if not ports:
            yield Problem(
                at,
                f"{host.name!r} has no port by number, and without one Istio does not take the "
                "name; add one that crawlers use to its ports",
            )
        elif not host.ports and len(ports) > MOST_LISTED_PORTS:
            yield Problem(
                at,
                f"{host.name!r} has {len(ports)} ports from httpPorts, and each is a listener in "
                f"every sidecar; write at most {MOST_LISTED_PORTS} as its ports",
            )
        elif before <= MOST_LISTED_PORTS_OF_ALL < total:
            yield Problem(
                at,
                f"{host.name!r} brings the listed ports of all names to {total}, and each takes "
                f"memory of every sidecar; list at most {MOST_LISTED_PORTS_OF_ALL}, or write "
                "ranges with allowUnlistedPorts: true",
            )


def crawlers_resolve_names(settings: StackSettings) -> Iterator[Problem]:
    first = next(hosts_of(settings), None)
    if first and settings.crawlers.dns_capture is False:
        at, host = first
        yield Problem(
            ("crawlers", "dnsCapture"),
            f"false leaves {path_text(at)} ({host.name}) its real addresses, and its connections "
            "would count as outside; remove it, or the hosts",
        )


def gateways_are_outside_the_cluster(settings: StackSettings) -> Iterator[Problem]:
    """A policy cannot match a name: it allows its ports at every address outside the cluster."""
    first = next(hosts_of(settings), None)
    network = settings.network
    if not first or network.egress == "any" or (network.pod_cidrs and network.service_cidrs):
        return
    at, host = first
    missing = "serviceCidrs" if network.pod_cidrs else "podCidrs"
    yield Problem(
        ("network", missing),
        f"is missing; with egress: vendorsOnly, {path_text(at)} ({host.name}) may have any address "
        "outside the cluster, so write which are inside",
    )
