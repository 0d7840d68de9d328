"""Other people's Sidecar resources, in place of ours or beside it; pure.

For a pod istiod takes the first of: a Sidecar of its namespace that selects it, the older first;
one of its namespace without selector, the older first; the root namespace's without selector
(pilot/pkg/model/push_context.go, getSidecarScope).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from preflight.finding import Finding, refuse, warn
from preflight.objects import Json, Objects
from preflight.selectors import labels_of, title
from preflight.stack import Stack, is_ours
from verify.crawlers import vendors_of
from verify.mesh import HTTP, imported

NONE = "set crawlers.sidecarResource: none"


def selector_of(sidecar: Json) -> dict[str, str]:
    return ((sidecar.get("spec") or {}).get("workloadSelector") or {}).get("labels") or {}


def others(stack: Stack, found: Objects) -> list[Json]:
    """Return other people's Sidecars that apply to crawlers while ours is away.

    The mesh's default is among them if a namespace of crawlers has no other.
    """
    sidecars = [one for one in found.of("Sidecar") if not is_ours(one)]
    near = [
        one
        for where in stack.namespaces
        for one in sidecars
        if one["metadata"]["namespace"] == where
        and meet(selector_of(one), stack.settings.crawlers.selector, found.of("Pod", where))
    ]
    if {one["metadata"]["namespace"] for one in near} >= {*stack.namespaces}:
        return near
    root = (one for one in sidecars if one["metadata"]["namespace"] == stack.root)
    return [*near, *(one for one in root if not selector_of(one))]


def meet(theirs: Mapping[str, str], ours: Mapping[str, str], pods: Sequence[Json]) -> bool:
    """Whether theirs selects a crawler of these pods, or could where there is none yet.

    No labels select all pods.
    """
    if any(ours.get(key, value) != value for key, value in theirs.items()):
        return False
    crawlers = [labels_of(pod) for pod in pods if ours.items() <= labels_of(pod).items()]
    return not crawlers or any(theirs.items() <= labels.items() for labels in crawlers)


def sidecar_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield a line for each Sidecar of others that ours, or its absence, does not go with."""
    check = _beside_ours if stack.settings.makes_sidecar else _in_place_of_ours
    for one in others(stack, found):
        yield from check(stack, one)


def _beside_ours(stack: Stack, one: Json) -> Iterator[Finding]:
    ours, missing = stack.settings.crawlers, unlisted(stack, one)
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
    if selector_of(one) or not ours.selector:
        yield refuse(
            f"{title(one)}: selects crawlers as ours would, and istiod takes one of the two; "
            f"{NONE}, or {' and '.join(['remove it', *_merge(stack, one)])}"
        )
    elif missing:
        yield refuse(
            f"{title(one)}: ours has a selector and would take crawlers from it; "
            f"{' and '.join(_merge(stack, one))}, or {NONE}"
        )


def hosts_of(sidecar: Json) -> list[str]:
    """Return the services that a Sidecar lets pods know, as `namespace/host`."""
    egress = (sidecar.get("spec") or {}).get("egress") or ()
    found = [host for one in egress for host in one.get("hosts") or ()]
    # Without egress istiod takes all (DefaultSidecarScopeForNamespace).
    return list(dict.fromkeys(found)) if egress else ["*/*"]


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


def _in_place_of_ours(stack: Stack, one: Json) -> Iterator[Finding]:
    if _closes(one):
        yield warn(
            f"{title(one)}: outboundTrafficPolicy is REGISTRY_ONLY, so crawlers reach vendors by "
            "address only while this program's EnvoyFilters are there; before you remove the stack "
            "have vendors let pass"
        )
    taken = {
        (listener.get("port") or {}).get("number", 0)
        for listener in (one.get("spec") or {}).get("egress") or ()
        if str((listener.get("port") or {}).get("protocol", "")).lower() in HTTP
    } & vendors_of(stack.settings.vendors).ports
    if taken:
        yield warn(
            f"{title(one)}: its egress listener takes port {min(taken)} of vendors from the "
            "attribution; take it out, or set crawlers.sidecarResource: create"
        )
    names = [host.name for vendor in stack.settings.vendors for host in vendor.hosts]
    home = one["metadata"]["namespace"]
    for where in (home,) if home in stack.namespaces else stack.namespaces:
        here = [re.sub(r"^\./", f"{where}/", host) for host in hosts_of(one)]
        if names and not imported(where, names, here):
            yield refuse(
                f"{title(one)}: its egress has no host of namespace {where}, so vendors' names "
                "there would have no address of ours; add ./* to its hosts, or set "
                "crawlers.sidecarResource: create"
            )
