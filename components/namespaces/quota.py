"""How much a namespace of this program may use: what its pods ask for, and one pod more; pure.

Without a quota, a mistake in one number of a stack file, or a pod that somebody else starts there,
could take the nodes that crawlers run on. Crawlers' namespaces have none: one that is too small
would keep crawlers from starting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from components.mesh.values import most_istiods
from settings.prometheus import OwnPrometheus
from settings.section import Resources
from settings.stack import StackSettings
from settings.values.quantities import cpu_millis, memory_bytes

BACKUP = "backup"
SIMULATED = "simulated vendors"


@dataclass(frozen=True)
class Pods:
    """Pods of one kind, each of one container, or of two."""

    name: str
    count: int
    resources: Resources
    image: str = ""
    beside: Resources | None = None
    """What the second container, the sidecar of Thanos, requests."""


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What a ResourceQuota says."""

    hard: dict[str, str]
    """Most pods, and most that they may ask for together."""
    uncounted_priority: str | None = None
    """A priority class whose pods are not counted."""


def monitoring_pods(settings: StackSettings) -> Iterator[Pods]:
    """Yield what this program runs in `monitoring`."""
    prometheus, alertmanager, grafana = settings.prometheus, settings.alertmanager, settings.grafana
    if isinstance(prometheus, OwnPrometheus):
        count = (1 + len(prometheus.shard_numbers)) * prometheus.replicas
        thanos = prometheus.thanos.resources if prometheus.thanos else None
        yield Pods("Prometheus", count, prometheus.resources, prometheus.image, thanos)
        if prometheus.backup:
            yield Pods(BACKUP, 1, prometheus.backup.resources)
    if settings.runs_ledger:
        yield Pods("ledger", 1, settings.ledger.resources)
    if settings.records_hours:
        exporter = settings.money_exporter
        yield Pods("money exporter", 1, exporter.resources, exporter.image)
    if settings.runs_alertmanager:
        count = alertmanager.replicas
        yield Pods("Alertmanager", count, alertmanager.resources, alertmanager.image)
    if settings.runs_grafana:
        yield Pods("Grafana", grafana.replicas, grafana.resources, grafana.image)


def monitoring_quota(settings: StackSettings) -> Quota | None:
    """Return the quota of `monitoring`; none where others put a Prometheus or the namespace there.

    Volumes are not counted: they outlive their pods.
    """
    prometheus = settings.prometheus
    if not isinstance(prometheus, OwnPrometheus) or not prometheus.create_namespace:
        return None
    return Quota(hard=_hard([*monitoring_pods(settings)]))


def simulated_quota(settings: StackSettings) -> Quota:
    """Return the quota of the simulated vendors' namespace."""
    simulated = settings.simulated_vendors
    return Quota(hard=_hard([Pods(SIMULATED, len(simulated.vendors), simulated.resources)]))


def istio_quota(settings: StackSettings) -> Quota | None:
    """Return the quota of Istio's namespace; none where another team runs Istio.

    The CNI agent has a pod on each node, and this program does not know how many there are.
    """
    if not settings.istio.install:
        return None
    # The chart's roll-out starts as many new pods as there are.
    istio = settings.istio
    count = 2 * most_istiods(istio) * len(istio.control_planes)
    hard = _hard([Pods("istiod", count, istio.istiod.resources)])
    return Quota(hard=hard, uncounted_priority="system-node-critical")


def _hard(pods: Sequence[Pods]) -> dict[str, str]:
    """Allow these pods, and the largest once more: a new one may start before an old one ends."""

    def most(amount: Callable[[Resources], int]) -> int:
        amounts = [
            amount(each.resources) + (amount(each.beside) if each.beside else 0) for each in pods
        ]
        together = sum(each.count * one for each, one in zip(pods, amounts, strict=True))
        return together + max(amounts)

    return {
        "pods": str(sum(each.count for each in pods) + 1),
        "requests.cpu": f"{most(lambda one: cpu_millis(one.requests.cpu))}m",
        "requests.memory": str(most(lambda one: memory_bytes(one.requests.memory))),
        "limits.cpu": f"{most(lambda one: cpu_millis(one.limits.cpu))}m",
        "limits.memory": str(most(lambda one: memory_bytes(one.limits.memory))),
    }
