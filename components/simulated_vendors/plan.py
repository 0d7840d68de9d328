"""A simulated vendor's plan, and the names of what stands for it in the cluster.

The plan's format is that of `python -m simulation.proxy --help-plan`.
"""

from __future__ import annotations

import json
from ipaddress import IPv6Address
from typing import Any

from components.load_generator.plan import shows_requests
from components.prometheus.config import SIMULATED_VENDOR_PORT
from settings.stack import StackSettings
from settings.values import IPAddress, IPNetwork, split_endpoint

Json = dict[str, Any]

PROXY_PORT = 3128
"""Where the pod listens, whatever port crawlers connect to: a low one needs privileges."""

CUSTOMER = "crawler"
PASSWORD_VARIABLE = "CUSTOMER_PASSWORD"
SLOWER_THAN_TIMEOUT_SECONDS = 2


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
                # Of what no sidecar looks into, the books know connections alone.
                "opaque": not shows_requests(simulated.endpoint, settings.vendors),
            }
        ],
        "vendors": {vendor: behaviour},
        "control_host": "*",  # probes come to the pod's first address, of either family
        "control_port": SIMULATED_VENDOR_PORT,
        "slow_seconds": settings.telemetry.timeout_after + SLOWER_THAN_TIMEOUT_SECONDS,
        "timeout_after_seconds": settings.telemetry.timeout_after,
        "seed": 1,
    }


def name_of(place: IPAddress | IPNetwork) -> str:
    """Return an address or range as a part of an object's name: 10-1-0-8-30."""
    return place.exploded.replace(".", "-").replace(":", "-").replace("/", "-")
