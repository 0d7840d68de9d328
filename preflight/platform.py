"""What the cluster must have for monitoring: storage, snapshots, operators; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from preflight.finding import Finding, listed, refuse, warn
from preflight.objects import Objects
from preflight.selectors import annotations_of
from preflight.stack import Stack

IS_DEFAULT = {
    # Kubernetes reads the older one as well (pkg/volume/util, IsDefaultAnnotation).
    "StorageClass": (
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ),
    "VolumeSnapshotClass": ("snapshot.storage.kubernetes.io/is-default-class",),
}
OLDEST_MINOR = 32
"""Of Kubernetes 1, for Istio 1.30 and 1.31 (istioctl/pkg/install/k8sversion/version.go)."""
OPERATORS = {
    "ServiceMonitor": "prometheus.mode: operator needs the Prometheus operator; install it",
    "PodMonitor": "prometheus.mode: operator needs the Prometheus operator; install it",
    "PrometheusRule": "prometheus.mode: operator needs the Prometheus operator; install it",
    "Certificate": "monitoring.tls needs cert-manager; install it, or take monitoring.tls out",
}


def version_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    version = re.match(r"v1\.([0-9]+)", found.version)
    if stack.settings.istio.install and version and int(version[1]) < OLDEST_MINOR:
        yield warn(
            f"Kubernetes {found.version}: is older than Istio supports; upgrade it to "
            f"1.{OLDEST_MINOR} or newer"
        )


def storage_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield a class of volumes that is missing: pods would wait for ever."""
    if stack.plan.volumes:
        asked = stack.settings.scheduling.storage_class
        yield from _class(found, "StorageClass", asked, "scheduling.storageClass")


def snapshot_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    backup = stack.plan.backup
    if backup is None or backup.storage:
        return
    if "VolumeSnapshotClass" in found.absent:
        yield refuse(
            "prometheus.backup: needs VolumeSnapshots, which the cluster does not know; install "
            "the snapshot controller with its CRDs, or set prometheus.backup.objectStorage"
        )
        return
    asked = backup.section.volume_snapshot_class
    key = "prometheus.backup.volumeSnapshotClass"
    yield from _class(found, "VolumeSnapshotClass", asked, key)


def priority_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    asked = stack.settings.scheduling.priority_class
    names = [one["metadata"]["name"] for one in found.of("PriorityClass")]
    if asked and asked not in names:
        yield refuse(
            f"scheduling.priorityClass: {asked} does not exist, so no pod would start; create it, "
            f"or name one of {listed(names)}"
        )


def _class(found: Objects, kind: str, asked: str | None, key: str) -> Iterator[Finding]:
    names = [one["metadata"]["name"] for one in found.of(kind)]
    there = f"name one of {listed(names)}" if names else f"have a {kind} made"
    if asked and asked not in names:
        yield refuse(f"{key}: {kind} {asked} does not exist; {there}")
    marks = [annotations_of(one).get(key) for one in found.of(kind) for key in IS_DEFAULT[kind]]
    if asked or "true" in marks:
        return
    yield refuse(f"{key}: is not set, and the cluster has no default {kind}; {there} there")


def operator_findings(stack: Stack, found: Objects) -> Iterator[Finding]:
    """Yield the operators whose kinds the stack makes and the API server does not know."""
    kinds = {one.kind for one in stack.made}
    absent = [kind for kind in OPERATORS if kind in kinds and kind in found.absent]
    by_reason = {OPERATORS[kind]: kind for kind in reversed(absent)}
    for reason, kind in by_reason.items():
        yield refuse(f"{kind}: the cluster does not know this kind; {reason}")
