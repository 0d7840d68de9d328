"""What every pod of this program shares: security level `restricted`, resources, volumes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.labels import PROJECT, selector
from settings.section import Quantities, Resources

NOBODY = 65534  # the user of Prometheus' image; the other images run under any number

# Pulumi would wait 10 minutes for a pod that can never start; its error names the pod's reason.
ROLLOUT_TIMEOUT = "5m"

DIGEST = "digest"
"""Beside a volume's source: what the pod template is annotated with, so that a change rolls it."""

Mounts = Mapping[str, tuple[str, Mapping[str, Any] | None]]
"""By volume: where it is mounted, and its source as a field of VolumeArgs; None is a claim.

Whole volumes are mounted: a file mounted by `subPath` would never see a change.
"""


@dataclass(frozen=True, kw_only=True)
class Files:
    """A ConfigMap that is read once, as its pods start."""

    config_map: core.ConfigMap
    digest: pulumi.Output[str]
    """A hash of the contents. Pods are annotated with it, so that new contents replace the pods."""


def digest_of(data: Mapping[str, Any]) -> str:
    return sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def digest_of_all(files: Iterable[Files]) -> pulumi.Output[str]:
    return pulumi.Output.all(*(each.digest for each in files)).apply(
        lambda digests: digest_of({"digests": list(digests)})
    )


class Section(Protocol):
    """A section of the stack file about something that runs."""

    @property
    def image(self) -> str: ...
    @property
    def resources(self) -> Resources: ...


@dataclass(frozen=True, kw_only=True)
class InitContainer:
    """A container that ends before the pod's own one starts."""

    name: str
    image: str
    resources: Resources
    command: Sequence[str]
    mounts: Mounts
    working_dir: str | None = None


def pod_template(
    name: str,
    section: Section,
    *,
    labels: Mapping[str, str],
    mounts: Mounts,
    ports: Mapping[str, int],
    user: int = NOBODY,
    init: Sequence[InitContainer] = (),
    beside: Sequence[core.ContainerArgs] = (),
    beside_mounts: Mounts | None = None,
    annotations: Mapping[str, str] | None = None,
    pod: Mapping[str, Any] | None = None,
    **container: Any,
) -> core.PodTemplateSpecArgs:
    """Return a pod of one container that a namespace of level `restricted` admits.

    Args:
        user: runs the containers; its group owns the pod's volumes.
        init: run before it, one after the other.
        beside: run as long as it does.
        beside_mounts: what these alone mount.
        pod: more of the pod's fields.
        container: more of the container's fields.
    """
    all_mounts = {key: mount for one in init for key, mount in one.mounts.items()}
    all_mounts |= {**(beside_mounts or {}), **mounts}
    sources = {key: source for key, (_, source) in all_mounts.items() if source is not None}
    digests = {
        f"{PROJECT}/{key}": source[DIGEST] for key, source in sources.items() if DIGEST in source
    }
    return core.PodTemplateSpecArgs(
        metadata=meta.ObjectMetaArgs(
            labels=labels, annotations={**(annotations or {}), **digests} or None
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
            init_containers=[
                container_of(
                    *(one.name, one, one.mounts, {}),
                    command=[*one.command],
                    working_dir=one.working_dir,
                )
                for one in init
            ]
            or None,
            containers=[container_of(name, section, mounts, ports, **container), *beside],
            volumes=[
                core.VolumeArgs(
                    name=key, **{kind: one for kind, one in source.items() if kind != DIGEST}
                )
                for key, source in sources.items()
            ],
            **{"automount_service_account_token": False, **(pod or {})},
        ),
    )


def container_of(
    name: str, section: Section, mounts: Mounts, ports: Mapping[str, int], **more: Any
) -> core.ContainerArgs:
    """Return a container that a namespace of level `restricted` admits."""
    return core.ContainerArgs(
        name=name,
        image=section.image,
        ports=[core.ContainerPortArgs(name=key, container_port=port) for key, port in ports.items()]
        or None,
        resources=core.ResourceRequirementsArgs(
            requests=_amounts(section.resources.requests),
            limits=_amounts(section.resources.limits),
        ),
        security_context=core.SecurityContextArgs(
            allow_privilege_escalation=False,
            capabilities=core.CapabilitiesArgs(drop=["ALL"]),
            read_only_root_filesystem=True,
        ),
        volume_mounts=[
            core.VolumeMountArgs(name=key, mount_path=path) for key, (path, _) in mounts.items()
        ],
        **more,
    )


def http_probes(
    path: str, port: str, *, startup_seconds: int, with_tls: bool = False, alive: str = ""
) -> dict[str, Any]:
    """Return the three probes of a container that answers HTTP without a login.

    Args:
        with_tls: whether it speaks TLS alone; the kubelet checks no certificate.
        alive: the path that says whether a restart would help, where `path` says more.
    """
    scheme = "HTTPS" if with_tls else None
    get = core.HTTPGetActionArgs(path=path, port=port, scheme=scheme)
    living = core.HTTPGetActionArgs(path=alive or path, port=port, scheme=scheme)
    return {
        "startup_probe": core.ProbeArgs(
            http_get=get, period_seconds=2, failure_threshold=startup_seconds // 2
        ),
        "readiness_probe": core.ProbeArgs(http_get=get, period_seconds=5, timeout_seconds=3),
        "liveness_probe": core.ProbeArgs(http_get=living, period_seconds=20, timeout_seconds=10),
    }


def config_source(files: Files | core.ConfigMap, items: Mapping[str, str] | None = None) -> Any:
    """Return a volume of a ConfigMap.

    Args:
        files: a ConfigMap without its digest is one that the pod reads again by itself.
        items: the path of each key that is no path itself.
    """
    config_map = files.config_map if isinstance(files, Files) else files
    source = core.ConfigMapVolumeSourceArgs(
        name=config_map.metadata.name, items=key_paths(items) if items else None
    )
    return {
        "config_map": source,
        **({DIGEST: files.digest} if isinstance(files, Files) else {}),
    }


def key_paths(items: Mapping[str, str]) -> list[core.KeyToPathArgs]:
    return [core.KeyToPathArgs(key=key, path=path) for key, path in items.items()]


def secret_source(secret: pulumi.Input[str], key: str | None = None) -> Any:
    """Return a volume of a Secret, or of this key of it alone."""
    items = key_paths({key: key}) if key else None
    return {"secret": core.SecretVolumeSourceArgs(secret_name=secret, items=items)}


def empty_source(size_limit: str | None = None) -> Any:
    return {"empty_dir": core.EmptyDirVolumeSourceArgs(size_limit=size_limit)}


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
        metadata=meta.ObjectMetaArgs(name="data", labels=labels), spec=claim_spec(size)
    )


def claim_spec(size: str, snapshot: str | None = None) -> core.PersistentVolumeClaimSpecArgs:
    """Return the spec of a claim: of an empty volume, or of one with a VolumeSnapshot's content."""
    source = core.TypedLocalObjectReferenceArgs(
        api_group="snapshot.storage.k8s.io", kind="VolumeSnapshot", name=snapshot or ""
    )
    return core.PersistentVolumeClaimSpecArgs(
        access_modes=["ReadWriteOnce"],
        resources=core.VolumeResourceRequirementsArgs(requests={"storage": size}),
        data_source=source if snapshot else None,
    )


def pods_apart(app: str) -> core.AffinityArgs:
    """Prefer a node for each replica; on a cluster of one node all of them still run."""
    term = core.PodAffinityTermArgs(
        label_selector=meta.LabelSelectorArgs(match_labels=selector(app)),
        topology_key="kubernetes.io/hostname",
    )
    preferred = core.WeightedPodAffinityTermArgs(weight=100, pod_affinity_term=term)
    return core.AffinityArgs(
        pod_anti_affinity=core.PodAntiAffinityArgs(
            preferred_during_scheduling_ignored_during_execution=[preferred]
        )
    )


def _amounts(quantities: Quantities) -> dict[str, str]:
    return {"cpu": quantities.cpu, "memory": quantities.memory}
