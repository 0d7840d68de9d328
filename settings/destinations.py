"""`destinations`: where crawlers connect that is no vendor's and no leak."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from settings.hosts import Host, HostEntry, listed_ports
from settings.section import Problem, Section
from settings.values.addresses import PortRange, VendorNetwork
from settings.vendors import Vendor, VendorName
from settings.vendors import ports_of as ports_of_vendor


class Destination(Section):
    """A destination that is known: storage, a queue, an API of the crawlers' own."""

    name: VendorName = Field(examples=["s3"])
    """The destination in the metrics, beside `outside`; no vendor has the name."""
    cidrs: Annotated[tuple[VendorNetwork, ...], Field(max_length=1000)] = ()
    """Its addresses. The longest prefix wins, against vendors' too. A change cuts its open
    connections after 45 s."""
    hosts: Annotated[tuple[HostEntry, ...], Field(max_length=50)] = ()
    """Its names, with the keys of `vendors[].hosts` but `pool`. Without `ports`, port 443."""

    def problems(self) -> Iterator[Problem]:
        if not self.cidrs and not self.hosts:
            yield Problem(("cidrs",), "is missing; write cidrs: [10.1.0.0/16], or hosts")
        for index, host in enumerate(self.hosts):
            if host.pool:
                yield Problem(("hosts", index, "pool"), "has no effect here; remove it")


def ports_of(host: Host) -> tuple[int, ...]:
    """Return the ports of a name that have a listener of their own."""
    return listed_ports(host, (PortRange(443, 443),))


def listed_names(
    vendors: Sequence[Vendor], destinations: Sequence[Destination] = ()
) -> Iterator[tuple[Host, tuple[int, ...]]]:
    """Yield each name of a stack with its listed ports, vendors' before destinations'."""
    for vendor in vendors:
        for host in vendor.hosts:
            yield host, ports_of_vendor(vendor, host)
    for destination in destinations:
        for host in destination.hosts:
            yield host, ports_of(host)
