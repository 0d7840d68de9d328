"""The stack's Prometheus: this program's own, or the one that the cluster's operator runs."""

from __future__ import annotations

import pulumi

from components.prometheus.interface import Prometheus, PrometheusArgs
from components.prometheus.operator import OperatedPrometheus
from components.prometheus.operator_objects import OperatorPlan
from components.prometheus.server import PrometheusServer


def prometheus_of(name: str, args: PrometheusArgs, opts: pulumi.ResourceOptions) -> Prometheus:
    """Create the Prometheus that the plan is for."""
    if isinstance(args.plan, OperatorPlan):
        return OperatedPrometheus(name, args, args.plan, opts)
    return PrometheusServer(name, args, args.plan, opts)
