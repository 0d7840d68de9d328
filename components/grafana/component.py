"""GrafanaServer: the dashboards of this repository, with Prometheus as data source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps import v1 as apps

from components.base import ClusterComponent
from components.basic_auth import PASSWORD_KEY, USER_KEY, generated_password
from components.file_text import yaml_text
from components.grafana.pods import APP, grafana_spec
from components.grafana.provisioning import (
    DASHBOARD_FOLDER,
    PASSWORD_VARIABLE,
    PROVISIONING_FOLDER,
    USER_VARIABLE,
    GrafanaPlan,
    dashboard_providers,
    datasources,
)
from components.labels import pods_of
from components.pods import config_volume, secret_variable, workload_options
from components.prometheus.interface import Prometheus


@dataclass(frozen=True, kw_only=True)
class GrafanaServerArgs:
    namespace: pulumi.Input[str]
    plan: GrafanaPlan
    prometheus: Prometheus


class GrafanaServer(ClusterComponent):
    """Grafana without a volume: what it shows comes from the stack and from Git.

    A changed configuration or dashboard starts a new pod beside the old one. Edits made in the
    browser are lost with the pod.
    """

    url: pulumi.Output[str]
    """Address inside the cluster."""
    admin_password: pulumi.Output[str]
    """A secret output. The user is `admin`."""
    exports: Mapping[str, pulumi.Input[Any]]
    """Outputs of the stack, by name."""

    def __init__(
        self, name: str, args: GrafanaServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:grafana:GrafanaServer", name, APP, args.namespace, opts)
        self.admin_password = generated_password(f"{name}-admin", self.child).result
        admin = self.secret("admin", {"password": self.admin_password})
        variables = [secret_variable("GF_SECURITY_ADMIN_PASSWORD", admin.metadata.name, "password")]
        login = args.prometheus.login_secret
        if login is not None:
            variables += [
                secret_variable(USER_VARIABLE, login, USER_KEY),
                secret_variable(PASSWORD_VARIABLE, login, PASSWORD_KEY),
            ]
        volumes = {
            volume: (path, config_volume(volume, self.config_map(volume, data)))
            for volume, (path, data) in _files(args).items()
        }
        apps.Deployment(
            f"{name}-server",
            metadata=self.metadata(APP),
            spec=grafana_spec(args.plan.grafana, variables, volumes),
            opts=workload_options(self),
        )
        service = self.service("service", APP, pods_of(APP), {"http": 80})
        self.url = pulumi.Output.format("http://{0}.{1}.svc", service.metadata.name, args.namespace)
        self.exports = {"grafanaUrl": self.url, "grafanaAdminPassword": self.admin_password}
        self.register_outputs({"url": self.url, "admin_password": self.admin_password})


def _files(args: GrafanaServerArgs) -> dict[str, tuple[str, Mapping[str, pulumi.Input[str]]]]:
    """Return the path and the files of each volume."""
    has_login = args.prometheus.login_secret is not None
    datasource_text = pulumi.Output.from_input(args.prometheus.url).apply(
        lambda url: yaml_text(
            datasources(url, args.plan.scrape_interval_seconds, with_login=has_login)
        )
    )
    return {
        "datasources": (f"{PROVISIONING_FOLDER}/datasources", {"prometheus.yaml": datasource_text}),
        "providers": (
            f"{PROVISIONING_FOLDER}/dashboards",
            {"provider.yaml": yaml_text(dashboard_providers())},
        ),
        "dashboards": (DASHBOARD_FOLDER, args.plan.dashboards),
    }
