"""What simulates each vendor in the cluster: a plan, and a Service; pure.

The plan's format is that of `python -m simulation.proxy --help-plan`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from components.attribution.simulators import Simulator
from components.file_text import json_text
from components.load_generator.plan import visible_at
from components.prometheus.config import SIMULATED_VENDOR_PORT
from components.repository_files import ProgramFiles, program_files
from settings.namespaces import SIMULATED_NAMESPACE
from settings.stack import StackSettings

Json = dict[str, Any]

PROXY_PORT = 3128
"""Where the Service and the pod listen, whatever port crawlers connect to."""

CUSTOMER = "crawler"
PASSWORD_VARIABLE = "CUSTOMER_PASSWORD"
SLOWER_THAN_TIMEOUT_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class SimulationPlan:
    """What simulates the vendors in the cluster."""

    program: ProgramFiles
    plans: dict[str, str]
    """Text of each vendor's plan, by vendor."""


def simulation_plan(settings: StackSettings) -> SimulationPlan:
    simulated = settings.simulated_vendors
    return SimulationPlan(
        program=program_files("proxy"),
        plans={name: json_text(vendor_plan(settings, name)) for name in sorted(simulated.vendors)},
    )


def service_name(vendor: str) -> str:
    """Return a simulated vendor's Service; Kubernetes takes no name that begins with a digit."""
    return f"proxy-{vendor}"


def simulators(settings: StackSettings) -> dict[str, Simulator]:
    """Return which Service gets the connections of each simulated vendor."""
    simulated = settings.simulated_vendors
    return {
        vendor: Simulator(host=f"{service_name(vendor)}.{SIMULATED_NAMESPACE}.svc", port=PROXY_PORT)
        for vendor in (simulated.vendors if simulated.enabled else ())
    }


def vendor_plan(settings: StackSettings, vendor: str) -> Json:
    """Return the plan of one vendor's pod as plain values."""
    simulated = settings.simulated_vendors.vendors[vendor]
    login = {"credentials": {CUSTOMER: PASSWORD_VARIABLE}} if simulated.login else {}
    # Sorted: the order of a stack file's keys must not roll the pod.
    behaviour = json.loads(json.dumps({**simulated.behaviour, **login}, sort_keys=True))
    return {
        "listen": [
            {
                "vendor": vendor,
                "address": "*",  # the Service has an address of the family that the cluster prefers
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
