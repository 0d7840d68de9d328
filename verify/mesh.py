"""Other people's Istio objects that take vendors' connections from the attribution; pure.

What shadows what was measured (docs/compatibility.md, tests/mesh/test_shadowing.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verify.pods import Vendors

Json = dict[str, Any]

CHANGES_CONNECTIONS = ("LISTENER", "LISTENER_FILTER", "FILTER_CHAIN", "NETWORK_FILTER")
"""What an EnvoyFilter may patch that reaches our chains or their order. Another team's HTTP filter
does not reach an added chain, unless it names the listener."""
OUTBOUND = ("ANY", "SIDECAR_OUTBOUND")
LISTENER = "virtualOutbound"
LISTENER_PORT = 15001

SIDECAR = ("Sidecar", "proxy-observability")
EVERYTHING = ("*/*",)
EXPORT_TO = "networking.istio.io/exportTo"

HTTP = ("http", "http2", "grpc", "grpc-web")
HTTP_OF_KUBERNETES = ("kubernetes.io/h2c", "kubernetes.io/ws")
"""Values of `appProtocol` (Istio's pkg/config/kube/conversion.go)."""


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """What is looked at, and whose it is."""

    namespaces: tuple[str, ...]
    """The crawlers'."""
    root: str
    """istiod's: its EnvoyFilters are for every sidecar."""
    own: frozenset[tuple[str, str]]
    """(kind, name) of the program's own objects in each of the crawlers' namespaces."""
    egress_hosts: tuple[str, ...]
    """`namespace/host` of other namespaces that crawlers' sidecars know."""
    selector: Mapping[str, str]
    """Labels of crawlers' pods; empty for all."""
    vendors: Vendors
    names: frozenset[str]
    """Vendors' and destinations' names."""


def mesh_findings(
    mesh: Mesh, objects: Iterable[Json], services: Iterable[Json], pods: Sequence[Json]
) -> Iterator[str]:
    """Yield a line for each object that is missing or in the way."""
    found: set[tuple[str, str, str]] = set()
    for one in objects:
        metadata, kind = one["metadata"], one["kind"]
        where, name = metadata["namespace"], metadata["name"]
        if where in mesh.namespaces and (kind, name) in mesh.own:
            found.add((where, kind, name))
            continue
        near = [pod for pod in pods if where in (mesh.root, pod["metadata"]["namespace"])]
        if reason := _REASONS[kind](one, mesh, near):
            yield f"{where}: {kind} {name} {reason}"
    for where in mesh.namespaces:
        missing = [one for one in sorted(mesh.own) if (where, *one) not in found]
        if len(missing) == len(mesh.own) > 1:
            yield f"{where}: all that the stack has of Istio is missing; run `pulumi up`"
            continue
        for kind, name in missing:
            yield f"{where}: {kind} {name} is missing; run `pulumi up --refresh`"
    for one in services:
        if reason := _of_service(one, mesh):
            metadata = one["metadata"]
            yield f"{metadata['namespace']}: Service {metadata['name']} {reason}"


def hosts_of_sidecars(mesh: Mesh, objects: Iterable[Json], pods: Sequence[Json]) -> tuple[str, ...]:
    """Return what crawlers' sidecars know by other people's Sidecars: all of the mesh without any.

    One in the crawlers' namespace wins over one for the whole mesh, in the root namespace.
    """
    found: dict[bool, set[str]] = {}
    for one in objects:
        if one["kind"] == "Sidecar" and _selects(_labels_of(one), pods):
            hosts = _egress_hosts(one["spec"])
            found.setdefault(one["metadata"]["namespace"] in mesh.namespaces, set()).update(hosts)
    return tuple(sorted(found.get(True) or found.get(False) or EVERYTHING))


def _of_service(one: Json, mesh: Mesh) -> str:
    metadata = one["metadata"]
    namespace, own = metadata["namespace"], metadata["namespace"] in mesh.namespaces
    host = f"{metadata['name']}.{namespace}.svc.cluster.local"
    exported = (metadata.get("annotations") or {}).get(EXPORT_TO, "*")
    if not own and (exported in (".", "~") or not imported(namespace, [host], mesh.egress_hosts)):
        return ""
    if not (ports := http_ports(one) & mesh.vendors.ports):
        return ""
    fix = (
        "move it to another namespace or port"
        if own
        else ("leave it out of what the crawlers' Sidecar knows (crawlers.sidecarResource)")
    )
    return f"takes port {min(ports)} of vendors from the attribution; {fix}"


def filter_reason(one: Json, mesh: Mesh, pods: Sequence[Json]) -> str:
    """Return what an EnvoyFilter of others does to crawlers' connections; empty for nothing."""
    namespace, spec = one["metadata"]["namespace"], one.get("spec") or {}
    if namespace not in (*mesh.namespaces, mesh.root) or spec.get("targetRefs"):
        return ""
    if not _selects((spec.get("workloadSelector") or {}).get("labels"), pods):
        return ""
    for patch in spec.get("configPatches", ()):
        if _reaches_us(patch):
            return (
                f"patches {patch['applyTo']} of the crawlers' outbound listener; give it a "
                "workloadSelector without crawlers, or another listener"
            )
    return ""


def _reaches_us(patch: Json) -> bool:
    match = patch.get("match") or {}
    if match.get("context", "ANY") not in OUTBOUND:
        return False
    listener = match.get("listener") or {}
    named = listener.get("name")
    if patch.get("applyTo") == "HTTP_FILTER":
        return bool(named == LISTENER)
    if patch.get("applyTo") not in CHANGES_CONNECTIONS:
        return False
    return named in (None, "", LISTENER) and listener.get("portNumber") in (None, 0, LISTENER_PORT)


def _of_entry(one: Json, mesh: Mesh, _: Sequence[Json]) -> str:
    namespace, spec = one["metadata"]["namespace"], one.get("spec") or {}
    hosts = spec.get("hosts", ())
    if namespace not in mesh.namespaces and not imported(namespace, hosts, mesh.egress_hosts):
        return ""
    if name := named(hosts, mesh.names):
        return f"has {name}, a name of the stack; take it out, or part of it goes past us"
    if taken := entry_ports(spec) & mesh.vendors.ports:
        return (
            f"takes port {min(taken)} of vendors from the attribution; move it to another "
            "namespace, or give it addresses and protocol TCP"
        )
    return ""


def named(hosts: Iterable[str], names: Iterable[str]) -> str:
    """Return the first name that is among hosts or below a wildcard of them; empty for none."""
    hosts = [*hosts]
    found = (name for name in sorted(names) if any(name == h or _below(name, h) for h in hosts))
    return next(found, "")


def entry_ports(spec: Json) -> set[int]:
    """Return the ports of a ServiceEntry on which Istio listens at every address."""
    return {
        port["number"]
        for port in spec.get("ports", ())
        if str(port.get("protocol", "")).lower() in HTTP or _on_every_address(spec)
    }


def _on_every_address(spec: Json) -> bool:
    """Whether Istio listens on 0.0.0.0: without an address, and for a range of them."""
    addresses = [str(one) for one in spec.get("addresses", ())]
    return not addresses or any("/" in one and not _is_one(one) for one in addresses)


def _is_one(address: str) -> bool:
    return address.endswith("/32") or address.endswith("/128")


def _of_sidecar(one: Json, mesh: Mesh, pods: Sequence[Json]) -> str:
    namespace, labels = one["metadata"]["namespace"], _labels_of(one)
    if namespace not in mesh.namespaces:
        return ""
    if SIDECAR not in mesh.own:
        left_out = _left_out(namespace, one["spec"], mesh.names)
        if left_out and _selects(labels, pods):
            return (
                f"leaves out {left_out}, a name of the stack, which then counts as outside; add "
                "./* to its egress hosts"
            )
        return ""
    # With a selector, ours wins over one without.
    if (labels and _selects(labels, pods)) or (not labels and not mesh.selector):
        return (
            "takes the place of ours for crawlers; remove it, or select other pods, or keep it "
            "alone with crawlers.sidecarResource: none"
        )
    return ""


def _labels_of(sidecar: Json) -> Mapping[str, str] | None:
    labels = ((sidecar.get("spec") or {}).get("workloadSelector") or {}).get("labels")
    return dict(labels) if labels else None


def _egress_hosts(spec: Json) -> Iterable[str]:
    """Return what a Sidecar lets its pods know; without `egress`, everything."""
    return [host for one in spec.get("egress", ()) for host in one["hosts"]] or EVERYTHING


def _left_out(namespace: str, spec: Json, names: Iterable[str]) -> str:
    """Return the first of the names in this namespace that a Sidecar hides, "" for none."""
    hosts = [
        f"{namespace}{host[1:]}" if host.startswith("./") else host for host in _egress_hosts(spec)
    ]
    return next((name for name in sorted(names) if not imported(namespace, [name], hosts)), "")


def _of_proxy_config(one: Json, mesh: Mesh, pods: Sequence[Json]) -> str:
    if one["metadata"]["namespace"] not in mesh.namespaces:
        return ""
    labels = ((one.get("spec") or {}).get("selector") or {}).get("matchLabels")
    if bool(labels) == bool(mesh.selector) and (not labels or _selects(labels, pods)):
        other = "crawlers.selector" if not labels else "other labels"
        return (
            "is for the same pods as ours, and sidecars read the older of the two alone; give one "
            f"of them {other}"
        )
    return ""


_REASONS = {
    "EnvoyFilter": filter_reason,
    "ServiceEntry": _of_entry,
    "Sidecar": _of_sidecar,
    "ProxyConfig": _of_proxy_config,
}


def _selects(labels: Mapping[str, str] | None, pods: Sequence[Json]) -> bool:
    """Whether labels select one of the pods; without labels, and without pods, they do."""
    if not labels or not pods:
        return True
    return any(labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in pods)


def imported(namespace: str, hosts: Iterable[str], egress: Iterable[str]) -> bool:
    """Whether hosts of a namespace are among the egress of a Sidecar, as `namespace/host`."""
    hosts = [*hosts]
    for where, _, wanted in (one.partition("/") for one in egress):
        if where in ("*", namespace):
            for host in hosts:
                if wanted in ("*", host) or _below(host, wanted) or _below(wanted, host):
                    return True
    return False


def _below(name: str, wildcard: str) -> bool:
    """Whether a host's name is below `*.shop.example`."""
    return wildcard.startswith("*.") and name.endswith(wildcard[1:])


def http_ports(service: Json) -> set[int]:
    """Return the ports on which Istio listens for HTTP at every address.

    A port of no protocol is told by its bytes, and Istio listens at the Service's own address
    (pilot/pkg/networking/core/listener.go, ListenerProtocolAuto).
    """
    found = set()
    for port in service["spec"].get("ports", ()):
        protocol = (port.get("appProtocol") or port.get("name") or "").lower()
        if protocol in HTTP_OF_KUBERNETES or re.fullmatch(rf"({'|'.join(HTTP)})(-.*)?", protocol):
            found.add(int(port["port"]))
    return found
