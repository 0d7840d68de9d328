"""Istio's charts: where Helm finds each one, and its values.

The names of the values were read in the charts of Istio 1.31 (manifests/charts). No value is text
that YAML would read as a number or a boolean ("2", "y"): Helm renders some values without quotes,
and the error would come only when the release is half applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.mesh.cluster_values import (
    RELEASE_HUB,
    cluster_values,
    combined,
    with_free_values,
)
from settings.istio import ControlPlane, Istio
from settings.section import Quantities, Resources, resources
from settings.stack import StackSettings
from settings.values.quantities import cpu_millis

Json = dict[str, Any]

# Added to one scrape interval: Prometheus may take 5 s to discover a pod, and a scrape takes time.
LAST_SCRAPE_MARGIN_SECONDS = 5

ISTIOD_REPLICAS = 5
"""The most that the chart's own autoscaler starts."""

# The chart's requests; it has no limits. The agent copies its plugin and watches the node's pods.
CNI_AGENT = resources(cpu=("100m", "500m"), memory=("100Mi", "512Mi"))

# Where each chart is in Istio's source tree, below manifests/charts.
FOLDERS = {
    "base": "base",
    "istiod": "istio-control/istio-discovery",
    "cni": "istio-cni",
}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart to install; `release` is the name that Istio's documentation uses."""

    release: str
    name: str
    location: str
    """What Helm takes as the chart: a path, a registry's URL, or an entry of `repository`."""
    repository: str | None
    version: str | None
    values: Json


def charts_of(settings: StackSettings) -> tuple[Chart, ...]:
    """Return the charts in the order of their installation, the CNI agent before istiod.

    A sidecar on a node without the agent could not redirect traffic. The istiod that injects the
    crawlers comes before one of another revision.

    Raises:
        SettingsError: `istio.values` has a value that cannot be.
    """
    istio = settings.istio
    source = istio.chart_source
    # Helm finds the charts of a folder and of an OCI registry by themselves, others in an index.
    indexed = not is_folder(source) and not source.startswith("oci://")

    def chart(release: str, name: str, version: str, of: StackSettings, own: Json) -> Chart:
        values = combined(own, cluster_values(name, of))
        path = FOLDERS[name] if is_folder(source) else name
        return Chart(
            release=release,
            name=name,
            location=name if indexed else f"{source.rstrip('/')}/{path}",
            repository=source if indexed else None,
            # A folder holds one version, and Helm would look for the version in a repository.
            version=None if is_folder(source) else version,
            values=with_free_values(name, values, settings),
        )

    def istiod(plane: ControlPlane) -> Chart:
        of = _as_of(settings, plane)
        own = istiod_values(of.istio, last_scrape_seconds(of))
        return chart(istiod_release(plane.revision), "istiod", plane.version, of, own)

    # A new CNI agent and new CRDs serve the istiod of one minor version before.
    newest = istio.newest_version
    cni = (chart("istio-cni", "cni", newest, settings, cni_values(istio)),) if istio.cni else ()
    return (
        chart("istio-base", "base", newest, settings, base_values(istio)),
        *cni,
        *map(istiod, istio.control_planes),
    )


def istiod_release(revision: str) -> str:
    """Return the Helm release of a revision's istiod, which its objects are named after.

    It follows from the revision alone: a release that changes its name is another one.
    """
    return "istiod" if revision == "default" else f"istiod-{revision}"


def _as_of(settings: StackSettings, plane: ControlPlane) -> StackSettings:
    """Return the settings as if this control plane were the only one."""
    own = {"revision": plane.revision, "version": plane.version, "other_revision": None}
    return settings.model_copy(update={"istio": settings.istio.model_copy(update=own)})


def is_folder(source: str) -> bool:
    """Whether a chart source is a local folder rather than a URL."""
    return source.startswith(("/", "."))


def base_values(istio: Istio) -> Json:
    return {
        "global": {"istioNamespace": istio.root_namespace},
        "defaultRevision": istio.revision,
        # Without it an upgrade of the release sets the webhook to Fail, and while istiod is away no
        # EnvoyFilter can be written or previewed. istiod itself sets Fail once it answers.
        "base": {"validationFailurePolicy": "Ignore"},
    }


def last_scrape_seconds(settings: StackSettings) -> int | None:
    """Return how long a sidecar outlives its crawler, so that Prometheus scrapes it once more.

    None means that it ends at once, as by default where Istio is not ours: every pod of the mesh
    would end later.
    """
    delays = settings.telemetry.delay_pod_termination
    if not (settings.istio.install if delays is None else delays):
        return None
    return settings.prometheus.scrape_interval + LAST_SCRAPE_MARGIN_SECONDS


def istiod_values(istio: Istio, last_scrape_seconds: int | None = None) -> Json:
    """Return istiod's values.

    Args:
        last_scrape_seconds: as of `optional_values`.
    """
    values: Json = {
        "global": {
            **_images(istio),
            "istioNamespace": istio.root_namespace,
            "proxy": {
                "resources": _resources(istio.sidecar),
                # Without it a namespace of level `restricted` refuses the sidecar.
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
        "revision": "" if istio.revision == "default" else istio.revision,
        "base": {"validationFailurePolicy": "Ignore"},
        "cni": {"enabled": istio.cni},
        "resources": _resources(istio.istiod.resources),
        "autoscaleMin": istio.istiod.replicas,
        # The namespace's quota must know it.
        "autoscaleMax": most_istiods(istio),
    }
    return combined(values, optional_values(last_scrape_seconds))


def most_istiods(istio: Istio) -> int:
    """Return the most replicas that the autoscaler starts."""
    return max(ISTIOD_REPLICAS, istio.istiod.replicas)


def cni_values(istio: Istio) -> Json:
    return {
        "global": _images(istio),
        "resources": _resources(CNI_AGENT),
        # istiod's own pods start before it can configure a sidecar.
        "excludeNamespaces": ["kube-system", istio.root_namespace],
    }


def optional_values(last_scrape_seconds: int | None = None) -> Json:
    """Return values for the istiod chart that serve crawlers and change every pod of the mesh.

    The owner of an existing Istio may merge them. What the statistics need reaches crawlers' pods
    alone (components/attribution/bootstrap.py).

    Args:
        last_scrape_seconds: how long sidecars outlive their crawlers. None leaves it to Istio,
            whose native sidecars end at once.
    """
    # For nodes too old for native sidecars. Without it a crawler may start before its sidecar, and
    # its connections are refused.
    defaults: Json = {"holdApplicationUntilProxyStarts": True}
    values: Json = {"meshConfig": {"defaultConfig": defaults}}
    if last_scrape_seconds is not None:
        # Istio reads a protobuf duration, which knows seconds but no minutes.
        defaults["terminationDrainDuration"] = f"{last_scrape_seconds}s"
        values["global"] = {"proxy": {"lifecycle": _outliving_lifecycle()}}
    return values


def _outliving_lifecycle() -> Json:
    """Return the hooks of a sidecar that outlives its crawler by `terminationDrainDuration`.

    Istio gives a native sidecar a `preStop` hook that drains as soon as its pod is to end. An agent
    that has drained exits at SIGTERM without waiting (pkg/envoy/agent.go, `DrainNow`). Istio leaves
    that hook out only if the values name hooks. So this names the one hook that Istio itself gives
    to sidecars that hold their application until they are ready. Its time is the startup probe's:
    a native sidecar waits for istiod as long as before.
    """
    command = ["pilot-agent", "wait", "--timeoutSeconds=600"]
    return {"postStart": {"exec": {"command": command}}}


def _images(istio: Istio) -> Json:
    """Return the images' registry and tag, which only charts of a release have built in."""
    if not is_folder(istio.chart_source):
        return {}
    return {"hub": RELEASE_HUB, "tag": istio.version}


def _resources(resources: Resources) -> Json:
    return {"requests": _amounts(resources.requests), "limits": _amounts(resources.limits)}


def _amounts(quantities: Quantities) -> Json:
    return {"cpu": f"{cpu_millis(quantities.cpu)}m", "memory": quantities.memory}
