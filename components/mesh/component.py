"""IstioInstall: the mesh that carries the attribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.helm.v3 import Release, RepositoryOptsArgs

from components.mesh.values import (
    base_values,
    chart_of,
    cni_values,
    is_folder,
    istiod_values,
    repository_of,
)
from settings.istio import Istio

TIMEOUT_SECONDS = 600  # images are large, and the CNI agent waits for every node


@dataclass(frozen=True, kw_only=True)
class IstioInstallArgs:
    """The mesh to install into `namespace`; `buckets` are bounds in milliseconds."""

    namespace: pulumi.Input[str]
    istio: Istio
    buckets: tuple[int, ...]
    last_scrape_seconds: int | None
    """How long sidecars outlive their crawlers; None: not at all."""


class IstioInstall(pulumi.ComponentResource):
    """Istio's own charts, pinned: CRDs, istiod, and the CNI agent where it is wanted.

    With `install: false` nothing is made; the cluster's own Istio then needs
    `values.required_values`. Helm never removes the CRDs: destroying the stack leaves them,
    and with them nobody else's configuration is lost.
    """

    releases: pulumi.Output[list[str]]
    """Names of the releases made, empty where Istio was there before."""

    def __init__(
        self, name: str, args: IstioInstallArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:mesh:IstioInstall", name, None, opts)
        releases: list[Release] = []

        def release(
            release_name: str, chart: str, values: dict[str, Any], after: list[Release]
        ) -> Release:
            source = args.istio.chart_source
            repository = repository_of(source)
            made = Release(
                f"{name}-{chart}",
                # Fixed, as Istio's documentation calls them: `helm list` shows the familiar.
                name=release_name,
                namespace=args.namespace,
                chart=chart_of(source, chart),
                # A folder holds one version, and Helm would look for it in a repository.
                version=None if is_folder(source) else args.istio.version,
                repository_opts=RepositoryOptsArgs(repo=repository) if repository else None,
                values=values,
                timeout=TIMEOUT_SECONDS,
                max_history=5,  # each is a Secret with the whole chart in it
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )
            releases.append(made)
            return made

        if args.istio.install:
            base = release("istio-base", "base", base_values(args.istio), [])
            # Before istiod: a sidecar whose node has no agent yet could not redirect traffic.
            cni = (
                [release("istio-cni", "cni", cni_values(args.istio), [base])]
                if args.istio.cni
                else []
            )
            values = istiod_values(args.istio, args.buckets, args.last_scrape_seconds)
            release("istiod", "istiod", values, [base, *cni])

        self.releases = pulumi.Output.all(*(made.name for made in releases)).apply(list)
        self.register_outputs({"releases": self.releases})
