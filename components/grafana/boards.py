"""Boards as ConfigMaps: mounted by this program's Grafana, or found by one that there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.base import ClusterComponent
from components.grafana.provisioning import object_name
from components.pods import Files

Boards = Mapping[str, Mapping[str, str]]
"""Text by file name, by folder of Grafana."""

# What the sidecar of Grafana's Helm chart looks for (grafana/helm-charts, charts/grafana/README.md:
# sidecar.dashboards.label, .labelValue and .folderAnnotation).
FOUND_BY = {"grafana_dashboard": "1"}
FOLDER_ANNOTATION = "grafana_folder"


@dataclass(frozen=True, kw_only=True)
class GrafanaBoardsArgs:
    """What an existing Grafana shows."""

    namespace: pulumi.Input[str]
    boards: Boards


class GrafanaBoards(ClusterComponent):
    """The boards for a Grafana that this program does not run."""

    def __init__(
        self, name: str, args: GrafanaBoardsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:grafana:GrafanaBoards", name, "boards", args.namespace, opts)
        for folder, files in args.boards.items():
            for file, text in files.items():
                core.ConfigMap(
                    f"{name}-{object_name(file)}",
                    # A fixed name and no `immutable`: the sidecar removes the file of a ConfigMap
                    # that goes, also if another one of another name has just written it.
                    metadata=meta.ObjectMetaArgs(
                        name=f"grafana-{object_name(file)}",
                        namespace=args.namespace,
                        labels={**self.labels, **FOUND_BY},
                        annotations={FOLDER_ANNOTATION: folder},
                    ),
                    data={file: text},
                    opts=self.child,
                )
        self.register_outputs({})


def mounted(config_maps: Sequence[Files]) -> Any:
    """Return a volume with the files of several ConfigMaps: all boards in one exceed its 1 MiB.

    It has no digest, since Grafana reads changed boards without a restart.
    """
    return {
        "projected": core.ProjectedVolumeSourceArgs(
            sources=[
                core.VolumeProjectionArgs(
                    config_map=core.ConfigMapProjectionArgs(name=each.config_map.metadata.name)
                )
                for each in config_maps
            ]
        ),
    }
