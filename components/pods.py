"""What our pods share: the security context of level `restricted`, resources, where they run."""

from __future__ import annotations

from pulumi_kubernetes.core.v1 import (
    CapabilitiesArgs,
    PodAffinityTermArgs,
    PodAntiAffinityArgs,
    PodSecurityContextArgs,
    ResourceRequirementsArgs,
    SeccompProfileArgs,
    SecurityContextArgs,
    WeightedPodAffinityTermArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs

from components.labels import selector
from settings.section import Quantities, Resources

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


def pods_apart(app: str) -> PodAntiAffinityArgs:
    """Prefer a node for each replica; on a cluster of one node they still all run."""
    return PodAntiAffinityArgs(
        preferred_during_scheduling_ignored_during_execution=[
            WeightedPodAffinityTermArgs(
                weight=100,
                pod_affinity_term=PodAffinityTermArgs(
                    label_selector=LabelSelectorArgs(match_labels=selector(app)),
                    topology_key="kubernetes.io/hostname",
                ),
            )
        ]
    )


def _amounts(quantities: Quantities) -> dict[str, str]:
    return {"cpu": quantities.cpu, "memory": quantities.memory}
