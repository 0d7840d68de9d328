"""`network`: the cluster's own addresses, and who may talk to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from settings.section import Location, Section
from settings.values.addresses import IPNetwork, Network


class ClusterNetwork(Section):
    """The cluster's own addresses, which can be no vendor's, and what the crawlers' pods may do.

    What else is allowed is no choice: components/network/flows.py lists it.
    """

    pod_cidrs: tuple[Network, ...] = ()
    """The cluster's pod ranges. A vendor's range that overlaps one is refused: traffic between pods
    would count as the vendor's."""
    service_cidrs: tuple[Network, ...] = ()
    """The cluster's Service ranges. A vendor's range that overlaps one is refused too."""
    egress: Literal["any", "vendorsOnly"] = "any"
    """Where crawlers may connect to. `vendorsOnly`: vendors, `destinations`, `crawlers.egressHosts`
    and each other. The sidecar closes any other connection (alert ProxyTrafficRefused), and a
    NetworkPolicy drops what passes no sidecar. Vendors by address are then unreachable while this
    program's filters are missing. A change cuts open connections to strangers."""
    ingress: Literal["any", "crawlersOnly"] | None = None
    """Who may connect to crawlers. `crawlersOnly`: each other, and Prometheus to its targets.
    Default: `crawlersOnly` if this program makes their namespaces, else `any`."""

    @property
    def ranges(self) -> Iterator[tuple[Location, IPNetwork]]:
        """The cluster's own ranges, each with its place in the stack file."""
        for key, networks in (("podCidrs", self.pod_cidrs), ("serviceCidrs", self.service_cidrs)):
            for number, network in enumerate(networks):
                yield ("network", key, number), network
