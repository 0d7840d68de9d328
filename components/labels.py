"""The labels every object carries, so that `kubectl get -l` finds them all."""

from __future__ import annotations

PROJECT = "proxy-observability"
COMPONENT = f"{PROJECT}/component"
"""Label of pods whose other labels the stack file may set: no crawlers' selector has a reason
to use it."""


def labels(name: str) -> dict[str, str]:
    """Return the labels of an object that belongs to the application `name`."""
    return {
        **selector(name),
        "app.kubernetes.io/part-of": PROJECT,
        "app.kubernetes.io/managed-by": "pulumi",
    }


def selector(name: str) -> dict[str, str]:
    """Return what a Service or a workload selects its pods by: never more, it is immutable."""
    return {"app.kubernetes.io/name": name}
