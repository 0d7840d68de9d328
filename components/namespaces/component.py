"""Namespaces: where everything runs, and what may run there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.base import child_options
from components.labels import labels
from components.namespaces.admission import NOT_PRUNED, NamespacePlan, Purpose
from components.namespaces.quota import Quota


@dataclass(frozen=True, kw_only=True)
class NamespacesArgs:
    """What the program needs of the cluster's namespaces."""

    plans: Sequence[NamespacePlan]
    """Names are unique; crawlers may have several namespaces, every other purpose has one."""


class Namespaces(pulumi.ComponentResource):
    """The namespaces of a stack: created, with a quota, or labelled, or used as they are."""

    names: dict[str, pulumi.Output[str]]
    """Each name as an output, by name.

    A resource with one waits until the namespace is created or labelled. One that is used as it is
    must exist before.
    """
    crawlers: dict[str, pulumi.Output[str]]
    """Those of `names` that crawlers run in."""

    def __init__(
        self, name: str, args: NamespacesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:namespaces:Namespaces", name, None, opts)
        self._name, self._child, self._plans = name, child_options(self, opts), args.plans
        make = {"create": self._create, "label": self._label, "use": self._use}
        self.names = {plan.name: make[plan.action](plan) for plan in args.plans}
        self.crawlers = self._names_for("crawlers")
        self.register_outputs({"names": self.names, "crawlers": self.crawlers})

    def name_for(self, purpose: Purpose) -> pulumi.Output[str]:
        """Return the name of the one namespace with this purpose."""
        (name,) = self._names_for(purpose).values()
        return name

    def _names_for(self, purpose: Purpose) -> dict[str, pulumi.Output[str]]:
        return {plan.name: self.names[plan.name] for plan in self._plans if plan.purpose == purpose}

    def _create(self, plan: NamespacePlan) -> pulumi.Output[str]:
        namespace = core.Namespace(
            f"{self._name}-{plan.name}",
            metadata=meta.ObjectMetaArgs(
                name=plan.name,
                labels={**labels(plan.name), **plan.labels},
                annotations=NOT_PRUNED if plan.retained else None,
            ),
            # Retained instead of protected: `destroy` works in one command, and the pods of other
            # teams outlive it (docs/decisions/0015-namespaces-outlive-the-stack.md).
            opts=pulumi.ResourceOptions.merge(
                self._child, pulumi.ResourceOptions(retain_on_delete=plan.retained)
            ),
        )
        if plan.quota:
            self._limit(namespace.metadata.name, plan.name, plan.quota)
        return namespace.metadata.name

    def _limit(self, namespace: pulumi.Output[str], name: str, quota: Quota) -> None:
        scope = None
        if quota.uncounted_priority:
            others = core.ScopedResourceSelectorRequirementArgs(
                scope_name="PriorityClass", operator="NotIn", values=[quota.uncounted_priority]
            )
            scope = core.ScopeSelectorArgs(match_expressions=[others])
        core.ResourceQuota(
            f"{self._name}-{name}-quota",
            metadata=meta.ObjectMetaArgs(
                name="proxy-observability", namespace=namespace, labels=labels(name)
            ),
            spec=core.ResourceQuotaSpecArgs(hard=quota.hard, scope_selector=scope),
            opts=self._child,
        )

    def _label(self, plan: NamespacePlan) -> pulumi.Output[str]:
        # Server-side apply owns these labels alone, and only they go with the stack. If another
        # tool set another value `up` fails with a conflict. A namespace that is missing is created.
        patch = core.NamespacePatch(
            f"{self._name}-{plan.name}",
            metadata=meta.ObjectMetaPatchArgs(name=plan.name, labels=plan.labels),
            opts=self._child,
        )
        return patch.metadata.name

    def _use(self, plan: NamespacePlan) -> pulumi.Output[str]:
        return pulumi.Output.from_input(plan.name)
