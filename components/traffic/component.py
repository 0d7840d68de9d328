"""LoadGenerator: synthetic crawlers, whose own books the metrics are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment, DeploymentSpecArgs
from pulumi_kubernetes.core.v1 import (
    ConfigMap,
    ConfigMapVolumeSourceArgs,
    ContainerArgs,
    ContainerPortArgs,
    EnvVarArgs,
    HTTPGetActionArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    VolumeArgs,
    VolumeMountArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs

from components.labels import COMPONENT, labels
from components.metrics.config import LOAD_GENERATOR_APP, LOAD_GENERATOR_PORT
from components.pods import (
    NOBODY,
    ROLLOUT_TIMEOUT,
    container_resources,
    container_security,
    pod_security,
)
from components.texts import json_text
from components.traffic.plan import crawler_plan
from settings.model import LoadGenerator as LoadGeneratorSettings

HOLD = '{"holdApplicationUntilProxyStarts": true}'  # Istio's ProxyConfig of one pod


@dataclass(frozen=True, kw_only=True)
class LoadGeneratorArgs:
    """`program` is the text of traffic/crawler.py; `pod_labels` make it a crawler to be seen.

    They may be any, also ones that our own objects carry.
    """

    namespace: pulumi.Input[str]
    load_generator: LoadGeneratorSettings
    patience_seconds: int
    program: str
    pod_labels: dict[str, str]


class LoadGenerator(pulumi.ComponentResource):
    """A Deployment of crawlers that ask each vendor's endpoint through their sidecars.

    It must come after the mesh: a pod made before the injector answers has no sidecar, works,
    and is measured by nobody.
    """

    deployment: pulumi.Output[str]

    def __init__(
        self, name: str, args: LoadGeneratorArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:traffic:LoadGenerator", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        app = labels(LOAD_GENERATOR_APP)
        own = {COMPONENT: LOAD_GENERATOR_APP}  # whatever app.kubernetes.io/name must be here
        plan = crawler_plan(
            args.load_generator,
            patience_seconds=args.patience_seconds,
            metrics_port=LOAD_GENERATOR_PORT,
        )
        # Without a name, and immutable: another plan is another object, which rolls the pods.
        files = ConfigMap(
            f"{name}-files",
            metadata=ObjectMetaArgs(namespace=args.namespace, labels=app),
            immutable=True,
            data={"crawler.py": args.program, "plan.json": json_text(plan)},
            opts=child,
        )
        page = HTTPGetActionArgs(path="/metrics", port="metrics")
        container = ContainerArgs(
            name="crawler",
            image=args.load_generator.image,
            command=["python", "/crawler/crawler.py", "--plan", "/crawler/plan.json"],
            # Progress appears as it happens, not when a buffer is full.
            env=[EnvVarArgs(name="PYTHONUNBUFFERED", value="1")],
            ports=[ContainerPortArgs(name="metrics", container_port=LOAD_GENERATOR_PORT)],
            readiness_probe=ProbeArgs(http_get=page, period_seconds=5, timeout_seconds=3),
            liveness_probe=ProbeArgs(http_get=page, period_seconds=20, timeout_seconds=10),
            resources=container_resources(args.load_generator.resources),
            security_context=container_security(),
            volume_mounts=[VolumeMountArgs(name="files", mount_path="/crawler")],
        )
        deployment = Deployment(
            f"{name}-crawlers",
            metadata=ObjectMetaArgs(name="load-generator", namespace=args.namespace, labels=app),
            spec=DeploymentSpecArgs(
                replicas=args.load_generator.replicas,
                selector=LabelSelectorArgs(match_labels=own),
                template=PodTemplateSpecArgs(
                    metadata=ObjectMetaArgs(
                        labels={**app, **args.pod_labels, **own},
                        annotations={
                            # On nodes without native sidecars: no count before the sidecar can
                            # see it.
                            "proxy.istio.io/config": HOLD,
                            # Scraped in clear, also where the mesh insists on mTLS.
                            "traffic.sidecar.istio.io/excludeInboundPorts": str(
                                LOAD_GENERATOR_PORT
                            ),
                        },
                    ),
                    spec=PodSpecArgs(
                        automount_service_account_token=False,
                        security_context=pod_security(NOBODY),
                        containers=[container],
                        volumes=[
                            VolumeArgs(
                                name="files",
                                config_map=ConfigMapVolumeSourceArgs(name=files.metadata.name),
                            )
                        ],
                    ),
                ),
            ),
            opts=child.merge(
                pulumi.ResourceOptions(
                    custom_timeouts=pulumi.CustomTimeouts(
                        create=ROLLOUT_TIMEOUT, update=ROLLOUT_TIMEOUT
                    )
                )
            ),
        )
        self.deployment = deployment.metadata.name
        self.register_outputs({"deployment": self.deployment})
