"""AlertmanagerCluster: tells people, once each, however many of it run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps.v1 import StatefulSet, StatefulSetSpecArgs
from pulumi_kubernetes.core.v1 import (
    AffinityArgs,
    ConfigMap,
    ConfigMapVolumeSourceArgs,
    ContainerArgs,
    ContainerPortArgs,
    EnvVarArgs,
    EnvVarSourceArgs,
    ObjectFieldSelectorArgs,
    PersistentVolumeClaimArgs,
    PersistentVolumeClaimSpecArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    Secret,
    SecretVolumeSourceArgs,
    Service,
    ServicePortArgs,
    ServiceSpecArgs,
    TCPSocketActionArgs,
    VolumeArgs,
    VolumeMountArgs,
    VolumeResourceRequirementsArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget, PodDisruptionBudgetSpecArgs

from components.alertmanager.config import CREDENTIALS, START_DELAY, alertmanager_config
from components.basic_auth import PASSWORD_FILE, WEB_FILE, basic_auth_secret
from components.file_text import yaml_text
from components.labels import labels, pods_of, selector
from components.pods import (
    NOBODY,
    ROLLOUT_TIMEOUT,
    container_resources,
    container_security,
    pod_security,
    pods_apart,
)
from components.prometheus.config import ALERTMANAGER_APP, ALERTMANAGER_PORT, BasicAuth
from settings.alertmanager import Alertmanager, SecretText

GOSSIP_PORT = 9094
PODS_SERVICE = "alertmanager-pods"
AUTH = "/etc/alertmanager/auth"
USER = "alertmanager"
LOGIN_SECRET = "alertmanager-login"
"""For a Prometheus that is not ours: user and password as others read them."""


@dataclass(frozen=True, kw_only=True)
class AlertmanagerClusterArgs:
    """`secrets` holds each receiver's credential by its name.

    `with_login_secret` makes `LOGIN_SECRET` beside what our own Prometheus reads.
    """

    namespace: pulumi.Input[str]
    alertmanager: Alertmanager
    secrets: Mapping[str, SecretText]
    with_login_secret: bool = False


class AlertmanagerCluster(pulumi.ComponentResource):
    """Alertmanagers that tell each other what they sent, behind a password.

    A changed route or credential rolls them, one after the other; silences are on the volumes.
    """

    auth_secret: pulumi.Output[str]
    """Name of the Secret with the password, for who sends alerts."""
    password: pulumi.Output[str]
    """Secret. The user is `alertmanager`."""
    url: pulumi.Output[str]
    """Address inside the cluster."""

    def __init__(
        self, name: str, args: AlertmanagerClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:alertmanager:AlertmanagerCluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        alertmanager = args.alertmanager
        app = labels(ALERTMANAGER_APP)

        def metadata(object_name: str) -> ObjectMetaArgs:
            return ObjectMetaArgs(name=object_name, namespace=args.namespace, labels=app)

        # Without names, and immutable: a change is a new object, whose name rolls the pods.
        unnamed = ObjectMetaArgs(namespace=args.namespace, labels=app)
        auth, password = basic_auth_secret(
            name,
            unnamed,
            BasicAuth(username=USER, password_file=f"{AUTH}/{PASSWORD_FILE}"),
            child,
        )
        if args.with_login_secret:
            Secret(
                f"{name}-login",
                metadata=metadata(LOGIN_SECRET),
                type="kubernetes.io/basic-auth",
                string_data={"username": USER, "password": password},
                opts=child,
            )
        config = ConfigMap(
            f"{name}-config",
            metadata=unnamed,
            immutable=True,
            data={"alertmanager.yml": yaml_text(alertmanager_config(alertmanager))},
            opts=child,
        )
        # Mounted by file, so that neither the configuration nor the pod's spec has them.
        mounted: dict[str, tuple[str, pulumi.Input[str]]] = {"auth": (AUTH, auth.metadata.name)}
        if args.secrets:
            credentials = Secret(
                f"{name}-credentials",
                metadata=unnamed,
                immutable=True,
                # Encrypted in the stack's file, and so in no rendering.
                string_data={
                    receiver: pulumi.Output.secret(secret.text or "")
                    for receiver, secret in sorted(args.secrets.items())
                },
                opts=child,
            )
            mounted["credentials"] = (CREDENTIALS, credentials.metadata.name)

        http = ServicePortArgs(name="http", port=ALERTMANAGER_PORT, target_port="http")
        gossip = ServicePortArgs(name="gossip", port=GOSSIP_PORT, target_port="gossip")
        Service(
            f"{name}-pods",
            metadata=metadata(PODS_SERVICE),
            spec=ServiceSpecArgs(
                cluster_ip="None",
                selector=pods_of(ALERTMANAGER_APP),
                ports=[http, gossip],
                # They look for each other before they are ready.
                publish_not_ready_addresses=True,
            ),
            opts=child,
        )
        service = Service(
            f"{name}-service",
            metadata=metadata("alertmanager"),
            spec=ServiceSpecArgs(selector=pods_of(ALERTMANAGER_APP), ports=[http]),
            opts=child,
        )

        # The password bars HTTP probes, and a probe's header would stand in the pod's spec.
        listens = TCPSocketActionArgs(port="http")
        container = ContainerArgs(
            name="alertmanager",
            image=alertmanager.image,
            args=arguments(alertmanager),
            env=[
                # Else it looks for a private address, and finds none where pods have others.
                EnvVarArgs(
                    name="POD_IP",
                    value_from=EnvVarSourceArgs(
                        field_ref=ObjectFieldSelectorArgs(field_path="status.podIP")
                    ),
                )
            ],
            ports=[
                ContainerPortArgs(name="http", container_port=ALERTMANAGER_PORT),
                ContainerPortArgs(name="gossip", container_port=GOSSIP_PORT),
            ],
            startup_probe=ProbeArgs(tcp_socket=listens, period_seconds=2, failure_threshold=60),
            readiness_probe=ProbeArgs(tcp_socket=listens, period_seconds=5, timeout_seconds=3),
            liveness_probe=ProbeArgs(tcp_socket=listens, period_seconds=10, timeout_seconds=5),
            resources=container_resources(alertmanager.resources),
            security_context=container_security(),
            volume_mounts=[
                VolumeMountArgs(name="config", mount_path="/etc/alertmanager/config"),
                *(
                    VolumeMountArgs(name=volume, mount_path=path)
                    for volume, (path, _) in mounted.items()
                ),
                VolumeMountArgs(name="data", mount_path="/alertmanager"),
            ],
        )
        StatefulSet(
            f"{name}-server",
            metadata=metadata("alertmanager"),
            spec=StatefulSetSpecArgs(
                replicas=alertmanager.replicas,
                service_name=PODS_SERVICE,
                pod_management_policy="Parallel",
                selector=LabelSelectorArgs(match_labels=selector(ALERTMANAGER_APP)),
                template=PodTemplateSpecArgs(
                    metadata=ObjectMetaArgs(labels=app),
                    spec=PodSpecArgs(
                        automount_service_account_token=False,
                        affinity=AffinityArgs(pod_anti_affinity=pods_apart(ALERTMANAGER_APP)),
                        security_context=pod_security(NOBODY),
                        containers=[container],
                        volumes=[
                            VolumeArgs(
                                name="config",
                                config_map=ConfigMapVolumeSourceArgs(name=config.metadata.name),
                            ),
                            *(
                                VolumeArgs(
                                    name=volume, secret=SecretVolumeSourceArgs(secret_name=secret)
                                )
                                for volume, (_, secret) in mounted.items()
                            ),
                        ],
                    ),
                ),
                volume_claim_templates=[
                    PersistentVolumeClaimArgs(
                        metadata=ObjectMetaArgs(name="data", labels=app),
                        spec=PersistentVolumeClaimSpecArgs(
                            access_modes=["ReadWriteOnce"],
                            resources=VolumeResourceRequirementsArgs(
                                requests={"storage": str(alertmanager.storage)}
                            ),
                        ),
                    )
                ],
            ),
            opts=child.merge(
                pulumi.ResourceOptions(
                    # Kubernetes can't change them, so Pulumi would replace the StatefulSet.
                    ignore_changes=["spec.volumeClaimTemplates"],
                    custom_timeouts=pulumi.CustomTimeouts(
                        create=ROLLOUT_TIMEOUT, update=ROLLOUT_TIMEOUT
                    ),
                )
            ),
        )
        if alertmanager.replicas > 1:
            PodDisruptionBudget(
                f"{name}-budget",
                metadata=metadata("alertmanager"),
                spec=PodDisruptionBudgetSpecArgs(
                    max_unavailable=1,
                    selector=LabelSelectorArgs(match_labels=pods_of(ALERTMANAGER_APP)),
                ),
                opts=child,
            )

        self.auth_secret = auth.metadata.name
        self.password = password
        self.url = pulumi.Output.format(
            "http://{0}.{1}.svc:{2}", service.metadata.name, args.namespace, ALERTMANAGER_PORT
        )
        self.register_outputs(
            {"auth_secret": self.auth_secret, "password": password, "url": self.url}
        )


def arguments(alertmanager: Alertmanager) -> list[str]:
    """Return the command line; one replica alone has nobody to listen for."""
    alone = alertmanager.replicas == 1
    peers = [f"alertmanager-{n}.{PODS_SERVICE}:{GOSSIP_PORT}" for n in range(alertmanager.replicas)]
    return [
        "--config.file=/etc/alertmanager/config/alertmanager.yml",
        f"--web.config.file={AUTH}/{WEB_FILE}",
        "--storage.path=/alertmanager",
        f"--data.retention={format_duration_in_hours(alertmanager.retention)}",
        f"--dispatch.start-delay={START_DELAY}",
        f"--cluster.listen-address={'' if alone else f'0.0.0.0:{GOSSIP_PORT}'}",
        *(() if alone else (f"--cluster.advertise-address=$(POD_IP):{GOSSIP_PORT}",)),
        *(() if alone else (f"--cluster.peer={peer}" for peer in peers)),
    ]


def format_duration_in_hours(seconds: int) -> str:
    """Go's durations end at hours: "120h", else seconds."""
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds}s"
