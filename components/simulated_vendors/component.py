"""SimulatedVendors: proxy vendors that run in the cluster, instead of far away."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.base import ClusterComponent
from components.basic_auth import generated_password
from components.labels import labels, selector
from components.pods import (
    DIGEST,
    Files,
    digest_of_all,
    http_probes,
    key_paths,
    pod_template,
    secret_variable,
)
from components.prometheus.config import SIMULATED_VENDOR_APP as APP
from components.prometheus.config import SIMULATED_VENDOR_PORT as CONTROL_PORT
from components.simulated_vendors.plan import (
    CUSTOMER,
    PASSWORD_VARIABLE,
    PROXY_PORT,
    SimulationPlan,
    service_name,
)
from settings.simulated_vendors import SimulatedVendors as SimulatedVendorsSettings

INSTANCE = "app.kubernetes.io/instance"
PROGRAM_FOLDER = "/program"
PLAN = "plan.json"
STARTUP_SECONDS = 60

# To Istio these are no Services: a listener for one would take the vendor's port away from the
# attribution in every namespace that sees it.
HIDDEN_FROM_THE_MESH = {"networking.istio.io/exportTo": "~"}


@dataclass(frozen=True, kw_only=True)
class SimulatedVendorsArgs:
    """Which vendors are simulated, and whose connections they take."""

    namespace: pulumi.Input[str]
    settings: SimulatedVendorsSettings
    plan: SimulationPlan


class SimulatedVendors(ClusterComponent):
    """A Deployment for each vendor, and a Service to which sidecars lead its connections.

    Crawlers connect to the vendor's own addresses, which nobody in the cluster has. One pod each:
    its limits, sessions and counts are in memory.

    It must come before the attribution, which leads connections here.
    """

    logins: dict[str, pulumi.Output[str]]
    """`user:password` by vendor, of the vendors that ask for a login."""

    def __init__(
        self, name: str, args: SimulatedVendorsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        token = "proxyobs:simulated_vendors:SimulatedVendors"
        super().__init__(token, name, APP, args.namespace, opts)
        plan = args.plan
        program = self.config_map("program", plan.program.data)
        self.logins = {}
        for vendor in sorted(args.settings.vendors):
            self._service(vendor)
            self._deployment(args, vendor, program)
        self.register_outputs({"logins": self.logins})

    def _service(self, vendor: str) -> None:
        instance = {INSTANCE: vendor}
        core.Service(
            f"{self.prefix}-{vendor}-service",
            metadata=meta.ObjectMetaArgs(
                name=service_name(vendor),
                namespace=self.namespace,
                labels={**self.labels, **instance},
                annotations=HIDDEN_FROM_THE_MESH,
            ),
            spec=core.ServiceSpecArgs(
                selector={**selector(APP), **instance},
                ports=[core.ServicePortArgs(name="proxy", port=PROXY_PORT, target_port="proxy")],
            ),
            opts=self.child,
        )

    def _deployment(self, args: SimulatedVendorsArgs, vendor: str, program: Files) -> None:
        plan = self.config_map(f"{vendor}-plan", {PLAN: args.plan.plans[vendor]})
        sources = [
            core.VolumeProjectionArgs(
                config_map=core.ConfigMapProjectionArgs(
                    name=files.config_map.metadata.name, items=key_paths(items)
                )
            )
            for files, items in ((program, args.plan.program.items), (plan, {PLAN: PLAN}))
        ]
        files = {
            "projected": core.ProjectedVolumeSourceArgs(sources=sources),
            DIGEST: digest_of_all((program, plan)),
        }
        instance = {INSTANCE: vendor}
        asks = args.settings.vendors[vendor].login
        template = pod_template(
            "vendor",
            args.settings,
            labels={**labels(APP), **instance},
            mounts={"program": (PROGRAM_FOLDER, files)},
            ports={"proxy": PROXY_PORT, "control": CONTROL_PORT},
            pod={"enable_service_links": False},
            command=["python", "-m", "simulation.proxy", "--plan", PLAN],
            working_dir=PROGRAM_FOLDER,
            env=[
                core.EnvVarArgs(name="PYTHONUNBUFFERED", value="1"),
                *(self._login(vendor) if asks else ()),
            ],
            **http_probes("/healthz", "control", startup_seconds=STARTUP_SECONDS),
        )
        apps.Deployment(
            f"{self.prefix}-{vendor}",
            metadata=self.metadata(vendor, instance),
            spec=apps.DeploymentSpecArgs(
                replicas=1,
                # Two pods behind one address would each have half the limits and count half the
                # requests.
                strategy=apps.DeploymentStrategyArgs(type="Recreate"),
                selector=meta.LabelSelectorArgs(match_labels={**selector(APP), **instance}),
                template=template,
            ),
            opts=self.workload_options(),
        )

    def _login(self, vendor: str) -> list[core.EnvVarArgs]:
        """Create the password that a vendor asks for, and return the variable with it."""
        password = generated_password(f"{self.prefix}-{vendor}", self.child).result
        self.logins[vendor] = pulumi.Output.concat(CUSTOMER, ":", password)
        customers = self.secret(f"{vendor}-customers", {CUSTOMER: password})
        return [secret_variable(PASSWORD_VARIABLE, customers.metadata.name, CUSTOMER)]
