"""Services that want mTLS, which crawlers would lose by our Sidecar; pure."""

from __future__ import annotations

from collections.abc import Iterator

from preflight.finding import Finding, listed, warn
from preflight.namespaces import INJECTION
from preflight.objects import Json, Objects
from preflight.selectors import labels_of
from preflight.sidecars import NONE
from preflight.stack import Stack
from verify.pods import MODE, REVISION


def mutual_tls_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield one line with the namespaces whose Services refuse plain connections."""
    if not stack.settings.makes_sidecar:
        return
    whole = _modes(found, selected=False)
    # A policy for some workloads of a namespace is enough for a line.
    parts = {where for where, mode in _modes(found, selected=True).items() if mode == "STRICT"}
    listed_there = {host.partition("/")[0] for host in stack.settings.crawlers.egress_hosts}
    if "*" in listed_there:
        return
    served = {one["metadata"]["namespace"] for one in found.of("Service")}
    known = {*stack.namespaces, *listed_there, stack.root}
    strict = [
        name
        for one in found.of("Namespace")
        if (name := one["metadata"]["name"]) in served - known
        and (name in parts or (_in_mesh(one) and _mode(whole, name, stack.root) == "STRICT"))
    ]
    if strict:
        yield warn(
            f"PeerAuthentication: STRICT in namespaces {listed(strict)}, and crawlers' connections "
            "to Services there would have no mTLS and be refused; write those that crawlers call "
            f'into crawlers.egressHosts, as "{strict[0]}/*", or {NONE}'
        )


def _modes(found: Objects, *, selected: bool) -> dict[str, str]:
    """Return the mode of each namespace's policies, those with a selector or those without."""
    modes: dict[str, str] = {}
    for one in found.of("PeerAuthentication"):
        spec = one.get("spec") or {}
        mode = (spec.get("mtls") or {}).get("mode", "UNSET")
        ports = (spec.get("portLevelMtls") or {}).values()
        if any((port or {}).get("mode") == "STRICT" for port in ports):
            mode = "STRICT"
        has_selector = bool((spec.get("selector") or {}).get("matchLabels"))
        if has_selector is selected and mode != "UNSET":
            where = one["metadata"]["namespace"]
            modes[where] = "STRICT" if "STRICT" in (mode, modes.get(where)) else mode
    return modes


def _mode(modes: dict[str, str], namespace: str, root: str) -> str:
    return modes.get(namespace) or modes.get(root, "PERMISSIVE")


def _in_mesh(namespace: Json) -> bool:
    labels = labels_of(namespace)
    injected = labels.get(INJECTION) == "enabled" or REVISION in labels
    return injected or labels.get(MODE) == "ambient"
