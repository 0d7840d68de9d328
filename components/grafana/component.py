"""GrafanaServer: the dashboards of this repository, with Prometheus as data source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.base import ClusterComponent
from components.basic_auth import PASSWORD_KEY, USER_KEY, generated_password
from components.file_text import yaml_text
from components.grafana.boards import Boards, mounted
from components.grafana.environment import DATABASE_CA, environment_of, secrets_of
from components.grafana.provisioning import (
    CA_VARIABLE,
    LEDGER,
    LEDGER_PASSWORD_VARIABLE,
    LEDGER_UID,
    LEDGER_USER_VARIABLE,
    PASSWORD_VARIABLE,
    PROVISIONING_FOLDER,
    USER_VARIABLE,
    board_folder,
    dashboard_providers,
    datasource,
    datasources,
    object_name,
)
from components.labels import labels, pods_of, selector
from components.pods import (
    config_source,
    empty_source,
    http_probes,
    pod_template,
    pods_apart,
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
    boards: Boards
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

    A changed configuration or dashboard starts a new pod beside the old one. What people make in
    the browser is in the stack's database, and without one it is lost with the pod.
    """

    url: pulumi.Output[str]
    """Address inside the cluster."""
    admin_password: pulumi.Output[str]
    """Of user `admin`; a secret."""

    def __init__(
        self, name: str, args: GrafanaServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:grafana:GrafanaServer", name, APP, args.namespace, opts)
        settings = args.settings
        self.admin_password = generated_password(f"{name}-admin", self.child).result
        tls = Tls(app=APP, folder=TLS) if args.with_tls else None
        environment = environment_of(settings, tls)
        secrets = self._secrets(args)
        pod = pod_template(
            "grafana",
            settings,
            user=USER,
            labels=labels(APP),
            mounts=self._mounts(args),
            ports={"http": GRAFANA_PORT},
            pod={"affinity": pods_apart(APP)} if settings.replicas > 1 else None,
            env=[
                *(core.EnvVarArgs(name=key, value=environment[key]) for key in sorted(environment)),
                *(secret_variable(key, secret, part) for key, (secret, part) in secrets.items()),
            ],
            # The first start fills the database, which takes a slow disk a minute.
            # /api/health says 503 without the database (pkg/api/http_server.go): as liveness it
            # would restart every replica, again and again, while the database is away.
            **http_probes(
                *("/api/health", "http"),
                startup_seconds=180,
                with_tls=args.with_tls,
                alive="/healthz",
            ),
        )
        apps.Deployment(
            f"{name}-server",
            metadata=self.metadata(APP),
            spec=apps.DeploymentSpecArgs(
                replicas=settings.replicas,
                selector=meta.LabelSelectorArgs(match_labels=selector(APP)),
                template=pod,
            ),
            opts=self.workload_options(),
        )
        self.disruption_budget("disruptions", self.metadata(APP), pods_of(APP), settings.replicas)
        with_tls = args.with_tls
        ports = {"http": 443 if with_tls else 80}
        service = self.service("service", self.metadata(APP), pods_of(APP), ports)
        self.url = self.address(service, with_tls=with_tls)
        self.register_outputs({"url": self.url, "admin_password": self.admin_password})

    def _secrets(self, args: GrafanaServerArgs) -> dict[str, tuple[pulumi.Input[str], str]]:
        """Return the Secret and the key of each variable that the pod reads from one."""
        key = generated_password(f"{self.prefix}-secret-key", self.child).result
        admin = self.secret("admin", {"password": self.admin_password, "secretKey": key})
        found: dict[str, tuple[pulumi.Input[str], str]] = {
            "GF_SECURITY_ADMIN_PASSWORD": (admin.metadata.name, "password"),
            # Grafana encrypts the data source's password in its database with it. Its default is in
            # Grafana's own repository.
            "GF_SECURITY_SECRET_KEY": (admin.metadata.name, "secretKey"),
            **secrets_of(args.settings),
        }
        if args.prometheus_login is not None:
            login = pulumi.Output.from_input(args.prometheus_login)
            found |= {USER_VARIABLE: (login, USER_KEY), PASSWORD_VARIABLE: (login, PASSWORD_KEY)}
        if args.ledger and args.ledger.login is not None:
            login = pulumi.Output.from_input(args.ledger.login)
            found |= {
                LEDGER_USER_VARIABLE: (login, USER_KEY),
                LEDGER_PASSWORD_VARIABLE: (login, PASSWORD_KEY),
            }
        if args.with_tls:
            found[CA_VARIABLE] = (secret_name(APP), CA_KEY)
        return found

    def _mounts(self, args: GrafanaServerArgs) -> dict[str, tuple[str, Any]]:
        """Create the ConfigMaps, and return where each is mounted."""
        with_login, database = args.prometheus_login is not None, args.settings.database
        datasource_text = pulumi.Output.all(
            args.prometheus_url, args.ledger.url if args.ledger else None
        ).apply(
            lambda urls: yaml_text(
                datasources(
                    urls[0],
                    args.scrape_interval,
                    with_login=with_login,
                    with_tls=args.with_tls,
                    ledger=_ledger(args.ledger, urls[1], with_tls=args.with_tls),
                )
            )
        )
        files: dict[str, dict[str, pulumi.Input[str]]] = {
            "datasources": {"prometheus.yaml": datasource_text},
            "dashboards": {"provider.yaml": yaml_text(dashboard_providers([*args.boards]))},
        }
        mounts: dict[str, tuple[str, Any]] = {
            # Grafana writes to these two; the rest of its file system is read-only.
            "data": ("/var/lib/grafana", empty_source()),
            "scratch": ("/tmp", empty_source()),
            **{
                volume: (
                    f"{PROVISIONING_FOLDER}/{volume}",
                    config_source(self.config_map(volume, data)),
                )
                for volume, data in files.items()
            },
            **{
                f"boards-{number}": (
                    board_folder(number),
                    mounted(
                        [
                            self.config_map(object_name(file), {file: text})
                            for file, text in boards.items()
                        ]
                    ),
                )
                for number, boards in enumerate(args.boards.values())
            },
        }
        if args.with_tls:
            mounts["tls"] = (TLS, secret_source(secret_name(APP)))
        if database and database.ca_secret:
            mounts["database"] = (DATABASE_CA, secret_source(database.ca_secret, CA_KEY))
        return mounts


def _ledger(ledger: LedgerSource | None, url: str, *, with_tls: bool) -> dict[str, Any] | None:
    if ledger is None:
        return None
    login = (LEDGER_USER_VARIABLE, LEDGER_PASSWORD_VARIABLE) if ledger.login is not None else None
    ca = CA_VARIABLE if with_tls and ledger.is_own else None
    return datasource(LEDGER, LEDGER_UID, url, ledger.interval, login, ca)
