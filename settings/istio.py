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

MOST_OF_A_REVISION = 53 - len("istiod-")
"""Characters: Helm's longest name of a release is 53."""
MOST_BESIDE_ANOTHER = 58 - len("istiod--0123456789-")
"""The same where there are two istiods. IstiodDown reads whose a pod is from its name, in front of
the ReplicaSet's hash of up to 10 characters, and Kubernetes cuts that part of the name to 58
(k8s.io/apiserver, pkg/storage/names)."""

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


class ControlPlane(Section):
    """One istiod and its version."""

    revision: DnsLabel = Field(examples=["1-30"])
    """Its Istio revision."""
    version: Version = Field(examples=["1.30.2"])
    """Its release: 1.30 or 1.31."""


CHARTS_ONLY = (
    *("version", "other_revision", "chart_source", "hub"),
    *("image_pull_secrets", "istiod", "values"),
)
"""Fields that say something of charts which this program installs."""


class Istio(Section):
    """The service mesh."""

    install: StrictBool = True
    """Whether this program installs Istio. `false`: the cluster has Istio, whose owner need do
    nothing: what crawlers' sidecars need reaches them by a ProxyConfig in their namespaces. On
    nodes without native sidecars a crawler should wait for its sidecar: by its own annotation
    (`make verify` says which), or by the stack output `optionalIstioValues`, by which every pod of
    the mesh waits."""
    version: Version = "1.31.4"
    """Istio's release, for charts and images: 1.30 or 1.31, whose sidecars the attribution matches.
    Sidecars of another release pass their traffic without labels."""
    chart_source: ChartSource = "https://istio-release.storage.googleapis.com/charts"
    """Source of the charts: a repository (`https://`, `http://`, `oci://`), or a local folder
    (`/…`, `./…` or `../…`)."""
    revision: DnsLabel = "default"
    """Istio revision that injects sidecars into the crawlers' namespaces; with `install: false`
    also a revision tag. `default` sets the label
    `istio-injection: enabled`, which wins over an `istio.io/rev` label that a namespace has
    already."""
    other_revision: ControlPlane | None = Field(
        default=None, examples=[{"revision": "1-30", "version": "1.30.2"}]
    )
    """A second control plane beside that of `revision`, while Istio is upgraded or taken back
    (docs/operations.md#upgrade-istio). It serves the pods that it injected."""
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
    effect as pods restart. With `install: false` the mesh's owner sets them, or a pod's annotations
    `sidecar.istio.io/proxyCPU`, `…/proxyMemory`, `…/proxyCPULimit` and `…/proxyMemoryLimit`, one of
    which replaces all that the owner set; `make impact` then counts with these."""
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
            yield from self._problems_of_revisions()
            return
        for field in CHARTS_ONLY:
            if self.sets(field):
                yield Problem(
                    (self.key_of(field),),
                    "has no effect with install: false, where this program installs no Istio; "
                    "remove it",
                )

    @property
    def control_planes(self) -> tuple[ControlPlane, ...]:
        """Return the control planes, the one that injects the crawlers first."""
        first = ControlPlane(revision=self.revision, version=self.version)
        return (first, self.other_revision) if self.other_revision else (first,)

    @property
    def versions_by_key(self) -> dict[str, str]:
        """Return the releases that this program installs, by the key that says so."""
        keys = ("istio.version", "istio.otherRevision.version")
        planes = self.control_planes if self.install else ()
        return {key: one.version for key, one in zip(keys, planes, strict=False)}

    @property
    def revisions(self) -> frozenset[str]:
        """Return the revisions that this program installs; none where another team runs Istio."""
        planes = self.control_planes if self.install else ()
        return frozenset(one.revision for one in planes)

    @property
    def newest_version(self) -> str:
        """Return the version of what all control planes share: CRDs and the CNI agent."""
        return max((one.version for one in self.control_planes), key=_age)

    def _problems_of_revisions(self) -> Iterator[Problem]:
        keys = (("revision",), ("otherRevision", "revision"))
        most, what = MOST_OF_A_REVISION, "Helm, which names a release after it"
        if self.other_revision:
            most, what = MOST_BESIDE_ANOTHER, "the names of its pods, by which two istiods differ"
        for key, one in zip(keys, self.control_planes, strict=False):
            if len(one.revision) > most:
                yield Problem(
                    key,
                    f"has {len(one.revision)} characters, too many for {what}; "
                    f"write at most {most}",
                )
        if self.other_revision is None:
            return
        if self.other_revision.revision == self.revision:
            yield Problem(
                ("otherRevision", "revision"),
                f"{self.revision!r} is istio.revision as well; name each control plane by its "
                "version, like 1-31",
            )
        if self.chart_source.startswith(("/", ".")):
            yield Problem(
                ("otherRevision",),
                f"needs the charts of two versions, and the folder {self.chart_source} has one; "
                "name a repository as chartSource",
            )


def _age(version: str) -> tuple[list[int], bool, str]:
    """Order versions by age; a candidate (1.31.0-rc.1) is older than its release."""
    release, _, candidate = version.partition("-")
    return [int(part) for part in release.split(".")], not candidate, candidate
