"""OperatedPrometheus: the Prometheus that the cluster's Prometheus operator runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.base import ClusterComponent
from components.prometheus.operator_objects import API_VERSION, OperatorObject
from settings.prometheus import OperatorPrometheusSettings

APP = "prometheus-objects"


@dataclass(frozen=True, kw_only=True)
class OperatedPrometheusArgs:
    """What the operator gets, and where its Prometheus is."""

    namespace: pulumi.Input[str]
    """Namespace of the objects; the operator must look for them there."""
    settings: OperatorPrometheusSettings
    objects: Sequence[OperatorObject]
    """Monitors and rules, whose names are unique for each kind."""


class OperatedPrometheus(ClusterComponent):
    """Monitors and rules, from which the operator writes its Prometheus' configuration.

    Without the operator's CRDs `up` fails. With labels that no Prometheus selects `up` succeeds and
    nothing is scraped (docs/own-prometheus.md says how to see it).
    """

    url: str
    """Where Grafana reaches that Prometheus."""
    login_secret: str | None
    """Secret with its login; None where it asks for none."""

    def __init__(
        self, name: str, args: OperatedPrometheusArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:prometheus:OperatedPrometheus", name, APP, args.namespace, opts)
        for entry in args.objects:
            CustomResource(
                f"{name}-{entry.kind.lower()}-{entry.name}",
                api_version=API_VERSION,
                kind=entry.kind,
                metadata=self.metadata(entry.name, args.settings.operator_labels),
                spec=entry.spec,
                opts=self.child,
            )
        self.url, self.login_secret = args.settings.url, args.settings.login_secret
        self.register_outputs({"url": self.url, "login_secret": self.login_secret})
