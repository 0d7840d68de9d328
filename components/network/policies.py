"""The NetworkPolicies of a stack, made from the table of flows; pure.

Each namespace that is guarded denies everything first. Then each group of pods has a policy with
the rules that the table gives it. An annotation says what each rule is for, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components.labels import PROJECT
from components.network import groups
from components.network.crawlers import limits_egress, limits_ingress
from components.network.flows import flows_of
from components.network.peers import Addresses, Flow, OwnNode, Peer, Pods
from settings.namespaces import MONITORING_NAMESPACE, SIMULATED_NAMESPACE
from settings.stack import StackSettings

Json = dict[str, Any]
Direction = Literal["Ingress", "Egress"]
BOTH: tuple[Direction, ...] = ("Ingress", "Egress")

# Kubernetes itself puts this label on every namespace.
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
OURS = {"app.kubernetes.io/part-of": PROJECT}


@dataclass(frozen=True, kw_only=True)
class PolicyPlan:
    """One NetworkPolicy."""

    namespace: str
    name: str
    reasons: Mapping[str, str]
    """Annotations: what each rule is for."""
    spec: Any
    """As in Kubernetes' API."""
    step: int
    """Made after those of lower steps, and removed before them: running pods would be cut until the
    rest has been made."""


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """Pods that nothing may reach, or that may reach nothing, but by the table."""

    pods: Pods
    directions: tuple[Direction, ...] = BOTH


def policies_of(settings: StackSettings) -> tuple[PolicyPlan, ...]:
    return (*_allowing(flows_of(settings), [*groups_of(settings)]), *_denying(settings))


def groups_of(settings: StackSettings) -> Iterator[Guarded]:
    """Yield the groups that have rules of their own."""
    if settings.runs_grafana:
        yield Guarded(pods=groups.GRAFANA)
    if settings.runs_prometheus:
        yield Guarded(pods=groups.PROMETHEUS)
    if settings.prometheus.backup:
        yield Guarded(pods=groups.BACKUP)
    if settings.runs_ledger:
        yield Guarded(pods=groups.LEDGER)
    if settings.records_hours:
        yield Guarded(pods=groups.MONEY)
    if settings.prometheus.shards > 1:
        yield Guarded(pods=groups.SHARDS)
    if settings.runs_alertmanager:
        yield Guarded(pods=groups.ALERTMANAGER)
    if not settings.has_crawlers:
        return
    if settings.istio.install:
        yield Guarded(pods=groups.istiod(settings))
        if settings.istio.cni:
            yield Guarded(pods=groups.istio_cni(settings))
    if settings.simulated_vendors.enabled:
        yield Guarded(pods=groups.SIMULATED_VENDORS)
    if limits_ingress(settings):
        yield Guarded(pods=groups.crawlers(settings), directions=("Ingress",))
        if settings.load_generator.enabled:
            yield Guarded(pods=groups.load_generator(settings), directions=("Ingress",))
    if limits_egress(settings):
        yield Guarded(pods=groups.attributed(settings), directions=("Egress",))


def _denying(settings: StackSettings) -> Iterator[PolicyPlan]:
    prometheus = settings.prometheus
    # In a namespace that exists, or that the operator's Prometheus shares, other teams' pods stay
    # as they are.
    whole = prometheus.mode == "server" and prometheus.create_namespace
    yield _denial(MONITORING_NAMESPACE, {} if whole else OURS)
    if not settings.has_crawlers:
        return
    if settings.istio.install:
        yield _denial(settings.istio.root_namespace, {})
    if settings.simulated_vendors.enabled:
        yield _denial(SIMULATED_NAMESPACE, {})
    # Crawlers' own policy selects all of them, and so denies the rest.


def _denial(namespace: str, labels: Mapping[str, str]) -> PolicyPlan:
    return PolicyPlan(
        namespace=namespace,
        name="default-deny",
        reasons={f"{PROJECT}/reason": "What no other policy here allows is denied."},
        spec={"podSelector": _labelled(labels), "policyTypes": [*BOTH]},
        step=2,
    )


def _allowing(flows: Iterable[Flow], guarded: list[Guarded]) -> Iterator[PolicyPlan]:
    """Yield the policies with rules, one for each group and one for each flow that is apart."""
    rules: dict[tuple[str, str], tuple[Pods, dict[Direction, list[tuple[str, Json]]]]] = {}
    for flow in flows:
        ends: tuple[tuple[Direction, Peer, Peer], ...] = (
            ("Ingress", flow.target, flow.source),
            ("Egress", flow.source, flow.target),
        )
        for direction, end, other in ends:
            if isinstance(other, OwnNode):
                continue
            for pods in _guarded_at(end, direction, guarded):
                for namespace in pods.namespaces:
                    key = (namespace, flow.apart or pods.name)
                    _, of = rules.setdefault(key, (pods, {}))
                    of.setdefault(direction, []).append(
                        (_reason(flow, direction, other), _rule(direction, other, flow))
                    )
    for (namespace, name), (pods, by_direction) in rules.items():
        yield PolicyPlan(
            namespace=namespace,
            name=name,
            step=int(name == pods.name),
            reasons={
                f"{PROJECT}/{direction.lower()}": "\n".join(reason for reason, _ in each)
                for direction, each in by_direction.items()
            },
            spec={
                "podSelector": _labelled(pods.labels),
                "policyTypes": [*by_direction],
                **{
                    direction.lower(): [rule for _, rule in each]
                    for direction, each in by_direction.items()
                },
            },
        )


def _guarded_at(end: Peer, direction: Direction, guarded: list[Guarded]) -> list[Pods]:
    """Return the groups that need a rule for this end of a flow."""
    if not isinstance(end, Pods) or end.unruled:
        return []
    candidates = [each.pods for each in guarded if direction in each.directions]
    return [end] if end in candidates else [pods for pods in candidates if end.covers(pods)]


def _reason(flow: Flow, direction: Direction, other: Peer) -> str:
    preposition = "From" if direction == "Ingress" else "To"
    return f"{preposition} {other.name}: {flow.reason}"


def _rule(direction: Direction, other: Peer, flow: Flow) -> Json:
    peers = _peers(other)
    ports = [
        {
            "protocol": protocol,
            "port": ports.first,
            **({"endPort": ports.last} if ports.last > ports.first else {}),
        }
        for ports in flow.ports
        for protocol in flow.protocols
    ]
    key = "from" if direction == "Ingress" else "to"
    return {**({key: peers} if peers else {}), **({"ports": ports} if ports else {})}


def _peers(peer: Peer) -> list[Json]:
    """Return the peers of a rule; none mean anybody."""
    if isinstance(peer, Addresses):
        return [
            {
                "ipBlock": {
                    "cidr": str(network),
                    **(
                        {"except": without}
                        if (
                            without := [
                                str(part)
                                for part in peer.without
                                if part.version == network.version
                            ]
                        )
                        else {}
                    ),
                }
            }
            for network in peer.cidrs
        ]
    assert isinstance(peer, Pods)
    chosen = {"podSelector": _labelled(peer.labels)} if peer.labels else {}
    return [{"namespaceSelector": _namespaces(peer.namespaces), **chosen}]


def _namespaces(names: tuple[str, ...]) -> Json:
    if not names:
        return {}
    if len(names) == 1:
        return {"matchLabels": {NAMESPACE_LABEL: names[0]}}
    expression = {"key": NAMESPACE_LABEL, "operator": "In", "values": [*names]}
    return {"matchExpressions": [expression]}


def _labelled(labels: Mapping[str, str]) -> Json:
    return {"matchLabels": {**labels}} if labels else {}
