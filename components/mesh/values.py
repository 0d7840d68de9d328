"""Istio's charts: where each one is, and the values it gets.

Value names were read in the charts of Istio 1.31 (manifests/charts). Text that YAML would read
as a number or a boolean ("2", "y") is avoided: Helm renders some values without quotes, and the
error comes only when the release is half applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.attribution.stats import bucket_annotation, proxy_stats_matcher
from settings.istio import Istio
from settings.section import Quantities
from settings.stack import StackSettings
from settings.values import cpu_millis

Json = dict[str, Any]

# Beyond one scrape interval: until a new pod is discovered 5 s may pass, and a scrape takes time.
LAST_SCRAPE_MARGIN_SECONDS = 5

RELEASE_HUB = "registry.istio.io/release"

# Folder of each chart in Istio's own tree, below manifests/charts.
FOLDERS = {
    "base": "base",
    "istiod": "istio-control/istio-discovery",
    "cni": "istio-cni",
}


def is_folder(source: str) -> bool:
    """Whether a chart source is a local folder rather than a URL."""
    return source.startswith(("/", "."))


def chart_of(source: str, chart: str) -> str:
    """Return Helm's name for a chart: a path in a folder, a registry's URL, or an index's entry."""
    if is_folder(source):
        return f"{source.rstrip('/')}/{FOLDERS[chart]}"
    return chart if repository_of(source) else f"{source.rstrip('/')}/{chart}"


def repository_of(source: str) -> str | None:
    """Return the repository whose index names the charts; folders and OCI registries have none."""
    return None if is_folder(source) or source.startswith("oci://") else source


def base_values(istio: Istio) -> Json:
    return {
        "global": {"istioNamespace": istio.root_namespace},
        "defaultRevision": istio.revision,
        # Without it an upgrade of the release sets the webhook to Fail: while istiod is away no
        # EnvoyFilter could be written, nor a change previewed. istiod sets Fail once it answers.
        "base": {"validationFailurePolicy": "Ignore"},
    }


def last_scrape_seconds(settings: StackSettings) -> int | None:
    """Return how long a sidecar answers scrapes once its crawler is done; None to end at once."""
    if not settings.telemetry.delay_pod_termination:
        return None
    return settings.prometheus.scrape_interval + LAST_SCRAPE_MARGIN_SECONDS


def istiod_values(
    istio: Istio, buckets: Sequence[int], last_scrape_seconds: int | None = None
) -> Json:
    """Return istiod's values.

    Args:
        buckets: the set-up time's bounds in milliseconds.
        last_scrape_seconds: as `required_values` takes it.
    """
    required = required_values(buckets, last_scrape_seconds)
    return {
        **required,
        "global": {
            **_images(istio),
            "istioNamespace": istio.root_namespace,
            "proxy": {
                "resources": {
                    "requests": _amounts(istio.sidecar.requests),
                    "limits": _amounts(istio.sidecar.limits),
                },
                # A namespace of level `restricted` refuses a sidecar without it.
                "seccompProfile": {"type": "RuntimeDefault"},
                **required.get("global", {}).get("proxy", {}),
            },
        },
        "meshConfig": {
            "defaultConfig": {
                **required["meshConfig"]["defaultConfig"],
                # Only where Istio finds nodes too old for native sidecars: a crawler that
                # starts first would meet refused connections.
                "holdApplicationUntilProxyStarts": True,
            }
        },
        "revision": "" if istio.revision == "default" else istio.revision,
        "base": {"validationFailurePolicy": "Ignore"},
        "cni": {"enabled": istio.cni},
        # istiod took 150 MB here; the chart asks for 2 GB, which a laptop's cluster hasn't got.
        "resources": {
            "requests": {"cpu": "200m", "memory": "512Mi"},
            "limits": {"memory": "2Gi"},
        },
    }


def cni_values(istio: Istio) -> Json:
    return {
        "global": _images(istio),
        # istiod's own pods start before any sidecar can be configured.
        "excludeNamespaces": ["kube-system", istio.root_namespace],
    }


def required_values(buckets: Sequence[int], last_scrape_seconds: int | None = None) -> Json:
    """Return what any Istio needs for our metrics, as values of the istiod chart.

    For an Istio that was there before, its owner merges them; without them sidecars count but
    do not export, histograms have Istio's buckets, and a sidecar's last counts are lost.

    Args:
        buckets: the set-up time's bounds in milliseconds.
        last_scrape_seconds: how long sidecars outlive their crawlers. None leaves it to Istio,
            whose native sidecars end at once.
    """
    values: Json = {
        "meshConfig": {"defaultConfig": {"proxyStatsMatcher": proxy_stats_matcher()}},
        "sidecarInjectorWebhook": {
            # On every injected pod, so that no crawler's manifest changes.
            "injectedAnnotations": {
                "sidecar.istio.io/statsHistogramBuckets": bucket_annotation(buckets)
            }
        },
    }
    if last_scrape_seconds is not None:
        # In seconds alone: it is read as a protobuf duration, which knows no minutes.
        drain = f"{last_scrape_seconds}s"
        values["meshConfig"]["defaultConfig"]["terminationDrainDuration"] = drain
        values["global"] = {"proxy": {"lifecycle": _outliving_lifecycle()}}
    return values


def _outliving_lifecycle() -> Json:
    """Return the hooks of a sidecar that outlives its crawler by `terminationDrainDuration`.

    Istio gives a native sidecar a `preStop` hook that drains as soon as its pod is to end, and an
    agent that has drained once exits at SIGTERM without waiting (pkg/envoy/agent.go, `DrainNow`).
    Naming hooks is the one way to be without it. This is the hook that Istio itself gives to
    sidecars that hold their application until they are ready, and would lose otherwise; the time is
    the startup probe's, so that a native one waits for istiod no less than before.
    """
    command = ["pilot-agent", "wait", "--timeoutSeconds=600"]
    return {"postStart": {"exec": {"command": command}}}


def _images(istio: Istio) -> Json:
    """Return the images' registry and tag, which a release's charts have built in."""
    if not is_folder(istio.chart_source):
        return {}
    return {"hub": RELEASE_HUB, "tag": istio.version}


def _amounts(quantities: Quantities) -> Json:
    return {"cpu": f"{cpu_millis(quantities.cpu)}m", "memory": quantities.memory}
