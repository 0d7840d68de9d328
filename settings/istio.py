"""`istio`: the service mesh, installed by this program or already there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt

from settings.images import ImagePrefix
from settings.section import Problem, Resources, Section, repeated, resources
from settings.values.kubernetes import DnsLabel, ObjectName
from settings.values.texts import ChartSource, Version

OPENSHIFT = "openshift"
WITHOUT_PROFILE = ("aks", "eks", "kind", "kubeadm")
"""Platforms that Istio's charts do not know, and that need no values of their own."""

Platform = Literal[
    "aks", "eks", "gke", "k3d", "k3s", "kind", "kubeadm", "microk8s", "minikube", "openshift"
]

FreeValues = dict[str, Any]


class ChartValues(Section):
    """More values of Istio's charts."""

    base: FreeValues = Field(default={})
    """Of the chart `base`."""
    cni: FreeValues = Field(default={})
    """Of the chart `cni`. What `platform` sets is replaced below `cni` once more, as
    `cni: {cniBinDir: /opt/cni/bin}`."""
    istiod: FreeValues = Field(default={}, examples=[{"meshConfig": {"enableTracing": True}}])
    """Of the chart `istiod`."""


class Istiod(Section):
    """Istio's control plane."""

    replicas: Annotated[StrictInt, Field(ge=1, le=20)] = 1
    """The fewest; the chart's autoscaler starts up to five, or as many as this says. From two on
    the chart adds a PodDisruptionBudget. While none runs, no pod with a sidecar starts."""
    # istiod was measured at 150 MB (docs/compatibility.md). The chart requests 2 GB, too much for a
    # laptop's cluster, and limits no CPU.
    resources: Resources = resources(cpu=("200m", "2"), memory=("512Mi", "2Gi"))
    """Requests and limits of each replica."""


CHARTS_ONLY = {
    "version": "version",
    "chart_source": "chartSource",
    "hub": "hub",
    "image_pull_secrets": "imagePullSecrets",
    "istiod": "istiod",
    "values": "values",
}
"""Keys that say something of charts which this program installs, by their fields."""


class Istio(Section):
    """The service mesh."""

    install: StrictBool = True
    """Whether this program installs Istio. `false`: the cluster has Istio, whose owner need do
    nothing: what crawlers' sidecars need reaches them by a ProxyConfig in their namespaces. The
    stack output `optionalIstioValues` holds every crawler until its sidecar is ready, on nodes
    without native sidecars, and with it every other pod of the mesh."""
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
    scrape_istiod: StrictBool | None = None
    """Whether Prometheus scrapes istiod, for the alerts IstiodDown and IstiodConfigRejected.
    Default: not if another team runs Istio and this program runs Prometheus, which needs a Role in
    `rootNamespace` for it."""
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
    platform: Platform | None = None
    """The cluster's kind, for its values in Istio's charts (`global.platform`): paths of the CNI
    plugin, a quota. `aks`, `eks`, `kind` and `kubeadm` need none and add nothing. With `openshift`,
    also where `install` is false, this program's pods leave their users to its security contexts,
    and names are looked up in `openshift-dns`."""
    hub: ImagePrefix | None = Field(default=None, examples=["registry.example/istio"])
    """Registry and path of Istio's images. Default: the charts' own, after `images.mirror`."""
    image_pull_secrets: tuple[ObjectName, ...] = ()
    """Secrets with that registry's login. Each must exist in `rootNamespace` and, for the
    sidecars, in the crawlers' namespaces."""
    istiod: Istiod = Istiod()
    """Istio's control plane."""
    values: ChartValues = ChartValues()
    """More values of Istio's charts. A value that this program sets, or that would end the
    attribution, is refused. Rendered manifests show them."""

    @property
    def on_openshift(self) -> bool:
        return self.platform == OPENSHIFT

    def problems(self) -> Iterator[Problem]:
        yield from repeated(
            (("imagePullSecrets", n), name) for n, name in enumerate(self.image_pull_secrets)
        )
        if self.install and self.on_openshift and not self.cni:
            yield Problem(
                ("cni",),
                "false cannot be on OpenShift, whose security contexts refuse istio-init; remove "
                "it",
            )
        if self.install:
            return
        for field, key in CHARTS_ONLY.items():
            if self.sets(field):
                yield Problem(
                    (key,),
                    "has no effect with install: false, where this program installs no Istio; "
                    "remove it",
                )
