"""The labels every object carries, so that `kubectl get -l` finds them all."""

from __future__ import annotations

PROJECT = "proxy-observability"
COMPONENT = f"{PROJECT}/component"
"""Label of pods whose other labels the stack file may set: no crawlers' selector has a reason
to use it."""


def labels(name: str) -> dict[str, str]:
    """Return the labels of an object that belongs to the application `name`."""
    return {
        **pods_of(name),
        "app.kubernetes.io/managed-by": "pulumi",
    }


def pods_of(name: str) -> dict[str, str]:
    """Return what our pods, and no others, are found by.

    kube-prometheus-stack's Grafana and Alertmanager have the names of ours, maybe in our namespace.
    """
    return {**selector(name), "app.kubernetes.io/part-of": PROJECT}


def selector(name: str) -> dict[str, str]:
    """Return what a workload selects its pods by: never more, it is immutable.

    That others' pods match too does no harm: each has an owner.
    """
    return {"app.kubernetes.io/name": name}
