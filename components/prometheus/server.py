"""PrometheusServer: the Prometheus that this program runs."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.rbac import v1 as rbac

from components.basic_auth import basic_auth_secret
from components.file_text import yaml_text
from components.labels import pods_of
from components.pods import config_volume, disruption_budget, secret_volume, workload_options
from components.prometheus.config import PROMETHEUS_APP, PROMETHEUS_PORT
from components.prometheus.interface import Prometheus, PrometheusArgs
from components.prometheus.pods import NODE_READER, POD_READER, rollout_timeout, server_spec
from components.prometheus.servers import (
    ALERTMANAGER_AUTH,
    AUTH,
    FEDERATION_AUTH,
    OWN_LOGIN,
    Server,
    ServerPlan,
)

CLUSTER_ROLE = "proxy-observability-prometheus"


class PrometheusServer(Prometheus):
    """Prometheus with a password, its configuration, rules and volumes, and leave to list pods.

    Each replica scrapes every target; the Service keeps a client with one of them. If a shard is
    down its part is missing from every number (alert FederationSourceMissing); nothing else stops.
    """

    def __init__(
        self,
        name: str,
        args: PrometheusArgs,
        plan: ServerPlan,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        token = "proxyobs:prometheus:PrometheusServer"
        super().__init__(token, name, PROMETHEUS_APP, args.namespace, opts)
        self._args, self._plan = args, plan
        account = core.ServiceAccount(
            f"{name}-account",
            metadata=self.metadata("prometheus"),
            automount_service_account_token=False,  # the pod asks for it
            opts=self.child,
        )
        for watched, namespace in args.watched.items():
            self._let_read_pods(watched, namespace)
        if plan.prometheus.node_metrics:
            self._let_read_nodes()
        # Secrets without a name: a new password is a new Secret, which rolls the pods.
        auth, password = basic_auth_secret(name, self.metadata(), OWN_LOGIN, self.child)
        own = {"auth": (AUTH, secret_volume("auth", auth.metadata.name))}
        queried, *shards = plan.servers
        service = self._server(name, queried, account, {**own, **self._logins_elsewhere()})
        for server in shards:
            self._server(f"{name}-shard-{server.shard}", server, account, own)

        self.url = pulumi.Output.format(
            "http://{0}.{1}.svc:{2}", service.metadata.name, args.namespace, PROMETHEUS_PORT
        )
        self.login_secret = auth.metadata.name
        self.exports = {"prometheusUrl": self.url, "prometheusPassword": password}
        self.register_outputs({"url": self.url, "password": password})

    def _let_read_pods(self, namespace_name: str, namespace: pulumi.Input[str]) -> None:
        metadata = meta.ObjectMetaArgs(name="prometheus", namespace=namespace, labels=self.labels)
        resource_name = f"{self.prefix}-{namespace_name}-pods"
        rbac.Role(resource_name, metadata=metadata, rules=POD_READER, opts=self.child)
        rbac.RoleBinding(
            resource_name,
            metadata=metadata,
            role_ref=_role("Role", "prometheus"),
            subjects=[self._subject()],
            opts=self.child,
        )

    def _let_read_nodes(self) -> None:
        metadata = meta.ObjectMetaArgs(name=CLUSTER_ROLE, labels=self.labels)
        resource_name = f"{self.prefix}-nodes"
        rbac.ClusterRole(resource_name, metadata=metadata, rules=NODE_READER, opts=self.child)
        rbac.ClusterRoleBinding(
            resource_name,
            metadata=metadata,
            role_ref=_role("ClusterRole", CLUSTER_ROLE),
            subjects=[self._subject()],
            opts=self.child,
        )

    def _subject(self) -> rbac.SubjectArgs:
        namespace = self._args.namespace
        return rbac.SubjectArgs(kind="ServiceAccount", name="prometheus", namespace=namespace)

    def _logins_elsewhere(self) -> dict[str, tuple[str, core.VolumeArgs]]:
        """Return the volumes with the passwords of Alertmanager and of other clusters' servers."""
        alertmanager_auth = self._args.alertmanager_auth
        assert alertmanager_auth is not None  # this program's Prometheus has an Alertmanager
        alertmanager = secret_volume("alertmanager", alertmanager_auth)
        volumes = {"alertmanager": (ALERTMANAGER_AUTH, alertmanager)}
        if self._plan.prometheus.federate_from:
            passwords = {
                source.cluster: pulumi.Output.secret(
                    pulumi.StackReference(
                        f"{self.prefix}-{source.cluster}", source.stack, self.child
                    ).require_output("prometheusPassword")
                )
                for source in self._plan.prometheus.federate_from
            }
            secret = self.secret("federation", passwords)
            volume = secret_volume("federation", secret.metadata.name)
            volumes["federation"] = (FEDERATION_AUTH, volume)
        return volumes

    def _server(
        self,
        name: str,
        server: Server,
        account: core.ServiceAccount,
        secrets: Mapping[str, tuple[str, core.VolumeArgs]],
    ) -> core.Service:
        """Create one Prometheus: files, Services, replicas, and a budget where there are two."""
        prometheus, child = self._plan.prometheus, self.child
        app_name = server.app["app.kubernetes.io/name"]
        pods = {**pods_of(app_name), **server.app}

        def metadata(object_name: str) -> meta.ObjectMetaArgs:
            return self.metadata(object_name, server.app)

        def files(kind: str, data: Mapping[str, str]) -> tuple[str, core.VolumeArgs]:
            # Fixed names, changed in place: Prometheus reloads both by itself, and a restart would
            # cost minutes of replaying the write-ahead log.
            config_map = core.ConfigMap(
                f"{name}-{kind}",
                metadata=metadata(f"{server.name}-{kind}"),
                data=dict(data),
                opts=child,
            )
            return f"/etc/prometheus/{kind}", config_volume(kind, config_map)

        volumes = {
            "config": files("config", {"prometheus.yml": yaml_text(server.config)}),
            "rules": files("rules", server.rules),
            **secrets,
        }
        port = core.ServicePortArgs(name="http", port=PROMETHEUS_PORT, target_port="http")
        core.Service(
            f"{name}-pods",
            metadata=metadata(f"{server.name}-pods"),
            spec=core.ServiceSpecArgs(cluster_ip="None", selector=pods, ports=[port]),
            opts=child,
        )
        service = core.Service(
            f"{name}-service",
            metadata=metadata(server.name),
            # Replicas scrape at different moments: graphs of a client that alternates would jump.
            spec=core.ServiceSpecArgs(selector=pods, ports=[port], session_affinity="ClientIP"),
            opts=child,
        )
        apps.StatefulSet(
            f"{name}-server",
            metadata=metadata(server.name),
            spec=server_spec(server, prometheus, account.metadata.name, volumes),
            opts=workload_options(self, update_timeout=rollout_timeout(prometheus), claims=True),
        )
        if prometheus.replicas > 1:
            disruption_budget(f"{name}-budget", metadata(server.name), pods, child)
        return service


def _role(kind: str, name: str) -> rbac.RoleRefArgs:
    return rbac.RoleRefArgs(api_group="rbac.authorization.k8s.io", kind=kind, name=name)
