"""What a cluster asks of Istio's charts, and values of the stack's own; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.attribution.bootstrap import BUCKETS, STATS
from settings.istio import WITHOUT_PROFILE, Istio
from settings.loading import SettingsError
from settings.scheduling import Scheduling
from settings.stack import StackSettings

Json = dict[str, Any]
Path = tuple[str, ...]

RELEASE_HUB = "registry.istio.io/release"

_TRAFFIC = "would take connections out of the sidecar, which then counts none of them; remove it"
_STATS = "would take the place of crawlers' own in every pod; remove it"
_INJECTED = ("sidecarInjectorWebhook", "injectedAnnotations")
_DNS = "is for crawlers.dnsCapture to say; remove it"

# Values that this program leaves to the charts, and that the attribution cannot do with others.
KEPT: dict[Path, str] = {
    ("telemetry",): "would end Istio's metrics; remove it",
    ("global", "proxy", "includeIPRanges"): _TRAFFIC,
    ("global", "proxy", "excludeIPRanges"): _TRAFFIC,
    ("global", "proxy", "includeOutboundPorts"): _TRAFFIC,
    ("global", "proxy", "excludeOutboundPorts"): _TRAFFIC,
    ("global", "proxy", "autoInject"): "would leave crawlers without sidecars; remove it",
    ("sidecarInjectorWebhook", "templates"): "replaces the sidecar; remove it",
    ("sidecarInjectorWebhook", "defaultTemplates"): "replaces the sidecar; remove it",
    # A pod's annotations win over what its ProxyConfig gives it.
    (*_INJECTED, STATS): _STATS,
    (*_INJECTED, BUCKETS): _STATS,
    ("meshConfig", "defaultConfig", "proxyMetadata", "ISTIO_META_DNS_CAPTURE"): _DNS,
    ("meshConfig", "defaultConfig", "proxyMetadata", "ISTIO_META_DNS_AUTO_ALLOCATE"): _DNS,
    ("meshConfig", "outboundTrafficPolicy"): "is for network.egress to say; remove it",
    ("meshConfig", "defaultProviders", "metrics"): "may end Istio's metrics; remove it",
    ("_internal_defaults_do_not_set",): "is for Helm alone; write what is below it without it",
    ("ambient",): "moves traffic past the sidecars; remove it",
    ("tag",): "is for istio.version to say; remove it",
    ("global", "tag"): "is for istio.version to say; remove it",
    ("hub",): "is for istio.hub to say; remove it",
    ("global", "hub"): "is for istio.hub to say; remove it",
}

# A chart takes what is below this key for its own values, after all else: a platform's values, too,
# so that only the same form replaces them.
OLDER_FORMS = {"cni": "cni", "istiod": "pilot"}


def cluster_values(chart: str, settings: StackSettings) -> Json:
    """Return the values that follow from where the cluster is, of one chart."""
    istio, scheduling = settings.istio, settings.scheduling
    values: Json = {"global": {}}
    # The charts refuse a platform that they do not know.
    if istio.platform and istio.platform not in WITHOUT_PROFILE:
        values["global"]["platform"] = istio.platform
    if istio.platform == "gke" and chart == "cni":
        # The chart would see it by the API server's version, which `helm template` does not ask.
        values["cni"] = {"cniBinDir": "/home/kubernetes/bin"}
    if istio.image_pull_secrets:
        values["global"]["imagePullSecrets"] = [*istio.image_pull_secrets]
    hub = istio.hub or (settings.images.mirror and settings.images.of(RELEASE_HUB))
    if hub and chart != "base":
        values["global"]["hub"] = hub
    if chart == "istiod":
        # The CNI agent has to be on every node, and its chart sees to it.
        values = combined(values, _scheduling_values(istio, scheduling))
    return values if values["global"] else {k: v for k, v in values.items() if k != "global"}


def with_free_values(chart: str, ours: Json, settings: StackSettings) -> Json:
    """Return a chart's values with those of the stack merged in.

    Raises:
        SettingsError: the stack has a value that this program sets, or that ends the attribution.
    """
    free: Mapping[str, Any] = getattr(settings.istio.values, chart)
    findings = [
        f"istio.values.{chart}.{'.'.join(path)}: {why}" for path, why in refused(chart, ours, free)
    ]
    if findings:
        raise SettingsError(findings)
    return combined(ours, free)


def refused(
    chart: str, ours: Mapping[str, Any], free: Mapping[str, Any]
) -> Iterator[tuple[Path, str]]:
    """Yield each free value that cannot be, and why."""
    for path in _leaves(free):
        meant = path[1:] if path[0] == OLDER_FORMS.get(chart) else path
        if _is_set(ours, meant):
            yield path, "is set by this program; remove it (docs/configuration.md#istio)"
            continue
        for kept, why in KEPT.items():
            if meant[: len(kept)] == kept or kept[: len(meant)] == meant:
                yield path, why
                break


def combined(one: Mapping[str, Any], other: Mapping[str, Any]) -> Json:
    """Merge as Helm does: mappings key by key, anything else replaced."""
    merged = dict(one)
    for key, value in other.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = combined(merged[key], value) if both else value
    return merged


def _leaves(values: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """Yield the path of each value that is no mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, key))
        elif not isinstance(value, Mapping):
            yield (*above, key)


def _is_set(ours: Any, path: Path) -> bool:
    """Whether a value at this path would replace one of ours, or stand below one."""
    for key in path:
        if not isinstance(ours, Mapping):
            return True
        if key not in ours:
            return False
        ours = ours[key]
    return True


def _scheduling_values(istio: Istio, scheduling: Scheduling) -> Json:
    values: Json = {}
    if scheduling.priority_class:
        values["global"] = {"priorityClassName": scheduling.priority_class}
    if scheduling.node_selector:
        values["nodeSelector"] = dict(scheduling.node_selector)
    if scheduling.tolerations:
        values["tolerations"] = [
            one.model_dump(by_alias=True, exclude_none=True) for one in scheduling.tolerations
        ]
    if scheduling.topology_spread:
        revision = {"istio.io/rev": istio.revision}
        values["topologySpreadConstraints"] = [
            {
                **spread.model_dump(by_alias=True),
                "labelSelector": {"matchLabels": {"app": "istiod", **revision}},
            }
            for spread in scheduling.topology_spread
        ]
    return values
