"""NetworkPolicies: what this stack's pods may connect to, and who may connect to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking

from components.base import child_options
from components.labels import labels
from components.network.policies import PolicyPlan

APP = "network-policies"


@dataclass(frozen=True, kw_only=True)
class NetworkPoliciesArgs:
    """Which policies there are, and where."""

    namespaces: Mapping[str, pulumi.Input[str]]
    """Namespaces by name."""
    plans: Sequence[PolicyPlan]
    """From `policies.policies_of`."""


class NetworkPolicies(pulumi.ComponentResource):
    """Deny what the table of flows does not list (components/network/flows.py).

    A cluster whose network plugin ignores NetworkPolicies keeps them without effect.
    """

    def __init__(
        self, name: str, args: NetworkPoliciesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:network:NetworkPolicies", name, None, opts)
        child = child_options(self, opts)
        made: list[tuple[int, networking.NetworkPolicy]] = []
        for plan in sorted(args.plans, key=lambda plan: plan.step):
            before = [policy for step, policy in made if step < plan.step]
            policy = networking.NetworkPolicy(
                f"{name}-{plan.namespace}-{plan.name}",
                metadata=meta.ObjectMetaArgs(
                    name=plan.name,
                    namespace=args.namespaces[plan.namespace],
                    labels=labels(APP),
                    annotations={**plan.reasons},
                ),
                spec=plan.spec,
                opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=before)),
            )
            made.append((plan.step, policy))
        self.register_outputs({})
