"""Namespace labels that decide what may run there, and what is injected."""

from __future__ import annotations

POD_SECURITY = "pod-security.kubernetes.io"
NOT_INJECTED = {"istio-injection": "disabled"}


def pod_security(level: str) -> dict[str, str]:
    """Return the labels that enforce a Pod Security Standard.

    `warn` as well: enforcement refuses pods, so the author of a Deployment would see nothing.
    """
    return {f"{POD_SECURITY}/enforce": level, f"{POD_SECURITY}/warn": level}


def injection(revision: str) -> dict[str, str]:
    """Return the label by which istiod of `revision` injects sidecars.

    Never both labels: `istio-injection` would win and name the default revision.
    """
    if revision == "default":
        return {"istio-injection": "enabled"}
    return {"istio.io/rev": revision}


def istio_level(*, cni: bool) -> str:
    """Return the level istiod's namespace needs: the CNI node agent mounts host paths."""
    return "privileged" if cni else "baseline"
