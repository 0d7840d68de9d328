"""Ledger: the second, small Prometheus that keeps what each hour carried."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps import v1 as apps

from components.base import ClusterComponent
from components.labels import pods_of
from components.ledger.plan import FLAGS, LedgerPlan
from components.pods import secret_source
from components.prometheus.config import LEDGER_APP, PROMETHEUS_APP, PROMETHEUS_PORT
from components.prometheus.server import (
    STARTUP_MINUTES,
    TERMINATION_MINUTES,
    server_files,
    stateful_set,
)
from components.prometheus.servers import AUTH, TLS
from components.tls import secret_name


@dataclass(frozen=True, kw_only=True)
class LedgerArgs:
    """The plan of the ledger, and the login that it shares with Prometheus."""

    namespace: pulumi.Input[str]
    plan: LedgerPlan
    login: pulumi.Input[str]
    """Secret of Prometheus: the ledger asks with it, and asks it of others."""
    with_tls: bool = False
    """Whether cert-manager keeps a certificate for the servers (components/certificates)."""


class Ledger(ClusterComponent):
    """A Prometheus that takes the hours from the other one, and outlives its data.

    While it is down, an hour is lost that was over for an hour; LedgerStale comes before. It has no
    backup: whoever needs one keeps the hours in a store of their own (`ledger.url`).
    """

    url: pulumi.Output[str]
    """Address inside the cluster."""

    def __init__(
        self, name: str, args: LedgerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:ledger:Ledger", name, LEDGER_APP, args.namespace, opts)
        server, pods, ports = args.plan.server, pods_of(LEDGER_APP), {"http": PROMETHEUS_PORT}
        mounts = {**server_files(self, server), "auth": (AUTH, secret_source(args.login))}
        if args.with_tls:
            mounts["tls"] = (TLS, secret_source(secret_name(PROMETHEUS_APP)))
        self.service("pods", self.metadata(f"{server.name}-pods"), pods, ports, cluster_ip="None")
        service = self.service("service", self.metadata(server.name), pods, ports)
        apps.StatefulSet(
            f"{name}-server",
            metadata=self.metadata(server.name),
            spec=stateful_set(server, args.plan.settings, mounts, flags=FLAGS),
            opts=self.workload_options(
                update_timeout=f"{STARTUP_MINUTES + TERMINATION_MINUTES}m", claims=True
            ),
        )
        self.url = self.address(service, PROMETHEUS_PORT, with_tls=args.with_tls)
        self.register_outputs({"url": self.url})
