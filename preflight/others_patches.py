"""Other people's EnvoyFilters and ProxyConfigs for crawlers' sidecars; pure."""

from __future__ import annotations

from collections.abc import Iterator

from preflight.finding import Finding, refuse, warn
from preflight.objects import Objects
from preflight.selectors import title
from preflight.sidecars import meet
from preflight.stack import Stack, is_ours
from verify.crawlers import mesh_of, vendors_of
from verify.mesh import filter_reason


def filter_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield the EnvoyFilters that patch the listener which ours patch."""
    if stack.plan.crawlers is None:
        return
    vendors = vendors_of(stack.settings.vendors)
    mesh = mesh_of(stack.settings, stack.plan.crawlers, vendors)
    for one in found.of("EnvoyFilter", *stack.namespaces, stack.root):
        where = one["metadata"]["namespace"]
        pods = found.of("Pod", *(stack.namespaces if where == stack.root else (where,)))
        if not is_ours(one) and (reason := filter_reason(one, mesh, pods)):
            yield warn(f"{title(one)}: {reason}")


def proxy_config_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield the ProxyConfigs of which istiod takes one, theirs or ours with the statistics.

    Of two without selector, and of two that select a pod, it takes the older
    (pilot/pkg/model/proxy_config.go). One with and one without are merged.
    """
    ours = stack.settings.crawlers.selector
    for one in found.of("ProxyConfig", *stack.namespaces):
        theirs = ((one.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        pods = found.of("Pod", one["metadata"]["namespace"])
        if is_ours(one) or bool(theirs) is not bool(ours) or not meet(theirs, ours, pods):
            continue
        other = "give it a selector" if not ours else "have it select other pods"
        yield refuse(
            f"{title(one)}: is for crawlers as ours is, and istiod takes the older alone; "
            f"{other}, or move it to the annotation proxy.istio.io/config of the pods"
        )
