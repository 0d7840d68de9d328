"""GrafanaServer: the dashboards of this repository, with Prometheus as data source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.base import ClusterComponent
from components.basic_auth import PASSWORD_KEY, USER_KEY, generated_password
from components.file_text import yaml_text
from components.grafana.provisioning import (
    CA_VARIABLE,
    DASHBOARD_FOLDER,
    LEDGER_PASSWORD_VARIABLE,
    LEDGER_UID,
    LEDGER_USER_VARIABLE,
    PASSWORD_VARIABLE,
    PROVISIONING_FOLDER,
    SETTINGS,
    USER_VARIABLE,
    dashboard_providers,
    datasource,
    datasources,
    tls_settings,
)
from components.labels import labels, pods_of, selector
from components.pods import (
    config_source,
    empty_source,
    http_probes,
    pod_template,
    secret_source,
    secret_variable,
)
from components.prometheus.config import GRAFANA_APP as APP
from components.prometheus.config import GRAFANA_PORT
from components.tls import CA_KEY, Tls, secret_name
from settings.grafana import Grafana

USER = 472  # the image's own
TLS = "/etc/grafana/tls"


@dataclass(frozen=True, kw_only=True)
class LedgerSource:
    """Where Grafana asks for what each hour carried."""

    url: pulumi.Input[str]
    login: pulumi.Input[str] | None
    """Secret with `username` and `password`; None for no login."""
    is_own: bool
    """Whether it is this program's, and has a certificate like its other servers."""
    interval: int
    """Seconds between two samples of a series."""


@dataclass(frozen=True, kw_only=True)
class GrafanaServerArgs:
    """What Grafana shows, and where it asks for numbers."""

    namespace: pulumi.Input[str]
    settings: Grafana
    dashboards: Mapping[str, str]
    """The boards as JSON, by file name."""
    scrape_interval: int
    """Seconds between two samples of a series."""
    prometheus_url: pulumi.Input[str]
    """Where Grafana's pod reaches Prometheus."""
    prometheus_login: pulumi.Input[str] | None = None
    """Secret with `username` and `password`; None where Prometheus asks for no login."""
    ledger: LedgerSource | None = None
    """None where no hours are kept."""
    with_tls: bool = False
    """Whether cert-manager keeps a certificate for the servers (components/certificates)."""


class GrafanaServer(ClusterComponent):
    """Grafana without a volume: what it shows comes from the stack and from Git.

    A changed configuration or dashboard starts a new pod beside the old one. Edits made in the
    browser are lost with the pod.
    """

    url: pulumi.Output[str]
    """Address inside the cluster."""
    admin_password: pulumi.Output[str]
    """Of user `admin`; a secret."""

    def __init__(
        self, name: str, args: GrafanaServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:grafana:GrafanaServer", name, APP, args.namespace, opts)
        self.admin_password = generated_password(f"{name}-admin", self.child).result
        admin = self.secret("admin", {"password": self.admin_password})
        secrets = {"GF_SECURITY_ADMIN_PASSWORD": (admin.metadata.name, "password")}
        with_login = args.prometheus_login is not None
        if args.prometheus_login is not None:
            login = pulumi.Output.from_input(args.prometheus_login)
            secrets |= {
                USER_VARIABLE: (login, USER_KEY),
                PASSWORD_VARIABLE: (login, PASSWORD_KEY),
            }
        if args.ledger and args.ledger.login is not None:
            login = pulumi.Output.from_input(args.ledger.login)
            secrets |= {
                LEDGER_USER_VARIABLE: (login, USER_KEY),
                LEDGER_PASSWORD_VARIABLE: (login, PASSWORD_KEY),
            }
        environment, with_tls = SETTINGS, args.with_tls
        if with_tls:
            environment = environment | tls_settings(Tls(app=APP, folder=TLS))
            secrets[CA_VARIABLE] = (pulumi.Output.from_input(secret_name(APP)), CA_KEY)
        datasource_text = pulumi.Output.all(
            args.prometheus_url, args.ledger.url if args.ledger else None
        ).apply(
            lambda urls: yaml_text(
                datasources(
                    urls[0],
                    args.scrape_interval,
                    with_login=with_login,
                    with_tls=with_tls,
                    ledger=_ledger(args.ledger, urls[1], with_tls=with_tls),
                )
            )
        )
        provider_text = yaml_text(dashboard_providers())
        files: dict[str, tuple[str, Mapping[str, pulumi.Input[str]]]] = {
            "datasources": (
                f"{PROVISIONING_FOLDER}/datasources",
                {"prometheus.yaml": datasource_text},
            ),
            "providers": (f"{PROVISIONING_FOLDER}/dashboards", {"provider.yaml": provider_text}),
            "dashboards": (DASHBOARD_FOLDER, args.dashboards),
        }
        pod = pod_template(
            "grafana",
            args.settings,
            user=USER,
            labels=labels(APP),
            mounts={
                # Grafana writes to these two; the rest of its file system is read-only.
                "data": ("/var/lib/grafana", empty_source()),
                "scratch": ("/tmp", empty_source()),
                **({"tls": (TLS, secret_source(secret_name(APP)))} if with_tls else {}),
                **{
                    volume: (path, config_source(self.config_map(volume, data)))
                    for volume, (path, data) in files.items()
                },
            },
            ports={"http": GRAFANA_PORT},
            env=[
                *(core.EnvVarArgs(name=key, value=environment[key]) for key in sorted(environment)),
                *(secret_variable(key, secret, part) for key, (secret, part) in secrets.items()),
            ],
            # The first start fills the database, which takes a slow disk a minute.
            **http_probes("/api/health", "http", startup_seconds=180, with_tls=with_tls),
        )
        apps.Deployment(
            f"{name}-server",
            metadata=self.metadata(APP),
            spec=apps.DeploymentSpecArgs(
                replicas=1,
                selector=meta.LabelSelectorArgs(match_labels=selector(APP)),
                template=pod,
            ),
            opts=self.workload_options(),
        )
        ports = {"http": 443 if with_tls else 80}
        service = self.service("service", self.metadata(APP), pods_of(APP), ports)
        self.url = self.address(service, with_tls=with_tls)
        self.register_outputs({"url": self.url, "admin_password": self.admin_password})


def _ledger(ledger: LedgerSource | None, url: str, *, with_tls: bool) -> dict[str, Any] | None:
    if ledger is None:
        return None
    login = (LEDGER_USER_VARIABLE, LEDGER_PASSWORD_VARIABLE) if ledger.login is not None else None
    ca = CA_VARIABLE if with_tls and ledger.is_own else None
    return datasource("Ledger", LEDGER_UID, url, ledger.interval, login, ca)
