"""ExternalFiles: for a Prometheus of the stack's own that reads files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.external.files import all_files
from components.labels import labels

APP = "external-prometheus"


@dataclass(frozen=True, kw_only=True)
class ExternalFilesArgs:
    """Both map a file's name to its text."""

    namespace: pulumi.Input[str]
    configuration: Mapping[str, str]
    rules: Mapping[str, str]


class ExternalFiles(pulumi.ComponentResource):
    """Two ConfigMaps with fixed names, changed in place: mounted, Prometheus can reload them."""

    files: dict[str, str]
    """For a Prometheus outside the cluster: the same, by path."""

    def __init__(
        self, name: str, args: ExternalFilesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:external:ExternalFiles", name, None, opts)
        for what, files in (("config", args.configuration), ("rules", args.rules)):
            ConfigMap(
                f"{name}-{what}",
                metadata=ObjectMetaArgs(
                    name=f"external-prometheus-{what}", namespace=args.namespace, labels=labels(APP)
                ),
                data=dict(files),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.files = all_files(args.configuration, args.rules)
        self.register_outputs({"files": self.files})
