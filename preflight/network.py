"""Other people's NetworkPolicies between Prometheus, crawlers' sidecars and istiod; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from components.network.crawlers import XDS_PORT, limits_egress, limits_ingress
from components.prometheus.config import SIDECAR_PORT
from discover.kubectl import has_sidecar
from preflight.finding import Finding, refuse, warn
from preflight.objects import Json, Objects
from preflight.pods import crawlers_of
from preflight.selectors import labels_of, matches, title
from preflight.stack import Stack, is_ours
from settings.namespaces import MONITORING_NAMESPACE


def network_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield NetworkPolicies that keep Prometheus from sidecars, or sidecars from istiod."""
    policies = [one for one in found.of("NetworkPolicy") if not is_ours(one)]
    monitoring = stack.plan.operator_namespace or MONITORING_NAMESPACE
    for where in stack.namespaces:
        here = [one for one in policies if one["metadata"]["namespace"] == where]
        pods = [pod for pod in crawlers_of(stack, found) if pod["metadata"]["namespace"] == where]
        into = _closed(here, pods, "Ingress", _labels(found, monitoring), SIDECAR_PORT)
        # Where `network.ingress` is crawlersOnly a policy of ours admits Prometheus.
        if into and not limits_ingress(stack.settings):
            yield warn(
                f"{title(into)}: no policy of the namespace admits namespace {monitoring} to port "
                f"{SIDECAR_PORT} of crawlers, so nothing would be counted; admit it"
            )
        without = [pod for pod in pods if not has_sidecar(pod)]
        out_of = _closed(here, without, "Egress", _labels(found, stack.root), XDS_PORT)
        # Where `network.egress` is vendorsOnly a policy of ours lets them.
        if out_of and not limits_egress(stack.settings):
            yield refuse(
                f"{title(out_of)}: no policy of the namespace lets crawlers connect to port "
                f"{XDS_PORT} of namespace {stack.root}, so pods with a sidecar would not become "
                "ready; allow it"
            )


def _labels(found: Objects, namespace: str) -> dict[str, str]:
    one = found.namespace(namespace)
    return {**(labels_of(one) if one else {}), "kubernetes.io/metadata.name": namespace}


def _closed(
    policies: Iterable[Json], pods: Iterable[Json], direction: str, peer: Json, port: int
) -> Json | None:
    """Return a policy that closes a direction for a pod which none opens for the peer's port."""
    policies = [one for one in policies if direction in _directions(one["spec"])]
    for pod in pods:
        chosen = [
            one for one in policies if matches(one["spec"].get("podSelector"), labels_of(pod))
        ]
        key = direction.lower()
        rules = [rule for one in chosen for rule in one["spec"].get(key) or ()]
        if chosen and not any(_admits(rule, key, peer, port) for rule in rules):
            return chosen[0]
    return None


def _directions(spec: Json) -> list[str]:
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _admits(rule: Json, key: str, peer: Json, port: int) -> bool:
    """Whether a rule admits a namespace's pods to a port, or may: an address can be anybody's."""
    peers = rule.get("from" if key == "ingress" else "to") or [{"ipBlock": {}}]
    by_peer = any(
        "ipBlock" in one
        or (one.get("namespaceSelector") is not None and matches(one["namespaceSelector"], peer))
        for one in peers
    )
    ports = rule.get("ports") or [{}]
    return by_peer and any(_is_port(one, port) for one in ports)


def _is_port(one: Json, port: int) -> bool:
    first = one.get("port")
    # One by its name may be this one.
    if not isinstance(first, int):
        return True
    return port in range(first, one.get("endPort", first) + 1)
