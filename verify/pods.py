"""Crawlers' pods whose traffic is not attributed, and why; pure.

A line is about a workload: a thousand pods of one Deployment have one reason.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from components.attribution.bootstrap import (
    BUCKETS,
    STAT_TAGS,
    STATS,
    VARIABLE,
    annotations_given,
)
from components.attribution.envoy import ISTIO_RELEASES
from components.attribution.stats import EXTRA_STAT_TAGS, inclusion_regexps
from components.prometheus.workloads import workload_of
from discover.kubectl import SIDECAR, has_sidecar
from settings.values.addresses import IPNetwork

Json = dict[str, Any]

TRAFFIC = "traffic.sidecar.istio.io"
MODE = "istio.io/dataplane-mode"
INJECT = "sidecar.istio.io/inject"
CONFIG = "proxy.istio.io/config"
NATIVE = "sidecar.istio.io/nativeSidecar"
REVISION = "istio.io/rev"
"""Label of a namespace, which may name a tag; annotation of a pod, where its injector writes the
revision itself."""

STATISTICS = ((STATS, inclusion_regexps()), (STAT_TAGS, EXTRA_STAT_TAGS))
"""The annotations without which nothing of vendors is exported, and what they must list."""


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
                f"{name}: the namespace is in ambient mode beside injection, so its pods are "
                f"attributed or not by when they restarted; remove its label {MODE}"
            )


def pod_findings(
    pods: Iterable[Json],
    vendors: Vendors,
    workload_label: str,
    revisions: Collection[str] = (),
) -> list[str]:
    """Return a line for each workload and reason, with one of its pods.

    Args:
        pods: the crawlers'.
        vendors: where their traffic goes.
        workload_label: names a pod's workload.
        revisions: of Istio that there are; empty if that is not known.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for pod in pods:
        metadata = pod["metadata"]
        workload = f"{metadata['namespace']}/{workload_of(metadata, workload_label)}"
        for reason, fix in (*_reasons(pod, vendors), *orphaned(pod, revisions)):
            found.setdefault((workload, reason, fix), []).append(metadata["name"])
    return [
        f"{workload}: {reason} ({counted_pods(names)}); {fix}"
        for (workload, reason, fix), names in sorted(found.items())
    ]


def counted_pods(names: list[str]) -> str:
    """Return how many pods these are, and the name of one."""
    # A workload may be "(Job)": one of the pods says which are meant.
    return f"pod {names[0]}" if len(names) == 1 else f"{len(names)} pods, as {min(names)}"


def _reasons(pod: Json, vendors: Vendors) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and what to do."""
    if has_sidecar(pod):
        annotations = pod["metadata"].get("annotations") or {}
        yield from redirection(annotations, vendors)
        sidecar = _sidecar(pod)
        yield from _release(sidecar)
        yield from _statistics(annotations, sidecar)
        yield from _start(sidecar, pod)
    else:
        reason, fix = _why_without(pod)
        yield f"has no sidecar, {reason}", fix


def _release(sidecar: Json) -> Iterator[tuple[str, str]]:
    """Yield that a sidecar is of a release that no patch matches, as far as its image tells."""
    release = release_named(sidecar.get("image", ""))
    if release and not is_attributed(release):
        releases = " or ".join(ISTIO_RELEASES)
        yield (
            f"has a sidecar of Istio {release}, whose traffic is not attributed",
            f"have an istiod of {releases} inject it (istio.revision), and restart it",
        )


def release_named(text: str) -> str | None:
    """Return the release in an image's tag or a version: "1.31.4"; None if it names none."""
    tag = text.partition("@")[0].rpartition(":")[2]
    found = re.match(r"v?([0-9]+\.[0-9]+\.[0-9]+)", tag)
    return found[1] if found else None


def is_attributed(release: str) -> bool:
    return release.startswith(tuple(f"{one}." for one in ISTIO_RELEASES))


def orphaned(pod: Json, revisions: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield that no istiod serves a sidecar: an upgrade ended before its pod was restarted."""
    own = (pod["metadata"].get("annotations") or {}).get(REVISION, "")
    if own and revisions and own not in revisions:
        yield (
            f"has a sidecar of revision {own}, which the stack does not have, so it gets no change "
            "and no new certificate",
            "restart it, or keep the revision as istio.otherRevision until it has",
        )


def _why_without(pod: Json) -> tuple[str, str]:
    metadata, spec = pod["metadata"], pod["spec"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if spec.get("hostNetwork"):
        return "as istiod gives none to hostNetwork", "take that out of the workload"
    if "false" in (labels.get(INJECT), annotations.get(INJECT)):
        return f'as {INJECT} is "false"', "remove that"
    return "as it is older than the namespace's label, or istiod was away", "restart it"


def redirection(annotations: Mapping[str, str], vendors: Vendors) -> Iterator[tuple[str, str]]:
    """Yield what keeps connections to vendors from the sidecar."""
    key = f"{TRAFFIC}/excludeOutboundPorts"
    excluded = {*_listed(annotations, key)}
    if past := sorted(port for port in vendors.ports if str(port) in excluded):
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


def _statistics(annotations: Mapping[str, str], sidecar: Json) -> Iterator[tuple[str, str]]:
    """Yield what keeps a sidecar from exporting the product's statistics."""
    # As pilot-agent does: a pod's own annotations win over those that its ProxyConfig gives it.
    given = annotations_given(_environment(sidecar).get(VARIABLE, ""))
    if own := [*own_statistics(annotations)]:
        yield from own
        return
    for key, wanted in STATISTICS:
        if not _lists({**given, **annotations}, key, wanted):
            yield (
                "exports no statistics of vendors, as the stack's ProxyConfig was not there when "
                "it started, or another one without a selector is older",
                "restart it",
            )
            return
    if annotations.get(BUCKETS, given.get(BUCKETS)) != given.get(BUCKETS):
        yield "has buckets that are not the stack's", f"remove its annotation {BUCKETS}"


def own_statistics(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield that a pod's own annotations keep it from exporting the product's statistics."""
    for key, wanted in STATISTICS:
        if key in annotations and not _lists(annotations, key, wanted):
            yield "exports other statistics than the stack's", f"remove its annotation {key}"
            return


def _lists(annotations: Mapping[str, str], key: str, wanted: Iterable[str]) -> bool:
    return {*wanted} <= {*_listed(annotations, key)}


def _start(sidecar: Json, pod: Json) -> Iterator[tuple[str, str]]:
    """Yield that a crawler does not wait for its sidecar."""
    if sidecar in pod["spec"]["containers"] and "postStart" not in sidecar.get("lifecycle", {}):
        yield (
            "may start before its sidecar, and its first connections are refused",
            f'annotate its pods with {NATIVE}: "true", or {CONFIG}: '
            "'{holdApplicationUntilProxyStarts: true}'",
        )


def _sidecar(pod: Json) -> Json:
    spec = pod["spec"]
    containers = (*spec["containers"], *spec.get("initContainers", ()))
    return next((dict(one) for one in containers if one["name"] == SIDECAR), {})


def _environment(sidecar: Json) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in sidecar.get("env", ())}


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
