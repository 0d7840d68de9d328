"""Where a simulated vendor's connections go: to a Service of the cluster, by its name.

The vendor's chains recognise a connection by the address asked for, as a real vendor's. What no
machine has at that address does not matter: the cluster connects to the Service.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.attribution.clusters import cluster, cluster_name
from components.attribution.envoy import Json
from components.attribution.names import dns_resolver
from settings.vendors import Vendor


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """A Service that simulates a vendor, on every port of the vendor's."""

    host: str
    """Its name without the cluster's domain, as `vendor.namespace.svc`."""
    port: int


def simulator_cluster(vendor: Vendor, simulator: Simulator) -> Json:
    """Return the cluster of a vendor's connections; it counts as the vendor's of addresses.

    It speaks no TLS of its own: the simulation has no certificate that `vendors[].tls` would trust.
    """
    name = cluster_name(vendor)
    address = {"socket_address": {"address": simulator.host, "port_value": simulator.port}}
    by_name = {
        "type": "STRICT_DNS",
        "lb_policy": "ROUND_ROBIN",
        "dns_lookup_family": "ALL",
        # kubeadm's CoreDNS lets an answer live for 30 s. Envoy would ask every 5 s.
        "respect_dns_ttl": True,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        # A pod's search list ends the name with the cluster's domain, whatever that is.
        "typed_dns_resolver_config": dns_resolver(
            dns_resolver_options={"no_default_search_domain": False}
        ),
    }
    return cluster(name, f"{name};", f"{vendor.idle_timeout}s", by_name)
