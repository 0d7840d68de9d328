"""OperatedPrometheus: the Prometheus that the cluster's Prometheus operator runs."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta import v1 as meta

from components.labels import labels
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
        super().__init__("proxyobs:prometheus:OperatedPrometheus", name, None, opts)
        for entry in plan.objects:
            CustomResource(
                f"{name}-{entry.kind.lower()}-{entry.name}",
                api_version=API_VERSION,
                kind=entry.kind,
                metadata=meta.ObjectMetaArgs(
                    name=entry.name,
                    namespace=args.namespace,
                    labels={**labels(APP), **plan.operator_labels},
                ),
                spec=entry.spec,
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.url, self.login_secret = plan.url, plan.login_secret
        self.exports = {
            "prometheusUrl": plan.url,
            "requiredPrometheusValues": plan.required_values,
        }
        self.register_outputs({"url": self.url})
