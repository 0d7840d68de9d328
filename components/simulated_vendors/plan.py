"""What simulates each vendor in the cluster: a plan, an address, names; pure.

The plan's format is that of `python -m simulation.proxy --help-plan`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

from components.file_text import json_text
from components.load_generator.plan import visible_at
from components.prometheus.config import SIMULATED_VENDOR_PORT
from components.repository_files import ProgramFiles, program_files
from settings.service_ranges import service_range, spare
from settings.stack import StackSettings
from settings.values.addresses import IPAddress, IPNetwork, split_endpoint

Json = dict[str, Any]

PROXY_PORT = 3128
"""Where the pod listens, whatever port crawlers connect to: a low port needs privileges."""

CUSTOMER = "crawler"
PASSWORD_VARIABLE = "CUSTOMER_PASSWORD"
SLOWER_THAN_TIMEOUT_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class SimulationPlan:
    """What simulates the vendors in the cluster."""

    program: ProgramFiles
    plans: dict[str, str]
    """Text of each vendor's plan, by vendor."""
    crawler_namespaces: tuple[str, ...]
    """Pods there may connect to the proxies."""
    prometheus_namespace: str
    """Pods there may scrape the metrics."""
    ranges: tuple[IPNetwork, ...]
    """Service ranges to create; none where the cluster has them."""
    spare_addresses: tuple[IPAddress, ...]
    """Those addresses of `ranges` that no vendor uses."""


def simulation_plan(settings: StackSettings) -> SimulationPlan:
    simulated = settings.simulated_vendors
    addresses = [split_endpoint(vendor.endpoint)[0] for vendor in simulated.vendors.values()]
    create = simulated.service_cidr == "create"
    return SimulationPlan(
        program=program_files("proxy"),
        plans={name: json_text(vendor_plan(settings, name)) for name in sorted(simulated.vendors)},
        crawler_namespaces=settings.crawlers.namespaces,
        prometheus_namespace=settings.prometheus.namespace,
        ranges=tuple(sorted({*map(service_range, addresses)}, key=str)) if create else (),
        spare_addresses=spare(addresses) if create else (),
    )


def vendor_plan(settings: StackSettings, vendor: str) -> Json:
    """Return the plan of one vendor's pod as plain values."""
    simulated = settings.simulated_vendors.vendors[vendor]
    address, _ = split_endpoint(simulated.endpoint)
    login = {"credentials": {CUSTOMER: PASSWORD_VARIABLE}} if simulated.login else {}
    # Sorted: the order of a stack file's keys must not roll the pod.
    behaviour = json.loads(json.dumps({**simulated.behaviour, **login}, sort_keys=True))
    any_address = "::" if isinstance(address, IPv6Address) else "0.0.0.0"
    return {
        "listen": [
            {
                "vendor": vendor,
                "address": any_address,
                "port": PROXY_PORT,
                # The vendor counts what a sidecar can.
                "visible": visible_at(simulated.endpoint, settings.vendors),
            }
        ],
        "vendors": {vendor: behaviour},
        "control_host": "*",  # probes come to the pod's first address, IPv4 or IPv6
        "control_port": SIMULATED_VENDOR_PORT,
        "slow_seconds": settings.telemetry.timeout_after + SLOWER_THAN_TIMEOUT_SECONDS,
        "timeout_after_seconds": settings.telemetry.timeout_after,
        "seed": 1,
    }


def name_of(place: IPAddress | IPNetwork) -> str:
    """Return an address or range as a part of an object's name: 10-1-0-8-30."""
    return place.exploded.replace(".", "-").replace(":", "-").replace("/", "-")
