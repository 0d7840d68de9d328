"""AlertmanagerCluster: sends each alert once, however many replicas run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core

from components.alertmanager.config import (
    ALERTMANAGER_USER,
    ALERTMANAGERS_KEY,
    CREDENTIALS,
    LOGIN_SECRET,
    PODS_SERVICE,
    AlertmanagerPlan,
    alertmanagers,
)
from components.alertmanager.pods import AUTH, GOSSIP_PORT, alertmanager_spec
from components.base import ClusterComponent
from components.basic_auth import PASSWORD_KEY, USER_KEY, basic_auth_secret
from components.file_text import yaml_text
from components.labels import pods_of
from components.pods import config_volume, disruption_budget, secret_volume, workload_options
from components.prometheus.config import ALERTMANAGER_APP, ALERTMANAGER_PORT, BasicAuth
from settings.namespaces import MONITORING_NAMESPACE


@dataclass(frozen=True, kw_only=True)
class AlertmanagerClusterArgs:
    """`credentials` is a secret output with each receiver's credential by its name."""

    namespace: pulumi.Input[str]
    plan: AlertmanagerPlan
    credentials: pulumi.Output[Mapping[str, Any]]


class AlertmanagerCluster(ClusterComponent):
    """Alertmanagers that share what they sent, behind a password.

    A changed route or credential rolls them one after the other; silences are on their volumes.
    """

    auth_secret: pulumi.Output[str]
    """Name of the Secret with the password, for the Prometheus that sends alerts."""
    url: pulumi.Output[str]
    """Address inside the cluster."""
    password: pulumi.Output[str]
    """A secret output. The user is `alertmanager`."""
    exports: Mapping[str, pulumi.Input[Any]]
    """Outputs of the stack, by name."""

    def __init__(
        self, name: str, args: AlertmanagerClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        token = "proxyobs:alertmanager:AlertmanagerCluster"
        super().__init__(token, name, ALERTMANAGER_APP, args.namespace, opts)
        alertmanager, pods = args.plan.alertmanager, pods_of(ALERTMANAGER_APP)
        login = BasicAuth(username=ALERTMANAGER_USER, password_file=f"{AUTH}/{PASSWORD_KEY}")
        auth, self.password = basic_auth_secret(name, self.metadata(), login, self.child)
        config = self.config_map("config", {"alertmanager.yml": yaml_text(args.plan.config)})
        volumes = {
            "config": ("/etc/alertmanager/config", config_volume("config", config)),
            "auth": (AUTH, secret_volume("auth", auth.metadata.name)),
        }
        if alertmanager.receivers:
            secret = self.secret("credentials", args.credentials.apply(_texts))
            credentials = secret_volume("credentials", secret.metadata.name)
            volumes["credentials"] = (CREDENTIALS, credentials)
        if args.plan.with_login_secret:
            self._login_secret(alertmanager.replicas)
        self.service(
            "pods",
            PODS_SERVICE,
            pods,
            {"http": ALERTMANAGER_PORT, "gossip": GOSSIP_PORT},
            cluster_ip="None",
            publish_not_ready_addresses=True,  # replicas look for each other before they are ready
        )
        service = self.service("service", "alertmanager", pods, {"http": ALERTMANAGER_PORT})
        apps.StatefulSet(
            f"{name}-server",
            metadata=self.metadata("alertmanager"),
            spec=alertmanager_spec(alertmanager, volumes),
            opts=workload_options(self, claims=True),
        )
        if alertmanager.replicas > 1:
            disruption_budget(f"{name}-budget", self.metadata("alertmanager"), pods, self.child)

        self.auth_secret = auth.metadata.name
        self.url = pulumi.Output.format(
            "http://{0}.{1}.svc:{2}", service.metadata.name, args.namespace, ALERTMANAGER_PORT
        )
        self.exports = {"alertmanagerUrl": self.url, "alertmanagerPassword": self.password}
        self.register_outputs({"url": self.url, "password": self.password})

    def _login_secret(self, replicas: int) -> None:
        entries = self.password.apply(
            lambda password: yaml_text(
                alertmanagers(MONITORING_NAMESPACE, ALERTMANAGER_PORT, replicas, password)
            )
        )
        core.Secret(
            f"{self.prefix}-login",
            metadata=self.metadata(LOGIN_SECRET),
            type="kubernetes.io/basic-auth",
            string_data={
                USER_KEY: ALERTMANAGER_USER,
                PASSWORD_KEY: self.password,
                ALERTMANAGERS_KEY: entries,
            },
            opts=self.child,
        )


def _texts(credentials: Mapping[str, Any]) -> dict[str, str]:
    """Return the credentials; the engine has decrypted them, `make render` cannot."""
    return {name: text if isinstance(text, str) else "" for name, text in credentials.items()}
