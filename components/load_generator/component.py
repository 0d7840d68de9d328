"""LoadGenerator: synthetic crawlers that count their own requests, to check the metrics with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core

from components.base import ClusterComponent
from components.file_text import json_text
from components.load_generator.plan import NAME, GeneratorPlan, credentials_variable
from components.load_generator.pods import generator_spec, rollout_timeout
from components.pods import secret_variable, workload_options
from components.prometheus.config import LOAD_GENERATOR_APP


@dataclass(frozen=True, kw_only=True)
class LoadGeneratorArgs:
    """`simulated_logins` are the simulated vendors' `user:password`, by vendor."""

    namespace: pulumi.Input[str]
    plan: GeneratorPlan
    simulated_logins: Mapping[str, pulumi.Input[str]]


class LoadGenerator(ClusterComponent):
    """Crawlers that send requests to each vendor's endpoint through their sidecars.

    A StatefulSet, because each replica reads a plan by its pod's name: seeds differ, and the same
    stack sends the same requests. A pod's successor starts when the pod has ended, so that there is
    never more traffic than the stack says.

    It must come after the mesh: a pod that is made before the injector answers has no sidecar, and
    its requests are not counted.
    """

    def __init__(
        self, name: str, args: LoadGeneratorArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        token = "proxyobs:load_generator:LoadGenerator"
        super().__init__(token, name, LOAD_GENERATOR_APP, args.namespace, opts)
        plans = {file: json_text(plan) for file, plan in args.plan.plans.items()}
        files = self.config_map("files", {**args.plan.program.data, **plans})
        generated = {
            vendor: args.simulated_logins[vendor]
            for vendor, secret in args.plan.credentials.items()
            if secret is None
        }
        logins = self.secret("logins", generated) if generated else None
        apps.StatefulSet(
            f"{name}-crawlers",
            metadata=self.metadata(NAME),
            spec=generator_spec(
                args.plan,
                (files, args.plan.program.items | {file: file for file in plans}),
                _login_variables(args.plan, logins),
            ),
            opts=workload_options(self, update_timeout=rollout_timeout(args.plan)),
        )
        self.register_outputs({})


def _login_variables(plan: GeneratorPlan, logins: core.Secret | None) -> list[core.EnvVarArgs]:
    """Return a variable for each vendor with a login, by reference to a Secret's key."""
    variables = []
    for vendor, given in plan.credentials.items():
        if given:
            secret: pulumi.Input[str] = given.name
            key = given.key
        else:
            assert logins is not None
            secret, key = logins.metadata.name, vendor
        variables.append(secret_variable(credentials_variable(vendor), secret, key))
    return variables
