"""Where crawlers may connect to, and who may connect to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_network

from components.network import groups
from components.network.peers import Addresses, Flow, Pods, port
from settings.destinations import ports_of as ports_of_destination
from settings.hosts import Host, unlisted_ports
from settings.stack import StackSettings
from settings.values.addresses import IPNetwork, PortRange
from settings.vendors import Vendor
from settings.vendors import ports_of as ports_of_vendor

XDS_PORT = 15012

NO_GATEWAY = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))
"""Link-local: the cloud's metadata and its credentials are there, and no vendor's gateway."""


def limits_egress(settings: StackSettings) -> bool:
    return settings.has_crawlers and settings.network.egress == "vendorsOnly"


def limits_ingress(settings: StackSettings) -> bool:
    """Whether only pods that are known may connect to crawlers.

    Where the namespaces exist, so may callers that this program knows nothing of: no `up` cuts
    them unless the stack says so.
    """
    made_here = "crawlersOnly" if settings.crawlers.create_namespaces else "any"
    return settings.has_crawlers and (settings.network.ingress or made_here) == "crawlersOnly"


def crawler_flows(settings: StackSettings) -> Iterator[Flow]:
    crawlers, attributed = groups.crawlers(settings), groups.attributed(settings)
    yield Flow(
        source=crawlers,
        target=crawlers,
        reason="Crawlers share queues and caches in their namespaces, and call each other.",
    )
    yield Flow(
        source=crawlers,
        # Of an Istio of ours, sidecars of every namespace are admitted.
        target=replace(groups.istiod(settings), unruled=True),
        ports=port(XDS_PORT),
        reason="Sidecars get configuration and certificates.",
    )
    if not limits_egress(settings):
        yield Flow(
            source=attributed,
            target=groups.EVERYBODY,
            reason="network.egress is any: what goes past the vendors is counted, not refused.",
        )
        return
    yield from _mesh_services(settings, attributed)
    for vendor in settings.vendors:
        if settings.is_simulated(vendor.name):
            continue
        yield from _to_ranges(attributed, vendor.name, _networks(vendor), vendor.ports)
        hosts = ((host, ports_of_vendor(vendor, host)) for host in vendor.hosts)
        yield from _to_names(attributed, settings, vendor.name, hosts)
    for destination in settings.destinations:
        yield from _to_ranges(attributed, destination.name, destination.cidrs)
        others = ((host, ports_of_destination(host)) for host in destination.hosts)
        yield from _to_names(attributed, settings, destination.name, others)


def _mesh_services(settings: StackSettings, attributed: Pods) -> Iterator[Flow]:
    """Yield the flow to the namespaces of `crawlers.egressHosts`."""
    named = {host.partition("/")[0] for host in settings.crawlers.egress_hosts} - {"."}
    if named:
        everywhere = "*" in named
        yield Flow(
            source=attributed,
            target=Pods(
                name="mesh services", namespaces=() if everywhere else tuple(sorted(named))
            ),
            reason="crawlers.egressHosts names services of these namespaces.",
        )


def _networks(vendor: Vendor) -> tuple[IPNetwork, ...]:
    return tuple(each.network for each in vendor.cidrs)


def _to_ranges(
    attributed: Pods,
    name: str,
    networks: tuple[IPNetwork, ...],
    ports: tuple[PortRange, ...] = (),
) -> Iterator[Flow]:
    """Yield the flow to the addresses of a vendor or destination."""
    if networks:
        yield Flow(
            source=attributed,
            target=Addresses(name=f"addresses of {name}", cidrs=networks),
            ports=ports,
            reason=f"These are the addresses of {name}.",
            apart=f"crawlers-to-{name}",
        )


def _to_names(
    attributed: Pods,
    settings: StackSettings,
    name: str,
    hosts: Iterable[tuple[Host, tuple[int, ...]]],
) -> Iterator[Flow]:
    """Yield the flow to the gateways of a vendor or destination that DNS alone knows."""
    ports = {
        ports
        for host, listed in hosts
        for ports in (*(PortRange(each, each) for each in listed), *unlisted_ports(host))
    }
    if ports:
        yield Flow(
            source=attributed,
            target=outside(settings, f"gateways of {name}"),
            ports=tuple(sorted(ports)),
            reason=(
                f"The gateways of {name} have any address outside the cluster; the sidecar lets "
                "their names alone pass."
            ),
            apart=f"crawlers-to-{name}",
        )


def outside(settings: StackSettings, name: str) -> Addresses:
    """Return every address but the cluster's own and link-local ones."""
    own = (*settings.network.pod_cidrs, *settings.network.service_cidrs)
    # A plugin of a cluster without IPv6 need not read IPv6 ranges.
    versions = (4, 6) if any(network.version == 6 for network in own) else (4,)
    all_of: dict[int, IPNetwork] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
    left_out = sorted({*own, *NO_GATEWAY}, key=str)
    return Addresses(
        name=name,
        cidrs=tuple(all_of[version] for version in versions),
        without=tuple(network for network in left_out if network.version in versions),
    )
