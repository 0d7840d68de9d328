"""Namespaces: where everything runs, and what may run there."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.labels import labels
from components.namespaces.admission import NamespacePlan, Purpose


class Namespaces(pulumi.ComponentResource):
    """The namespaces of a stack: created, labelled, or used as they are."""

    names: dict[str, pulumi.Output[str]]
    """Each name as an output: a resource that uses it waits for the namespace."""

    def __init__(
        self, name: str, plans: Sequence[NamespacePlan], opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__("proxyobs:namespaces:Namespaces", name, None, opts)
        self._name = name
        make = {"create": self._create, "label": self._label, "use": self._use}
        self._plans = plans
        self.names = {plan.name: make[plan.action](plan) for plan in plans}
        self.register_outputs({"names": list(self.names.values())})

    def names_for(self, purpose: Purpose) -> dict[str, pulumi.Output[str]]:
        return {plan.name: self.names[plan.name] for plan in self._plans if plan.purpose == purpose}

    def name_for(self, purpose: Purpose) -> pulumi.Output[str]:
        (name,) = self.names_for(purpose).values()
        return name

    def _create(self, plan: NamespacePlan) -> pulumi.Output[str]:
        namespace = core.Namespace(
            f"{self._name}-{plan.name}",
            metadata=meta.ObjectMetaArgs(
                name=plan.name, labels={**labels(plan.name), **plan.labels}
            ),
            # Retained instead of protected: `destroy` works in one command, and the pods of other
            # teams outlive it (docs/decisions/0015-namespaces-outlive-the-stack.md).
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=plan.retained),
        )
        return namespace.metadata.name

    def _label(self, plan: NamespacePlan) -> pulumi.Output[str]:
        # Server-side apply owns these labels alone, and only they go with the stack. If another
        # tool set another value `up` fails with a conflict. A namespace that is missing is created.
        patch = core.NamespacePatch(
            f"{self._name}-{plan.name}",
            metadata=meta.ObjectMetaPatchArgs(name=plan.name, labels=plan.labels),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return patch.metadata.name

    def _use(self, plan: NamespacePlan) -> pulumi.Output[str]:
        return pulumi.Output.from_input(plan.name)
