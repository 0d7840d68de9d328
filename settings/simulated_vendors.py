"""`simulatedVendors`: vendors of the stack that run in the cluster instead of far away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, StrictBool, WithJsonSchema
from pydantic.functional_validators import PlainValidator

from settings.section import Problem, Resources, Section, resources
from settings.values.addresses import Endpoint
from settings.values.kubernetes import DnsLabel, Image
from simulation.proxy.reading import read_behaviour

LONGEST_NAME = 57  # a Service's name takes 63, and "proxy-" stands before


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
    """Where crawlers find the proxy: an address of the vendor and a port. Nobody in the cluster has
    it. The sidecar leads what goes to any address of the vendor to the simulation."""
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
        for name in self.vendors:
            if len(name) > LONGEST_NAME:
                yield Problem(
                    ("vendors", name),
                    f"has a name of {len(name)} letters, and the name of its Service takes "
                    f"{LONGEST_NAME}; give the vendor a shorter one",
                )
