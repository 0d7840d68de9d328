"""Crawlers' pods whose traffic is not attributed, and why; pure.

A line is about a workload: a thousand pods of one Deployment have one reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from components.attribution.stats import proxy_stats_matcher
from discover.kubectl import SIDECAR, has_sidecar, workload_of
from settings.values.addresses import IPNetwork

Json = dict[str, Any]

TRAFFIC = "traffic.sidecar.istio.io"
MODE = "istio.io/dataplane-mode"
INJECT = "sidecar.istio.io/inject"
CONFIG = "proxy.istio.io/config"
STATS = "sidecar.istio.io/statsInclusionRegexps"
"""It replaces the mesh's inclusionRegexps (Istio's pkg/bootstrap/config.go, getStatsOptions)."""


@dataclass(frozen=True, kw_only=True)
class Vendors:
    """Where vendors' connections go, by address."""

    ranges: tuple[IPNetwork, ...]
    ports: frozenset[int]


def namespace_findings(
    namespaces: Mapping[str, Json], wanted: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Yield what is wrong with the crawlers' namespaces.

    Args:
        namespaces: those that there are, by name.
        wanted: the labels of each that inject sidecars.
    """
    for name, labels in wanted.items():
        if name not in namespaces:
            yield f"{name}: the namespace does not exist; run `pulumi up`"
            continue
        own = namespaces[name]["metadata"].get("labels") or {}
        for key, value in labels.items():
            if own.get(key) != value:
                yield (
                    f"{name}: the namespace lacks the label {key}={value}, so new pods get no "
                    "sidecar; run `pulumi up --refresh`"
                )
        if own.get(MODE) == "ambient":
            yield (
                f"{name}: the namespace is in ambient mode, which has no sidecars; remove its "
                f"label {MODE}"
            )


def pod_findings(pods: Iterable[Json], vendors: Vendors) -> list[str]:
    """Return a line for each workload and reason."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for pod in pods:
        metadata = pod["metadata"]
        workload = f"{metadata['namespace']}/{workload_of(metadata)}"
        for reason, fix in _reasons(pod, vendors):
            counts[workload, reason, fix] += 1
    return [
        f"{workload}: {reason} ({number} {'pod' if number == 1 else 'pods'}); {fix}"
        for (workload, reason, fix), number in sorted(counts.items())
    ]


def _reasons(pod: Json, vendors: Vendors) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and what to do."""
    if has_sidecar(pod):
        annotations = pod["metadata"].get("annotations") or {}
        yield from _redirection(annotations, vendors)
        yield from _statistics(annotations, pod)
    else:
        reason, fix = _why_without(pod)
        yield f"has no sidecar, {reason}", fix


def _why_without(pod: Json) -> tuple[str, str]:
    metadata, spec = pod["metadata"], pod["spec"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if spec.get("hostNetwork"):
        return "as istiod gives none to hostNetwork", "take that out of the workload"
    if labels.get(MODE) == "ambient":
        return "as it is in ambient mode", f"remove its label {MODE}"
    if "false" in (labels.get(INJECT), annotations.get(INJECT)):
        return f'as {INJECT} is "false"', "remove that"
    return "as it is older than the namespace's label, or istiod was away", "restart it"


def _redirection(annotations: Mapping[str, str], vendors: Vendors) -> Iterator[tuple[str, str]]:
    """Yield what keeps connections to vendors from the sidecar."""
    key = f"{TRAFFIC}/excludeOutboundPorts"
    excluded = {int(one) for one in _listed(annotations, key) if one.isdecimal()}
    if past := sorted(vendors.ports & excluded):
        yield f"sends port {past[0]} of a vendor past the sidecar", f"take it out of {key}"
    key = f"{TRAFFIC}/excludeOutboundIPRanges"
    for one in vendors.ranges:
        if any(one.overlaps(other) for other in _networks(annotations, key, one)):
            yield f"sends {one} of a vendor past the sidecar", f"take it out of {key}"
            break
    key = f"{TRAFFIC}/includeOutboundIPRanges"
    if key not in annotations or "*" in _listed(annotations, key):
        return
    for one in vendors.ranges:
        if not _covered(one, _networks(annotations, key, one)):
            yield f"does not send {one} of a vendor through the sidecar", f"add it to {key}"
            break


def _statistics(annotations: Mapping[str, str], pod: Json) -> Iterator[tuple[str, str]]:
    """Yield what keeps a sidecar from exporting the product's statistics."""
    others = "exports other statistics than the mesh's"
    if STATS in annotations:
        yield others, f"remove {STATS}"
    config = _proxy_config(pod)
    wanted = set(proxy_stats_matcher()["inclusionRegexps"])
    if config is None:
        return
    if wanted <= set(config.get("proxyStatsMatcher", {}).get("inclusionRegexps", ())):
        return
    if "proxyStatsMatcher" in annotations.get(CONFIG, ""):
        yield others, f"take proxyStatsMatcher out of {CONFIG}"
    else:
        yield (
            "exports no statistics of vendors, as Istio had not the stack's values when it started",
            "with istio.install: false merge the output requiredIstioValues; then restart it",
        )


def _proxy_config(pod: Json) -> Json | None:
    """Return the mesh's configuration that the sidecar was given; None if it cannot be read."""
    spec = pod["spec"]
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        if container["name"] == SIDECAR:
            for variable in container.get("env", ()):
                if variable["name"] == "PROXY_CONFIG":
                    try:
                        return dict(json.loads(variable.get("value", "")))
                    except ValueError:
                        return None
    return None


def _listed(annotations: Mapping[str, str], key: str) -> list[str]:
    return [one.strip() for one in annotations.get(key, "").split(",") if one.strip()]


def _networks(annotations: Mapping[str, str], key: str, like: IPNetwork) -> list[IPNetwork]:
    """Return the annotation's ranges of the same IP version; others do not compare."""
    found = []
    for text in _listed(annotations, key):
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            continue
        if network.version == like.version:
            found.append(network)
    return found


def _covered(network: IPNetwork, by: Iterable[Any]) -> bool:
    return any(network.subnet_of(other) for other in by)
