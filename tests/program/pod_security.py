"""Kubernetes' Pod Security Standard `restricted`, as far as a pod template can break it.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}


def violations(spec: dict[str, Any]) -> Iterator[str]:
    """Yield what a pod of this spec would be refused for; all of `baseline` is in it."""
    pod = spec.get("securityContext", {})
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))
    yield from (f"volume {v['name']}" for v in spec["volumes"] if v.keys() - {"name"} - VOLUMES)
    if pod.get("sysctls"):
        yield "sysctls"
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        own = container.get("securityContext", {})
        both, capabilities = {**pod, **own}, own.get("capabilities", {})
        seccomp = both.get("seccompProfile", {}).get("type")
        broken = {
            "hostPort": any(port.get("hostPort") for port in container.get("ports", ())),
            "privileged": own.get("privileged"),
            "procMount": own.get("procMount", "Default") != "Default",
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
            "runAsNonRoot": both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0,
            "seccompProfile": seccomp not in ("RuntimeDefault", "Localhost"),
            "capabilities": "ALL" not in capabilities.get("drop", ())
            or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"},
        }
        yield from (f"{container['name']}: {key}" for key, is_broken in broken.items() if is_broken)
