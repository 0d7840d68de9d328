"""SimulatedVendors: proxy vendors that run in the cluster, at the vendors' own addresses."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking

from components.base import ClusterComponent
from components.basic_auth import generated_password
from components.file_text import json_text
from components.labels import selector
from components.pods import workload_options
from components.prometheus.config import SIMULATED_VENDOR_APP
from components.simulated_vendors.plan import (
    CUSTOMER,
    PROXY_PORT,
    SimulationPlan,
    VendorPlan,
    name_of,
)
from components.simulated_vendors.pods import INSTANCE, PLAN, policy_spec, vendor_spec
from settings.service_ranges import service_range
from settings.values import IPAddress, IPNetwork

NO_VENDOR = "none"  # settings.vendors.RESERVED_NAMES

# To Istio these are no Services: a listener for one would take the vendor's port away from the
# attribution in every namespace that sees it.
HIDDEN_FROM_THE_MESH = {"networking.istio.io/exportTo": "~"}


@dataclass(frozen=True, kw_only=True)
class SimulatedVendorsArgs:
    namespace: pulumi.Input[str]
    plan: SimulationPlan


class SimulatedVendors(ClusterComponent):
    """A Deployment for each vendor behind a Service whose cluster IP is in the vendor's own ranges.

    Traffic takes the same way as to a real vendor: through the sidecar to an address outside the
    mesh. One pod each: its limits, sessions and counts are in memory.

    It must come after every Service of this program that Kubernetes gives an address: it could be
    one of the new ranges.
    """

    logins: dict[str, pulumi.Output[str]]
    """`user:password` by vendor, of the vendors that ask for a login."""

    def __init__(
        self, name: str, args: SimulatedVendorsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        token = "proxyobs:simulated_vendors:SimulatedVendors"
        super().__init__(token, name, SIMULATED_VENDOR_APP, args.namespace, opts)
        self._program, self._simulated = args.plan.program, args.plan.simulated
        program = self.config_map("program", self._program.data)
        networking.NetworkPolicy(
            f"{name}-policy",
            metadata=self.metadata("simulated-vendors"),
            spec=policy_spec(args.plan.crawler_namespaces, args.plan.prometheus_namespace),
            opts=self.child,
        )
        ranges = {network: self._range(network) for network in args.plan.ranges}
        for address in args.plan.spare_addresses:
            # No pod answers there. Without it the next new Service could get the address.
            self._service(address, PROXY_PORT, ranges, NO_VENDOR)
        self.logins = {}
        for vendor in args.plan.vendors:
            self._service(vendor.address, vendor.port, ranges, vendor.name)
            self._deployment(vendor, program)
        self.register_outputs({})

    def _range(self, network: IPNetwork) -> networking.ServiceCIDR:
        return networking.ServiceCIDR(
            f"{self.prefix}-{name_of(network)}",
            metadata=meta.ObjectMetaArgs(
                # The range is in the name, because it cannot be changed and a Service can only move
                # to a range that exists.
                name=f"simulated-vendors-{name_of(network)}",
                labels=self.labels,
                # Until then the API server refuses the range's addresses.
                annotations={"pulumi.com/waitFor": "condition=Ready"},
            ),
            spec=networking.ServiceCIDRSpecArgs(cidrs=[str(network)]),
            opts=self.child,
        )

    def _service(
        self,
        address: IPAddress,
        port: int,
        ranges: dict[IPNetwork, networking.ServiceCIDR],
        vendor: str,
    ) -> None:
        """Hold an address for a vendor, or for no vendor.

        Its name is the address: an endpoint that moves to another address changes two Services in
        place. Named after the vendor, a new Service would need the address while the old one, which
        Pulumi deletes last, still has it.
        """
        service_cidr = ranges.get(service_range(address))
        # Pulumi would wait for pods that never come.
        skip = {"pulumi.com/skipAwait": "true"} if vendor == NO_VENDOR else {}
        core.Service(
            f"{self.prefix}-{name_of(address)}",
            metadata=meta.ObjectMetaArgs(
                name=f"at-{name_of(address)}",
                namespace=self.namespace,
                labels={**self.labels, INSTANCE: vendor},
                annotations={**HIDDEN_FROM_THE_MESH, **skip},
            ),
            spec=core.ServiceSpecArgs(
                cluster_ip=str(address),
                ip_families=[f"IPv{address.version}"],
                ip_family_policy="SingleStack",
                # Also where it selects no pod: a Service that loses its selector keeps the pods it
                # had.
                selector={**selector(SIMULATED_VENDOR_APP), INSTANCE: vendor},
                ports=[core.ServicePortArgs(name="proxy", port=port, target_port="proxy")],
            ),
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[service_cidr] if service_cidr else None
            ),
        )

    def _deployment(self, vendor: VendorPlan, program: core.ConfigMap) -> None:
        plan = self.config_map(f"{vendor.name}-plan", {PLAN: json_text(vendor.plan)})
        files = [(program, self._program.items), (plan, {PLAN: PLAN})]
        customers = self._customers(vendor.name) if vendor.has_login else None
        apps.Deployment(
            f"{self.prefix}-{vendor.name}",
            metadata=self.metadata(vendor.name, {INSTANCE: vendor.name}),
            spec=vendor_spec(self._simulated, vendor.name, files, customers),
            opts=workload_options(self),
        )

    def _customers(self, vendor: str) -> core.Secret:
        """Create the password that a vendor asks for, and the Secret that its pod reads."""
        password = generated_password(f"{self.prefix}-{vendor}", self.child).result
        self.logins[vendor] = pulumi.Output.concat(CUSTOMER, ":", password)
        return self.secret(f"{vendor}-customers", {CUSTOMER: password})
