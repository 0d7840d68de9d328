"""Other people's Sidecar resources, in place of ours or beside it; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from preflight.control_plane import closed
from preflight.finding import Finding, refuse, warn
from preflight.objects import Json, Objects
from preflight.others_objects import crawlers_mesh, theirs
from preflight.selectors import title
from preflight.stack import Stack
from verify.mesh import HTTP, Mesh, hidden_names, hosts_of, sidecars_in_force, takes_our_place

NONE = "set crawlers.sidecarResource: none"


def sidecar_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield a line for each Sidecar of others that ours, or its absence, does not go with."""
    if not (mesh := crawlers_mesh(stack, found)):
        return
    check = _beside_ours if mesh.makes_sidecar else _in_place_of_ours
    for one in sidecars_in_force(mesh, theirs(found, "Sidecar"), found.of("Pod")):
        yield from check(stack, mesh, one)


def _beside_ours(stack: Stack, mesh: Mesh, one: Json) -> Iterator[Finding]:
    missing = unlisted(stack, one)
    if _has_listeners(one):
        yield refuse(
            f"{title(one)}: ours would take crawlers from it, and no key of the stack makes its "
            f"listeners; {NONE}"
        )
        return
    if one["metadata"]["namespace"] == stack.root:
        if missing:
            yield warn(
                f"{title(one)}: is the mesh's default, and ours would take crawlers from it; "
                f"{' and '.join(_merge(stack, one))}, or {NONE}"
            )
        return
    if takes_our_place(one, mesh):
        yield refuse(
            f"{title(one)}: selects crawlers as ours would, and istiod takes one of the two; "
            f"{NONE}, or {' and '.join(['remove it', *_merge(stack, one)])}"
        )
    elif missing:
        yield refuse(
            f"{title(one)}: ours has a selector and would take crawlers from it; "
            f"{' and '.join(_merge(stack, one))}, or {NONE}"
        )


def unlisted(stack: Stack, sidecar: Json) -> list[str]:
    """Return its hosts of other namespaces that `crawlers.egressHosts` does not have."""
    ours = stack.settings.crawlers.egress_hosts
    own = (".", "~", *stack.namespaces)
    return [
        host
        for host in hosts_of(sidecar)
        if host.partition("/")[0] not in own
        and not ({host, f"{host.partition('/')[0]}/*", "*/*"} & {*ours})
    ]


def _merge(stack: Stack, sidecar: Json) -> list[str]:
    """Return what the stack must say for ours to do what theirs does."""
    ours = stack.settings.crawlers.egress_hosts
    steps = []
    if missing := unlisted(stack, sidecar):
        hosts = json.dumps([*ours, *missing])
        steps.append(f"set crawlers.egressHosts: {hosts}")
    if _closes(sidecar) and stack.settings.network.egress == "any":
        steps.append("set network.egress: vendorsOnly for its REGISTRY_ONLY")
    return steps


def _closes(sidecar: Json) -> bool:
    policy = (sidecar.get("spec") or {}).get("outboundTrafficPolicy") or {}
    return bool(policy.get("mode") == "REGISTRY_ONLY")


def _has_listeners(sidecar: Json) -> bool:
    spec = sidecar.get("spec") or {}
    return bool(spec.get("ingress")) or any("port" in one for one in spec.get("egress") or ())


def _in_place_of_ours(_: Stack, mesh: Mesh, one: Json) -> Iterator[Finding]:
    if _closes(one):
        yield closed(title(one))
    taken = {
        (listener.get("port") or {}).get("number", 0)
        for listener in (one.get("spec") or {}).get("egress") or ()
        if str((listener.get("port") or {}).get("protocol", "")).lower() in HTTP
    } & mesh.vendors.ports
    if taken:
        yield warn(
            f"{title(one)}: its egress listener takes port {min(taken)} of vendors from the "
            "attribution; take it out, or set crawlers.sidecarResource: create"
        )
    if reason := hidden_names(one, mesh):
        yield refuse(f"{title(one)}: {reason}")
