"""PrometheusServer: scrapes the sidecars, evaluates the rules, keeps the samples."""

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
    ExecActionArgs,
    ObjectFieldSelectorArgs,
    PersistentVolumeClaimArgs,
    PersistentVolumeClaimSpecArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    Secret,
    SecretVolumeSourceArgs,
    Service,
    ServiceAccount,
    ServicePortArgs,
    ServiceSpecArgs,
    TCPSocketActionArgs,
    VolumeArgs,
    VolumeMountArgs,
    VolumeResourceRequirementsArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget, PodDisruptionBudgetSpecArgs
from pulumi_kubernetes.rbac.v1 import (
    ClusterRole,
    ClusterRoleBinding,
    PolicyRuleArgs,
    Role,
    RoleBinding,
    RoleRefArgs,
    SubjectArgs,
)

from components.basic_auth import HTTP_FILE, PASSWORD_FILE, WEB_FILE, basic_auth_secret
from components.file_text import yaml_text
from components.labels import PROJECT, labels, pods_of, selector
from components.pods import (
    NOBODY,
    ROLLOUT_TIMEOUT,
    container_resources,
    container_security,
    pod_security,
    pods_apart,
)
from components.prometheus.config import (
    PROMETHEUS_APP,
    PROMETHEUS_PORT,
    SHARD_APP,
    BasicAuth,
    Json,
    Retention,
    prometheus_config,
)
from components.prometheus.federation import Shard, Source, server_config, shard_config
from settings.prometheus import OwnPrometheus
from settings.telemetry import Telemetry

STARTUP_MINUTES = 15  # a week's write-ahead log is replayed first
TERMINATION_MINUTES = 5  # what is in memory is written; a killed replica replays it instead
PROBE_SECONDS = 10
AUTH = "/etc/prometheus/auth"
ALERTMANAGER_AUTH = "/etc/prometheus/alertmanager"
FEDERATION_AUTH = "/etc/prometheus/federation"
SHARD_LABEL = f"{PROJECT}/shard"
USER = "prometheus"
CLUSTER_ROLE = "proxy-observability-prometheus"


@dataclass(frozen=True, kw_only=True)
class PrometheusServerArgs:
    """What to scrape, and what to do with it.

    `alertmanager_auth` names the Secret with Alertmanager's password, `alertmanager_user` whose it
    is. `federation_passwords` has the password of each cluster that is federated. Namespaces come
    twice: `watched` waits for them to exist, the plain names go into the configuration.
    """

    cluster: str
    namespace: pulumi.Input[str]
    monitoring_namespace: str
    crawler_namespaces: tuple[str, ...]
    istio_namespace: str
    simulated_vendors_namespace: str | None
    watched: Mapping[str, pulumi.Input[str]]
    prometheus: OwnPrometheus
    telemetry: Telemetry
    rules: Mapping[str, str]
    shard_rules: Mapping[str, str]
    federation_passwords: Mapping[str, pulumi.Input[str]]
    alertmanager_user: str
    alertmanager_auth: pulumi.Input[str]


class PrometheusServer(pulumi.ComponentResource):
    """Prometheus behind a password, with its configuration, rules, volume, and leave to list pods.

    Each replica scrapes everything for itself; the Service keeps a client with one of them.

    With shards each of them is such a server for a part of the sidecars, and this one has all the
    rest and adds up what they record. If a shard is down its part is missing from every number
    (alert FederationSourceMissing); nothing else stops.
    """

    url: pulumi.Output[str]
    """Address inside the cluster."""
    user: str
    password: pulumi.Output[str]
    """Secret."""

    def __init__(
        self, name: str, args: PrometheusServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:prometheus:PrometheusServer", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        prometheus = args.prometheus

        def metadata(
            object_name: str, namespace: pulumi.Input[str] | None = None
        ) -> ObjectMetaArgs:
            return ObjectMetaArgs(
                name=object_name,
                namespace=args.namespace if namespace is None else namespace,
                labels=labels(PROMETHEUS_APP),
            )

        account = ServiceAccount(
            f"{name}-account",
            metadata=metadata("prometheus"),
            automount_service_account_token=False,  # the pod asks for it
            opts=child,
        )
        for watched_name, watched in args.watched.items():
            Role(
                f"{name}-{watched_name}-pods",
                metadata=metadata("prometheus", watched),
                rules=[
                    PolicyRuleArgs(api_groups=[""], resources=["pods"], verbs=["list", "watch"])
                ],
                opts=child,
            )
            RoleBinding(
                f"{name}-{watched_name}-pods",
                metadata=metadata("prometheus", watched),
                role_ref=RoleRefArgs(
                    api_group="rbac.authorization.k8s.io", kind="Role", name="prometheus"
                ),
                subjects=[
                    SubjectArgs(kind="ServiceAccount", name="prometheus", namespace=args.namespace)
                ],
                opts=child,
            )

        if prometheus.node_metrics:
            # Nodes are in no namespace. Read their metrics, and no more: with nodes/proxy it could
            # run commands in every pod.
            ClusterRole(
                f"{name}-nodes",
                metadata=ObjectMetaArgs(name=CLUSTER_ROLE, labels=labels(PROMETHEUS_APP)),
                rules=[
                    PolicyRuleArgs(api_groups=[""], resources=["nodes"], verbs=["list", "watch"]),
                    PolicyRuleArgs(api_groups=[""], resources=["nodes/metrics"], verbs=["get"]),
                ],
                opts=child,
            )
            ClusterRoleBinding(
                f"{name}-nodes",
                metadata=ObjectMetaArgs(name=CLUSTER_ROLE, labels=labels(PROMETHEUS_APP)),
                role_ref=RoleRefArgs(
                    api_group="rbac.authorization.k8s.io", kind="ClusterRole", name=CLUSTER_ROLE
                ),
                subjects=[
                    SubjectArgs(kind="ServiceAccount", name="prometheus", namespace=args.namespace)
                ],
                opts=child,
            )

        own = BasicAuth(username=USER, password_file=f"{AUTH}/{PASSWORD_FILE}")
        auth, password = basic_auth_secret(
            name,
            # Without a name: a new password is a new Secret, which rolls the pods.
            ObjectMetaArgs(namespace=args.namespace, labels=labels(PROMETHEUS_APP)),
            own,
            child,
        )

        # Fixed names, changed in place: Prometheus reloads both by itself, and a restart
        # would cost minutes of replaying the write-ahead log.
        config_file = prometheus_config(
            cluster=args.cluster,
            scrape_interval_seconds=prometheus.scrape_interval,
            crawler_namespaces=args.crawler_namespaces,
            monitoring_namespace=args.monitoring_namespace,
            istio_namespace=args.istio_namespace,
            simulated_vendors_namespace=args.simulated_vendors_namespace,
            retention=Retention(seconds=prometheus.retention, size_bytes=prometheus.retention_size),
            prometheus_auth=own,
            alertmanager_auth=BasicAuth(
                username=args.alertmanager_user,
                password_file=f"{ALERTMANAGER_AUTH}/{PASSWORD_FILE}",
            ),
            node_metrics=prometheus.node_metrics,
            native_histograms=args.telemetry.native_histograms,
            histogram_sampling=args.telemetry.histogram_sampling,
        )
        shards = range(prometheus.shards) if prometheus.shards > 1 else range(0)
        sources = [
            *(
                Source(
                    url=f"http://{SHARD_APP}-{n}.{args.monitoring_namespace}.svc:{PROMETHEUS_PORT}",
                    auth=own,
                    shard=n,
                )
                for n in shards
            ),
            *(
                Source(
                    url=source.url,
                    auth=BasicAuth(
                        username=USER, password_file=f"{FEDERATION_AUTH}/{source.cluster}"
                    ),
                    cluster=source.cluster,
                )
                for source in prometheus.federate_from
            ),
        ]
        mounted = {"auth": (AUTH, auth.metadata.name)}
        passwords = (
            Secret(
                f"{name}-federation",
                # Without a name, as above.
                metadata=ObjectMetaArgs(namespace=args.namespace, labels=labels(PROMETHEUS_APP)),
                immutable=True,
                string_data={
                    cluster: pulumi.Output.secret(password)
                    for cluster, password in sorted(args.federation_passwords.items())
                },
                opts=child,
            )
            if args.federation_passwords
            else None
        )
        service = self._server(
            name,
            PROMETHEUS_APP,
            args,
            app=selector(PROMETHEUS_APP),
            config=server_config(config_file, sources, crawlers_here=prometheus.role == "leaf"),
            rules=args.rules,
            account=account,
            secrets={
                **mounted,
                "alertmanager": (ALERTMANAGER_AUTH, args.alertmanager_auth),
                **({"federation": (FEDERATION_AUTH, passwords.metadata.name)} if passwords else {}),
            },
        )
        for n in shards:
            self._server(
                f"{name}-shard-{n}",
                f"{SHARD_APP}-{n}",
                args,
                app={**selector(SHARD_APP), SHARD_LABEL: str(n)},
                config=shard_config(config_file, Shard(number=n, of=prometheus.shards)),
                rules=args.shard_rules,
                account=account,
                secrets=mounted,
            )

        self.url = pulumi.Output.format(
            "http://{0}.{1}.svc:{2}",
            service.metadata.name,
            args.namespace,
            PROMETHEUS_PORT,
        )
        self.user, self.password = USER, password
        self.register_outputs({"url": self.url, "password": password})

    def _server(
        self,
        name: str,
        object_name: str,
        args: PrometheusServerArgs,
        *,
        app: Mapping[str, str],
        config: Json,
        rules: Mapping[str, str],
        account: ServiceAccount,
        secrets: Mapping[str, tuple[str, pulumi.Input[str]]],
    ) -> Service:
        """Make one Prometheus: its files, replicas and Services.

        Args:
            app: the labels its pods are selected by.
            secrets: where each volume with a Secret's files is mounted, and the Secret.
        """
        child = pulumi.ResourceOptions(parent=self)
        prometheus = args.prometheus
        app_name = app["app.kubernetes.io/name"]
        own_labels = {**labels(app_name), **app}
        pods = {**pods_of(app_name), **app}

        def metadata(called: str) -> ObjectMetaArgs:
            return ObjectMetaArgs(name=called, namespace=args.namespace, labels=dict(own_labels))

        config_map = ConfigMap(
            f"{name}-config",
            metadata=metadata(f"{object_name}-config"),
            data={"prometheus.yml": yaml_text(config)},
            opts=child,
        )
        rules_map = ConfigMap(
            f"{name}-rules",
            metadata=metadata(f"{object_name}-rules"),
            data=dict(rules),
            opts=child,
        )

        port = ServicePortArgs(name="http", port=PROMETHEUS_PORT, target_port="http")
        Service(
            f"{name}-pods",
            metadata=metadata(f"{object_name}-pods"),
            spec=ServiceSpecArgs(cluster_ip="None", selector=pods, ports=[port]),
            opts=child,
        )
        service = Service(
            f"{name}-service",
            metadata=metadata(object_name),
            spec=ServiceSpecArgs(
                selector=pods,
                ports=[port],
                # Replicas scrape at different moments: alternating between them would make
                # the graphs jump.
                session_affinity="ClientIP",
            ),
            opts=child,
        )

        # The password bars HTTP probes, and a probe's header would stand in the pod's spec. Whether
        # it lives needs no password; promtool for that, too, would cost a process each 10 s.
        ready = ExecActionArgs(
            command=[
                *("promtool", "check", "ready"),
                f"--http.config.file={AUTH}/{HTTP_FILE}",
                f"--url=http://127.0.0.1:{PROMETHEUS_PORT}",
            ]
        )
        listens = TCPSocketActionArgs(port="http")
        container = ContainerArgs(
            name="prometheus",
            image=prometheus.image,
            args=[
                "--config.file=/etc/prometheus/config/prometheus.yml",
                "--config.auto-reload",
                f"--web.config.file={AUTH}/{WEB_FILE}",
                "--storage.tsdb.path=/prometheus",
            ],
            env=[
                # The label prometheus_replica.
                EnvVarArgs(
                    name="POD_NAME",
                    value_from=EnvVarSourceArgs(
                        field_ref=ObjectFieldSelectorArgs(field_path="metadata.name")
                    ),
                )
            ],
            ports=[ContainerPortArgs(name="http", container_port=PROMETHEUS_PORT)],
            # A liveness probe would cut the replay short.
            startup_probe=ProbeArgs(
                exec_=ready,
                period_seconds=PROBE_SECONDS,
                timeout_seconds=5,
                failure_threshold=STARTUP_MINUTES * 60 // PROBE_SECONDS,
            ),
            readiness_probe=ProbeArgs(exec_=ready, period_seconds=PROBE_SECONDS, timeout_seconds=5),
            liveness_probe=ProbeArgs(tcp_socket=listens, period_seconds=10, timeout_seconds=5),
            resources=container_resources(prometheus.resources),
            security_context=container_security(),
            volume_mounts=[
                # Whole folders: with subPath a changed ConfigMap would never arrive.
                VolumeMountArgs(name="config", mount_path="/etc/prometheus/config"),
                VolumeMountArgs(name="rules", mount_path="/etc/prometheus/rules"),
                *(
                    VolumeMountArgs(name=volume, mount_path=path)
                    for volume, (path, _) in secrets.items()
                ),
                VolumeMountArgs(name="data", mount_path="/prometheus"),
            ],
        )
        StatefulSet(
            f"{name}-server",
            metadata=metadata(object_name),
            spec=StatefulSetSpecArgs(
                replicas=prometheus.replicas,
                # Its name alone: Pulumi waits for a Service's pods, and they come from here.
                service_name=f"{object_name}-pods",
                # A replica that can't start must not keep the other from starting.
                pod_management_policy="Parallel",
                selector=LabelSelectorArgs(match_labels=dict(app)),
                template=PodTemplateSpecArgs(
                    metadata=ObjectMetaArgs(labels=own_labels),
                    spec=PodSpecArgs(
                        service_account_name=account.metadata.name,
                        automount_service_account_token=True,
                        affinity=AffinityArgs(pod_anti_affinity=pods_apart(app_name)),
                        security_context=pod_security(NOBODY),
                        termination_grace_period_seconds=TERMINATION_MINUTES * 60,
                        containers=[container],
                        volumes=[
                            *(
                                VolumeArgs(
                                    name=volume,
                                    config_map=ConfigMapVolumeSourceArgs(name=source.metadata.name),
                                )
                                for volume, source in (("config", config_map), ("rules", rules_map))
                            ),
                            *(
                                VolumeArgs(
                                    name=volume, secret=SecretVolumeSourceArgs(secret_name=secret)
                                )
                                for volume, (_, secret) in secrets.items()
                            ),
                        ],
                    ),
                ),
                volume_claim_templates=[
                    PersistentVolumeClaimArgs(
                        metadata=ObjectMetaArgs(name="data", labels=own_labels),
                        spec=PersistentVolumeClaimSpecArgs(
                            access_modes=["ReadWriteOnce"],
                            resources=VolumeResourceRequirementsArgs(
                                requests={"storage": str(prometheus.storage)}
                            ),
                        ),
                    )
                ],
            ),
            opts=child.merge(
                pulumi.ResourceOptions(
                    # Kubernetes can't change them, so Pulumi would replace the StatefulSet: every
                    # replica down at once, and the volumes there are as small as before.
                    ignore_changes=["spec.volumeClaimTemplates"],
                    # Replicas roll one after the other.
                    custom_timeouts=pulumi.CustomTimeouts(
                        create=ROLLOUT_TIMEOUT,
                        update=f"{prometheus.replicas * (STARTUP_MINUTES + TERMINATION_MINUTES)}m",
                    ),
                )
            ),
        )
        if prometheus.replicas > 1:
            PodDisruptionBudget(
                f"{name}-budget",
                metadata=metadata(object_name),
                spec=PodDisruptionBudgetSpecArgs(
                    max_unavailable=1,
                    selector=LabelSelectorArgs(match_labels=pods),
                ),
                opts=child,
            )
        return service
