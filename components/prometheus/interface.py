"""What a Prometheus gets of the program and gives to it, whether the program runs it or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components.base import ClusterComponent
from components.prometheus.operator_objects import OperatorPlan
from components.prometheus.servers import ServerPlan


@dataclass(frozen=True, kw_only=True)
class PrometheusArgs:
    """`watched` are the namespaces with targets, by name.

    `alertmanager_auth` is the Secret with Alertmanager's password, where one runs.
    """

    namespace: pulumi.Input[str]
    plan: ServerPlan | OperatorPlan
    watched: Mapping[str, pulumi.Input[str]]
    alertmanager_auth: pulumi.Input[str] | None


class Prometheus(ClusterComponent):
    """A Prometheus that Grafana can query."""

    url: pulumi.Input[str]
    login_secret: pulumi.Input[str] | None
    """Secret in `namespace` with `username` and `password`; None without a login."""
    exports: Mapping[str, pulumi.Input[Any]]
    """Outputs of the stack, by name."""
