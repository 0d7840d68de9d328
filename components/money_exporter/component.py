"""ExporterOfMoney: the pod that exports what the traffic costs."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.base import ClusterComponent
from components.labels import labels, selector
from components.money_exporter.plan import (
    ACCOUNTS_FILE,
    CONTRACTS,
    CONTRACTS_FILE,
    CREDENTIALS,
    LOGIN,
    PROGRAM,
    TLS,
    ExporterPlan,
    exporter_command,
)
from components.pods import config_source, http_probes, pod_template, secret_source
from components.prometheus.config import MONEY_APP, MONEY_PORT, PROMETHEUS_APP
from components.tls import secret_name

STARTUP_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class ExporterOfMoneyArgs:
    """What is exported, and from which ledger."""

    namespace: pulumi.Input[str]
    plan: ExporterPlan
    ledger_url: pulumi.Input[str]
    ledger_login: pulumi.Input[str] | None
    """Secret with the keys `username` and `password`; None if the ledger asks for no login."""
    with_tls: bool = False
    """Whether the ledger's certificate is of the stack's own CA."""


class ExporterOfMoney(ClusterComponent):
    """A Deployment of one pod, which Prometheus scrapes as job `money`.

    Without it there are no costs and no budgets on boards; traffic and its other alerts do not
    need it. MoneyExporterDown tells.
    """

    def __init__(
        self, name: str, args: ExporterOfMoneyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        token = "proxyobs:money_exporter:ExporterOfMoney"
        super().__init__(token, name, MONEY_APP, args.namespace, opts)
        plan = args.plan
        program = self.config_map("program", plan.program.data)
        files = {CONTRACTS_FILE: plan.contracts, ACCOUNTS_FILE: plan.accounts}
        contracts = self.config_map("contracts", files)
        mounts = {
            "program": (PROGRAM, config_source(program, plan.program.items)),
            "contracts": (CONTRACTS, config_source(contracts)),
        }
        if args.ledger_login is not None:
            mounts["login"] = (LOGIN, secret_source(args.ledger_login))
        if args.with_tls:
            mounts["tls"] = (TLS, secret_source(secret_name(PROMETHEUS_APP)))
        for vendor, secret in sorted(plan.secrets.items()):
            mounts[f"usage-{vendor}"] = (f"{CREDENTIALS}/{vendor}", secret_source(secret))
        command = pulumi.Output.from_input(args.ledger_url).apply(
            lambda url: exporter_command(
                plan, url, with_login=args.ledger_login is not None, with_tls=args.with_tls
            )
        )
        template = pod_template(
            "exporter",
            plan.section,
            labels=labels(MONEY_APP),
            mounts=mounts,
            ports={"metrics": MONEY_PORT},
            pod={"enable_service_links": False},
            command=command,
            working_dir=PROGRAM,
            env=[core.EnvVarArgs(name="PYTHONUNBUFFERED", value="1")],
            **http_probes("/healthz", "metrics", startup_seconds=STARTUP_SECONDS),
        )
        apps.Deployment(
            f"{name}-exporter",
            metadata=self.metadata(MONEY_APP),
            spec=apps.DeploymentSpecArgs(
                replicas=1,
                # Two pods would export each cost twice for a while, and sums of it would be double.
                strategy=apps.DeploymentStrategyArgs(type="Recreate"),
                selector=meta.LabelSelectorArgs(match_labels=selector(MONEY_APP)),
                template=template,
            ),
            opts=self.workload_options(),
        )
        self.register_outputs({})
