"""Grafana's pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.grafana.provisioning import SETTINGS
from components.labels import labels, selector
from components.pods import (
    container,
    empty_volume,
    http_probes,
    pod_template,
)
from settings.grafana import Grafana

APP = "grafana"
PORT = 3000
USER = 472  # the image's own


def grafana_spec(
    grafana: Grafana,
    variables: Sequence[core.EnvVarArgs],
    volumes: Mapping[str, tuple[str, core.VolumeArgs]],
) -> apps.DeploymentSpecArgs:
    """Return the Deployment; `volumes` has the path of each mounted volume."""
    # Grafana writes to these two; the rest of its file system is read-only.
    written = {"data": "/var/lib/grafana", "scratch": "/tmp"}
    paths = written | {volume: path for volume, (path, _) in volumes.items()}
    grafana_container = container(
        "grafana",
        grafana.resources,
        paths,
        {"http": PORT},
        image=grafana.image,
        env=[
            *(core.EnvVarArgs(name=key, value=value) for key, value in sorted(SETTINGS.items())),
            *variables,
        ],
        # The first start fills the database, which takes a slow disk a minute.
        **http_probes("/api/health", "http", startup_seconds=180),
    )
    return apps.DeploymentSpecArgs(
        replicas=1,
        selector=meta.LabelSelectorArgs(match_labels=selector(APP)),
        template=pod_template(
            user=USER,
            labels=labels(APP),
            container=grafana_container,
            volumes=[*map(empty_volume, written), *(volume for _, volume in volumes.values())],
        ),
    )
