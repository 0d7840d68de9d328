"""Which namespaces a stack uses, and the labels that decide what may run in them; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from components.namespaces.quota import (
    Quota,
    istio_quota,
    monitoring_quota,
    simulated_quota,
)
from settings.namespaces import MONITORING_NAMESPACE, SIMULATED_NAMESPACE
from settings.stack import StackSettings

POD_SECURITY = "pod-security.kubernetes.io"
NOT_INJECTED = {"istio-injection": "disabled"}
NOT_PRUNED = {
    # As `retained` for Pulumi. Else a namespace that leaves a synced folder goes with its crawlers.
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
}


Purpose = Literal["monitoring", "istio", "crawlers", "simulated vendors"]


@dataclass(frozen=True, kw_only=True)
class NamespacePlan:
    """A namespace, what it is for, and what the program does with it.

    `create` makes it, `label` adds the labels to one that exists, `use` changes nothing. One that
    is `retained` stays when the stack is destroyed or no longer names it.
    """

    name: str
    purpose: Purpose
    action: Literal["create", "label", "use"]
    labels: dict[str, str]
    retained: bool = False
    quota: Quota | None = None
    """How much its pods may use; None where others have pods in it."""


def namespaces_of(settings: StackSettings) -> tuple[NamespacePlan, ...]:
    """Return the namespaces of a stack; a `global` one has monitoring alone."""
    monitoring = NamespacePlan(
        name=MONITORING_NAMESPACE,
        purpose="monitoring",
        action="create" if settings.prometheus.create_namespace else "use",
        # Not injected: a sidecar would count Prometheus' own scrapes.
        labels=pod_security("restricted"),
        # Volumes with weeks of history, and perhaps other teams' objects.
        retained=True,
        quota=monitoring_quota(settings),
    )
    if not settings.has_crawlers:
        return (monitoring,)
    istio, crawlers = settings.istio, settings.crawlers
    return (
        monitoring,
        *(
            [
                NamespacePlan(
                    name=istio.root_namespace,
                    purpose="istio",
                    action="create" if istio.install else "use",
                    # The CNI node agent mounts folders of the host.
                    labels=pod_security("privileged" if istio.cni else "baseline"),
                    quota=istio_quota(settings),
                )
            ]
            # In another team's, nothing but the Role by which Prometheus finds istiod.
            if istio.install or (settings.scrapes_istiod and settings.runs_prometheus)
            else []
        ),
        *(
            NamespacePlan(
                name=name,
                purpose="crawlers",
                action="create" if crawlers.create_namespaces else "label",
                labels=injection(istio.revision)
                | (pod_security(crawlers.pod_security) if crawlers.create_namespaces else {}),
                # The crawlers' own pods live there.
                retained=True,
            )
            for name in crawlers.namespaces
        ),
        *(
            # Outside the mesh, as real vendors are, also where the mesh injects everywhere.
            [
                NamespacePlan(
                    name=SIMULATED_NAMESPACE,
                    purpose="simulated vendors",
                    action="create",
                    labels=pod_security("restricted") | NOT_INJECTED,
                    quota=simulated_quota(settings),
                )
            ]
            if settings.simulated_vendors.enabled
            else []
        ),
    )


def pod_security(level: str) -> dict[str, str]:
    """Return the labels that enforce a Pod Security Standard.

    `warn` as well: Kubernetes refuses the pods alone, and the author of a Deployment would see
    nothing.
    """
    return {f"{POD_SECURITY}/enforce": level, f"{POD_SECURITY}/warn": level}


def injection(revision: str) -> dict[str, str]:
    """Return the label by which istiod of `revision` injects sidecars.

    Never both labels: `istio-injection` would win and select the default revision.
    """
    if revision == "default":
        return {"istio-injection": "enabled"}
    return {"istio.io/rev": revision}
