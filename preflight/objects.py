"""Reads the cluster's objects once, by kubectl, and changes nothing. No Secret is among them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from discover.kubectl import (
    CALL_SECONDS,
    LIST_SECONDS,
    KubectlError,
    RefusedError,
    kubectl,
    last_words,
    output_of,
)
from settings.namespaces import MONITORING_NAMESPACE

Json = dict[str, Any]
Where = Literal["cluster", "everywhere", "crawlers", "istio", "monitoring"]

AT_ONCE = 4  # calls of kubectl; each holds a connection of the API server
WITHOUT_KUBECTL = "run it where kubectl is"
ONE_OF_ISTIO = "envoyfilters.networking.istio.io"
"""The CRD that tells whose all of them are: they come in one chart."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is listed.

    Attributes:
        resource: as kubectl takes it, with its group.
        where: `cluster` has no namespace; the last three are those namespaces alone.
        only: arguments that choose some of them.
    """

    name: str
    resource: str
    where: Where
    only: tuple[str, ...] = ()


KINDS = (
    Kind(name="Namespace", resource="namespaces", where="cluster"),
    Kind(name="StorageClass", resource="storageclasses.storage.k8s.io", where="cluster"),
    Kind(name="PriorityClass", resource="priorityclasses.scheduling.k8s.io", where="cluster"),
    Kind(
        name="MutatingWebhookConfiguration",
        resource="mutatingwebhookconfigurations.admissionregistration.k8s.io",
        where="cluster",
    ),
    Kind(
        name="CustomResourceDefinition",
        resource="customresourcedefinitions.apiextensions.k8s.io",
        where="cluster",
        # All of them are tens of megabytes.
        only=(ONE_OF_ISTIO, "--ignore-not-found"),
    ),
    Kind(
        name="VolumeSnapshotClass",
        resource="volumesnapshotclasses.snapshot.storage.k8s.io",
        where="cluster",
    ),
    Kind(
        name="Deployment",
        resource="deployments.apps",
        where="everywhere",
        only=("--selector=app=istiod",),
    ),
    Kind(name="Service", resource="services", where="everywhere"),
    Kind(name="Sidecar", resource="sidecars.networking.istio.io", where="everywhere"),
    Kind(name="ServiceEntry", resource="serviceentries.networking.istio.io", where="everywhere"),
    Kind(
        name="PeerAuthentication",
        resource="peerauthentications.security.istio.io",
        where="everywhere",
    ),
    Kind(name="EnvoyFilter", resource=ONE_OF_ISTIO, where="everywhere"),
    Kind(name="ProxyConfig", resource="proxyconfigs.networking.istio.io", where="crawlers"),
    Kind(name="ResourceQuota", resource="resourcequotas", where="crawlers"),
    Kind(name="LimitRange", resource="limitranges", where="crawlers"),
    Kind(name="NetworkPolicy", resource="networkpolicies.networking.k8s.io", where="crawlers"),
    Kind(
        name="Pod",
        resource="pods",
        where="crawlers",
        only=("--field-selector=status.phase=Running",),
    ),
    # Istio's own: the mesh's configuration, and the values of its injector.
    Kind(name="ConfigMap", resource="configmaps", where="istio"),
    # Whether the API server knows them is what counts.
    Kind(
        name="ServiceMonitor", resource="servicemonitors.monitoring.coreos.com", where="monitoring"
    ),
    Kind(name="PodMonitor", resource="podmonitors.monitoring.coreos.com", where="monitoring"),
    Kind(
        name="PrometheusRule", resource="prometheusrules.monitoring.coreos.com", where="monitoring"
    ),
    Kind(name="Prometheus", resource="prometheuses.monitoring.coreos.com", where="everywhere"),
    Kind(
        name="PrometheusAgent",
        resource="prometheusagents.monitoring.coreos.com",
        where="everywhere",
    ),
    Kind(name="ThanosRuler", resource="thanosrulers.monitoring.coreos.com", where="everywhere"),
    Kind(name="Certificate", resource="certificates.cert-manager.io", where="monitoring"),
)


@dataclass(frozen=True, kw_only=True)
class Objects:
    """What the cluster has."""

    items: Mapping[str, Sequence[Json]]
    """By kind; a kind that may not be listed is missing."""
    absent: frozenset[str] = frozenset()
    """Kinds that the API server does not know."""
    denied: Mapping[str, str] = field(default_factory=dict)
    """Kinds that may not be listed, and where: "services in all namespaces"."""
    version: str = ""
    """The API server's: "v1.34.2"."""

    def of(self, kind: str, *namespaces: str) -> list[Json]:
        """Return a kind's objects, of these namespaces or of all."""
        found = self.items.get(kind, ())
        return [
            one for one in found if not namespaces or one["metadata"].get("namespace") in namespaces
        ]

    def namespace(self, name: str) -> Json | None:
        found = (one for one in self.of("Namespace") if one["metadata"]["name"] == name)
        return next(found, None)


class AbsentError(Exception):
    """The API server does not know the kind."""


class DeniedError(Exception):
    """The user may not list the kind there."""


def read(context: str, crawlers: Sequence[str], root: str, prometheus: str) -> Objects:
    """List every kind.

    What a user may not list in all namespaces is listed in the stack's own.

    Args:
        crawlers: namespaces of the crawlers.
        root: namespace of Istio's configuration.
        prometheus: namespace of Prometheus.

    Raises:
        KubectlError: kubectl is missing, or the cluster does not answer.
    """
    version = _version(context)
    items: dict[str, list[Json]] = {}
    absent, denied = set(), {}
    own = (*crawlers, root, MONITORING_NAMESPACE, prometheus)
    named = {"crawlers": crawlers, "istio": (root,), "monitoring": (MONITORING_NAMESPACE,)}

    def one_kind(kind: Kind) -> None:
        namespaces = named.get(kind.where, ("",))
        try:
            items[kind.name] = _of(context, kind, namespaces)
        except AbsentError:
            absent.add(kind.name)
        except DeniedError as error:
            denied[kind.name] = str(error)
            if kind.where == "everywhere":
                items[kind.name] = _allowed(context, kind, own)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(one_kind, KINDS):
            pass
    return Objects(
        items=items,
        absent=frozenset(absent),
        denied=denied,
        version=version,
    )


def _version(context: str) -> str:
    asked = "ask for the version"
    try:
        text = _output(context, asked, "version", "--output=json")
        return str(json.loads(text)["serverVersion"]["gitVersion"])
    except RefusedError as error:
        raise _failed(asked, error) from None
    except (ValueError, KeyError, TypeError):
        raise no_json(asked) from None


def _of(context: str, kind: Kind, namespaces: Iterable[str]) -> list[Json]:
    return [
        {**one, "kind": kind.name}
        for namespace in namespaces
        for one in _list(context, kind, namespace)
    ]


def _allowed(context: str, kind: Kind, namespaces: Iterable[str]) -> list[Json]:
    found = []
    for namespace in dict.fromkeys(namespaces):
        try:
            found += _of(context, kind, (namespace,))
        except (AbsentError, DeniedError):
            continue
    return found


def _list(context: str, kind: Kind, namespace: str) -> list[Json]:
    scope = f"--namespace={namespace}" if namespace else "--all-namespaces"
    where = () if kind.where == "cluster" else (scope,)
    place = "" if kind.where == "cluster" else f" in {namespace or 'all namespaces'}"
    what = f"list {kind.resource}{place}"
    try:
        text = _output(context, what, "get", kind.resource, *where, *kind.only, "--output=json")
    except RefusedError as error:
        if "the server doesn't have a resource type" in str(error):
            raise AbsentError from None
        if "forbidden" in str(error).lower():
            raise DeniedError(f"{kind.resource}{place}") from None
        raise _failed(what, error) from None
    if not text.strip():  # of --ignore-not-found
        return []
    try:
        found = json.loads(text)
        return list(found["items"]) if "items" in found else [found]
    except (ValueError, TypeError):
        raise no_json(what) from None


def no_json(what: str) -> KubectlError:
    """Return what to say where a wrapper of kubectl prints more than kubectl does."""
    return KubectlError(
        f"kubectl: could not {what}: no JSON; put kubectl itself on PATH in place of a wrapper"
    )


def _failed(what: str, error: RefusedError) -> KubectlError:
    return KubectlError(
        f"kubectl: could not {what} ({last_words(str(error))}); correct that, or name another "
        "cluster with CONTEXT="
    )


def _output(context: str, what: str, *arguments: str) -> str:
    command = kubectl(context, *arguments)
    return output_of(
        command,
        what,
        missing=WITHOUT_KUBECTL,
        slow="with a nearer cluster",
        seconds=LIST_SECONDS if arguments[0] == "get" else CALL_SECONDS,
    )
