"""`istio`: the service mesh, installed by this program or already there."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import StrictBool

from settings.section import Problem, Resources, Section, resources
from settings.values.kubernetes import DnsLabel
from settings.values.texts import ChartSource, Version


class Istio(Section):
    """The service mesh."""

    install: StrictBool = True
    """Whether this program installs Istio. `false`: the cluster has Istio, and its owner merges the
    stack output `requiredIstioValues` into Istio's Helm values; without them live bytes and
    `telemetry.buckets` are missing."""
    version: Version = "1.31.4"
    """Istio's release, for charts and images: 1.30 or 1.31, whose sidecars the attribution matches.
    Sidecars of another release pass their traffic without labels."""
    chart_source: ChartSource = "https://istio-release.storage.googleapis.com/charts"
    """Source of the charts: a repository (`https://`, `http://`, `oci://`), or a local folder
    (`/…`, `./…` or `../…`)."""
    revision: DnsLabel = "default"
    """Istio revision that injects sidecars into the crawlers' namespaces. `default` sets the label
    `istio-injection: enabled`, which wins over an `istio.io/rev` label that a namespace has
    already."""
    root_namespace: DnsLabel = "istio-system"
    """Namespace of istiod; not `monitoring`."""
    cni: StrictBool = True
    """Whether Istio's CNI plugin redirects traffic. `false`: the init container istio-init does,
    and needs NET_ADMIN in every crawler pod. With `install: false` say what the cluster's Istio
    does, unless `crawlers.createNamespaces` is false."""
    # Requests are the brief's 0.1 CPU and 200 MB for a sidecar. The limits are our choice. CPU:
    # the 0.5 a crawler itself may use, since a sidecar works only when its crawler does; throttled
    # at 0.1 a burst of handshakes would show up as a slow vendor. Memory: 2.5 times the request,
    # for buffers of large answers; a sidecar killed for memory cuts every tunnel of its pod.
    sidecar: Resources = resources(cpu=("100m", "500m"), memory=("200M", "512M"))
    """Requests and limits of each crawler's sidecar: the largest cost of the mesh. A change takes
    effect as pods restart."""

    def problems(self) -> Iterator[Problem]:
        if self.install:
            return
        for field, key in (("version", "version"), ("chart_source", "chartSource")):
            if self.sets(field):
                yield Problem(
                    (key,),
                    "has no effect with install: false, where this program installs no Istio; "
                    "remove it",
                )
