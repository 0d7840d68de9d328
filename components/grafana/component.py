"""GrafanaServer: the dashboards, from Git, in front of Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment, DeploymentSpecArgs
from pulumi_kubernetes.core.v1 import (
    ConfigMap,
    ConfigMapVolumeSourceArgs,
    ContainerArgs,
    ContainerPortArgs,
    EmptyDirVolumeSourceArgs,
    EnvVarArgs,
    EnvVarSourceArgs,
    HTTPGetActionArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    Secret,
    SecretKeySelectorArgs,
    Service,
    ServicePortArgs,
    ServiceSpecArgs,
    VolumeArgs,
    VolumeMountArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_random import RandomPassword

from components.file_text import yaml_text
from components.grafana.provisioning import (
    DASHBOARD_FOLDER,
    PASSWORD_VARIABLE,
    SETTINGS,
    USER_VARIABLE,
    dashboard_providers,
    datasources,
)
from components.labels import labels, pods_of, selector
from components.pods import (
    ROLLOUT_TIMEOUT,
    container_resources,
    container_security,
    pod_security,
)
from settings.grafana import Grafana

APP = "grafana"
PORT = 3000
USER = 472  # the image's own
PROVISIONING = "/etc/grafana/provisioning"


@dataclass(frozen=True, kw_only=True)
class PrometheusLogin:
    """Of our Prometheus."""

    user: str
    password: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class GrafanaServerArgs:
    """`dashboards` maps a file's name to its JSON.

    `prometheus_login` is ours to know, or the name of a Secret of type kubernetes.io/basic-auth
    that is there already; None where Prometheus asks nobody.
    """

    namespace: pulumi.Input[str]
    grafana: Grafana
    prometheus_url: pulumi.Input[str]
    prometheus_login: PrometheusLogin | str | None
    scrape_interval_seconds: int
    dashboards: Mapping[str, str]


class GrafanaServer(pulumi.ComponentResource):
    """Grafana without state of its own: what it shows comes from the stack and from Git.

    A change of configuration or dashboards starts a new pod beside the old one; edits made in
    the browser do not survive it.
    """

    url: pulumi.Output[str]
    """Address inside the cluster."""
    admin_password: pulumi.Output[str]
    """Secret. The user is `admin`."""

    def __init__(
        self, name: str, args: GrafanaServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:grafana:GrafanaServer", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        login = args.prometheus_login
        password = RandomPassword(f"{name}-admin", length=32, special=False, opts=child)

        # Without names, and immutable: a change makes a new object, whose new name in the pod
        # template rolls the Deployment; the old pods keep theirs until they are gone.
        unnamed = ObjectMetaArgs(namespace=args.namespace, labels=labels(APP))
        admin = Secret(
            f"{name}-admin",
            metadata=unnamed,
            string_data={
                "password": password.result,
                **({"prometheus": login.password} if isinstance(login, PrometheusLogin) else {}),
            },
            opts=child,
        )
        # Each variable's Secret and key.
        variables: dict[str, tuple[pulumi.Input[str], str]] = {
            "GF_SECURITY_ADMIN_PASSWORD": (admin.metadata.name, "password")
        }
        user: str | None = None
        if isinstance(login, PrometheusLogin):
            user = login.user
            variables[PASSWORD_VARIABLE] = (admin.metadata.name, "prometheus")
        elif login:
            user = f"${USER_VARIABLE}"
            variables[USER_VARIABLE] = (login, "username")
            variables[PASSWORD_VARIABLE] = (login, "password")
        datasource_text = pulumi.Output.from_input(args.prometheus_url).apply(
            lambda url: yaml_text(datasources(url, user, args.scrape_interval_seconds))
        )
        contents: dict[str, tuple[str, Mapping[str, pulumi.Input[str]]]] = {
            "datasources": (f"{PROVISIONING}/datasources", {"prometheus.yaml": datasource_text}),
            "providers": (
                f"{PROVISIONING}/dashboards",
                {"provider.yaml": yaml_text(dashboard_providers())},
            ),
            "dashboards": (DASHBOARD_FOLDER, args.dashboards),
        }
        config_maps = {
            volume: ConfigMap(
                f"{name}-{volume}", metadata=unnamed, immutable=True, data=data, opts=child
            )
            for volume, (_, data) in contents.items()
        }

        environment = [
            *(EnvVarArgs(name=key, value=value) for key, value in sorted(SETTINGS.items())),
            *(
                EnvVarArgs(
                    name=variable,
                    value_from=EnvVarSourceArgs(
                        secret_key_ref=SecretKeySelectorArgs(name=secret, key=key)
                    ),
                )
                for variable, (secret, key) in variables.items()
            ),
        ]
        health = HTTPGetActionArgs(path="/api/health", port="http")
        container = ContainerArgs(
            name="grafana",
            image=args.grafana.image,
            env=environment,
            ports=[ContainerPortArgs(name="http", container_port=PORT)],
            # The first start fills the database, which takes a slow disk a minute.
            startup_probe=ProbeArgs(http_get=health, period_seconds=5, failure_threshold=36),
            readiness_probe=ProbeArgs(http_get=health, period_seconds=5, timeout_seconds=3),
            liveness_probe=ProbeArgs(http_get=health, period_seconds=10, timeout_seconds=5),
            resources=container_resources(args.grafana.resources),
            security_context=container_security(),
            volume_mounts=[
                # What Grafana writes; the rest of its file system is read-only.
                VolumeMountArgs(name="data", mount_path="/var/lib/grafana"),
                VolumeMountArgs(name="scratch", mount_path="/tmp"),
                *(
                    VolumeMountArgs(name=volume, mount_path=path)
                    for volume, (path, _) in contents.items()
                ),
            ],
        )
        Deployment(
            f"{name}-server",
            metadata=ObjectMetaArgs(name=APP, namespace=args.namespace, labels=labels(APP)),
            spec=DeploymentSpecArgs(
                replicas=1,
                selector=LabelSelectorArgs(match_labels=selector(APP)),
                template=PodTemplateSpecArgs(
                    metadata=ObjectMetaArgs(labels=labels(APP)),
                    spec=PodSpecArgs(
                        automount_service_account_token=False,
                        security_context=pod_security(USER),
                        containers=[container],
                        volumes=[
                            VolumeArgs(name="data", empty_dir=EmptyDirVolumeSourceArgs()),
                            VolumeArgs(name="scratch", empty_dir=EmptyDirVolumeSourceArgs()),
                            *(
                                VolumeArgs(
                                    name=volume,
                                    config_map=ConfigMapVolumeSourceArgs(name=source.metadata.name),
                                )
                                for volume, source in config_maps.items()
                            ),
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
        service = Service(
            f"{name}-service",
            metadata=ObjectMetaArgs(name=APP, namespace=args.namespace, labels=labels(APP)),
            spec=ServiceSpecArgs(
                selector=pods_of(APP),
                ports=[ServicePortArgs(name="http", port=80, target_port="http")],
            ),
            opts=child,
        )

        self.url = pulumi.Output.format("http://{0}.{1}.svc", service.metadata.name, args.namespace)
        self.admin_password = password.result
        self.register_outputs({"url": self.url, "admin_password": self.admin_password})
