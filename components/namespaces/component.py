"""Namespaces: where everything runs, and what may run there."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import Namespace, NamespacePatch
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs, ObjectMetaPatchArgs

from components.labels import labels
from components.namespaces.admission import (
    NOT_INJECTED,
    injection,
    istio_level,
    pod_security,
)


@dataclass(frozen=True, kw_only=True)
class NamespacesArgs:
    """Which namespaces there are.

    `istio_installed` says that istiod's is ours to make, `crawlers_created` that the crawlers'
    are, `monitoring_created` that Grafana's is; `crawlers_pod_security` counts for those we make
    only.
    """

    monitoring: str
    monitoring_created: bool
    crawlers: tuple[str, ...]
    crawlers_created: bool
    crawlers_pod_security: str
    istio: str
    istio_revision: str
    istio_installed: bool
    istio_cni: bool
    simulated_vendors: str | None = None
    """None where no vendor is simulated."""


class Namespaces(pulumi.ComponentResource):
    """The monitoring namespace, the crawlers' with sidecar injection, istiod's, simulated vendors'.

    An Istio that was there before keeps its namespace as it is; crawlers' namespaces that were
    there get the injection label and nothing else.
    """

    monitoring: pulumi.Output[str]
    crawlers: dict[str, pulumi.Output[str]]
    """The name as an output, by name: what uses it waits for the namespace."""
    istio: pulumi.Output[str]
    simulated_vendors: pulumi.Output[str] | None

    def __init__(
        self, name: str, args: NamespacesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:namespaces:Namespaces", name, None, opts)

        def namespace(
            namespace_name: str, admission: dict[str, str], *, protect: bool = False
        ) -> pulumi.Output[str]:
            resource = Namespace(
                f"{name}-{namespace_name}",
                metadata=ObjectMetaArgs(
                    name=namespace_name, labels={**labels(namespace_name), **admission}
                ),
                opts=pulumi.ResourceOptions(parent=self, protect=protect),
            )
            return resource.metadata.name

        def patched(namespace_name: str, admission: dict[str, str]) -> pulumi.Output[str]:
            # By server-side apply: we own this one label, and only it goes with the stack. Another
            # value of somebody else's is a conflict that fails `up`; a name that isn't there is
            # made, without protection.
            patch = NamespacePatch(
                f"{name}-{namespace_name}",
                metadata=ObjectMetaPatchArgs(name=namespace_name, labels=admission),
                opts=pulumi.ResourceOptions(parent=self),
            )
            return patch.metadata.name

        # Not injected: a sidecar would put Prometheus's own scrapes into the numbers.
        self.monitoring = (
            namespace(args.monitoring, pod_security("restricted"), protect=True)
            if args.monitoring_created
            else pulumi.Output.from_input(args.monitoring)
        )
        injected = injection(args.istio_revision)
        self.crawlers = {
            # Protected: the crawlers' own pods live there, and go with the namespace.
            crawlers: namespace(
                crawlers, pod_security(args.crawlers_pod_security) | injected, protect=True
            )
            if args.crawlers_created
            else patched(crawlers, injected)
            for crawlers in args.crawlers
        }
        self.istio = (
            namespace(args.istio, pod_security(istio_level(cni=args.istio_cni)))
            if args.istio_installed
            else pulumi.Output.from_input(args.istio)
        )
        # Outside the mesh, as vendors are; in so many words, for a mesh that injects everywhere.
        self.simulated_vendors = (
            namespace(args.simulated_vendors, pod_security("restricted") | NOT_INJECTED)
            if args.simulated_vendors
            else None
        )
        self.register_outputs(
            {
                "monitoring": self.monitoring,
                "crawlers": list(self.crawlers.values()),
                "istio": self.istio,
                "simulated_vendors": self.simulated_vendors,
            }
        )
