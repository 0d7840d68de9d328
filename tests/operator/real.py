"""The real operator's code: what it makes of a stack's objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.binaries import answer_of

Json = dict[str, Any]

# As kube-prometheus-stack has them, for a release of this name.
SELECTED = {"matchLabels": {"release": "kube-prometheus-stack"}}
PROMETHEUS: Json = {
    "metadata": {"name": "kube-prometheus-stack", "namespace": "monitoring"},
    "spec": {
        # The CRD's defaults, which the API server writes.
        "scrapeInterval": "30s",
        "evaluationInterval": "30s",
        "podMonitorSelector": SELECTED,
        "serviceMonitorSelector": SELECTED,
        "ruleSelector": SELECTED,
    },
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    configuration: str
    selected: frozenset[str]
    refused: tuple[str, ...]

    @property
    def jobs(self) -> list[Json]:
        # The shard's number is put in by the pod's own side-car.
        document = yaml.safe_load(self.configuration.replace("$(SHARD)", "0"))
        return list(document["scrape_configs"])


def ask(operatorlab: Path, objects: Sequence[Json], spec: Json | None = None) -> Answer:
    """Return what the operator does with these objects, of all kinds, for its Prometheus."""

    def of(kind: str) -> list[Json]:
        return [one for one in objects if one["kind"] == kind]

    question = {
        "prometheus": {**PROMETHEUS, "spec": {**PROMETHEUS["spec"], **(spec or {})}},
        "podMonitors": of("PodMonitor"),
        "serviceMonitors": of("ServiceMonitor"),
        "prometheusRules": of("PrometheusRule"),
        "secrets": of("Secret"),
    }
    answer = answer_of(operatorlab, question)
    return Answer(
        configuration=answer["configuration"],
        selected=frozenset(answer["selected"]),
        refused=tuple(answer["refused"]),
    )
