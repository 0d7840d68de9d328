"""AlertmanagerCluster: sends each alert once, however many replicas run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

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
from components.basic_auth import PASSWORD_KEY, USER_KEY, basic_auth_secret
from components.file_text import yaml_text
from components.labels import labels, pods_of
from components.pods import config_volume, disruption_budget, secret_volume, workload_options
from components.prometheus.config import ALERTMANAGER_APP, ALERTMANAGER_PORT, BasicAuth
from settings.namespaces import MONITORING_NAMESPACE


@dataclass(frozen=True, kw_only=True)
class AlertmanagerClusterArgs:
    """`credentials` is a secret output with each receiver's credential by its name."""

    namespace: pulumi.Input[str]
    plan: AlertmanagerPlan
    credentials: pulumi.Output[Mapping[str, Any]]


class AlertmanagerCluster(pulumi.ComponentResource):
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
        super().__init__("proxyobs:alertmanager:AlertmanagerCluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        # ConfigMap and Secrets without names, immutable: a change is a new object, whose name in
        # the pod template rolls the pods.
        unnamed = meta.ObjectMetaArgs(namespace=args.namespace, labels=labels(ALERTMANAGER_APP))
        login = BasicAuth(username=ALERTMANAGER_USER, password_file=f"{AUTH}/{PASSWORD_KEY}")
        auth, self.password = basic_auth_secret(name, unnamed, login, child)
        config = core.ConfigMap(
            f"{name}-config",
            metadata=unnamed,
            immutable=True,
            data={"alertmanager.yml": yaml_text(args.plan.config)},
            opts=child,
        )
        volumes = {
            "config": ("/etc/alertmanager/config", config_volume("config", config)),
            "auth": (AUTH, secret_volume("auth", auth.metadata.name)),
        }
        if args.plan.alertmanager.receivers:
            secret = core.Secret(
                f"{name}-credentials",
                metadata=unnamed,
                immutable=True,
                string_data=args.credentials.apply(_texts),
                opts=child,
            )
            credentials = secret_volume("credentials", secret.metadata.name)
            volumes["credentials"] = (CREDENTIALS, credentials)
        if args.plan.with_login_secret:
            self._login_secret(name, args, child)
        self._replicas(name, args, volumes, child)

        self.auth_secret = auth.metadata.name
        self.url = self._service(name, args, child)
        self.exports = {"alertmanagerUrl": self.url, "alertmanagerPassword": self.password}
        self.register_outputs({"url": self.url, "password": self.password})

    def _login_secret(
        self, name: str, args: AlertmanagerClusterArgs, child: pulumi.ResourceOptions
    ) -> None:
        replicas = args.plan.alertmanager.replicas
        entries = self.password.apply(
            lambda password: yaml_text(
                alertmanagers(MONITORING_NAMESPACE, ALERTMANAGER_PORT, replicas, password)
            )
        )
        core.Secret(
            f"{name}-login",
            metadata=_metadata(args, LOGIN_SECRET),
            type="kubernetes.io/basic-auth",
            string_data={
                USER_KEY: ALERTMANAGER_USER,
                PASSWORD_KEY: self.password,
                ALERTMANAGERS_KEY: entries,
            },
            opts=child,
        )

    def _service(
        self, name: str, args: AlertmanagerClusterArgs, child: pulumi.ResourceOptions
    ) -> pulumi.Output[str]:
        """Create the Services for clients and for the replicas' gossip; return the clients' URL."""
        http = core.ServicePortArgs(name="http", port=ALERTMANAGER_PORT, target_port="http")
        gossip = core.ServicePortArgs(name="gossip", port=GOSSIP_PORT, target_port="gossip")
        core.Service(
            f"{name}-pods",
            metadata=_metadata(args, PODS_SERVICE),
            spec=core.ServiceSpecArgs(
                cluster_ip="None",
                selector=pods_of(ALERTMANAGER_APP),
                ports=[http, gossip],
                # Replicas look for each other before they are ready.
                publish_not_ready_addresses=True,
            ),
            opts=child,
        )
        service = core.Service(
            f"{name}-service",
            metadata=_metadata(args, "alertmanager"),
            spec=core.ServiceSpecArgs(selector=pods_of(ALERTMANAGER_APP), ports=[http]),
            opts=child,
        )
        return pulumi.Output.format(
            "http://{0}.{1}.svc:{2}", service.metadata.name, args.namespace, ALERTMANAGER_PORT
        )

    def _replicas(
        self,
        name: str,
        args: AlertmanagerClusterArgs,
        volumes: Mapping[str, Any],
        child: pulumi.ResourceOptions,
    ) -> None:
        metadata = _metadata(args, "alertmanager")
        apps.StatefulSet(
            f"{name}-server",
            metadata=metadata,
            spec=alertmanager_spec(args.plan.alertmanager, volumes),
            opts=workload_options(self, claims=True),
        )
        if args.plan.alertmanager.replicas > 1:
            disruption_budget(f"{name}-budget", metadata, pods_of(ALERTMANAGER_APP), child)


def _texts(credentials: Mapping[str, Any]) -> dict[str, str]:
    """Return the credentials; the engine has decrypted them, `make render` cannot."""
    return {name: text if isinstance(text, str) else "" for name, text in credentials.items()}


def _metadata(args: AlertmanagerClusterArgs, object_name: str) -> meta.ObjectMetaArgs:
    return meta.ObjectMetaArgs(
        name=object_name, namespace=args.namespace, labels=labels(ALERTMANAGER_APP)
    )
