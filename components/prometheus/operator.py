"""OperatedPrometheus: the Prometheus that the cluster's Prometheus operator runs."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.base import ClusterComponent
from components.prometheus.operator_objects import API_VERSION, OperatorPlan

APP = "prometheus-objects"


class OperatedPrometheus(ClusterComponent):
    """Monitors and rules, from which the operator writes its Prometheus' configuration.

    Without the operator's CRDs `up` fails. With labels that no Prometheus selects `up` succeeds and
    nothing is scraped (docs/own-prometheus.md says how to see it).
    """

    def __init__(
        self,
        name: str,
        plan: OperatorPlan,
        opts: pulumi.ResourceOptions,
        *,
        namespace: pulumi.Input[str],
    ) -> None:
        super().__init__("proxyobs:prometheus:OperatedPrometheus", name, APP, namespace, opts)
        for entry in plan.objects:
            CustomResource(
                f"{name}-{entry.kind.lower()}-{entry.name}",
                api_version=API_VERSION,
                kind=entry.kind,
                metadata=self.metadata(entry.name, plan.prometheus.operator_labels),
                spec=entry.spec,
                opts=self.child,
            )
        self.url, self.login_secret = plan.prometheus.url, plan.prometheus.login_secret
        self.exports = {
            "prometheusUrl": self.url,
            "requiredPrometheusValues": plan.required_values,
        }
        self.register_outputs(dict(self.exports))
