"""LoadGenerator: synthetic crawlers that count their own requests, to check the metrics with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.base import ClusterComponent
from components.labels import COMPONENT, labels
from components.load_generator.mutual_tls import load_generator_peers
from components.load_generator.plan import (
    BUDGET_FOLDER,
    NAME,
    GeneratorPlan,
)
from components.pods import (
    ROLLOUT_TIMEOUT,
    config_source,
    empty_source,
    field_variable,
    http_probes,
    pod_template,
    secret_variable,
)
from components.prometheus.config import LOAD_GENERATOR_APP as APP
from components.prometheus.config import LOAD_GENERATOR_PORT as PORT
from settings.load_generator import LoadGenerator as GeneratorSettings

PROGRAM_FOLDER = "/program"
GRACE_MARGIN_SECONDS = 10  # for Python and the kubelet; after it the pod is killed
STARTUP_SECONDS = 60  # a busy node takes so long to start Python

# Selects the pods: the stack file may set app.kubernetes.io/name.
OWN_LABELS = {COMPONENT: APP}
SAME_PODS = meta.LabelSelectorArgs(match_labels=OWN_LABELS)
SPREAD = core.TopologySpreadConstraintArgs(
    max_skew=1,
    topology_key="kubernetes.io/hostname",
    when_unsatisfiable="ScheduleAnyway",
    label_selector=SAME_PODS,
)


@dataclass(frozen=True, kw_only=True)
class LoadGeneratorArgs:
    """Which traffic the crawlers make, and with which logins."""

    namespace: pulumi.Input[str]
    """One of crawlers; `credentialsSecret` of a vendor is a Secret there."""
    settings: GeneratorSettings
    plan: GeneratorPlan
    simulated_logins: Mapping[str, pulumi.Input[str]]
    """The simulated vendors' `user:password`, by vendor."""
    sidecar_annotations: Mapping[str, str]
    """The annotations that the crawlers' ProxyConfig gives to their sidecars. The generator's pods
    have them too, since istiod may not know the ProxyConfig yet as they start."""


class LoadGenerator(ClusterComponent):
    """Crawlers that send requests to each vendor's endpoint through their sidecars.

    A StatefulSet, because each replica reads a plan by its pod's name: seeds differ, and the same
    stack sends the same requests. A pod's successor starts when the pod has ended, so that there is
    never more traffic than the stack says.

    It must come after the mesh: a pod that is made before the injector answers has no sidecar, and
    its requests are not counted.
    """

    def __init__(
        self, name: str, args: LoadGeneratorArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:load_generator:LoadGenerator", name, APP, args.namespace, opts)
        generator, plan = args.settings, args.plan
        CustomResource(
            f"{name}-mutual-tls",
            api_version="security.istio.io/v1",
            kind="PeerAuthentication",
            metadata=self.metadata("load-generator"),
            spec=load_generator_peers(),
            opts=self.child,
        )
        files = self.config_map("files", plan.files.data)
        mounts = {"program": (PROGRAM_FOLDER, config_source(files, plan.files.items))}
        if generator.max_gb_per_day is not None:
            mounts["budget"] = (BUDGET_FOLDER, empty_source("1Mi"))
        # A native sidecar begins to drain when the generator has ended, and is killed at the end of
        # the grace period. By then Prometheus has scraped it: the generator has lingered.
        grace_seconds = plan.drain_seconds + GRACE_MARGIN_SECONDS
        template = pod_template(
            "crawler",
            generator,
            # May be any labels, also some that this program's other objects carry.
            labels={**labels(APP), **plan.crawler_labels, **OWN_LABELS},
            annotations={**args.sidecar_annotations, **_own_annotations(plan.drain_seconds)},
            mounts=mounts,
            ports={"metrics": PORT},
            pod={
                "termination_grace_period_seconds": grace_seconds,
                "topology_spread_constraints": [SPREAD],
            },
            # Kubernetes fills in the variable.
            command=["python", "-m", "simulation.crawler", "--plan", "$(POD_NAME).json"],
            working_dir=PROGRAM_FOLDER,
            env=[
                field_variable("POD_NAME", "metadata.name"),
                # Else Python writes progress to the log only when a buffer is full.
                core.EnvVarArgs(name="PYTHONUNBUFFERED", value="1"),
                *self._login_variables(args),
            ],
            **http_probes("/metrics", "metrics", startup_seconds=STARTUP_SECONDS),
        )
        # Replicas end and start one after the other.
        seconds = generator.replicas * (grace_seconds + STARTUP_SECONDS)
        minutes = max(int(ROLLOUT_TIMEOUT.removesuffix("m")), -(-seconds // 60))
        apps.StatefulSet(
            f"{name}-crawlers",
            metadata=self.metadata(NAME),
            spec=apps.StatefulSetSpecArgs(
                replicas=generator.replicas,
                service_name=NAME,  # a name alone: no client looks for a crawler
                pod_management_policy="Parallel",
                selector=SAME_PODS,
                template=template,
            ),
            opts=self.workload_options(update_timeout=f"{minutes}m"),
        )
        self.register_outputs({})

    def _login_variables(self, args: LoadGeneratorArgs) -> list[core.EnvVarArgs]:
        """Return a variable for each vendor with a login, by reference to a Secret's key.

        A vendor without a Secret of its own is a simulated one, whose login the program generates.
        """
        given = {
            vendor: args.settings.endpoints[vendor].credentials_secret
            for vendor in args.plan.login_variables
        }
        generated = {
            vendor: args.simulated_logins[vendor] for vendor, secret in given.items() if not secret
        }
        name = self.secret("logins", generated).metadata.name if generated else ""
        return [
            secret_variable(variable, secret.name, secret.key)
            if (secret := given[vendor])
            else secret_variable(variable, name, vendor)
            for vendor, variable in args.plan.login_variables.items()
        ]


def _own_annotations(drain_seconds: int) -> dict[str, str]:
    proxy_config = {
        # On nodes without native sidecars: else the first requests pass no sidecar, ...
        "holdApplicationUntilProxyStarts": True,
        # ... and the sidecar ends before open requests do and before its last scrape.
        "terminationDrainDuration": f"{drain_seconds}s",
    }
    return {
        "proxy.istio.io/config": json.dumps(proxy_config),
        # Prometheus scrapes in clear, also where the mesh insists on mTLS.
        "traffic.sidecar.istio.io/excludeInboundPorts": str(PORT),
    }
