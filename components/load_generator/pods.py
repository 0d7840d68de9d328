"""The load generator's pods."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pulumi_kubernetes.apps.v1 import StatefulSetSpecArgs
from pulumi_kubernetes.core.v1 import (
    ConfigMap,
    ConfigMapVolumeSourceArgs,
    ContainerArgs,
    ContainerPortArgs,
    EnvVarArgs,
    HTTPGetActionArgs,
    KeyToPathArgs,
    ProbeArgs,
    TopologySpreadConstraintArgs,
    VolumeArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs

from components.labels import COMPONENT, labels
from components.load_generator.plan import BUDGET_FOLDER, NAME, GeneratorPlan
from components.pods import (
    NOBODY,
    ROLLOUT_TIMEOUT,
    container_resources,
    container_security,
    empty_volume,
    field_variable,
    mounts,
    pod_template,
)
from components.prometheus.config import LOAD_GENERATOR_APP, LOAD_GENERATOR_PORT
from settings.load_generator import LoadGenerator

PROGRAM_FOLDER = "/program"
STARTUP_SECONDS = 60  # a busy node takes so long to start Python

# Selects the pods: the stack file may set app.kubernetes.io/name.
OWN_LABELS = {COMPONENT: LOAD_GENERATOR_APP}


def generator_spec(
    plan: GeneratorPlan,
    files: tuple[ConfigMap, Mapping[str, str]],
    logins: Sequence[EnvVarArgs],
) -> StatefulSetSpecArgs:
    """Return the StatefulSet.

    Args:
        files: the ConfigMap with program and plans, and the path of each of its keys.
        logins: environment variables with the credentials for vendors.
    """
    generator = plan.generator
    config_map, items = files
    volumes = [
        VolumeArgs(
            name="program",
            config_map=ConfigMapVolumeSourceArgs(
                name=config_map.metadata.name,
                items=[KeyToPathArgs(key=key, path=path) for key, path in items.items()],
            ),
        )
    ]
    paths = {"program": PROGRAM_FOLDER}
    if generator.max_gb_per_day is not None:
        volumes.append(empty_volume("budget", "1Mi"))
        paths["budget"] = BUDGET_FOLDER
    same_pods = LabelSelectorArgs(match_labels=OWN_LABELS)
    return StatefulSetSpecArgs(
        replicas=generator.replicas,
        service_name=NAME,  # a name alone: no client looks for a crawler
        pod_management_policy="Parallel",
        selector=same_pods,
        template=pod_template(
            user=NOBODY,
            labels={**labels(LOAD_GENERATOR_APP), **plan.pod_labels, **OWN_LABELS},
            annotations=_sidecar_annotations(plan),
            container=_container(generator, paths, logins),
            volumes=volumes,
            termination_grace_period_seconds=plan.grace_seconds,
            topology_spread_constraints=[
                TopologySpreadConstraintArgs(
                    max_skew=1,
                    topology_key="kubernetes.io/hostname",
                    when_unsatisfiable="ScheduleAnyway",
                    label_selector=same_pods,
                )
            ],
        ),
    )


def _container(
    generator: LoadGenerator, paths: Mapping[str, str], logins: Sequence[EnvVarArgs]
) -> ContainerArgs:
    page = HTTPGetActionArgs(path="/metrics", port="metrics")
    return ContainerArgs(
        name="crawler",
        image=generator.image,
        # Kubernetes fills in the variable.
        command=["python", "-m", "simulation.crawler", "--plan", "$(POD_NAME).json"],
        working_dir=PROGRAM_FOLDER,
        env=[
            field_variable("POD_NAME", "metadata.name"),
            # Else Python writes progress to the log only when a buffer is full.
            EnvVarArgs(name="PYTHONUNBUFFERED", value="1"),
            *logins,
        ],
        ports=[ContainerPortArgs(name="metrics", container_port=LOAD_GENERATOR_PORT)],
        startup_probe=ProbeArgs(
            http_get=page, period_seconds=2, failure_threshold=STARTUP_SECONDS // 2
        ),
        readiness_probe=ProbeArgs(http_get=page, period_seconds=5, timeout_seconds=3),
        liveness_probe=ProbeArgs(http_get=page, period_seconds=20, timeout_seconds=10),
        resources=container_resources(generator.resources),
        security_context=container_security(),
        volume_mounts=mounts(paths),
    )


def _sidecar_annotations(plan: GeneratorPlan) -> dict[str, str]:
    proxy_config = {
        # On nodes without native sidecars: else the first requests pass no sidecar, ...
        "holdApplicationUntilProxyStarts": True,
        # ... and the sidecar ends before open requests do and before its last scrape.
        "terminationDrainDuration": f"{plan.drain_seconds + plan.linger_seconds}s",
    }
    return {
        "proxy.istio.io/config": json.dumps(proxy_config),
        # Prometheus scrapes in clear, also where the mesh insists on mTLS.
        "traffic.sidecar.istio.io/excludeInboundPorts": str(LOAD_GENERATOR_PORT),
    }


def rollout_timeout(plan: GeneratorPlan) -> str:
    """Return how long a roll-out may take: replicas end and start one after the other."""
    seconds = plan.generator.replicas * (plan.grace_seconds + STARTUP_SECONDS)
    return f"{max(int(ROLLOUT_TIMEOUT.removesuffix('m')), -(-seconds // 60))}m"
