"""Istio's charts: where each one is, and the values it gets.

Value names were read in the charts of Istio 1.31 (manifests/charts). Text that YAML would read
as a number or a boolean ("2", "y") is avoided: Helm renders some values without quotes, and the
error comes only when the release is half applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.attribution.stats import bucket_annotation, proxy_stats_matcher
from settings.model import Istio, Quantities
from settings.values import cpu_millis

Json = dict[str, Any]

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


def istiod_values(istio: Istio, buckets: Sequence[int]) -> Json:
    """Return istiod's values; `buckets` are the set-up time's bounds in milliseconds."""
    required = required_values(buckets)
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


def required_values(buckets: Sequence[int]) -> Json:
    """Return what any Istio needs for our metrics, as values of the istiod chart.

    For an Istio that was there before, its owner merges them; without them sidecars count but
    do not export, and histograms have Istio's buckets.
    """
    return {
        "meshConfig": {"defaultConfig": {"proxyStatsMatcher": proxy_stats_matcher()}},
        "sidecarInjectorWebhook": {
            # On every injected pod, so that no crawler's manifest changes.
            "injectedAnnotations": {
                "sidecar.istio.io/statsHistogramBuckets": bucket_annotation(buckets)
            }
        },
    }


def _images(istio: Istio) -> Json:
    """Return the images' registry and tag, which a release's charts have built in."""
    if not is_folder(istio.chart_source):
        return {}
    return {"hub": RELEASE_HUB, "tag": istio.version}


def _amounts(quantities: Quantities) -> Json:
    return {"cpu": f"{cpu_millis(quantities.cpu)}m", "memory": quantities.memory}
