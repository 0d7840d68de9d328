"""The pods of a Prometheus server, and the rights they need."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.rbac import v1 as rbac

from components.basic_auth import HTTP_FILE, WEB_FILE
from components.labels import labels
from components.pods import (
    NOBODY,
    container,
    field_variable,
    pod_template,
    pods_apart,
    volume_claim,
)
from components.prometheus.config import PROMETHEUS_PORT
from components.prometheus.servers import AUTH, Server
from settings.prometheus import OwnPrometheus

STARTUP_MINUTES = 15  # Prometheus first replays the write-ahead log of up to three hours
TERMINATION_MINUTES = 5  # it writes what is in memory; a killed replica replays that instead
PROBE_SECONDS = 10

POD_READER = [rbac.PolicyRuleArgs(api_groups=[""], resources=["pods"], verbs=["list", "watch"])]

# Nodes are in no namespace. With `nodes/proxy` Prometheus could run commands in every pod.
NODE_READER = [
    rbac.PolicyRuleArgs(api_groups=[""], resources=["nodes"], verbs=["list", "watch"]),
    rbac.PolicyRuleArgs(api_groups=[""], resources=["nodes/metrics"], verbs=["get"]),
]


def server_spec(
    server: Server,
    prometheus: OwnPrometheus,
    account: pulumi.Input[str],
    volumes: Mapping[str, tuple[str, core.VolumeArgs]],
) -> apps.StatefulSetSpecArgs:
    """Return the StatefulSet of one server.

    Args:
        account: the ServiceAccount that lists pods.
        volumes: ConfigMaps and Secrets with the path at which each is mounted, by volume.
    """
    app = server.app["app.kubernetes.io/name"]
    pod_labels = {**labels(app), **server.app}
    paths = {volume: path for volume, (path, _) in volumes.items()} | {"data": "/prometheus"}
    return apps.StatefulSetSpecArgs(
        replicas=prometheus.replicas,
        # A name, no reference: Pulumi would wait for the Service's pods before it makes them.
        service_name=f"{server.name}-pods",
        # A replica that cannot start must not keep the other from starting.
        pod_management_policy="Parallel",
        selector=meta.LabelSelectorArgs(match_labels=server.app),
        template=pod_template(
            user=NOBODY,
            labels=pod_labels,
            container=_container(prometheus, paths),
            volumes=[volume for _, volume in volumes.values()],
            service_account_name=account,
            automount_service_account_token=True,
            affinity=core.AffinityArgs(pod_anti_affinity=pods_apart(app)),
            termination_grace_period_seconds=TERMINATION_MINUTES * 60,
        ),
        volume_claim_templates=[volume_claim(pod_labels, str(prometheus.storage))],
    )


def rollout_timeout(prometheus: OwnPrometheus) -> str:
    """Return how long a roll-out may take: replicas end and start one after the other."""
    return f"{prometheus.replicas * (STARTUP_MINUTES + TERMINATION_MINUTES)}m"


def _container(prometheus: OwnPrometheus, paths: Mapping[str, str]) -> core.ContainerArgs:
    # Prometheus answers HTTP probes with 401, and a login in the probe would stand in the pod's
    # spec. promtool reads the login from a file. The liveness probe needs none: promtool would
    # cost a process every 10 s.
    ready = core.ExecActionArgs(
        command=[
            *("promtool", "check", "ready"),
            f"--http.config.file={AUTH}/{HTTP_FILE}",
            f"--url=http://127.0.0.1:{PROMETHEUS_PORT}",
        ]
    )
    return container(
        "prometheus",
        prometheus.resources,
        paths,
        {"http": PROMETHEUS_PORT},
        image=prometheus.image,
        args=[
            "--config.file=/etc/prometheus/config/prometheus.yml",
            "--config.auto-reload",
            f"--web.config.file={AUTH}/{WEB_FILE}",
            "--storage.tsdb.path=/prometheus",
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
