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
    GOSSIP_PORT,
    LOGIN_SECRET,
    PODS_SERVICE,
    START_DELAY,
    alertmanagers,
)
from components.base import ClusterComponent
from components.basic_auth import PASSWORD_KEY, USER_KEY, WEB_FILE, basic_auth_secret
from components.file_text import yaml_text
from components.labels import labels, pods_of, selector
from components.pods import (
    Mounts,
    config_source,
    field_variable,
    pod_template,
    pods_apart,
    secret_source,
    volume_claim,
)
from components.prometheus.config import ALERTMANAGER_APP as APP
from components.prometheus.config import ALERTMANAGER_PORT as PORT
from components.prometheus.config import BasicAuth
from components.tls import Tls, secret_name
from settings.alertmanager import Alertmanager
from settings.namespaces import MONITORING_NAMESPACE

AUTH = "/etc/alertmanager/auth"
TLS = "/etc/alertmanager/tls"


@dataclass(frozen=True, kw_only=True)
class AlertmanagerClusterArgs:
    """What the Alertmanagers run with."""

    namespace: pulumi.Input[str]
    settings: Alertmanager
    config: str
    """Text of alertmanager.yml."""
    credentials: pulumi.Output[Mapping[str, Any]]
    """A secret output: each receiver's credential by its name."""
    operator_namespace: str | None = None
    """Namespace of the operator's Prometheus that sends alerts; None where the program runs it."""
    with_tls: bool = False
    """Whether cert-manager keeps a certificate for the servers (components/certificates)."""


class AlertmanagerCluster(ClusterComponent):
    """Alertmanagers that share what they sent, behind a password.

    A changed route or credential rolls them one after the other; silences are on their volumes.
    """

    auth_secret: pulumi.Output[str]
    """Name of the Secret with the password, for the Prometheus that sends alerts."""
    url: pulumi.Output[str]
    """Address inside the cluster."""
    password: pulumi.Output[str]
    """Of user `alertmanager`; a secret."""

    def __init__(
        self, name: str, args: AlertmanagerClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        token = "proxyobs:alertmanager:AlertmanagerCluster"
        super().__init__(token, name, APP, args.namespace, opts)
        alertmanager = args.settings
        login = BasicAuth(username=ALERTMANAGER_USER, password_file=f"{AUTH}/{PASSWORD_KEY}")
        tls = Tls(app=APP, folder=TLS) if args.with_tls else None
        auth, self.password = basic_auth_secret(name, self.metadata(), login, self.child, tls)
        config = self.config_map("config", {"alertmanager.yml": args.config})
        mounts = {
            "config": ("/etc/alertmanager/config", config_source(config)),
            "auth": (AUTH, secret_source(auth.metadata.name)),
        }
        if tls:
            mounts["tls"] = (TLS, secret_source(secret_name(APP)))
        if alertmanager.receivers:
            secret = self.secret("credentials", args.credentials.apply(_texts))
            mounts["credentials"] = (CREDENTIALS, secret_source(secret.metadata.name))
        if args.operator_namespace:
            # The operator reads the login of a monitor beside the monitor, and the addresses of
            # Alertmanagers beside its Prometheus. Without them it stops writing that Prometheus'
            # configuration.
            self._login_secret("login", self.namespace, alertmanager.replicas)
            if args.operator_namespace != MONITORING_NAMESPACE:
                self._login_secret(
                    "login-for-prometheus", args.operator_namespace, alertmanager.replicas
                )
        self.service(
            "pods",
            self.metadata(PODS_SERVICE),
            pods_of(APP),
            {"http": PORT, "gossip": GOSSIP_PORT},
            cluster_ip="None",
            publish_not_ready_addresses=True,  # replicas look for each other before they are ready
        )
        metadata = self.metadata("alertmanager")
        service = self.service("service", metadata, pods_of(APP), {"http": PORT})
        apps.StatefulSet(
            f"{name}-server",
            metadata=metadata,
            spec=_stateful_set(alertmanager, mounts),
            opts=self.workload_options(claims=True),
        )
        self.disruption_budget("budget", metadata, pods_of(APP), alertmanager.replicas)
        self.auth_secret = auth.metadata.name
        self.url = self.address(service, PORT, with_tls=args.with_tls)
        self.register_outputs(
            {"auth_secret": self.auth_secret, "url": self.url, "password": self.password}
        )

    def _login_secret(self, suffix: str, namespace: pulumi.Input[str], replicas: int) -> None:
        """Create the Secret for the operator. Its name is fixed: monitors and values have it."""
        entries = self.password.apply(
            lambda text: yaml_text(alertmanagers(MONITORING_NAMESPACE, PORT, replicas, text))
        )
        core.Secret(
            f"{self.prefix}-{suffix}",
            metadata=meta.ObjectMetaArgs(
                name=LOGIN_SECRET, namespace=namespace, labels=self.labels
            ),
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


def _stateful_set(alertmanager: Alertmanager, mounts: Mounts) -> apps.StatefulSetSpecArgs:
    # Alertmanager answers HTTP probes with 401, and a login in the probe would stand in the pod's
    # spec.
    listens = core.TCPSocketActionArgs(port="http")
    return apps.StatefulSetSpecArgs(
        replicas=alertmanager.replicas,
        service_name=PODS_SERVICE,
        pod_management_policy="Parallel",
        selector=meta.LabelSelectorArgs(match_labels=selector(APP)),
        template=pod_template(
            "alertmanager",
            alertmanager,
            labels=labels(APP),
            mounts={**mounts, "data": ("/alertmanager", None)},
            ports={"http": PORT, "gossip": GOSSIP_PORT},
            pod={"affinity": pods_apart(APP)},
            args=arguments(alertmanager),
            # Else Alertmanager looks for a private address, and some clusters' pods have none.
            env=[field_variable("POD_IP", "status.podIP")],
            startup_probe=core.ProbeArgs(
                tcp_socket=listens, period_seconds=2, failure_threshold=60
            ),
            readiness_probe=core.ProbeArgs(tcp_socket=listens, period_seconds=5, timeout_seconds=3),
            liveness_probe=core.ProbeArgs(tcp_socket=listens, period_seconds=10, timeout_seconds=5),
        ),
        volume_claim_templates=[volume_claim(labels(APP), str(alertmanager.storage))],
    )


def arguments(alertmanager: Alertmanager) -> list[str]:
    """Return the command line; a single replica does not wait for peers at its start."""
    alone = alertmanager.replicas == 1
    peers = [f"alertmanager-{n}.{PODS_SERVICE}:{GOSSIP_PORT}" for n in range(alertmanager.replicas)]
    return [
        "--config.file=/etc/alertmanager/config/alertmanager.yml",
        f"--web.config.file={AUTH}/{WEB_FILE}",
        "--storage.path=/alertmanager",
        f"--data.retention={_go_duration(alertmanager.retention)}",
        f"--dispatch.start-delay={START_DELAY}",
        f"--cluster.listen-address={'' if alone else f'0.0.0.0:{GOSSIP_PORT}'}",
        *(() if alone else (f"--cluster.advertise-address=$(POD_IP):{GOSSIP_PORT}",)),
        *(() if alone else (f"--cluster.peer={peer}" for peer in peers)),
    ]


def _go_duration(seconds: int) -> str:
    """Return hours or seconds: Go's durations have no days."""
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds}s"
