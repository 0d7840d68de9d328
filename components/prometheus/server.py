"""PrometheusServer: the Prometheus that this program runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.rbac import v1 as rbac

from components.backup.containers import restoring
from components.backup.plan import PROGRAM
from components.base import ClusterComponent
from components.basic_auth import HTTP_FILE, WEB_FILE, basic_auth_secret
from components.labels import labels, pods_of
from components.pods import (
    InitContainer,
    Mounts,
    claim_spec,
    config_source,
    field_variable,
    pod_template,
    pods_apart,
    secret_source,
    volume_claim,
)
from components.prometheus.config import (
    LEDGER_LOGIN,
    PROMETHEUS_APP,
    PROMETHEUS_PORT,
    THANOS_GRPC_PORT,
)
from components.prometheus.servers import (
    ALERTMANAGER_AUTH,
    AUTH,
    DATA,
    FEDERATION_AUTH,
    OWN_LOGIN,
    OWN_TLS,
    TLS,
    Server,
    claims_of,
)
from components.prometheus.thanos import UNCOMPACTED, store_mounts, thanos_sidecars
from components.repository_files import backup_files
from components.tls import secret_name
from settings.prometheus import OwnPrometheus

ROLE = "prometheus"
CLUSTER_ROLE = "proxy-observability-prometheus"

STARTUP_MINUTES = 15  # Prometheus first replays the write-ahead log of up to three hours
TERMINATION_MINUTES = 5  # it writes what is in memory; a killed replica replays that instead
PROBE_SECONDS = 10

POD_READER = [rbac.PolicyRuleArgs(api_groups=[""], resources=["pods"], verbs=["list", "watch"])]

# Nodes are in no namespace. With `nodes/proxy` Prometheus could run commands in every pod.
NODE_READER = [
    rbac.PolicyRuleArgs(api_groups=[""], resources=["nodes"], verbs=["list", "watch"]),
    rbac.PolicyRuleArgs(api_groups=[""], resources=["nodes/metrics"], verbs=["get"]),
]


@dataclass(frozen=True, kw_only=True)
class PrometheusServerArgs:
    """What the servers run with, and the Secrets that they read."""

    namespace: pulumi.Input[str]
    settings: OwnPrometheus
    servers: tuple[Server, ...]
    """The one that Grafana queries, then its shards."""
    watched: Mapping[str, pulumi.Input[str]]
    """The namespaces with targets, by name."""
    alertmanager_auth: pulumi.Input[str]
    """Name of the Secret with Alertmanager's password."""
    federation_passwords: Mapping[str, pulumi.Input[str]]
    """Passwords of the other clusters' Prometheus, by cluster."""
    store_login: str | None = None
    """Secret with the login of the long-term store that is written to; None for no login."""
    with_tls: bool = False
    """Whether cert-manager keeps a certificate for the servers (components/certificates)."""


class PrometheusServer(ClusterComponent):
    """Prometheus with a password, its configuration, rules and volumes, and leave to list pods.

    Each replica scrapes every target; the Service keeps a client with one of them. If a shard is
    down its part is missing from every number (alert FederationSourceMissing); nothing else stops.
    """

    url: pulumi.Output[str]
    """Address of the queried server inside the cluster."""
    login_secret: pulumi.Output[str]
    """Name of the Secret with `username` and `password`."""
    password: pulumi.Output[str]
    """Of user `prometheus`; a secret."""

    def __init__(
        self, name: str, args: PrometheusServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        token = "proxyobs:prometheus:PrometheusServer"
        super().__init__(token, name, PROMETHEUS_APP, args.namespace, opts)
        account = core.ServiceAccount(
            f"{name}-account",
            metadata=self.metadata("prometheus"),
            automount_service_account_token=False,  # the pod asks for it
            opts=self.child,
        )
        readers = [self.account("prometheus")]
        for watched_name, watched_namespace in args.watched.items():
            suffix = f"{watched_name}-pods"
            self.grant(suffix, "Role", ROLE, POD_READER, readers, watched_namespace)
        if args.settings.node_metrics:
            self.grant("nodes", "ClusterRole", CLUSTER_ROLE, NODE_READER, readers, None)
        # Secrets without a name: a new password is a new Secret, which rolls the pods.
        auth, self.password = basic_auth_secret(
            name, self.metadata(), OWN_LOGIN, self.child, OWN_TLS if args.with_tls else None
        )
        own = {"auth": (AUTH, secret_source(auth.metadata.name))}
        if args.with_tls:
            own["tls"] = (TLS, secret_source(secret_name(PROMETHEUS_APP)))
        if args.store_login:
            own["store"] = (LEDGER_LOGIN, secret_source(args.store_login))
        others = {"alertmanager": (ALERTMANAGER_AUTH, secret_source(args.alertmanager_auth))}
        if args.federation_passwords:
            passwords = self.secret("federation", pulumi.Output.secret(args.federation_passwords))
            others["federation"] = (FEDERATION_AUTH, secret_source(passwords.metadata.name))
        queried, *shards = args.servers
        init = self._restoring(args.settings)
        service = self._server(queried, args.settings, account, {**own, **others}, init)
        for server in shards:
            self._server(server, args.settings, account, own, init)

        self.url = self.address(service, PROMETHEUS_PORT, with_tls=args.with_tls)
        self.login_secret = auth.metadata.name
        self.register_outputs(
            {"url": self.url, "login_secret": self.login_secret, "password": self.password}
        )

    def _server(
        self,
        server: Server,
        prometheus: OwnPrometheus,
        account: core.ServiceAccount,
        secrets: Mounts,
        init: tuple[InitContainer, ...],
    ) -> core.Service:
        """Create one Prometheus: files, Services, replicas, and a budget where there are two."""
        part = "" if server.shard is None else f"shard-{server.shard}-"
        pods = {**pods_of(server.app["app.kubernetes.io/name"]), **server.app}
        mounts = {**server_files(self, server, part), **secrets}
        metadata = self.metadata(server.name, server.app)
        restored = self._restored_claims(server, prometheus)
        ports = {"http": PROMETHEUS_PORT}
        headless = self.metadata(f"{server.name}-pods", server.app)
        self.service(f"{part}pods", headless, pods, ports, cluster_ip="None")
        # Replicas scrape at different moments: graphs of a client that alternates would jump.
        affinity = "ClientIP"
        service = self.service(f"{part}service", metadata, pods, ports, session_affinity=affinity)
        # Replicas end and start one after the other.
        minutes = prometheus.replicas * (STARTUP_MINUTES + TERMINATION_MINUTES)
        apps.StatefulSet(
            f"{self.prefix}-{part}server",
            metadata=metadata,
            spec=stateful_set(server, prometheus, mounts, account=account.metadata.name, init=init),
            opts=pulumi.ResourceOptions.merge(
                self.workload_options(update_timeout=f"{minutes}m", claims=True),
                pulumi.ResourceOptions(depends_on=restored),
            ),
        )
        self.disruption_budget(f"{part}budget", metadata, pods, prometheus.replicas)
        if prometheus.thanos:
            # Without an address of its own: Thanos' query asks each replica.
            store = self.metadata(f"{server.name}-thanos", server.app)
            self.service(
                f"{part}thanos", store, pods, {"grpc": THANOS_GRPC_PORT}, cluster_ip="None"
            )
        return service

    def _restored_claims(self, server: Server, prometheus: OwnPrometheus) -> list[pulumi.Resource]:
        """Create the claims that the StatefulSet would make, filled from volume snapshots.

        The StatefulSet takes claims that exist. In its own template the snapshot would stay for
        ever, and after its deletion no lost volume could be made anew. A claim that exists already
        is an error of `pulumi up`: nothing is overwritten.
        """
        backup, taken = prometheus.restore_from, prometheus.backup
        if not (backup and taken) or taken.object_storage:
            return []
        # Clouds round volumes up to a whole GiB, and refuse a claim that is smaller than the volume
        # of its snapshot (kubernetes-csi/external-provisioner#727).
        size = f"{math.ceil(prometheus.storage / 2**30)}Gi"
        options = pulumi.ResourceOptions(
            # Else the data would go with the key, or be lost to a changed `storage`.
            retain_on_delete=True,
            ignore_changes=["spec"],
        )
        return [
            core.PersistentVolumeClaim(
                f"{self.prefix}-{claim}-{backup}",
                metadata=meta.ObjectMetaArgs(
                    name=claim,
                    namespace=self.namespace,
                    labels={**self.labels, **server.app},
                    # Storage classes that wait for a pod: the pod comes after the claim.
                    annotations={"pulumi.com/skipAwait": "true"},
                ),
                spec=claim_spec(size, f"{claim}-{backup}"),
                opts=pulumi.ResourceOptions.merge(self.child, options),
            )
            for claim in claims_of(server.name, prometheus.replicas)
        ]

    def _restoring(self, prometheus: OwnPrometheus) -> tuple[InitContainer, ...]:
        """Return the containers that fill empty volumes from an object store, if one is named."""
        backup, taken = prometheus.restore_from, prometheus.backup
        if not (backup and taken and taken.object_storage):
            return ()
        files = backup_files()
        program = config_source(self.config_map("restore", files.data), files.items)
        mounts = {"program": (PROGRAM, program), "data": (DATA, None)}
        return restoring(taken, taken.object_storage, backup, mounts)


def server_files(component: ClusterComponent, server: Server, part: str = "") -> Mounts:
    """Create the ConfigMaps of a server's configuration and rules.

    Names are fixed, and a change is made in place: Prometheus reloads both by itself, and a restart
    would cost minutes of replaying the write-ahead log.
    """
    files = {"config": {"prometheus.yml": server.config}, "rules": server.rules}
    return {
        kind: (
            f"/etc/prometheus/{kind}",
            config_source(
                core.ConfigMap(
                    f"{component.prefix}-{part}{kind}",
                    metadata=component.metadata(f"{server.name}-{kind}", server.app),
                    data=data,
                    opts=component.child,
                )
            ),
        )
        for kind, data in files.items()
        if data
    }


def stateful_set(
    server: Server,
    prometheus: OwnPrometheus,
    mounts: Mounts,
    *,
    account: pulumi.Input[str] | None = None,
    init: tuple[InitContainer, ...] = (),
    flags: tuple[str, ...] = (),
) -> apps.StatefulSetSpecArgs:
    """Return the replicas of one Prometheus.

    Args:
        account: the ServiceAccount with which it asks the API server for targets.
        init: containers that end before it starts.
        flags: more of its command line.
    """
    app = server.app["app.kubernetes.io/name"]
    copied = prometheus.backup and prometheus.backup.object_storage
    pod_labels = {**labels(app), **server.app}
    # Prometheus answers HTTP probes with 401, and a login in the probe would stand in the pod's
    # spec. promtool reads the login from a file. The liveness probe needs none: promtool would
    # cost a process every 10 s.
    ready = core.ExecActionArgs(
        command=[
            *("promtool", "check", "ready"),
            f"--http.config.file={AUTH}/{HTTP_FILE}",
            f"--url={'https' if 'tls' in mounts else 'http'}://127.0.0.1:{PROMETHEUS_PORT}",
        ]
    )
    template = pod_template(
        "prometheus",
        prometheus,
        labels=pod_labels,
        mounts={**mounts, "data": (DATA, None)},
        init=init,
        beside=thanos_sidecars(prometheus, mounts),
        beside_mounts=store_mounts(prometheus),
        ports={"http": PROMETHEUS_PORT},
        pod={
            "service_account_name": account,
            "automount_service_account_token": account is not None,
            "affinity": pods_apart(app),
            "termination_grace_period_seconds": TERMINATION_MINUTES * 60,
        },
        args=[
            "--config.file=/etc/prometheus/config/prometheus.yml",
            "--config.auto-reload",
            f"--web.config.file={AUTH}/{WEB_FILE}",
            f"--storage.tsdb.path={DATA}",
            # For snapshots. It can delete series too, and asks for the password like all else.
            *(["--web.enable-admin-api"] if copied or prometheus.thanos else []),
            *(UNCOMPACTED if prometheus.thanos else ()),
            *flags,
        ],
        env=[field_variable("POD_NAME", "metadata.name")],  # for label prometheus_replica
        # Without it the liveness probe would end the replay.
        startup_probe=core.ProbeArgs(
            exec_=ready,
            period_seconds=PROBE_SECONDS,
            timeout_seconds=5,
            failure_threshold=STARTUP_MINUTES * 60 // PROBE_SECONDS,
        ),
        readiness_probe=core.ProbeArgs(
            exec_=ready, period_seconds=PROBE_SECONDS, timeout_seconds=5
        ),
        liveness_probe=core.ProbeArgs(
            tcp_socket=core.TCPSocketActionArgs(port="http"), period_seconds=10, timeout_seconds=5
        ),
    )
    return apps.StatefulSetSpecArgs(
        replicas=prometheus.replicas,
        # A name, no reference: Pulumi would wait for the Service's pods before it makes them.
        service_name=f"{server.name}-pods",
        # A replica that cannot start must not keep the other from starting.
        pod_management_policy="Parallel",
        selector=meta.LabelSelectorArgs(match_labels=server.app),
        template=template,
        volume_claim_templates=[volume_claim(pod_labels, str(prometheus.storage))],
    )
