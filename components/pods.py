"""What all our pods share: the security context of level `restricted`, and their resources."""

from __future__ import annotations

from pulumi_kubernetes.core.v1 import (
    CapabilitiesArgs,
    PodSecurityContextArgs,
    ResourceRequirementsArgs,
    SeccompProfileArgs,
    SecurityContextArgs,
)

from settings.model import Quantities, Resources

NOBODY = 65534  # the user of Prometheus's image; any number that is nobody's will do elsewhere

# Kubernetes' 10 minutes hide a pod that can never start; the error names what it waits for.
ROLLOUT_TIMEOUT = "5m"


def pod_security(user: int) -> PodSecurityContextArgs:
    """Run as `user`, whose group also owns the pod's volumes."""
    return PodSecurityContextArgs(
        run_as_non_root=True,
        run_as_user=user,
        run_as_group=user,
        fs_group=user,
        # Else the first mount of a large volume changes the owner of every file on it.
        fs_group_change_policy="OnRootMismatch",
        seccomp_profile=SeccompProfileArgs(type="RuntimeDefault"),
    )


def container_security() -> SecurityContextArgs:
    return SecurityContextArgs(
        allow_privilege_escalation=False,
        capabilities=CapabilitiesArgs(drop=["ALL"]),
        read_only_root_filesystem=True,
    )


def container_resources(resources: Resources) -> ResourceRequirementsArgs:
    return ResourceRequirementsArgs(
        requests=_amounts(resources.requests), limits=_amounts(resources.limits)
    )


def _amounts(quantities: Quantities) -> dict[str, str]:
    return {"cpu": quantities.cpu, "memory": quantities.memory}
