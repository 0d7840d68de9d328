"""`scheduling`: which nodes and volumes the pods of this program get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from settings.section import Problem, Section, repeated
from settings.values.kubernetes import LabelKey, LabelValue, ObjectName


class Toleration(Section):
    """A taint of nodes that does not keep the pods away, as Kubernetes writes it."""

    key: LabelKey | None = Field(default=None, examples=["dedicated"])
    """The taint's key. Default: every taint, with `operator: Exists`."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Whether the taint's value must be `value`, or may be any."""
    value: LabelValue | None = Field(default=None, examples=["monitoring"])
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect. Default: every effect."""

    def problems(self) -> Iterator[Problem]:
        if self.operator == "Exists" and self.value is not None:
            yield Problem(
                ("value",), f"{self.value!r} has no effect with operator: Exists; remove it"
            )
        if self.operator == "Equal" and self.key is None:
            yield Problem(("key",), "is missing; name the taint, or write operator: Exists")


class Spread(Section):
    """Nodes over which the replicas of each workload are spread."""

    topology_key: LabelKey = Field(examples=["topology.kubernetes.io/zone"])
    """Label of nodes: those with one value are one place."""
    max_skew: Annotated[StrictInt, Field(ge=1, le=100)] = 1
    """How many more replicas one place may have than another."""
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"] = "ScheduleAnyway"
    """What happens to a replica that would exceed it."""


class Scheduling(Section):
    """Where the pods of this program and istiod run. Crawlers' pods are their owners', and Istio's
    CNI agent runs on every node."""

    storage_class: ObjectName | None = None
    """StorageClass of every volume. Default: the cluster's own. Volumes that exist keep theirs."""
    node_selector: dict[LabelKey, LabelValue] = Field(default={})
    """Labels that a node must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of nodes that do not keep the pods away."""
    priority_class: ObjectName | None = None
    """PriorityClass of the pods, which must exist."""
    topology_spread: tuple[Spread, ...] = ()
    """Places over which the replicas of each workload are spread, besides what is built in."""

    def problems(self) -> Iterator[Problem]:
        yield from repeated(
            (("topologySpread", n), spread.topology_key)
            for n, spread in enumerate(self.topology_spread)
        )
