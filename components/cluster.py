"""The provider for the stack's cluster, and the options of what is created through it."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes import Provider


def in_cluster(kubernetes: pulumi.Config) -> pulumi.ResourceOptions:
    """Return the options of a component in the cluster that the stack's file names."""
    cluster = Provider(
        "cluster",
        kubeconfig=kubernetes.get_secret("kubeconfig"),
        context=kubernetes.get("context"),
        # Prometheus reloads its files in place; ConfigMaps marked immutable are still replaced.
        enable_config_map_mutable=True,
    )
    return pulumi.ResourceOptions(providers={"kubernetes": cluster})


def after(
    options: pulumi.ResourceOptions, *resources: pulumi.Resource | None
) -> pulumi.ResourceOptions:
    """Add dependencies to the options; None stands for a component that the stack does not have."""
    existing = [resource for resource in resources if resource is not None]
    return pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=existing))
