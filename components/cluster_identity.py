"""Which cluster a stack belongs to: recorded by its first `up`, and checked ever after."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi_kubernetes import Provider
from pulumi_kubernetes.core import v1 as core


def checked_uid(kubeconfig: pulumi.Output[str] | None, context: str | None) -> pulumi.Output[str]:
    """Return the UID of namespace kube-system, which is the cluster's own for as long as it lives.

    The first `up` keeps it in the stack's state. Every later preview and `up` reads it again, and
    fails before it touches an object if it is another one. It is unknown in the preview of a new
    stack, which needs no cluster.
    """
    reader = provider_of(
        "cluster-identity",
        kubeconfig=kubeconfig,
        context=context,
        # Another address in the stack's kubeconfig would replace this provider.
        cluster_identifier="any",
    )
    # It has no id in the preview of a new stack, and there the engine does not read.
    first_up = pulumi.Stash("first-up", input=True)
    kube_system = core.Namespace.get(
        "kube-system",
        first_up.id.apply(lambda _: "kube-system"),
        pulumi.ResourceOptions(provider=reader),
    )
    uid = kube_system.metadata.uid
    # `output` is the first value for ever; `input` would be the newest.
    kept = pulumi.Stash(
        "cluster-uid", input=uid, opts=pulumi.ResourceOptions(ignore_changes=["input"])
    )
    return pulumi.Output.all(kept.output, uid).apply(
        lambda both: refuse_another(both[0], both[1], context)
    )


def refuse_another(kept: str, found: str, context: str | None) -> str:
    """Return the UID.

    Raises:
        pulumi.RunError: the two differ. Pulumi prints it without a traceback.
    """
    if kept == found:
        return found
    name = f"context {context!r}" if context else "the kubeconfig"
    raise pulumi.RunError(
        f"cluster: this stack belongs to the cluster whose namespace kube-system has UID {kept}, "
        f"and {name} leads to {found}; correct kubernetes:context or KUBECONFIG, or, if the first "
        "cluster is gone for good, `pulumi state delete --all` and `pulumi up`"
    )


def known_or_none(uid: pulumi.Output[str]) -> pulumi.Output[str | None]:
    """Return None for a UID that is unknown.

    A provider whose inputs are not all known does not ask the cluster in a preview.
    """

    async def value() -> str | None:
        return await uid.future() if await uid.is_known() else None

    return pulumi.Output.from_input(value())


def provider_of(name: str, **inputs: Any) -> Provider:
    """Return a provider with these inputs only.

    The SDK adds KUBECONFIG and PULUMI_K8S_* of whoever runs `pulumi`, and would report a change for
    every colleague. The provider itself reads the same variables.
    """

    def given_only(
        args: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult:
        given = {key: value for key, value in args.props.items() if inputs.get(key) is not None}
        return pulumi.ResourceTransformationResult(given, args.opts)

    return Provider(name, **inputs, opts=pulumi.ResourceOptions(transformations=[given_only]))
