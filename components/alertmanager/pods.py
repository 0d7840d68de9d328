"""Alertmanager's pods."""

from __future__ import annotations

from collections.abc import Mapping

from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.alertmanager.config import PODS_SERVICE, START_DELAY
from components.basic_auth import WEB_FILE
from components.labels import labels, selector
from components.pods import (
    NOBODY,
    container,
    field_variable,
    pod_template,
    pods_apart,
    volume_claim,
)
from components.prometheus.config import ALERTMANAGER_APP, ALERTMANAGER_PORT
from settings.alertmanager import Alertmanager

GOSSIP_PORT = 9094
AUTH = "/etc/alertmanager/auth"


def alertmanager_spec(
    alertmanager: Alertmanager, volumes: Mapping[str, tuple[str, core.VolumeArgs]]
) -> apps.StatefulSetSpecArgs:
    """Return the StatefulSet; `volumes` has the path of each mounted volume."""
    app = labels(ALERTMANAGER_APP)
    paths = {volume: path for volume, (path, _) in volumes.items()} | {"data": "/alertmanager"}
    return apps.StatefulSetSpecArgs(
        replicas=alertmanager.replicas,
        service_name=PODS_SERVICE,
        pod_management_policy="Parallel",
        selector=meta.LabelSelectorArgs(match_labels=selector(ALERTMANAGER_APP)),
        template=pod_template(
            user=NOBODY,
            labels=app,
            container=_container(alertmanager, paths),
            volumes=[volume for _, volume in volumes.values()],
            affinity=core.AffinityArgs(pod_anti_affinity=pods_apart(ALERTMANAGER_APP)),
        ),
        volume_claim_templates=[volume_claim(app, str(alertmanager.storage))],
    )


def _container(alertmanager: Alertmanager, paths: Mapping[str, str]) -> core.ContainerArgs:
    # Alertmanager answers HTTP probes with 401, and a login in the probe would stand in the pod's
    # spec.
    listens = core.TCPSocketActionArgs(port="http")
    return container(
        "alertmanager",
        alertmanager.resources,
        paths,
        {"http": ALERTMANAGER_PORT, "gossip": GOSSIP_PORT},
        image=alertmanager.image,
        args=arguments(alertmanager),
        # Else Alertmanager looks for a private address, and some clusters' pods have none.
        env=[field_variable("POD_IP", "status.podIP")],
        startup_probe=core.ProbeArgs(tcp_socket=listens, period_seconds=2, failure_threshold=60),
        readiness_probe=core.ProbeArgs(tcp_socket=listens, period_seconds=5, timeout_seconds=3),
        liveness_probe=core.ProbeArgs(tcp_socket=listens, period_seconds=10, timeout_seconds=5),
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
