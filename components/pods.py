"""What every pod of this program shares: security level `restricted`, resources, volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.policy import v1 as policy

from components.labels import selector
from settings.section import Quantities, Resources

NOBODY = 65534  # the user of Prometheus' image; the other images run under any number

# Pulumi would wait 10 minutes for a pod that can never start; its error names the pod's reason.
ROLLOUT_TIMEOUT = "5m"


def pod_template(
    *,
    user: int,
    labels: Mapping[str, str],
    container: core.ContainerArgs,
    volumes: Sequence[core.VolumeArgs],
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> core.PodTemplateSpecArgs:
    """Return a pod of one container that a namespace of level `restricted` admits.

    Args:
        user: runs the container; its group owns the pod's volumes.
        spec: more of the pod's fields.
    """
    return core.PodTemplateSpecArgs(
        metadata=meta.ObjectMetaArgs(
            labels=dict(labels), annotations=dict(annotations) if annotations else None
        ),
        spec=core.PodSpecArgs(
            security_context=core.PodSecurityContextArgs(
                run_as_non_root=True,
                run_as_user=user,
                run_as_group=user,
                fs_group=user,
                # Else the first mount of a large volume changes the owner of every file on it.
                fs_group_change_policy="OnRootMismatch",
                seccomp_profile=core.SeccompProfileArgs(type="RuntimeDefault"),
            ),
            containers=[container],
            volumes=list(volumes),
            **{"automount_service_account_token": False, **spec},
        ),
    )


def container(
    name: str, resources: Resources, paths: Mapping[str, str], ports: Mapping[str, int], **more: Any
) -> core.ContainerArgs:
    """Return a container without privileges.

    Args:
        paths: where each volume is mounted. Whole volumes: a file mounted by `subPath` would never
            see a change.
        more: more of the container's fields.
    """
    return core.ContainerArgs(
        name=name,
        ports=[
            core.ContainerPortArgs(name=key, container_port=port) for key, port in ports.items()
        ],
        resources=core.ResourceRequirementsArgs(
            requests=_amounts(resources.requests), limits=_amounts(resources.limits)
        ),
        security_context=core.SecurityContextArgs(
            allow_privilege_escalation=False,
            capabilities=core.CapabilitiesArgs(drop=["ALL"]),
            read_only_root_filesystem=True,
        ),
        volume_mounts=[
            core.VolumeMountArgs(name=key, mount_path=path) for key, path in paths.items()
        ],
        **more,
    )


def http_probes(path: str, port: str, *, startup_seconds: int) -> dict[str, core.ProbeArgs]:
    """Return the three probes of a container that answers HTTP without a login."""
    get = core.HTTPGetActionArgs(path=path, port=port)
    return {
        "startup_probe": core.ProbeArgs(
            http_get=get, period_seconds=2, failure_threshold=startup_seconds // 2
        ),
        "readiness_probe": core.ProbeArgs(http_get=get, period_seconds=5, timeout_seconds=3),
        "liveness_probe": core.ProbeArgs(http_get=get, period_seconds=20, timeout_seconds=10),
    }


def config_volume(name: str, config_map: core.ConfigMap) -> core.VolumeArgs:
    return core.VolumeArgs(
        name=name, config_map=core.ConfigMapVolumeSourceArgs(name=config_map.metadata.name)
    )


def secret_volume(name: str, secret: pulumi.Input[str]) -> core.VolumeArgs:
    return core.VolumeArgs(name=name, secret=core.SecretVolumeSourceArgs(secret_name=secret))


def empty_volume(name: str, size_limit: str | None = None) -> core.VolumeArgs:
    return core.VolumeArgs(
        name=name, empty_dir=core.EmptyDirVolumeSourceArgs(size_limit=size_limit)
    )


def field_variable(name: str, field: str) -> core.EnvVarArgs:
    """Return an environment variable with a field of the pod itself, as `metadata.name`."""
    source = core.EnvVarSourceArgs(field_ref=core.ObjectFieldSelectorArgs(field_path=field))
    return core.EnvVarArgs(name=name, value_from=source)


def secret_variable(name: str, secret: pulumi.Input[str], key: str) -> core.EnvVarArgs:
    """Return an environment variable with a Secret's value; the pod's spec has its name alone."""
    source = core.EnvVarSourceArgs(secret_key_ref=core.SecretKeySelectorArgs(name=secret, key=key))
    return core.EnvVarArgs(name=name, value_from=source)


def volume_claim(labels: Mapping[str, str], size: str) -> core.PersistentVolumeClaimArgs:
    """Return the claim for volume `data` of each replica of a StatefulSet."""
    return core.PersistentVolumeClaimArgs(
        metadata=meta.ObjectMetaArgs(name="data", labels=dict(labels)),
        spec=core.PersistentVolumeClaimSpecArgs(
            access_modes=["ReadWriteOnce"],
            resources=core.VolumeResourceRequirementsArgs(requests={"storage": size}),
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


def pods_apart(app: str) -> core.PodAntiAffinityArgs:
    """Prefer a node for each replica; on a cluster of one node all of them still run."""
    return core.PodAntiAffinityArgs(
        preferred_during_scheduling_ignored_during_execution=[
            core.WeightedPodAffinityTermArgs(
                weight=100,
                pod_affinity_term=core.PodAffinityTermArgs(
                    label_selector=meta.LabelSelectorArgs(match_labels=selector(app)),
                    topology_key="kubernetes.io/hostname",
                ),
            )
        ]
    )


def disruption_budget(
    name: str, metadata: meta.ObjectMetaArgs, pods: Mapping[str, str], opts: pulumi.ResourceOptions
) -> policy.PodDisruptionBudget:
    """Let one replica at a time leave its node. With a single replica this would block drains."""
    return policy.PodDisruptionBudget(
        name,
        metadata=metadata,
        spec=policy.PodDisruptionBudgetSpecArgs(
            max_unavailable=1, selector=meta.LabelSelectorArgs(match_labels=dict(pods))
        ),
        opts=opts,
    )


def _amounts(quantities: Quantities) -> dict[str, str]:
    return {"cpu": quantities.cpu, "memory": quantities.memory}
