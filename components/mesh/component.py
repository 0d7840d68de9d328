"""IstioInstall: the mesh that carries the attribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.helm.v3 import Release, RepositoryOptsArgs

from components.base import child_options
from components.mesh.values import Chart

TIMEOUT_SECONDS = 600  # images are large, and the CNI agent waits for every node


@dataclass(frozen=True, kw_only=True)
class IstioInstallArgs:
    """Istio's charts, and where they are installed."""

    namespace: pulumi.Input[str]
    """Istio's root namespace."""
    charts: Sequence[Chart]
    """In the order of installation; each waits for those before it."""


class IstioInstall(pulumi.ComponentResource):
    """Istio's own charts, pinned: CRDs, the CNI agent where the stack wants it, istiod.

    Helm never removes the CRDs: destroying the stack leaves them, and with them every other
    configuration of the mesh.
    """

    def __init__(
        self, name: str, args: IstioInstallArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:mesh:IstioInstall", name, None, opts)
        releases: list[Release] = []
        for chart in args.charts:
            release = Release(
                # By its release: an istiod keeps its name whichever of two injects the crawlers.
                f"{name}-{chart.release.removeprefix('istio-')}",
                name=chart.release,
                namespace=args.namespace,
                chart=chart.location,
                version=chart.version,
                repository_opts=(
                    RepositoryOptsArgs(repo=chart.repository) if chart.repository else None
                ),
                values=chart.values,
                timeout=TIMEOUT_SECONDS,
                max_history=5,  # each revision is a Secret with the whole chart in it
                opts=pulumi.ResourceOptions.merge(
                    child_options(self, opts), pulumi.ResourceOptions(depends_on=releases)
                ),
            )
            releases = [*releases, release]
        self.register_outputs({})
