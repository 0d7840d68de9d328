"""ClusterComponent: objects that share a namespace, an application's labels and a parent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.labels import labels


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
        self.child = pulumi.ResourceOptions(parent=self)

    def metadata(
        self, object_name: str | None = None, extra_labels: Mapping[str, str] | None = None
    ) -> meta.ObjectMetaArgs:
        """Return an object's metadata; without a name Pulumi adds a random suffix to one."""
        return meta.ObjectMetaArgs(
            name=object_name,
            namespace=self.namespace,
            labels={**self.labels, **(extra_labels or {})},
        )

    def config_map(self, suffix: str, data: pulumi.Input[Mapping[str, Any]]) -> core.ConfigMap:
        """Create an immutable ConfigMap without a fixed name.

        A change makes a new object, whose name in the pod template rolls the pods. Old pods keep
        the old object until they are gone.
        """
        return core.ConfigMap(
            f"{self.prefix}-{suffix}",
            metadata=self.metadata(),
            immutable=True,
            data=data,
            opts=self.child,
        )

    def secret(self, suffix: str, string_data: pulumi.Input[Mapping[str, Any]]) -> core.Secret:
        """Create an immutable Secret without a fixed name, as `config_map` does."""
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
        object_name: str,
        pods: Mapping[str, str],
        ports: Mapping[str, int],
        **spec: Any,
    ) -> core.Service:
        """Create a Service for the pods with these labels, whose ports have the same names."""
        return core.Service(
            f"{self.prefix}-{suffix}",
            metadata=self.metadata(object_name),
            spec=core.ServiceSpecArgs(
                selector=dict(pods),
                ports=[
                    core.ServicePortArgs(name=name, port=port, target_port=name)
                    for name, port in ports.items()
                ],
                **spec,
            ),
            opts=self.child,
        )
