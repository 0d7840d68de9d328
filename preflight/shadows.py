"""Services and ServiceEntries of others that take a vendor's port from the attribution; pure.

What takes it was measured (docs/compatibility.md, "When a Service takes a vendor's port").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from preflight.control_plane import mesh_config
from preflight.finding import MOST_NAMED, Finding, warn
from preflight.objects import Json, Objects
from preflight.selectors import annotations_of, labels_of, matches, title
from preflight.sidecars import hosts_of, others
from preflight.stack import Stack, is_ours
from settings.destinations import listed_names
from verify.crawlers import vendors_of
from verify.mesh import entry_ports, http_ports, imported, named

EXPORT = "networking.istio.io/exportTo"
CLUSTER_DOMAIN = "svc.cluster.local"


def shadow_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield a line for each object that takes a port or a name."""
    ports = vendors_of(stack.settings.vendors).ports
    visible = _Visible(stack, found)
    lines: list[str] = []
    for service in found.of("Service"):
        # One with an ExternalName is an alias, and has no listener.
        alias = service["spec"].get("type") == "ExternalName"
        if alias or is_ours(service) or not visible.service(service):
            continue
        if taken := http_ports(service) & ports:
            lines.append(_line(stack, service, taken))
    settings = stack.settings
    names = {host.name for host, _ in listed_names(settings.vendors, settings.destinations)}
    for entry in found.of("ServiceEntry"):
        if is_ours(entry) or not visible.entry(entry):
            continue
        spec = entry.get("spec") or {}
        if name := named(spec.get("hosts") or (), names):
            lines.append(
                f"{title(entry)}: has {name}, a name of the stack, so part of its traffic would go "
                "past the attribution; take it out"
            )
        elif taken := entry_ports(spec) & ports:
            lines.append(_line(stack, entry, taken))
    yield from map(warn, lines[:MOST_NAMED])
    if (more := len(lines) - MOST_NAMED) > 0:
        yield warn(f"Services and ServiceEntries: {more} more do the same; see to these first")


def _line(stack: Stack, one: Json, taken: set[int]) -> str:
    own = one["metadata"]["namespace"] in stack.namespaces
    fix = (
        "move it to another namespace or port"
        if own
        else "take its host out of crawlers.egressHosts"
        if stack.settings.makes_sidecar
        else "keep it from crawlers by a Sidecar's egress, or set crawlers.sidecarResource: create"
    )
    return f"{title(one)}: takes port {min(taken)} of vendors from the attribution; {fix}"


class _Visible:
    """What the crawlers' sidecars know."""

    def __init__(self, stack: Stack, found: Objects) -> None:
        self._own = stack.namespaces
        config = mesh_config(stack, found)
        self._discovered = config.get("discoverySelectors") or ()
        self._services = config.get("defaultServiceExportTo") or ("*",)
        self._namespaces = {
            one["metadata"]["name"]: labels_of(one) for one in found.of("Namespace")
        }
        if stack.settings.makes_sidecar:
            self._egress: Sequence[str] = stack.settings.crawlers.egress_hosts
        else:
            self._egress = [host for one in others(stack, found) for host in hosts_of(one)]
            self._egress = self._egress or ["*/*"]

    def service(self, service: Json) -> bool:
        metadata = service["metadata"]
        host = f"{metadata['name']}.{metadata['namespace']}.{CLUSTER_DOMAIN}"
        said = annotations_of(service).get(EXPORT, "")
        exported = [one.strip() for one in said.split(",") if one.strip()]
        return self._is(metadata["namespace"], [host], exported or self._services)

    def entry(self, entry: Json) -> bool:
        spec = entry.get("spec") or {}
        exported = spec.get("exportTo") or self._services
        return self._is(entry["metadata"]["namespace"], spec.get("hosts") or (), exported)

    def _is(self, namespace: str, hosts: Iterable[str], exported: Sequence[str]) -> bool:
        labels = self._namespaces.get(namespace, {})
        if self._discovered and not any(matches(one, labels) for one in self._discovered):
            return False
        if namespace in self._own:
            return "~" not in exported
        return bool({"*", *self._own} & {*exported}) and imported(namespace, hosts, self._egress)
