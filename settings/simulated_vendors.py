"""`simulatedVendors`: vendors of the stack that run in the cluster instead of far away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, WithJsonSchema
from pydantic.functional_validators import PlainValidator

from settings.section import Location, Problem, Resources, Section, path_text, resources
from settings.service_ranges import assignable, service_range
from settings.values.addresses import Endpoint, IPAddress, split_endpoint
from settings.values.kubernetes import DnsLabel, Image
from simulation.proxy.reading import read_behaviour


def parse_behaviour(value: object) -> dict[str, Any]:
    """Read what a simulated vendor does, in the words of its own program."""
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping; write 'key: value' lines under it")
    if "credentials" in value:
        raise ValueError("has credentials, which the program makes itself; write login instead")
    return dict(value)


Behaviour = Annotated[
    dict[str, Any],
    PlainValidator(parse_behaviour),
    WithJsonSchema({"type": "object", "title": "behaviour"}),
]


class SimulatedVendor(Section):
    """A vendor of the stack that is simulated."""

    endpoint: Endpoint = Field(examples=["10.1.0.10:3128"])
    """The proxy's port and address, a cluster IP in the vendor's ranges."""
    login: StrictBool = True
    """Whether it asks for credentials. The load generator gets them."""
    behaviour: Behaviour = Field(default={})
    """How it treats its customers: `exits`, `limits`, `latency_seconds`, `dialect`, `faults`
    (docs/simulated-vendors.md)."""

    def problems(self) -> Iterator[Problem]:
        """Yield what the simulated vendor itself would say at its start, in a log of its pod."""
        findings: list[str] = []
        read_behaviour(self.behaviour, "", findings, {})
        for finding in sorted(findings):
            key, _, rest = finding.partition(": ")
            reason, _, remedy = rest.rpartition(": ")
            yield Problem(("behaviour", *key.split(".")), f"{reason}; {remedy}")


class SimulatedVendors(Section):
    """Vendors that cost nothing, behave as configured, and count what they saw."""

    enabled: StrictBool = False
    """Whether the vendors below run in this cluster, in namespace `proxy-vendors`. Crawlers that
    connect to their addresses then reach the simulation."""
    service_cidr: Literal["create", "none"] = "create"
    """`create` makes a ServiceCIDR of four addresses around each endpoint (Kubernetes 1.33 or
    newer). `none`: the cluster's Service ranges hold the endpoints already
    (docs/simulated-vendors.md)."""
    vendors: dict[DnsLabel, SimulatedVendor] = Field(default={})
    """The simulated vendors: a name of `vendors` to the keys below."""
    image: Image = "docker.io/library/python:3.11-slim"
    """A Python image; the simulation needs nothing else."""
    # Three vendors at the dev stack's rate use some 50m and 40 MB each.
    resources: Resources = resources(cpu=("100m", "1"), memory=("100M", "256M"))
    """Requests and limits of each simulated vendor's pod."""

    def problems(self) -> Iterator[Problem]:
        if self.enabled and not self.vendors:
            yield Problem(
                ("enabled",),
                "true simulates nobody; add simulatedVendors.vendors, "
                "like {vendor-a: {endpoint: 10.1.0.10:3128}}, or write false",
            )
        first: dict[IPAddress, Location] = {}
        for name, vendor in self.vendors.items():
            at: Location = ("vendors", name, "endpoint")
            address, _ = split_endpoint(vendor.endpoint)
            earlier = first.setdefault(address, at)
            if earlier != at:
                yield Problem(
                    at,
                    f"{vendor.endpoint!r} has the address of simulatedVendors."
                    f"{path_text(earlier)}, and an address is one Service; write another of the "
                    "vendor's",
                )
            possible = assignable(service_range(address))
            if self.service_cidr == "create" and address not in possible:
                yield Problem(
                    at,
                    f"{vendor.endpoint!r} is the first or last address of "
                    f"{service_range(address)}, which no Service can get; write {possible[0]} or "
                    f"{possible[1]}",
                )
