"""The load generator's pods."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.labels import COMPONENT, labels
from components.load_generator.plan import BUDGET_FOLDER, NAME, GeneratorPlan
from components.pods import (
    NOBODY,
    ROLLOUT_TIMEOUT,
    container,
    empty_volume,
    field_variable,
    http_probes,
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
    files: tuple[core.ConfigMap, Mapping[str, str]],
    logins: Sequence[core.EnvVarArgs],
) -> apps.StatefulSetSpecArgs:
    """Return the StatefulSet.

    Args:
        files: the ConfigMap with program and plans, and the path of each of its keys.
        logins: environment variables with the credentials for vendors.
    """
    generator = plan.generator
    config_map, items = files
    volumes = [
        core.VolumeArgs(
            name="program",
            config_map=core.ConfigMapVolumeSourceArgs(
                name=config_map.metadata.name,
                items=[core.KeyToPathArgs(key=key, path=path) for key, path in items.items()],
            ),
        )
    ]
    paths = {"program": PROGRAM_FOLDER}
    if generator.max_gb_per_day is not None:
        volumes.append(empty_volume("budget", "1Mi"))
        paths["budget"] = BUDGET_FOLDER
    same_pods = meta.LabelSelectorArgs(match_labels=OWN_LABELS)
    return apps.StatefulSetSpecArgs(
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
                core.TopologySpreadConstraintArgs(
                    max_skew=1,
                    topology_key="kubernetes.io/hostname",
                    when_unsatisfiable="ScheduleAnyway",
                    label_selector=same_pods,
                )
            ],
        ),
    )


def _container(
    generator: LoadGenerator, paths: Mapping[str, str], logins: Sequence[core.EnvVarArgs]
) -> core.ContainerArgs:
    return container(
        "crawler",
        generator.resources,
        paths,
        {"metrics": LOAD_GENERATOR_PORT},
        image=generator.image,
        # Kubernetes fills in the variable.
        command=["python", "-m", "simulation.crawler", "--plan", "$(POD_NAME).json"],
        working_dir=PROGRAM_FOLDER,
        env=[
            field_variable("POD_NAME", "metadata.name"),
            # Else Python writes progress to the log only when a buffer is full.
            core.EnvVarArgs(name="PYTHONUNBUFFERED", value="1"),
            *logins,
        ],
        **http_probes("/metrics", "metrics", startup_seconds=STARTUP_SECONDS),
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
