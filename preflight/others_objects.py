"""Other people's Istio objects that take crawlers' connections or settings from ours; pure.

What each of them does is for verify/mesh.py to say, which `make verify` asks as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from preflight.control_plane import mesh_config
from preflight.finding import MOST_NAMED, Finding, refuse, warn
from preflight.objects import Json, Objects
from preflight.selectors import labels_of, matches, title
from preflight.stack import Stack, is_ours
from verify.crawlers import mesh_of, vendors_of
from verify.mesh import (
    Mesh,
    entry_reason,
    filter_reason,
    hosts_of_sidecars,
    proxy_config_reason,
    service_reason,
)


def theirs(found: Objects, kind: str) -> list[Json]:
    return [one for one in found.of(kind) if not is_ours(one)]


def crawlers_mesh(stack: Stack, found: Objects) -> Mesh | None:
    """Return the mesh as the crawlers' sidecars see it; None without crawlers."""
    if stack.plan.crawlers is None:
        return None
    config = mesh_config(stack, found)
    discovered = config.get("discoverySelectors") or ()
    mesh = replace(
        mesh_of(stack.settings, stack.plan.crawlers, vendors_of(stack.settings.vendors)),
        exports=tuple(config.get("defaultServiceExportTo") or ("*",)),
        undiscovered=frozenset(
            one["metadata"]["name"]
            for one in found.of("Namespace")
            if discovered and not any(matches(each, labels_of(one)) for each in discovered)
        ),
    )
    if mesh.makes_sidecar:
        return mesh
    known = hosts_of_sidecars(mesh, theirs(found, "Sidecar"), found.of("Pod"))
    return replace(mesh, egress_hosts=known)


def shadow_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield a line for each Service and ServiceEntry that takes a vendor's port or name."""
    if not (mesh := crawlers_mesh(stack, found)):
        return
    reasons = [(one, service_reason(one, mesh)) for one in theirs(found, "Service")]
    reasons += [(one, entry_reason(one, mesh)) for one in theirs(found, "ServiceEntry")]
    lines = [f"{title(one)}: {reason}" for one, reason in reasons if reason]
    yield from map(warn, lines[:MOST_NAMED])
    if (more := len(lines) - MOST_NAMED) > 0:
        yield warn(f"Services and ServiceEntries: {more} more do the same; see to these first")


def filter_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield the EnvoyFilters that patch the listener which ours patch."""
    if not (mesh := crawlers_mesh(stack, found)):
        return
    for one in theirs(found, "EnvoyFilter"):
        if reason := filter_reason(one, mesh, found.of("Pod")):
            yield warn(f"{title(one)}: {reason}")


def proxy_config_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield the ProxyConfigs of which istiod takes one, theirs or ours with the statistics."""
    if not (mesh := crawlers_mesh(stack, found)):
        return
    for one in theirs(found, "ProxyConfig"):
        if reason := proxy_config_reason(one, mesh, found.of("Pod")):
            yield refuse(f"{title(one)}: {reason}")
