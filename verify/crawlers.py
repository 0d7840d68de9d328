"""Do the crawlers' pods and the mesh around them let the attribution work?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from components.attribution.bootstrap import PROXY_CONFIG
from deployment import CrawlerSide, StackPlan
from settings.destinations import listed_names
from settings.hosts import unlisted_ports
from settings.stack import StackSettings
from settings.vendors import Vendor
from verify.check import Check
from verify.cluster import Cluster
from verify.mesh import SIDECAR, Mesh, hosts_of_sidecars, mesh_findings
from verify.pods import Vendors, namespace_findings, pod_findings

Json = dict[str, Any]

EVERY_NAMESPACE = "*"
INJECTION = ("istio-injection", "istio.io/rev")
MOST_PORTS = 1000  # of a range: sessions may stick to ten thousands


def crawler_checks(
    cluster: Cluster, settings: StackSettings, plan: StackPlan, pods: list[Json]
) -> list[Check]:
    """Ask for the crawlers' pods, namespaces and what Istio knows of them.

    Raises:
        KubectlError: it cannot be read.
    """
    assert plan.crawlers
    vendors = vendors_of(settings.vendors)
    wanted = {
        one.name: {key: value for key, value in one.labels.items() if key in INJECTION}
        for one in plan.namespaces
        if one.purpose == "crawlers"
    }
    sidecars = [*namespace_findings(cluster.namespaces(*wanted), wanted)]
    label = settings.crawlers.workload_label
    sidecars += pod_findings(pods, vendors, label, settings.istio.revisions)
    mesh = mesh_of(settings, plan.crawlers, vendors)
    if not settings.makes_sidecar:
        near = (*mesh.namespaces, mesh.root)
        theirs = [one for where in near for one in cluster.istio_objects(where)]
        mesh = replace(mesh, egress_hosts=hosts_of_sidecars(mesh, theirs, pods))
    known = _namespaces(mesh)
    objects = [one for where in known for one in cluster.istio_objects(where)]
    services = [one for where in known for one in cluster.services(where)]
    needed = len(mesh.own) * len(wanted)
    return [
        Check(name="sidecars", said=f"running crawler pods: {len(pods)}", findings=sidecars),
        Check(
            name="mesh",
            said=f"objects of Istio: {len(objects)}; the stack needs {needed} of them",
            findings=[*mesh_findings(mesh, objects, services, pods)],
        ),
    ]


def mesh_of(settings: StackSettings, crawlers: CrawlerSide, vendors: Vendors) -> Mesh:
    own = [("EnvoyFilter", name) for name in crawlers.filters]
    own += [("ServiceEntry", name) for name in crawlers.service_entries]
    own.append(("ProxyConfig", PROXY_CONFIG))
    if crawlers.sidecar is not None:
        own.append(SIDECAR)
    names = listed_names(settings.vendors, settings.destinations)
    return Mesh(
        namespaces=settings.crawlers.namespaces,
        root=settings.istio.root_namespace,
        own=frozenset(own),
        egress_hosts=settings.crawlers.egress_hosts,
        selector=settings.crawlers.selector,
        vendors=vendors,
        names=frozenset(host.name for host, _ in names),
    )


def vendors_of(vendors: Iterable[Vendor]) -> Vendors:
    """Return the ranges of all vendors, and the ports that a listener of 0.0.0.0 would take.

    A name's listed ports have listeners at its own address, which win.
    """
    ports: set[int] = set()
    ranges = []
    for vendor in vendors:
        ranges += [one.network for one in vendor.ranges]
        spans = [ports for host in vendor.hosts for ports in unlisted_ports(host)]
        spans += (vendor.ports or vendor.http_ports) if vendor.cidrs else ()
        for span in spans:
            ports |= {*range(span.first, min(span.last, span.first + MOST_PORTS) + 1)}
    return Vendors(ranges=tuple(ranges), ports=frozenset(ports))


def _namespaces(mesh: Mesh) -> list[str]:
    """Return the namespaces whose objects crawlers' sidecars get; "" stands for all."""
    imported = {host.partition("/")[0] for host in mesh.egress_hosts}
    if EVERY_NAMESPACE in imported:
        return [""]
    return sorted({*mesh.namespaces, mesh.root, *(imported - {".", "~"})})
