"""The rights that a viewer and an operator have in `monitoring`; pure.

Neither role can read a Secret, run a command in a pod, start a pod or change a workload's template:
each of these shows the servers' passwords.
"""

from __future__ import annotations

from dataclasses import dataclass

VIEWER = "proxy-observability-viewer"
OPERATOR = "proxy-observability-operator"

READ = ("get", "list", "watch")


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One rule of a Role, and why it is there."""

    group: str
    """API group, empty for Kubernetes' core."""
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    reason: str


VIEWS = (
    Grant(
        group="",
        resources=(
            *("pods", "pods/log", "services", "endpoints", "events", "configmaps"),
            *("persistentvolumeclaims", "resourcequotas"),
        ),
        verbs=READ,
        reason="see what runs, what it printed, and the configuration it runs with",
    ),
    Grant(
        group="apps",
        resources=("deployments", "statefulsets", "replicasets"),
        verbs=READ,
        reason="see whether a roll-out is complete",
    ),
    Grant(
        group="batch",
        resources=("cronjobs", "jobs"),
        verbs=READ,
        reason="see when a backup ran, and whether it succeeded",
    ),
    Grant(
        group="policy",
        resources=("poddisruptionbudgets",),
        verbs=READ,
        reason="see what keeps a node from being drained",
    ),
    Grant(
        group="networking.k8s.io",
        resources=("networkpolicies",),
        verbs=READ,
        reason="see which connections are let through",
    ),
    Grant(
        group="snapshot.storage.k8s.io",
        resources=("volumesnapshots",),
        verbs=READ,
        reason="see the backups",
    ),
    Grant(
        group="",
        resources=("pods/portforward",),
        # kubectl asks by GET where it speaks WebSocket, else by POST.
        verbs=("get", "create"),
        reason="open Grafana, Prometheus and Alertmanager, which still ask for a password",
    ),
)

OPERATES = (
    Grant(
        group="",
        resources=("pods",),
        verbs=("delete",),
        reason="restart a server: its controller starts the pod anew",
    ),
    Grant(
        group="apps",
        resources=("deployments/scale", "statefulsets/scale"),
        verbs=("get", "patch", "update"),
        reason="stop a server and start it again",
    ),
    Grant(
        group="",
        resources=("persistentvolumeclaims",),
        verbs=("patch",),
        reason="grow a volume that is about to be full",
    ),
)

ROLES = {VIEWER: VIEWS, OPERATOR: (*VIEWS, *OPERATES)}
