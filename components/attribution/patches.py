"""One patch of an EnvoyFilter: which sidecars get it, and where istiod applies it."""

from __future__ import annotations

from components.attribution.envoy import Json

LISTENER = "virtualOutbound"
"""Istio's listener for all outbound connections."""

# Releases whose sidecars take the filter chains (tests/mesh). A sidecar of another release keeps
# Istio's own configuration: an Envoy that refused one setting of the listener would keep its pod
# from starting. `SIDECAR_VERSIONS` is a regular expression over the sidecar's own version.
ISTIO_RELEASES = ("1.30", "1.31")
SIDECAR_VERSIONS = r"^1\.(30|31)\b"


def add(apply_to: str, value: Json) -> Json:
    """Return the patch that adds a cluster or an extension."""
    return _patch(apply_to, "ADD", value, {})


def patch_listener(apply_to: str, operation: str, value: Json) -> Json:
    """Return a patch of the outbound listener, or of something within it."""
    return _patch(apply_to, operation, value, {"listener": {"name": LISTENER}})


def _patch(apply_to: str, operation: str, value: Json, where: Json) -> Json:
    sidecars = {"context": "SIDECAR_OUTBOUND", "proxy": {"proxyVersion": SIDECAR_VERSIONS}}
    return {
        "applyTo": apply_to,
        "match": {**sidecars, **where},
        "patch": {"operation": operation, "value": value},
    }
