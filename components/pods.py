"""What every pod of this program shares: security level `restricted`, resources, volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import (
    CapabilitiesArgs,
    ConfigMap,
    ConfigMapVolumeSourceArgs,
    ContainerArgs,
    EmptyDirVolumeSourceArgs,
    EnvVarArgs,
    EnvVarSourceArgs,
    ObjectFieldSelectorArgs,
    PersistentVolumeClaimArgs,
    PersistentVolumeClaimSpecArgs,
    PodAffinityTermArgs,
    PodAntiAffinityArgs,
    PodSecurityContextArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ResourceRequirementsArgs,
    SeccompProfileArgs,
    SecretKeySelectorArgs,
    SecretVolumeSourceArgs,
    SecurityContextArgs,
    VolumeArgs,
    VolumeMountArgs,
    VolumeResourceRequirementsArgs,
    WeightedPodAffinityTermArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget, PodDisruptionBudgetSpecArgs

from components.labels import selector
from settings.section import Quantities, Resources

NOBODY = 65534  # the user of Prometheus' image; the other images run under any number

# Pulumi would wait 10 minutes for a pod that can never start; its error names the pod's reason.
ROLLOUT_TIMEOUT = "5m"


def pod_template(
    *,
    user: int,
    labels: Mapping[str, str],
    container: ContainerArgs,
    volumes: Sequence[VolumeArgs],
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> PodTemplateSpecArgs:
    """Return a pod of one container that a namespace of level `restricted` admits.

    Args:
        user: runs the container; its group owns the pod's volumes.
        spec: more of the pod's fields.
    """
    return PodTemplateSpecArgs(
        metadata=ObjectMetaArgs(
            labels=dict(labels), annotations=dict(annotations) if annotations else None
        ),
        spec=PodSpecArgs(
            security_context=PodSecurityContextArgs(
                run_as_non_root=True,
                run_as_user=user,
                run_as_group=user,
                fs_group=user,
                # Else the first mount of a large volume changes the owner of every file on it.
                fs_group_change_policy="OnRootMismatch",
                seccomp_profile=SeccompProfileArgs(type="RuntimeDefault"),
            ),
            containers=[container],
            volumes=list(volumes),
            **{"automount_service_account_token": False, **spec},
        ),
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


def mounts(paths: Mapping[str, str]) -> list[VolumeMountArgs]:
    """Mount volumes by name, whole: a file mounted by `subPath` would never see a change."""
    return [VolumeMountArgs(name=name, mount_path=path) for name, path in paths.items()]


def config_volume(name: str, config_map: ConfigMap) -> VolumeArgs:
    return VolumeArgs(
        name=name, config_map=ConfigMapVolumeSourceArgs(name=config_map.metadata.name)
    )


def secret_volume(name: str, secret: pulumi.Input[str]) -> VolumeArgs:
    return VolumeArgs(name=name, secret=SecretVolumeSourceArgs(secret_name=secret))


def empty_volume(name: str, size_limit: str | None = None) -> VolumeArgs:
    return VolumeArgs(name=name, empty_dir=EmptyDirVolumeSourceArgs(size_limit=size_limit))


def field_variable(name: str, field: str) -> EnvVarArgs:
    """Return an environment variable with a field of the pod itself, as `metadata.name`."""
    source = EnvVarSourceArgs(field_ref=ObjectFieldSelectorArgs(field_path=field))
    return EnvVarArgs(name=name, value_from=source)


def secret_variable(name: str, secret: pulumi.Input[str], key: str) -> EnvVarArgs:
    """Return an environment variable with a Secret's value; the pod's spec has its name alone."""
    source = EnvVarSourceArgs(secret_key_ref=SecretKeySelectorArgs(name=secret, key=key))
    return EnvVarArgs(name=name, value_from=source)


def volume_claim(labels: Mapping[str, str], size: str) -> PersistentVolumeClaimArgs:
    """Return the claim for volume `data` of each replica of a StatefulSet."""
    return PersistentVolumeClaimArgs(
        metadata=ObjectMetaArgs(name="data", labels=dict(labels)),
        spec=PersistentVolumeClaimSpecArgs(
            access_modes=["ReadWriteOnce"],
            resources=VolumeResourceRequirementsArgs(requests={"storage": size}),
        ),
    )


def workload_options(
    parent: pulumi.Resource, *, update_timeout: str = ROLLOUT_TIMEOUT, claims: bool = False
) -> pulumi.ResourceOptions:
    """Return the options of a Deployment or StatefulSet.

    Args:
        update_timeout: how long Pulumi waits for a roll-out.
        claims: whether it is a StatefulSet with volume claims. Kubernetes cannot change those, so
            Pulumi would replace the StatefulSet: every replica down at once, and the volumes as
            small as before.
    """
    return pulumi.ResourceOptions(
        parent=parent,
        ignore_changes=["spec.volumeClaimTemplates"] if claims else None,
        custom_timeouts=pulumi.CustomTimeouts(create=ROLLOUT_TIMEOUT, update=update_timeout),
    )


def pods_apart(app: str) -> PodAntiAffinityArgs:
    """Prefer a node for each replica; on a cluster of one node all of them still run."""
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


def disruption_budget(
    name: str, metadata: ObjectMetaArgs, pods: Mapping[str, str], opts: pulumi.ResourceOptions
) -> PodDisruptionBudget:
    """Let one replica at a time leave its node. With a single replica this would block drains."""
    return PodDisruptionBudget(
        name,
        metadata=metadata,
        spec=PodDisruptionBudgetSpecArgs(
            max_unavailable=1, selector=LabelSelectorArgs(match_labels=dict(pods))
        ),
        opts=opts,
    )


def _amounts(quantities: Quantities) -> dict[str, str]:
    return {"cpu": quantities.cpu, "memory": quantities.memory}
