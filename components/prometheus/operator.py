"""OperatedPrometheus: the Prometheus that the cluster's Prometheus operator runs."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.prometheus.interface import Prometheus, PrometheusArgs
from components.prometheus.operator_objects import API_VERSION, OperatorPlan

APP = "prometheus-objects"


class OperatedPrometheus(Prometheus):
    """Monitors and rules, from which the operator writes its Prometheus' configuration.

    Without the operator's CRDs `up` fails. With labels that no Prometheus selects `up` succeeds and
    nothing is scraped (docs/own-prometheus.md says how to see it).
    """

    def __init__(
        self,
        name: str,
        args: PrometheusArgs,
        plan: OperatorPlan,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        token = "proxyobs:prometheus:OperatedPrometheus"
        super().__init__(token, name, APP, args.namespace, opts)
        for entry in plan.objects:
            CustomResource(
                f"{name}-{entry.kind.lower()}-{entry.name}",
                api_version=API_VERSION,
                kind=entry.kind,
                metadata=self.metadata(entry.name, plan.operator_labels),
                spec=entry.spec,
                opts=self.child,
            )
        self.url, self.login_secret = plan.url, plan.login_secret
        self.exports = {
            "prometheusUrl": plan.url,
            "requiredPrometheusValues": plan.required_values,
        }
        self.register_outputs({"url": self.url})
