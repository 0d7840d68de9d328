"""The Istio that is there: its injectors, its releases, its mesh-wide configuration; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import yaml

from components.attribution.envoy import ISTIO_RELEASES
from preflight.finding import Finding, listed, refuse, warn
from preflight.objects import ONE_OF_ISTIO, Json, Objects
from preflight.selectors import annotations_of, labels_of, matches, title
from preflight.stack import Stack, is_ours
from verify.pods import REVISION, is_attributed, release_named

TAG = "istio.io/tag"
INJECTOR = "sidecar-injector.istio.io"
DEFAULT = "default"
SHARED = "SHARED_MESH_CONFIG"
"""The variable of istiod that names a second ConfigMap (pilot/pkg/bootstrap/mesh.go)."""
OF_GOOGLE = "asm-managed"
"""How its revisions begin (docs.cloud.google.com/service-mesh/docs/data-plane-extensibility)."""
BASE = "istio-base"
"""The Helm release of this program that has Istio's CRDs."""


def labels_after(stack: Stack, found: Objects) -> dict[str, dict[str, str]]:
    """Return the labels of each of the crawlers' namespaces once `up` has run."""
    after = {}
    for plan in stack.plan.namespaces:
        if plan.purpose == "crawlers":
            own = found.namespace(plan.name)
            before = labels_of(own) if own else {}
            after[plan.name] = {**before, "kubernetes.io/metadata.name": plan.name, **plan.labels}
    return after


def injectors(stack: Stack, found: Objects, labels: Json) -> set[str]:
    """Return the revisions that inject crawlers' pods into a namespace with these labels.

    By the selectors of the webhooks themselves: what a tag or a default revision selects, the
    owner of Istio may change.
    """
    pod = stack.settings.crawlers.selector
    return {
        labels_of(one).get(REVISION, DEFAULT)
        for one in found.of("MutatingWebhookConfiguration")
        for webhook in one.get("webhooks") or ()
        if webhook["name"].endswith(INJECTOR)
        and matches(webhook.get("namespaceSelector"), labels)
        and matches(webhook.get("objectSelector"), pod)
    }


def revisions(stack: Stack, found: Objects) -> set[str]:
    """Return the revisions that inject any of the crawlers."""
    every = labels_after(stack, found).values()
    return {one for labels in every for one in injectors(stack, found, labels)}


def injection_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield the namespaces into which nobody would inject."""
    if stack.settings.istio.install or "EnvoyFilter" in found.absent:
        return  # its own is not there yet; or there is no Istio, which is told once
    known = sorted(
        labels_of(one).get(TAG) or labels_of(one).get(REVISION, DEFAULT)
        for one in found.of("MutatingWebhookConfiguration")
        if any(each["name"].endswith(INJECTOR) for each in one.get("webhooks") or ())
    )
    there = f"set istio.revision to one of {listed(known)}" if known else "have istiod installed"
    for name, labels in labels_after(stack, found).items():
        keys = ("istio-injection", REVISION)
        has = ", ".join(f"{key}={labels[key]}" for key in keys if key in labels)
        if not injectors(stack, found, labels):
            yield refuse(
                f"Namespace {name}: no MutatingWebhookConfiguration injects sidecars where {has}; "
                f"{there}"
            )


def release_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield what is wrong with whose Istio it is, and with its release."""
    if stack.settings.istio.install:
        yield from _in_the_way_of_ours(stack, found)
        return
    if "EnvoyFilter" in found.absent:
        yield refuse(
            "istio.install: is false, and the cluster knows no EnvoyFilter, so it has no Istio; "
            "have it installed, or set istio.install: true"
        )
        return
    istiods = found.of("Deployment")
    for revision in sorted(revisions(stack, found)):
        of_it = [one for one in istiods if labels_of(one).get(REVISION, DEFAULT) == revision]
        for one in of_it:
            yield from _istiod_findings(stack, one)
        if revision.startswith(OF_GOOGLE):
            yield refuse(
                f"istiod: {revision} is Google's managed control plane, which takes only HTTP "
                "filters of an EnvoyFilter, so no vendor would be attributed; have an Istio of "
                f"your own, {_releases()}, inject the crawlers"
            )
        elif not of_it and "Deployment" not in found.denied:
            yield warn(
                f"istiod: that of revision {revision} runs outside this cluster, and its release "
                f"is not known; ask its owner whether it is {_releases()}"
            )


def _istiod_findings(stack: Stack, istiod: Json) -> Iterator[Finding]:
    release = release_of(istiod)
    if release is None:
        yield warn(
            f"{title(istiod)}: its image names no release; ask its owner whether it is "
            f"{_releases()}"
        )
    elif not is_attributed(release):
        yield refuse(
            f"{title(istiod)}: is Istio {release}, whose sidecars would not be attributed; have "
            f"{_releases()} installed, or set istio.revision to one that is"
        )
    if (where := istiod["metadata"]["namespace"]) != stack.root:
        yield refuse(
            f"{title(istiod)}: is not in istio.rootNamespace {stack.root}; set "
            f"istio.rootNamespace: {where}"
        )


def _releases() -> str:
    return " or ".join(ISTIO_RELEASES)


def release_of(istiod: Json) -> str | None:
    """Return the release that istiod's image names, else its chart's label: "1.31.4"."""
    containers = istiod["spec"]["template"]["spec"]["containers"]
    images = [one["image"] for one in containers if one["name"] == "discovery"]
    if release := next(filter(None, map(release_named, images)), None):
        return release
    # Charts that are of no release, or of another vendor, have a version of their own, as 1.0.0.
    chart = release_named(labels_of(istiod).get("app.kubernetes.io/version", ""))
    return chart if chart and is_attributed(chart) else None


def _in_the_way_of_ours(stack: Stack, found: Objects) -> Iterator[Finding]:
    others = []
    for istiod in found.of("Deployment"):
        home = found.namespace(istiod["metadata"]["namespace"])
        if home is None or not is_ours(home):
            others.append(istiod)
            yield refuse(
                f"{title(istiod)}: is another's, and istio.install is true; set istio.install: "
                "false, and istio.revision to the one that injects the crawlers"
            )
    if others:
        return
    for crd in found.of("CustomResourceDefinition"):
        notes = annotations_of(crd)
        owner = [notes.get(f"meta.helm.sh/release-{key}", "") for key in ("name", "namespace")]
        if owner != [BASE, stack.root]:
            whose = f"Helm release {owner[1]}/{owner[0]}" if all(owner) else "no Helm release"
            yield refuse(
                f"CustomResourceDefinition {ONE_OF_ISTIO}: belongs to {whose}, and Helm would not "
                f"install {BASE} over it; remove the Istio that left it, or set istio.install: "
                "false"
            )


def mesh_config(stack: Stack, found: Objects) -> Json:
    """Return the configuration of the mesh that injects crawlers; empty if it cannot be read."""
    whole: Json = {}
    # As istiod reads them: the owner's first, which AKS has its users write, then istiod's own.
    for name in _mesh_config_maps(stack, found):
        whole |= _of_config_map(stack, found, name, "mesh", yaml.safe_load)
    return whole


def _mesh_config_maps(stack: Stack, found: Objects) -> list[str]:
    revision = _first_revision(stack, found)
    shared = [
        variable.get("value", "")
        for one in found.of("Deployment", stack.root)
        if labels_of(one).get(REVISION, DEFAULT) == revision
        for container in one["spec"]["template"]["spec"]["containers"]
        for variable in container.get("env") or ()
        if variable["name"] == SHARED
    ]
    return [*shared, _of_revision("istio", revision)]


def injector_values(stack: Stack, found: Objects) -> Json:
    """Return the Helm values of the injector of crawlers; empty if they cannot be read."""
    revision = _first_revision(stack, found)
    name = _of_revision("istio-sidecar-injector", revision)
    return _of_config_map(stack, found, name, "values", json.loads)


def _first_revision(stack: Stack, found: Objects) -> str:
    return next(iter(sorted(revisions(stack, found))), "")


def _of_revision(name: str, revision: str) -> str:
    return name if revision == DEFAULT else f"{name}-{revision}"


def _of_config_map(stack: Stack, found: Objects, name: str, key: str, parse: Any) -> Json:
    for one in found.of("ConfigMap", stack.root):
        if one["metadata"]["name"] == name:
            with suppress(ValueError, yaml.YAMLError):
                loaded = parse((one.get("data") or {}).get(key, ""))
                return loaded if isinstance(loaded, dict) else {}
    return {}


def closed(what: str) -> Finding:
    """Return the finding about what refuses crawlers whatever the mesh does not know."""
    return warn(
        f"{what}: outboundTrafficPolicy is REGISTRY_ONLY, so crawlers reach vendors by address "
        "only while this program's EnvoyFilters are there; before you remove the stack have "
        "vendors let pass"
    )


def policy_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield mesh-wide configuration that crawlers' vendors, or the mesh's owner, would miss."""
    if stack.settings.istio.install:
        return
    config, what = mesh_config(stack, found), f"MeshConfig in {stack.root}"
    if (config.get("outboundTrafficPolicy") or {}).get("mode") == "REGISTRY_ONLY":
        yield closed(what)
    statistics = (config.get("defaultConfig") or {}).get("proxyStatsMatcher") or {}
    expressions = statistics.get("inclusionRegexps") or ()
    # Whether its names are what these expressions mean is not to be told.
    if expressions and not stack.settings.telemetry.also_export:
        yield warn(
            f"{what}: proxyStatsMatcher.inclusionRegexps has {listed(expressions)}, in whose place "
            "crawlers' sidecars would export this program's statistics; name those that somebody "
            "reads in telemetry.alsoExport"
        )
