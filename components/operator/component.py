"""OperatorObjects: for a cluster whose Prometheus an operator runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.labels import labels
from components.operator.objects import API_VERSION, OperatorObject

APP = "prometheus-objects"


@dataclass(frozen=True, kw_only=True)
class OperatorObjectsArgs:
    """`operator_labels` are those its Prometheus selects by."""

    namespace: pulumi.Input[str]
    objects: Sequence[OperatorObject]
    operator_labels: Mapping[str, str]


class OperatorObjects(pulumi.ComponentResource):
    """Monitors and rules, which the operator turns into its Prometheus' configuration.

    Without the operator's CRDs `up` fails and says so; with labels that nobody selects it
    succeeds and nothing is scraped (docs/own-prometheus.md says how to see it).
    """

    def __init__(
        self, name: str, args: OperatorObjectsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:operator:OperatorObjects", name, None, opts)
        for one in args.objects:
            CustomResource(
                f"{name}-{one.kind.lower()}-{one.name}",
                api_version=API_VERSION,
                kind=one.kind,
                metadata=ObjectMetaArgs(
                    name=one.name,
                    namespace=args.namespace,
                    labels={**labels(APP), **args.operator_labels},
                ),
                spec=one.spec,
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
