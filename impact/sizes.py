"""How much a stack measures, stores and asks for; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from components.mesh.values import charts_of, istiod_release
from components.namespaces.quota import SIMULATED, monitoring_pods
from components.prometheus.capacity import GENERATIONS, disk_needed, memory_needed
from components.prometheus.config import ALERTMANAGER_APP, LEDGER_APP, PROMETHEUS_APP, SHARD_APP
from components.prometheus.estimate import Estimate, estimate
from components.prometheus.servers import claims_of
from settings.loading import SettingsError
from settings.prometheus import OwnPrometheus
from settings.section import Resources
from settings.stack import StackSettings
from settings.values.quantities import cpu_millis, memory_bytes

GIB = 2**30
SIDECARS = "sidecars"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Pods of one kind, at the busiest hour."""

    pods: int
    cores: float
    """Requested by each."""
    memory: int
    """Bytes, requested by each."""
    image: str = ""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The figures of a stack."""

    numbers: dict[str, float]
    """By what they are; the same keys for stacks of the same parts."""
    workloads: dict[str, Workload]
    volumes: dict[str, int]
    """Bytes of each claim."""

    @property
    def cores(self) -> float:
        return sum(one.pods * one.cores for one in self.workloads.values())

    @property
    def memory(self) -> int:
        return sum(one.pods * one.memory for one in self.workloads.values())


def sizes(settings: StackSettings) -> Sizes:
    return Sizes(
        numbers=_numbers(settings),
        workloads=dict(_workloads(settings)),
        volumes=dict(_volumes(settings)),
    )


def _numbers(settings: StackSettings) -> dict[str, float]:
    full = _full(settings)
    if full is None:
        return {}
    expected = estimate(settings, settings.crawlers.mode)
    numbers: dict[str, float] = {
        "series of a sidecar": expected.sidecar.total,
        "series": expected.series,
        "samples a second": expected.samples_per_second,
    }
    prometheus = settings.prometheus
    if isinstance(prometheus, OwnPrometheus):
        # The program refuses a Prometheus that cannot hold what mode `full` measures.
        series = full.series / prometheus.shards
        samples = full.samples_per_second / prometheus.shards
        numbers |= {
            "GB of memory that a Prometheus needs": memory_needed(GENERATIONS * series) / 1e9,
            "GB of disk that it needs": disk_needed(samples, prometheus.retention) / 1e9,
            "days that samples are kept": prometheus.retention / 86400,
        }
    return numbers


def _full(settings: StackSettings) -> Estimate | None:
    """Return the estimate of mode `full`; None without crawlers, or above the budget."""
    if not settings.has_crawlers:
        return None
    try:
        return estimate(settings)
    except SettingsError:
        return None


def _workload(pods: int, resources: Resources, image: str = "") -> Workload:
    requests = resources.requests
    return Workload(
        pods=pods,
        cores=cpu_millis(requests.cpu) / 1000,
        memory=memory_bytes(requests.memory),
        image=image,
    )


def _workloads(settings: StackSettings) -> Iterator[tuple[str, Workload]]:
    for pods in monitoring_pods(settings):
        yield pods.name, _workload(pods.count, pods.resources, pods.image)
        if pods.beside:
            yield "Thanos", _workload(pods.count, pods.beside)
    if not settings.has_crawlers:
        return
    yield SIDECARS, _workload(settings.crawlers.expected_pods, settings.istio.sidecar)
    if settings.istio.install:
        yield from _istiods(settings)
    if settings.load_generator.enabled:
        generator = settings.load_generator
        yield "load generator", _workload(generator.replicas, generator.resources)
    if settings.simulated_vendors.enabled:
        simulated = settings.simulated_vendors
        yield SIMULATED, _workload(len(simulated.vendors), simulated.resources)


def _istiods(settings: StackSettings) -> Iterator[tuple[str, Workload]]:
    """Yield each istiod, by its release, at its fewest pods, as the chart is told."""
    charts = {one.release: one.values for one in charts_of(settings)}
    for plane in settings.istio.control_planes:
        values = charts[istiod_release(plane.revision)]
        requests = values["resources"]["requests"]
        yield (
            istiod_release(plane.revision),
            Workload(
                pods=int(values.get("autoscaleMin", 1)),
                cores=cpu_millis(str(requests["cpu"])) / 1000,
                memory=memory_bytes(str(requests["memory"])),
                image=plane.version,
            ),
        )


def _volumes(settings: StackSettings) -> Iterator[tuple[str, int]]:
    prometheus = settings.prometheus
    stateful: list[tuple[str, int, int]] = []
    if isinstance(prometheus, OwnPrometheus):
        shards = (f"{SHARD_APP}-{number}" for number in prometheus.shard_numbers)
        names = (PROMETHEUS_APP, *shards)
        stateful += [(name, prometheus.replicas, prometheus.storage) for name in names]
    if settings.runs_ledger:
        stateful.append((LEDGER_APP, 1, settings.ledger.storage))
    if settings.runs_alertmanager:
        alertmanager = settings.alertmanager
        stateful.append((ALERTMANAGER_APP, alertmanager.replicas, alertmanager.storage))
    for name, replicas, size in stateful:
        for claim in claims_of(name, replicas):
            yield claim, size
