"""What simulates each vendor in the cluster: a plan, an address, names; pure.

The plan's format is that of `python -m simulation.proxy --help-plan`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, final

from components.load_generator.plan import shows_requests
from components.prometheus.config import SIMULATED_VENDOR_PORT
from components.repository_files import ProgramFiles, program_files
from settings.service_ranges import service_range, spare
from settings.simulated_vendors import SimulatedVendors
from settings.stack import StackSettings
from settings.values import IPAddress, IPNetwork, split_endpoint

Json = dict[str, Any]

PROXY_PORT = 3128
"""Where the pod listens, whatever port crawlers connect to: a low port needs privileges."""

CUSTOMER = "crawler"
PASSWORD_VARIABLE = "CUSTOMER_PASSWORD"
SLOWER_THAN_TIMEOUT_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class VendorPlan:
    """One simulated vendor: `plan` is its pod's, crawlers connect to `address` and `port`."""

    name: str
    address: IPAddress
    port: int
    has_login: bool
    plan: Json


@final
@dataclass(frozen=True, kw_only=True)
class SimulationPlan:
    """The simulated vendors, and the Service ranges around their addresses.

    `ranges` is empty where the cluster has them already. No vendor uses the ranges'
    `spare_addresses`. Crawlers connect from `crawler_namespaces`, Prometheus from its own.
    """

    simulated: SimulatedVendors
    program: ProgramFiles
    crawler_namespaces: tuple[str, ...]
    prometheus_namespace: str
    vendors: tuple[VendorPlan, ...]
    ranges: tuple[IPNetwork, ...]
    spare_addresses: tuple[IPAddress, ...]


def simulation_plan(settings: StackSettings) -> SimulationPlan:
    """Return what the stack simulates."""
    simulated = settings.simulated_vendors
    vendors = tuple(_vendor(settings, name) for name in sorted(simulated.vendors))
    addresses = [vendor.address for vendor in vendors] if simulated.service_cidr == "create" else []
    return SimulationPlan(
        simulated=simulated,
        program=program_files("proxy"),
        crawler_namespaces=settings.crawlers.namespaces,
        prometheus_namespace=settings.prometheus.namespace,
        vendors=vendors,
        ranges=tuple(sorted({service_range(address) for address in addresses}, key=str)),
        spare_addresses=spare(addresses),
    )


def _vendor(settings: StackSettings, name: str) -> VendorPlan:
    simulated = settings.simulated_vendors.vendors[name]
    address, port = split_endpoint(simulated.endpoint)
    assert port is not None  # settings.values.check_endpoint
    return VendorPlan(
        name=name,
        address=address,
        port=port,
        has_login=simulated.login,
        plan=vendor_plan(settings, name),
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
                # Where no sidecar parses HTTP, the vendor counts connections as well.
                "opaque": not shows_requests(simulated.endpoint, settings.vendors),
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
