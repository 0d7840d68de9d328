"""LoadGenerator: synthetic crawlers, whose own books the metrics are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import StatefulSet, StatefulSetSpecArgs
from pulumi_kubernetes.core.v1 import (
    ConfigMap,
    ConfigMapVolumeSourceArgs,
    ContainerArgs,
    ContainerPortArgs,
    EmptyDirVolumeSourceArgs,
    EnvVarArgs,
    EnvVarSourceArgs,
    HTTPGetActionArgs,
    KeyToPathArgs,
    ObjectFieldSelectorArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    Secret,
    SecretKeySelectorArgs,
    TopologySpreadConstraintArgs,
    VolumeArgs,
    VolumeMountArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs

from components.file_text import json_text
from components.labels import COMPONENT, labels
from components.load_generator.plan import (
    BUDGET_FOLDER,
    PLAN,
    asks_with_login,
    credentials_variable,
    drain_seconds,
    grace_seconds,
    linger_seconds,
    replica_plan,
)
from components.pods import (
    NOBODY,
    ROLLOUT_TIMEOUT,
    container_resources,
    container_security,
    pod_security,
)
from components.prometheus.config import LOAD_GENERATOR_APP, LOAD_GENERATOR_PORT
from components.repository_files import ProgramFiles
from settings.stack import StackSettings

NAME = "load-generator"
PROGRAM_FOLDER = "/program"
STARTUP_SECONDS = 60  # of a busy node, to start Python


@dataclass(frozen=True, kw_only=True)
class LoadGeneratorArgs:
    """`plan` is what `crawler_plan` made of the settings, `program` the crawler.

    `logins` are the simulated vendors' `user:password`, by vendor. `pod_labels` make a pod a
    crawler to be seen; they may be any, also ones that our own objects carry.
    """

    namespace: pulumi.Input[str]
    settings: StackSettings
    plan: dict[str, Any]
    program: ProgramFiles
    logins: Mapping[str, pulumi.Input[str]]
    pod_labels: dict[str, str]


class LoadGenerator(pulumi.ComponentResource):
    """Crawlers that ask each vendor's endpoint through their sidecars.

    A StatefulSet for its ordinals: each pod has a plan of its own, by its name, so that seeds
    differ and the same stack sends the same. And a pod's successor starts when it has gone, so
    that there is never more traffic than the stack says.

    It must come after the mesh: a pod made before the injector answers has no sidecar, works,
    and is measured by nobody.
    """

    def __init__(
        self, name: str, args: LoadGeneratorArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:load_generator:LoadGenerator", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        generator = args.settings.load_generator
        app = labels(LOAD_GENERATOR_APP)
        own = {COMPONENT: LOAD_GENERATOR_APP}  # whatever app.kubernetes.io/name must be here
        unnamed = ObjectMetaArgs(namespace=args.namespace, labels=app)

        plans = {PLAN: args.plan} | {
            f"{NAME}-{replica}.json": replica_plan(replica) for replica in range(generator.replicas)
        }
        # Without a name, and immutable: another plan is another object, which rolls the pods.
        files = ConfigMap(
            f"{name}-files",
            metadata=unnamed,
            immutable=True,
            data={**args.program.data, **{key: json_text(plan) for key, plan in plans.items()}},
            opts=child,
        )
        places = args.program.items | {key: key for key in plans}
        volumes = [
            VolumeArgs(
                name="program",
                config_map=ConfigMapVolumeSourceArgs(
                    name=files.metadata.name,
                    items=[KeyToPathArgs(key=key, path=path) for key, path in places.items()],
                ),
            )
        ]
        mounts = [VolumeMountArgs(name="program", mount_path=PROGRAM_FOLDER)]
        if generator.max_gb_per_day is not None:
            volumes.append(
                VolumeArgs(name="budget", empty_dir=EmptyDirVolumeSourceArgs(size_limit="1Mi"))
            )
            mounts.append(VolumeMountArgs(name="budget", mount_path=BUDGET_FOLDER))

        page = HTTPGetActionArgs(path="/metrics", port="metrics")
        container = ContainerArgs(
            name="crawler",
            image=generator.image,
            # Kubernetes fills in the variable.
            command=["python", "-m", "simulation.crawler", "--plan", "$(POD_NAME).json"],
            working_dir=PROGRAM_FOLDER,
            env=[
                EnvVarArgs(
                    name="POD_NAME",
                    value_from=EnvVarSourceArgs(
                        field_ref=ObjectFieldSelectorArgs(field_path="metadata.name")
                    ),
                ),
                # Progress appears as it happens, not when a buffer is full.
                EnvVarArgs(name="PYTHONUNBUFFERED", value="1"),
                *self._login_variables(name, args, unnamed),
            ],
            ports=[ContainerPortArgs(name="metrics", container_port=LOAD_GENERATOR_PORT)],
            startup_probe=ProbeArgs(
                http_get=page, period_seconds=2, failure_threshold=STARTUP_SECONDS // 2
            ),
            readiness_probe=ProbeArgs(http_get=page, period_seconds=5, timeout_seconds=3),
            liveness_probe=ProbeArgs(http_get=page, period_seconds=20, timeout_seconds=10),
            resources=container_resources(generator.resources),
            security_context=container_security(),
            volume_mounts=mounts,
        )
        StatefulSet(
            f"{name}-crawlers",
            metadata=ObjectMetaArgs(name=NAME, namespace=args.namespace, labels=app),
            spec=StatefulSetSpecArgs(
                replicas=generator.replicas,
                service_name=NAME,  # a name alone: nobody looks for a crawler
                pod_management_policy="Parallel",
                selector=LabelSelectorArgs(match_labels=own),
                template=PodTemplateSpecArgs(
                    metadata=ObjectMetaArgs(
                        labels={**app, **args.pod_labels, **own},
                        annotations=_sidecar_annotations(args.settings),
                    ),
                    spec=PodSpecArgs(
                        automount_service_account_token=False,
                        security_context=pod_security(NOBODY),
                        termination_grace_period_seconds=grace_seconds(args.settings),
                        topology_spread_constraints=[
                            TopologySpreadConstraintArgs(
                                max_skew=1,
                                topology_key="kubernetes.io/hostname",
                                when_unsatisfiable="ScheduleAnyway",
                                label_selector=LabelSelectorArgs(match_labels=own),
                            )
                        ],
                        containers=[container],
                        volumes=volumes,
                    ),
                ),
            ),
            opts=child.merge(
                pulumi.ResourceOptions(
                    custom_timeouts=pulumi.CustomTimeouts(
                        create=ROLLOUT_TIMEOUT, update=_rollout_timeout(args.settings)
                    )
                )
            ),
        )
        self.register_outputs({})

    def _login_variables(
        self, name: str, args: LoadGeneratorArgs, metadata: ObjectMetaArgs
    ) -> list[EnvVarArgs]:
        """Return a variable for each vendor with credentials: by reference, nowhere their text."""
        settings = args.settings
        logins = {
            vendor: login
            for vendor, login in args.logins.items()
            if vendor in settings.load_generator.endpoints
        }
        made = None
        if logins:
            # Read at the start: other credentials are another Secret, which rolls the pods.
            made = Secret(
                f"{name}-logins",
                metadata=metadata,
                string_data=logins,
                immutable=True,
                opts=pulumi.ResourceOptions(parent=self),
            )
        variables = []
        for vendor, proxy in sorted(settings.load_generator.endpoints.items()):
            if not asks_with_login(settings, vendor):
                continue
            if given := proxy.credentials_secret:
                place = SecretKeySelectorArgs(name=given.name, key=given.key)
            else:
                assert made is not None
                place = SecretKeySelectorArgs(name=made.metadata.name, key=vendor)
            variables.append(
                EnvVarArgs(
                    name=credentials_variable(vendor),
                    value_from=EnvVarSourceArgs(secret_key_ref=place),
                )
            )
        return variables


def _sidecar_annotations(settings: StackSettings) -> dict[str, str]:
    proxy_config = {
        # On nodes without native sidecars: no count before the sidecar can see it, ...
        "holdApplicationUntilProxyStarts": True,
        # ... and no sidecar that leaves before what is in flight, and before its last scrape.
        "terminationDrainDuration": f"{drain_seconds(settings) + linger_seconds(settings)}s",
    }
    return {
        "proxy.istio.io/config": json.dumps(proxy_config),
        # Scraped in clear, also where the mesh insists on mTLS.
        "traffic.sidecar.istio.io/excludeInboundPorts": str(LOAD_GENERATOR_PORT),
    }


def _rollout_timeout(settings: StackSettings) -> str:
    """Replicas roll one after the other, and each takes its end and its start."""
    seconds = settings.load_generator.replicas * (grace_seconds(settings) + STARTUP_SECONDS)
    return f"{max(int(ROLLOUT_TIMEOUT.removesuffix('m')), -(-seconds // 60))}m"
