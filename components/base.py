"""ClusterComponent: objects that share a namespace, an application's labels and a parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.policy import v1 as policy
from pulumi_kubernetes.rbac import v1 as rbac

from components.labels import labels
from components.pods import ROLLOUT_TIMEOUT, Files, digest_of

RBAC_GROUP = "rbac.authorization.k8s.io"


def child_options(
    parent: pulumi.Resource, opts: pulumi.ResourceOptions | None
) -> pulumi.ResourceOptions:
    """Return the options of a component's children.

    A child waits for what its component waits for, but Pulumi's state records only a child's own
    dependencies. Without them here `destroy` would remove istiod before the EnvoyFilters that it
    validates.
    """
    return pulumi.ResourceOptions(parent=parent, depends_on=opts.depends_on if opts else None)


class ClusterComponent(pulumi.ComponentResource):
    """A component of one application in one namespace.

    Resources are named after the component; `child` are the options of each.
    """

    def __init__(
        self,
        type_token: str,
        name: str,
        app: str,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None,
    ) -> None:
        super().__init__(type_token, name, None, opts)
        self.prefix, self.namespace, self.labels = name, namespace, labels(app)
        self.child = child_options(self, opts)

    def metadata(
        self, object_name: str | None = None, more_labels: Mapping[str, str] | None = None
    ) -> meta.ObjectMetaArgs:
        """Return an object's metadata; without a name Pulumi adds a random suffix to one."""
        return meta.ObjectMetaArgs(
            name=object_name,
            namespace=self.namespace,
            labels={**self.labels, **(more_labels or {})},
        )

    def config_map(self, suffix: str, data: pulumi.Input[Mapping[str, Any]]) -> Files:
        """Create a ConfigMap for pods that read it as they start.

        A change is made in place, so that a preview shows the changed lines alone. `config_source`
        rolls the pods.
        """
        name = f"{self.prefix}-{suffix}"
        config_map = core.ConfigMap(name, metadata=self.metadata(name), data=data, opts=self.child)
        return Files(config_map=config_map, digest=pulumi.Output.from_input(data).apply(digest_of))

    def secret(self, suffix: str, string_data: pulumi.Input[Mapping[str, Any]]) -> core.Secret:
        """Create an immutable Secret without a fixed name.

        A change makes a new object, whose name in the pod template rolls the pods. Old pods keep
        the old object until they are gone.
        """
        return core.Secret(
            f"{self.prefix}-{suffix}",
            metadata=self.metadata(),
            immutable=True,
            string_data=string_data,
            opts=self.child,
        )

    def service(
        self,
        suffix: str,
        metadata: meta.ObjectMetaArgs,
        pods: Mapping[str, str],
        ports: Mapping[str, int],
        **spec: Any,
    ) -> core.Service:
        """Create a Service for the pods with these labels, whose ports have the same names."""
        return core.Service(
            f"{self.prefix}-{suffix}",
            metadata=metadata,
            spec=core.ServiceSpecArgs(
                selector=pods,
                ports=[
                    core.ServicePortArgs(name=name, port=port, target_port=name)
                    for name, port in ports.items()
                ],
                **spec,
            ),
            opts=self.child,
        )

    def address(
        self, service: core.Service, port: int | None = None, *, with_tls: bool = False
    ) -> pulumi.Output[str]:
        """Return the URL of a Service inside the cluster; without a port, its scheme's own."""
        return pulumi.Output.format(
            "{0}://{1}.{2}.svc{3}",
            "https" if with_tls else "http",
            service.metadata.name,
            self.namespace,
            "" if port is None else f":{port}",
        )

    def workload_options(
        self, *, update_timeout: str = ROLLOUT_TIMEOUT, claims: bool = False
    ) -> pulumi.ResourceOptions:
        """Return the options of a Deployment or StatefulSet.

        Args:
            update_timeout: how long Pulumi waits for a roll-out.
            claims: whether it is a StatefulSet with volume claims. Kubernetes cannot change those,
                so Pulumi would replace the StatefulSet: every replica down at once, and the
                volumes as small as before.
        """
        own = pulumi.ResourceOptions(
            ignore_changes=["spec.volumeClaimTemplates"] if claims else None,
            custom_timeouts=pulumi.CustomTimeouts(create=ROLLOUT_TIMEOUT, update=update_timeout),
        )
        return pulumi.ResourceOptions.merge(self.child, own)

    def grant(
        self,
        suffix: str,
        kind: Literal["Role", "ClusterRole"],
        name: str,
        rules: Sequence[rbac.PolicyRuleArgs],
        subjects: Sequence[rbac.SubjectArgs],
        namespace: pulumi.Input[str] | None,
    ) -> None:
        """Create a Role or a ClusterRole, and bind these subjects to it, if there are any.

        Args:
            namespace: of both objects; None for a ClusterRole.
        """
        resource_name = f"{self.prefix}-{suffix}"
        metadata = meta.ObjectMetaArgs(name=name, namespace=namespace, labels=self.labels)
        getattr(rbac, kind)(resource_name, metadata=metadata, rules=rules, opts=self.child)
        if subjects:
            getattr(rbac, f"{kind}Binding")(
                resource_name,
                metadata=metadata,
                role_ref=rbac.RoleRefArgs(api_group=RBAC_GROUP, kind=kind, name=name),
                subjects=subjects,
                opts=self.child,
            )

    def account(self, name: str) -> rbac.SubjectArgs:
        """Return a ServiceAccount of this namespace, as the subject of a grant."""
        return rbac.SubjectArgs(kind="ServiceAccount", name=name, namespace=self.namespace)

    def disruption_budget(
        self, suffix: str, metadata: meta.ObjectMetaArgs, pods: Mapping[str, str], replicas: int
    ) -> None:
        """Let one replica at a time leave its node. A single replica's would block drains."""
        if replicas > 1:
            policy.PodDisruptionBudget(
                f"{self.prefix}-{suffix}",
                metadata=metadata,
                spec=policy.PodDisruptionBudgetSpecArgs(
                    max_unavailable=1, selector=meta.LabelSelectorArgs(match_labels=pods)
                ),
                opts=self.child,
            )
