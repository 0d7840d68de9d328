"""Grafana's pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pulumi_kubernetes.apps.v1 import DeploymentSpecArgs
from pulumi_kubernetes.core.v1 import (
    ContainerArgs,
    ContainerPortArgs,
    EnvVarArgs,
    HTTPGetActionArgs,
    ProbeArgs,
    VolumeArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs

from components.grafana.provisioning import SETTINGS
from components.labels import labels, selector
from components.pods import (
    container_resources,
    container_security,
    empty_volume,
    mounts,
    pod_template,
)
from settings.grafana import Grafana

APP = "grafana"
PORT = 3000
USER = 472  # the image's own


def grafana_spec(
    grafana: Grafana,
    variables: Sequence[EnvVarArgs],
    volumes: Mapping[str, tuple[str, VolumeArgs]],
) -> DeploymentSpecArgs:
    """Return the Deployment; `volumes` has the path of each mounted volume."""
    # Grafana writes to these two; the rest of its file system is read-only.
    written = {"data": "/var/lib/grafana", "scratch": "/tmp"}
    paths = written | {volume: path for volume, (path, _) in volumes.items()}
    health = HTTPGetActionArgs(path="/api/health", port="http")
    container = ContainerArgs(
        name="grafana",
        image=grafana.image,
        env=[
            *(EnvVarArgs(name=key, value=value) for key, value in sorted(SETTINGS.items())),
            *variables,
        ],
        ports=[ContainerPortArgs(name="http", container_port=PORT)],
        # The first start fills the database, which takes a slow disk a minute.
        startup_probe=ProbeArgs(http_get=health, period_seconds=5, failure_threshold=36),
        readiness_probe=ProbeArgs(http_get=health, period_seconds=5, timeout_seconds=3),
        liveness_probe=ProbeArgs(http_get=health, period_seconds=10, timeout_seconds=5),
        resources=container_resources(grafana.resources),
        security_context=container_security(),
        volume_mounts=mounts(paths),
    )
    return DeploymentSpecArgs(
        replicas=1,
        selector=LabelSelectorArgs(match_labels=selector(APP)),
        template=pod_template(
            user=USER,
            labels=labels(APP),
            container=container,
            volumes=[*map(empty_volume, written), *(volume for _, volume in volumes.values())],
        ),
    )
