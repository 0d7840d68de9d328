"""ServerCertificates: a certificate for each server in `monitoring`, kept valid by cert-manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta import v1 as meta

from components.base import ClusterComponent
from components.pods import ROLLOUT_TIMEOUT

API_VERSION = "cert-manager.io/v1"


@dataclass(frozen=True, kw_only=True)
class ServerCertificatesArgs:
    """What cert-manager is asked for."""

    namespace: pulumi.Input[str]
    specs: Mapping[str, Mapping[str, Any]]
    """Spec of each Certificate, by its name."""


class ServerCertificates(ClusterComponent):
    """Certificates, each in a Secret of cert-manager's that the servers' pods mount.

    The servers wait for them: with an issuer that does not exist, `up` stops before it touches one.
    """

    def __init__(
        self, name: str, args: ServerCertificatesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        token = "proxyobs:certificates:ServerCertificates"
        super().__init__(token, name, "certificates", args.namespace, opts)
        for certificate, spec in args.specs.items():
            CustomResource(
                f"{name}-{certificate}",
                api_version=API_VERSION,
                kind="Certificate",
                metadata=meta.ObjectMetaArgs(
                    name=certificate,
                    namespace=args.namespace,
                    labels=self.labels,
                    # Without it Pulumi takes a Certificate for done once the API server has it.
                    annotations={"pulumi.com/waitFor": "condition=Ready"},
                ),
                spec=dict(spec),
                opts=pulumi.ResourceOptions.merge(
                    self.child,
                    pulumi.ResourceOptions(
                        custom_timeouts=pulumi.CustomTimeouts(
                            create=ROLLOUT_TIMEOUT, update=ROLLOUT_TIMEOUT
                        )
                    ),
                ),
            )
        self.register_outputs({})
