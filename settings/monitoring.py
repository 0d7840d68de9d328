"""`monitoring`: who may use the namespace of Prometheus, Alertmanager and Grafana, and its TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictStr

from settings.section import Problem, Section, repeated
from settings.values.checked_text import Text
from settings.values.kubernetes import ObjectName


def of_few(group: str) -> str:
    if not group.isprintable():  # a line break, a half of a letter, one that turns others round
        raise ValueError("has a character that cannot be seen; write it anew")
    if group.startswith("system:"):
        raise ValueError(
            "is a group of Kubernetes itself, which may hold everybody; name one of your own"
        )
    return group


GroupName = Annotated[
    StrictStr,
    Text(
        "group",
        r"\S(.{0,251}\S)?",
        "is not the name of a group; write it as the cluster's login provider does",
    ),
    AfterValidator(of_few),
]


class Access(Section):
    """Who may do what in `monitoring`, besides the cluster's administrators."""

    viewers: tuple[GroupName, ...] = Field(default=(), examples=[["oidc:crawler-team"]])
    """Groups that may see pods, logs, events and configuration there, and forward a port: role
    `proxy-observability-viewer` (docs/security.md). It reads no Secret."""
    operators: tuple[GroupName, ...] = Field(default=(), examples=[["oidc:sre"]])
    """Groups that may in addition restart and scale the servers and grow a volume: role
    `proxy-observability-operator`. Running commands in the pods is left to administrators, since
    the pods' files show the servers' passwords."""

    def problems(self) -> Iterator[Problem]:
        yield from repeated((("viewers", n), group) for n, group in enumerate(self.viewers))
        yield from repeated((("operators", n), group) for n, group in enumerate(self.operators))


class CertificateIssuer(Section):
    """An issuer of cert-manager's, which must exist."""

    name: ObjectName = Field(examples=["monitoring-ca"])
    """Its name. It must have one CA, as `ca.crt` in each Secret: not SelfSigned, not ACME."""
    kind: Literal["Issuer", "ClusterIssuer"] = "Issuer"
    """`Issuer` in namespace `monitoring`, or `ClusterIssuer`."""


class MonitoringTls(Section):
    """TLS of the servers in `monitoring`, with certificates of cert-manager's."""

    issuer: CertificateIssuer = Field(examples=[{"name": "monitoring-ca"}])
    """Who signs the certificates."""


class Monitoring(Section):
    """The namespace `monitoring`."""

    tls: MonitoringTls | None = None
    """Prometheus, its shards, Alertmanager and Grafana speak TLS alone, and refuse plain HTTP
    (docs/operations.md#tls). Without cert-manager `pulumi up` fails before it changes a server. The
    scrapes of sidecars and istiod and the Alertmanagers' gossip stay in clear."""

    access: Access = Access()
    """Who may do what in it, besides the cluster's administrators."""
