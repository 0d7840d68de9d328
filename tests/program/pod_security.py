"""Kubernetes' Pod Security Standards, as far as a pod template can break them.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
BASELINE_CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}


def violations(level: str, spec: dict[str, Any]) -> list[str]:
    """Return what a pod of this spec would be refused for at `level`."""
    if level == "privileged":
        return []
    found = list(_baseline(spec))
    return found + list(_restricted(spec)) if level == "restricted" else found


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec["containers"], *spec.get("initContainers", ())]


def _baseline(spec: dict[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes", ()):
        if "hostPath" in volume:
            yield f"volume {volume['name']}: hostPath"
    if spec.get("securityContext", {}).get("sysctls"):
        yield "sysctls"
    for container in _containers(spec):
        security = container.get("securityContext", {})
        if security.get("privileged"):
            yield f"{container['name']}: privileged"
        added = set(security.get("capabilities", {}).get("add", ())) - BASELINE_CAPABILITIES
        if added:
            yield f"{container['name']}: adds {sorted(added)}"
        if any(port.get("hostPort") for port in container.get("ports", ())):
            yield f"{container['name']}: hostPort"
        if security.get("procMount", "Default") != "Default":
            yield f"{container['name']}: procMount"
    for security in _contexts(spec):
        if security.get("seccompProfile", {}).get("type") == "Unconfined":
            yield "seccompProfile Unconfined"


def _restricted(spec: dict[str, Any]) -> Iterator[str]:
    for volume in spec.get("volumes", ()):
        kinds = volume.keys() - {"name"}
        if kinds - RESTRICTED_VOLUMES:
            yield f"volume {volume['name']}: {sorted(kinds)}"
    pod = spec.get("securityContext", {})
    for container in _containers(spec):
        name, own = container["name"], container.get("securityContext", {})
        security = {**pod, **own}
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if security.get("runAsNonRoot") is not True:
            yield f"{name}: runAsNonRoot"
        if security.get("runAsUser") == 0:
            yield f"{name}: runAsUser 0"
        if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: seccompProfile"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", ()):
            yield f"{name}: does not drop ALL"
        if set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
            yield f"{name}: adds capabilities"


def _contexts(spec: dict[str, Any]) -> list[dict[str, Any]]:
    own = [container.get("securityContext", {}) for container in _containers(spec)]
    return [spec.get("securityContext", {}), *own]
