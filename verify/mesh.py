"""Other people's Istio objects that take crawlers' connections from the attribution; pure.

`make preflight` asks this before `up`, `make verify` after it. What shadows what was measured
(docs/compatibility.md, tests/mesh/test_shadowing.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
CLUSTER_DOMAIN = "svc.cluster.local"
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
    """istiod's: its EnvoyFilters, and its Sidecar without selector, are for every namespace."""
    own: frozenset[tuple[str, str]]
    """(kind, name) of the program's own objects in each of the crawlers' namespaces."""
    egress_hosts: tuple[str, ...]
    """`namespace/host` of other namespaces that crawlers' sidecars know."""
    selector: Mapping[str, str]
    """Labels of crawlers' pods; empty for all."""
    vendors: Vendors
    names: frozenset[str]
    """Vendors' and destinations' names."""
    exports: tuple[str, ...] = ("*",)
    """The mesh's `defaultServiceExportTo`."""
    undiscovered: frozenset[str] = frozenset()
    """Namespaces that istiod does not look at (the mesh's `discoverySelectors`)."""

    @property
    def makes_sidecar(self) -> bool:
        return SIDECAR in self.own


def mesh_findings(
    mesh: Mesh, objects: Iterable[Json], services: Iterable[Json], pods: Sequence[Json]
) -> Iterator[str]:
    """Yield a line for each object that is missing or in the way."""
    objects = [*objects]
    ours = {_place(one) for one in objects if _is_own(mesh, one)}
    for where in mesh.namespaces:
        missing = [one for one in sorted(mesh.own) if (where, *one) not in ours]
        if len(missing) == len(mesh.own) > 1:
            yield f"{where}: all that the stack has of Istio is missing; run `pulumi up`"
            continue
        for kind, name in missing:
            yield f"{where}: {kind} {name} is missing; run `pulumi up --refresh`"
    theirs = [one for one in objects if not _is_own(mesh, one)]
    found = [(one, _of_sidecar(one, mesh)) for one in sidecars_in_force(mesh, theirs, pods)]
    found += [(one, _REASONS[one["kind"]](one, mesh, pods)) for one in theirs]
    found += [({**one, "kind": "Service"}, service_reason(one, mesh)) for one in services]
    for one, reason in found:
        if reason:
            where, kind, name = _place(one)
            yield f"{where}: {kind} {name} {reason}"


def _place(one: Json) -> tuple[str, str, str]:
    return one["metadata"]["namespace"], one["kind"], one["metadata"]["name"]


def _is_own(mesh: Mesh, one: Json) -> bool:
    where, kind, name = _place(one)
    return where in mesh.namespaces and (kind, name) in mesh.own


def sidecars_in_force(mesh: Mesh, objects: Iterable[Json], pods: Sequence[Json]) -> list[Json]:
    """Return other people's Sidecars that crawlers would have if there were none of ours.

    For a pod istiod takes the first of: a Sidecar of its namespace that selects it, the older
    first; one of its namespace without selector, the older first; the root namespace's without
    selector (pilot/pkg/model/push_context.go, doGetSidecarScope). Where there is no crawler yet,
    each that could select one is returned.

    Args:
        objects: of which only Sidecars of others count.
    """
    sidecars = [one for one in objects if one["kind"] == "Sidecar" and not _is_own(mesh, one)]
    sidecars.sort(key=lambda one: (not _labels_of(one), _age(one)))
    default = [
        one for one in sidecars if one["metadata"]["namespace"] == mesh.root and not _labels_of(one)
    ][:1]
    found: list[Json] = []
    for where in mesh.namespaces:
        near = [one for one in sidecars if one["metadata"]["namespace"] == where]
        crawlers = _crawlers(mesh.selector, pods, where)
        if not crawlers:
            could = [one for one in near if meet(_labels_of(one), mesh.selector, ())]
            found += could if any(not _labels_of(one) for one in could) else [*could, *default]
        for labels in crawlers:
            selecting = [one for one in near if _labels_of(one).items() <= labels.items()]
            found += (selecting or default)[:1]
    return list({_place(one): one for one in found}.values())


def meet(theirs: Mapping[str, str], ours: Mapping[str, str], pods: Sequence[Json]) -> bool:
    """Whether theirs selects a crawler of these pods, or could where there is none yet.

    No labels select all pods.
    """
    if any(ours.get(key, value) != value for key, value in theirs.items()):
        return False
    crawlers = _crawlers(ours, pods)
    return not crawlers or any(theirs.items() <= labels.items() for labels in crawlers)


def _crawlers(
    selector: Mapping[str, str], pods: Sequence[Json], namespace: str = ""
) -> list[dict[str, str]]:
    """Return the labels of the crawlers among pods, of one namespace or of all."""
    here = [one["metadata"] for one in pods]
    every = [
        one.get("labels") or {} for one in here if not namespace or one["namespace"] == namespace
    ]
    return [labels for labels in every if selector.items() <= labels.items()]


def _age(one: Json) -> tuple[str, str]:
    metadata = one["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["name"]


def hosts_of_sidecars(mesh: Mesh, objects: Iterable[Json], pods: Sequence[Json]) -> tuple[str, ...]:
    """Return what crawlers know by other people's Sidecars: all of the mesh without any."""
    found = {host for one in sidecars_in_force(mesh, objects, pods) for host in hosts_of(one)}
    return tuple(sorted(found)) or EVERYTHING


def service_reason(one: Json, mesh: Mesh) -> str:
    """Return what a Service of others does to crawlers' connections; empty for nothing."""
    metadata = one["metadata"]
    namespace = metadata["namespace"]
    # One with an ExternalName is an alias, and has no listener.
    if one["spec"].get("type") == "ExternalName":
        return ""
    said = (metadata.get("annotations") or {}).get(EXPORT_TO, "")
    exported = [each.strip() for each in said.split(",") if each.strip()]
    host = f"{metadata['name']}.{namespace}.{CLUSTER_DOMAIN}"
    if not _known(mesh, namespace, [host], exported):
        return ""
    return _taken(http_ports(one) & mesh.vendors.ports, namespace, mesh)


def entry_reason(one: Json, mesh: Mesh) -> str:
    """Return what a ServiceEntry of others does to crawlers' connections; empty for nothing."""
    namespace, spec = one["metadata"]["namespace"], one.get("spec") or {}
    hosts = spec.get("hosts") or ()
    if not _known(mesh, namespace, hosts, spec.get("exportTo") or ()):
        return ""
    if name := named(hosts, mesh.names):
        return (
            f"has {name}, a name of the stack, part of whose traffic then goes past the "
            "attribution; take it out"
        )
    return _taken(entry_ports(spec) & mesh.vendors.ports, namespace, mesh)


def _taken(ports: set[int], namespace: str, mesh: Mesh) -> str:
    if not ports:
        return ""
    fix = (
        "move it to another namespace or port"
        if namespace in mesh.namespaces
        else "take its host out of crawlers.egressHosts"
        if mesh.makes_sidecar
        else "keep it from crawlers by a Sidecar's egress, or set crawlers.sidecarResource: create"
    )
    return f"takes port {min(ports)} of vendors from the attribution; {fix}"


def _known(mesh: Mesh, namespace: str, hosts: Iterable[str], exported: Sequence[str]) -> bool:
    """Whether crawlers' sidecars know these hosts of a namespace."""
    exported = exported or mesh.exports
    if namespace in mesh.undiscovered:
        return False
    if namespace in mesh.namespaces:
        return "~" not in exported
    seen = {"*", *mesh.namespaces} & {*exported}
    return bool(seen) and imported(namespace, hosts, mesh.egress_hosts)


def filter_reason(one: Json, mesh: Mesh, pods: Sequence[Json]) -> str:
    """Return what an EnvoyFilter of others does to crawlers' connections; empty for nothing."""
    namespace, spec = one["metadata"]["namespace"], one.get("spec") or {}
    if namespace not in (*mesh.namespaces, mesh.root) or spec.get("targetRefs"):
        return ""
    if not meet(_labels_of(one), mesh.selector, _reached(namespace, mesh, pods)):
        return ""
    for patch in spec.get("configPatches", ()):
        if _reaches_us(patch):
            return (
                f"patches {patch['applyTo']} of the crawlers' outbound listener; give it a "
                "workloadSelector without crawlers, or another listener"
            )
    return ""


def _reached(namespace: str, mesh: Mesh, pods: Sequence[Json]) -> list[Json]:
    """Return the pods that an object of a namespace can be for."""
    return [pod for pod in pods if namespace in (mesh.root, pod["metadata"]["namespace"])]


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


def _of_sidecar(one: Json, mesh: Mesh) -> str:
    if takes_our_place(one, mesh):
        return (
            "takes the place of ours for crawlers; remove it, or select other pods, or keep it "
            "alone with crawlers.sidecarResource: none"
        )
    return "" if mesh.makes_sidecar else hidden_names(one, mesh)


def takes_our_place(one: Json, mesh: Mesh) -> bool:
    """Whether istiod may take a Sidecar in force instead of ours."""
    # With a selector, ours comes before one without.
    near = one["metadata"]["namespace"] in mesh.namespaces
    return mesh.makes_sidecar and near and (bool(_labels_of(one)) or not mesh.selector)


def hidden_names(one: Json, mesh: Mesh) -> str:
    """Return that a Sidecar in force keeps names of the stack from crawlers; empty if not."""
    home = one["metadata"]["namespace"]
    for where in (home,) if home in mesh.namespaces else mesh.namespaces:
        hosts = [f"{where}{host[1:]}" if host.startswith("./") else host for host in hosts_of(one)]
        for name in sorted(mesh.names):
            if not imported(where, [name], hosts):
                return (
                    f"leaves out {name}, a name of the stack, which then counts as outside; add "
                    "./* to its egress hosts, or set crawlers.sidecarResource: create"
                )
    return ""


def _labels_of(one: Json) -> dict[str, str]:
    """Return the labels that a Sidecar or an EnvoyFilter selects pods by; none for all pods."""
    return ((one.get("spec") or {}).get("workloadSelector") or {}).get("labels") or {}


def hosts_of(sidecar: Json) -> list[str]:
    """Return the services that a Sidecar lets pods know, as `namespace/host`."""
    egress = (sidecar.get("spec") or {}).get("egress") or ()
    found = [host for one in egress for host in one.get("hosts") or ()]
    # Without egress istiod takes all (DefaultSidecarScopeForNamespace).
    return list(dict.fromkeys(found)) if egress else [*EVERYTHING]


def proxy_config_reason(one: Json, mesh: Mesh, pods: Sequence[Json]) -> str:
    """Return that a ProxyConfig of others and ours exclude each other; empty if they do not.

    Of two without selector, and of two that select a pod, istiod takes the older; one with and one
    without are merged, and one of no labels is for nobody (pilot/pkg/model/proxy_config.go).
    """
    namespace, spec = one["metadata"]["namespace"], one.get("spec") or {}
    if namespace not in mesh.namespaces:
        return ""
    theirs = (spec.get("selector") or {}).get("matchLabels") or {}
    if bool(theirs) is not bool(mesh.selector) or (spec.get("selector") is not None and not theirs):
        return ""
    if not meet(theirs, mesh.selector, _reached(namespace, mesh, pods)):
        return ""
    other = "have it select other pods" if theirs else "give it a selector"
    return (
        f"is for crawlers as ours is, and istiod takes the older alone; {other}, or move it to the "
        "annotation proxy.istio.io/config of the pods"
    )


_REASONS: dict[str, Callable[[Json, Mesh, Sequence[Json]], str]] = {
    "EnvoyFilter": filter_reason,
    "ServiceEntry": lambda one, mesh, _: entry_reason(one, mesh),
    "Sidecar": lambda *_: "",  # which one is in force is not to be told from it alone
    "ProxyConfig": proxy_config_reason,
}


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
