"""LoadGenerator: synthetic crawlers that count their own requests, to check the metrics with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.base import ClusterComponent
from components.file_text import json_text
from components.labels import COMPONENT, labels
from components.load_generator.plan import (
    BUDGET_FOLDER,
    NAME,
    GeneratorPlan,
    credentials_variable,
)
from components.pods import (
    ROLLOUT_TIMEOUT,
    Mounts,
    config_source,
    empty_source,
    field_variable,
    http_probes,
    pod_template,
    secret_variable,
)
from components.prometheus.config import LOAD_GENERATOR_APP as APP
from components.prometheus.config import LOAD_GENERATOR_PORT as PORT

PROGRAM_FOLDER = "/program"
STARTUP_SECONDS = 60  # a busy node takes so long to start Python

# Selects the pods: the stack file may set app.kubernetes.io/name.
OWN_LABELS = {COMPONENT: APP}


class LoadGenerator(ClusterComponent):
    """Crawlers that send requests to each vendor's endpoint through their sidecars.

    A StatefulSet, because each replica reads a plan by its pod's name: seeds differ, and the same
    stack sends the same requests. A pod's successor starts when the pod has ended, so that there is
    never more traffic than the stack says.

    It must come after the mesh: a pod that is made before the injector answers has no sidecar, and
    its requests are not counted.
    """

    def __init__(
        self,
        name: str,
        plan: GeneratorPlan,
        opts: pulumi.ResourceOptions,
        *,
        namespace: pulumi.Input[str],
        simulated_logins: Mapping[str, pulumi.Input[str]],
    ) -> None:
        """Create it.

        Args:
            simulated_logins: the simulated vendors' `user:password`, by vendor.
        """
        super().__init__("proxyobs:load_generator:LoadGenerator", name, APP, namespace, opts)
        plans = {file: json_text(content) for file, content in plan.plans.items()}
        files = self.config_map("files", {**plan.program.data, **plans})
        items = plan.program.items | {file: file for file in plans}
        mounts = {"program": (PROGRAM_FOLDER, config_source(files, items))}
        if plan.generator.max_gb_per_day is not None:
            mounts["budget"] = (BUDGET_FOLDER, empty_source("1Mi"))
        apps.StatefulSet(
            f"{name}-crawlers",
            metadata=self.metadata(NAME),
            spec=_stateful_set(plan, mounts, self._login_variables(plan, simulated_logins)),
            opts=self.workload_options(update_timeout=_rollout_timeout(plan)),
        )
        self.register_outputs({})

    def _login_variables(
        self, plan: GeneratorPlan, simulated_logins: Mapping[str, pulumi.Input[str]]
    ) -> list[core.EnvVarArgs]:
        """Return a variable for each vendor with a login, by reference to a Secret's key."""
        given = plan.credentials.items()
        keys: dict[str, tuple[pulumi.Input[str], str]] = {
            vendor: (secret.name, secret.key) for vendor, secret in given if secret
        }
        if generated := {vendor: simulated_logins[vendor] for vendor, own in given if own is None}:
            logins = self.secret("logins", generated)
            keys |= {vendor: (logins.metadata.name, vendor) for vendor in generated}
        return [
            secret_variable(credentials_variable(vendor), *keys[vendor])
            for vendor in plan.credentials
        ]


def _stateful_set(
    plan: GeneratorPlan, mounts: Mounts, logins: Sequence[core.EnvVarArgs]
) -> apps.StatefulSetSpecArgs:
    same_pods = meta.LabelSelectorArgs(match_labels=OWN_LABELS)
    spread = core.TopologySpreadConstraintArgs(
        max_skew=1,
        topology_key="kubernetes.io/hostname",
        when_unsatisfiable="ScheduleAnyway",
        label_selector=same_pods,
    )
    return apps.StatefulSetSpecArgs(
        replicas=plan.generator.replicas,
        service_name=NAME,  # a name alone: no client looks for a crawler
        pod_management_policy="Parallel",
        selector=same_pods,
        template=pod_template(
            "crawler",
            plan.generator,
            labels={**labels(APP), **plan.pod_labels, **OWN_LABELS},
            annotations=_sidecar_annotations(plan),
            mounts=mounts,
            ports={"metrics": PORT},
            pod={
                "termination_grace_period_seconds": plan.grace_seconds,
                "topology_spread_constraints": [spread],
            },
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
        ),
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
        "traffic.sidecar.istio.io/excludeInboundPorts": str(PORT),
    }


def _rollout_timeout(plan: GeneratorPlan) -> str:
    """Return how long a roll-out may take: replicas end and start one after the other."""
    seconds = plan.generator.replicas * (plan.grace_seconds + STARTUP_SECONDS)
    return f"{max(int(ROLLOUT_TIMEOUT.removesuffix('m')), -(-seconds // 60))}m"
