"""SimulatedVendors: proxy vendors that run in the cluster, at the vendors' own addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment, DeploymentSpecArgs, DeploymentStrategyArgs
from pulumi_kubernetes.core.v1 import (
    ConfigMap,
    ConfigMapProjectionArgs,
    ContainerArgs,
    ContainerPortArgs,
    EnvVarArgs,
    EnvVarSourceArgs,
    HTTPGetActionArgs,
    KeyToPathArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    ProjectedVolumeSourceArgs,
    Secret,
    SecretKeySelectorArgs,
    Service,
    ServicePortArgs,
    ServiceSpecArgs,
    VolumeArgs,
    VolumeMountArgs,
    VolumeProjectionArgs,
)
from pulumi_kubernetes.meta.v1 import (
    LabelSelectorArgs,
    LabelSelectorRequirementArgs,
    ObjectMetaArgs,
)
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicy,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
    ServiceCIDR,
    ServiceCIDRSpecArgs,
)
from pulumi_random import RandomPassword

from components.file_text import json_text
from components.labels import labels, selector
from components.pods import (
    NOBODY,
    ROLLOUT_TIMEOUT,
    container_resources,
    container_security,
    pod_security,
)
from components.prometheus.config import SIMULATED_VENDOR_APP, SIMULATED_VENDOR_PORT
from components.repository_files import ProgramFiles
from components.simulated_vendors.plan import (
    CUSTOMER,
    PASSWORD_VARIABLE,
    PROXY_PORT,
    name_of,
    vendor_plan,
)
from settings.service_ranges import service_range, spare
from settings.stack import StackSettings
from settings.values import IPAddress, split_endpoint

INSTANCE = "app.kubernetes.io/instance"
PROGRAM_FOLDER = "/program"
PLAN = "plan.json"
STARTUP_SECONDS = 60
NO_VENDOR = "none"  # settings.vendors.RESERVED_NAMES

# To the mesh these are no Services: a listener of theirs would take the vendor's port away from
# the attribution, in every namespace that sees them.
HIDDEN_FROM_THE_MESH = {"networking.istio.io/exportTo": "~"}


@dataclass(frozen=True, kw_only=True)
class SimulatedVendorsArgs:
    """`program` is the simulated vendor; the namespaces are those that may connect to it."""

    namespace: pulumi.Input[str]
    settings: StackSettings
    program: ProgramFiles
    prometheus_namespace: str


class SimulatedVendors(pulumi.ComponentResource):
    """A Deployment a vendor, behind a Service whose cluster IP is in the vendor's own ranges.

    So traffic takes the way that real vendors' takes: through the sidecar to an address outside
    the mesh. One pod each: its limits, sessions and books are in memory.
    """

    logins: dict[str, pulumi.Output[str]]
    """`user:password` by vendor, of those that ask for one."""

    def __init__(
        self, name: str, args: SimulatedVendorsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:simulated_vendors:SimulatedVendors", name, None, opts)
        self._name, self._args = name, args
        self._app = labels(SIMULATED_VENDOR_APP)
        self._child = pulumi.ResourceOptions(parent=self)
        simulated = args.settings.simulated_vendors

        # Immutable, and without a name: another program is another object, which rolls the pods.
        self._program = ConfigMap(
            f"{name}-program",
            metadata=ObjectMetaArgs(namespace=args.namespace, labels=self._app),
            immutable=True,
            data=args.program.data,
            opts=self._child,
        )
        self._policy()
        ranges = self._ranges() if simulated.service_cidr == "create" else {}
        self.logins = {}
        for vendor, one in sorted(simulated.vendors.items()):
            address, port = split_endpoint(one.endpoint)
            assert port is not None  # settings.values.check_endpoint
            self._service(address, port, ranges.get(address), vendor)
            self._deployment(vendor, self._login(vendor) if one.login else None)
        self.register_outputs({})

    def _policy(self) -> None:
        """Crawlers reach the proxy, Prometheus the numbers; a simulation calls nobody."""
        crawlers = self._args.settings.crawlers.namespaces
        NetworkPolicy(
            f"{self._name}-policy",
            metadata=ObjectMetaArgs(
                name="simulated-vendors", namespace=self._args.namespace, labels=self._app
            ),
            spec=NetworkPolicySpecArgs(
                pod_selector=LabelSelectorArgs(match_labels=selector(SIMULATED_VENDOR_APP)),
                policy_types=["Ingress", "Egress"],
                ingress=[
                    _from(crawlers, PROXY_PORT),
                    _from((self._args.prometheus_namespace,), SIMULATED_VENDOR_PORT),
                ],
            ),
            opts=self._child,
        )

    def _ranges(self) -> dict[IPAddress, ServiceCIDR]:
        """Make the Service ranges around the endpoints, and take what is left of them.

        Return an endpoint's range by its address.
        """
        vendors = self._args.settings.simulated_vendors.vendors.values()
        addresses = [split_endpoint(one.endpoint)[0] for one in vendors]
        networks = sorted({service_range(one) for one in addresses}, key=str)
        made = {
            network: ServiceCIDR(
                f"{self._name}-{name_of(network)}",
                metadata=ObjectMetaArgs(
                    # With the range in its name: it can't be changed, and Services move from one
                    # that exists to another.
                    name=f"simulated-vendors-{name_of(network)}",
                    labels=self._app,
                    # Before that the API server refuses its addresses.
                    annotations={"pulumi.com/waitFor": "condition=Ready"},
                ),
                spec=ServiceCIDRSpecArgs(cidrs=[str(network)]),
                opts=self._child,
            )
            for network in networks
        }
        for address in spare(addresses):
            # Nobody answers there; without it the next Service of anybody could get the address.
            self._service(address, PROXY_PORT, made[service_range(address)], NO_VENDOR)
        return {address: made[service_range(address)] for address in addresses}

    def _service(
        self, address: IPAddress, port: int, service_cidr: ServiceCIDR | None, vendor: str
    ) -> None:
        """Hold an address, for a vendor or for nobody.

        Named by it: an endpoint that moves to another changes two Services in place. By the
        vendor's name it would be made anew while the Service of nobody, which goes last, still had
        the address.
        """
        nobody = vendor == NO_VENDOR
        Service(
            f"{self._name}-{name_of(address)}",
            metadata=ObjectMetaArgs(
                name=f"at-{name_of(address)}",
                namespace=self._args.namespace,
                labels={**self._app, INSTANCE: vendor},
                annotations={
                    **HIDDEN_FROM_THE_MESH,
                    # Pulumi would wait for pods that never come.
                    **({"pulumi.com/skipAwait": "true"} if nobody else {}),
                },
            ),
            spec=ServiceSpecArgs(
                cluster_ip=str(address),
                ip_families=[f"IPv{address.version}"],
                ip_family_policy="SingleStack",
                # Also of nobody: without a selector Kubernetes would leave it the pods it had.
                selector={**selector(SIMULATED_VENDOR_APP), INSTANCE: vendor},
                ports=[ServicePortArgs(name="proxy", port=port, target_port="proxy")],
            ),
            opts=self._child.merge(
                pulumi.ResourceOptions(depends_on=[service_cidr] if service_cidr else [])
            ),
        )

    def _login(self, vendor: str) -> Secret:
        password = RandomPassword(
            f"{self._name}-{vendor}", length=32, special=False, opts=self._child
        )
        self.logins[vendor] = pulumi.Output.concat(CUSTOMER, ":", password.result)
        return Secret(
            f"{self._name}-{vendor}-customers",
            metadata=ObjectMetaArgs(namespace=self._args.namespace, labels=self._app),
            string_data={CUSTOMER: password.result},
            immutable=True,
            opts=self._child,
        )

    def _deployment(self, vendor: str, customers: Secret | None) -> None:
        settings = self._args.settings
        own = {**selector(SIMULATED_VENDOR_APP), INSTANCE: vendor}
        plan = vendor_plan(settings, vendor)
        plan_file = ConfigMap(
            f"{self._name}-{vendor}-plan",
            metadata=ObjectMetaArgs(namespace=self._args.namespace, labels=self._app),
            immutable=True,
            data={PLAN: json_text(plan)},
            opts=self._child,
        )
        healthy = HTTPGetActionArgs(path="/healthz", port="control")
        container = ContainerArgs(
            name="vendor",
            image=settings.simulated_vendors.image,
            command=["python", "-m", "simulation.proxy", "--plan", PLAN],
            working_dir=PROGRAM_FOLDER,
            env=[
                EnvVarArgs(name="PYTHONUNBUFFERED", value="1"),
                *(
                    [
                        EnvVarArgs(
                            name=PASSWORD_VARIABLE,
                            value_from=EnvVarSourceArgs(
                                secret_key_ref=SecretKeySelectorArgs(
                                    name=customers.metadata.name, key=CUSTOMER
                                )
                            ),
                        )
                    ]
                    if customers
                    else []
                ),
            ],
            ports=[
                ContainerPortArgs(name="proxy", container_port=PROXY_PORT),
                ContainerPortArgs(name="control", container_port=SIMULATED_VENDOR_PORT),
            ],
            startup_probe=ProbeArgs(
                http_get=healthy, period_seconds=2, failure_threshold=STARTUP_SECONDS // 2
            ),
            readiness_probe=ProbeArgs(http_get=healthy, period_seconds=5, timeout_seconds=3),
            liveness_probe=ProbeArgs(http_get=healthy, period_seconds=20, timeout_seconds=10),
            resources=container_resources(settings.simulated_vendors.resources),
            security_context=container_security(),
            volume_mounts=[VolumeMountArgs(name="program", mount_path=PROGRAM_FOLDER)],
        )
        files = [
            (self._program, self._args.program.items),
            (plan_file, {PLAN: PLAN}),
        ]
        Deployment(
            f"{self._name}-{vendor}",
            metadata=ObjectMetaArgs(
                name=vendor, namespace=self._args.namespace, labels={**self._app, INSTANCE: vendor}
            ),
            spec=DeploymentSpecArgs(
                replicas=1,
                # Two behind one address would have half the limits and half the books each.
                strategy=DeploymentStrategyArgs(type="Recreate"),
                selector=LabelSelectorArgs(match_labels=own),
                template=PodTemplateSpecArgs(
                    metadata=ObjectMetaArgs(labels={**self._app, INSTANCE: vendor}),
                    spec=PodSpecArgs(
                        automount_service_account_token=False,
                        enable_service_links=False,
                        security_context=pod_security(NOBODY),
                        containers=[container],
                        volumes=[
                            VolumeArgs(
                                name="program",
                                projected=ProjectedVolumeSourceArgs(
                                    sources=[_from_config_map(*one) for one in files]
                                ),
                            )
                        ],
                    ),
                ),
            ),
            opts=self._child.merge(
                pulumi.ResourceOptions(
                    custom_timeouts=pulumi.CustomTimeouts(
                        create=ROLLOUT_TIMEOUT, update=ROLLOUT_TIMEOUT
                    )
                )
            ),
        )


def _from_config_map(source: ConfigMap, items: Mapping[str, str]) -> VolumeProjectionArgs:
    """Return its texts as files of a volume; `items` are their paths by key."""
    return VolumeProjectionArgs(
        config_map=ConfigMapProjectionArgs(
            name=source.metadata.name,
            items=[KeyToPathArgs(key=key, path=path) for key, path in items.items()],
        )
    )


def _from(namespaces: tuple[str, ...], port: int) -> NetworkPolicyIngressRuleArgs:
    """Let the pods of these namespaces connect to one port."""
    named = LabelSelectorRequirementArgs(
        # A label that Kubernetes itself puts on every namespace.
        key="kubernetes.io/metadata.name",
        operator="In",
        values=list(namespaces),
    )
    return NetworkPolicyIngressRuleArgs(
        from_=[
            NetworkPolicyPeerArgs(namespace_selector=LabelSelectorArgs(match_expressions=[named]))
        ],
        ports=[NetworkPolicyPortArgs(protocol="TCP", port=port)],
    )
