"""The labels of every object, so that `kubectl get -l` finds all of them."""

from __future__ import annotations

PROJECT = "proxy-observability"
COMPONENT = f"{PROJECT}/component"
"""Selects pods whose other labels the stack file sets: no selector of crawlers needs this one."""


def labels(name: str) -> dict[str, str]:
    """Return the labels of an object of the application `name`."""
    return {**pods_of(name), "app.kubernetes.io/managed-by": "pulumi"}


def pods_of(name: str) -> dict[str, str]:
    """Return labels that only this program's pods have.

    kube-prometheus-stack's Grafana and Alertmanager have the same names, and may run in the same
    namespace.
    """
    return {**selector(name), "app.kubernetes.io/part-of": PROJECT}


def selector(name: str) -> dict[str, str]:
    """Return the labels by which a workload selects its pods.

    Kubernetes never lets them change. That other workloads' pods match them too is harmless: a
    controller adopts no pod that has an owner.
    """
    return {"app.kubernetes.io/name": name}
