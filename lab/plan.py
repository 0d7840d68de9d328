"""Who talks to whom in the lab: addresses, and the plans of crawler and simulated vendors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.ports import Ports
from settings.catalogue import Catalogue
from settings.model import StackSettings, Vendor
from settings.values import AddressRange

Json = dict[str, Any]

OUTSIDE_ADDRESS = "127.9.0.10"
"""In no vendor's range: what it carries must show up as `unknown` and nowhere else."""

OUTSIDE_SHARE = 0.01
MIX = {"http": 0.44, "tunnel": 0.43, "opaque": 0.13}
CREDENTIALS_VARIABLE = "LAB_PROXY_CREDENTIALS"

# Shares of each vendor's requests, so that every outcome occurs hundreds of times in 100,000.
FAULTS = {
    "auth-challenge": 0.015,
    "auth-failed": 0.015,
    "blocked": 0.03,
    "close": 0.005,
    "dead": 0.012,
    "quota": 0.012,
    "rate-limited": 0.04,
    "reset": 0.01,
    "slow": 0.008,
    "stall": 0.01,
    "target-error": 0.03,
    "vendor-error": 0.02,
}
QUOTA_DIALECT = {"quota": 0.002, "quota-dialect": 0.02}
"""Added for a vendor whose stack entry has an outcome rule: it words "quota" as 407."""

# HTML page sizes of real crawls: p10, p25, p50, p75, p90.
SIZES_BYTES = [[0.1, 6_000], [0.25, 13_000], [0.5, 32_000], [0.75, 71_000], [0.9, 147_000]]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One proxy address of a vendor; `dead_address` is in its ranges, with nobody there."""

    vendor: str
    address: str
    dead_address: str | None
    has_dialect: bool


def endpoints(vendors: Sequence[Vendor]) -> tuple[Endpoint, ...]:
    """Return an endpoint for each range, in the stack's order.

    A range's own nested ranges keep their addresses: one that the catalogue gives to another
    vendor is left out.
    """
    catalogue = Catalogue.of(vendors)
    found = []
    for vendor in vendors:
        for entry in vendor.cidrs:
            address, dead = _host(entry, 10), _host(entry, 99)
            route = catalogue.find(address)
            if route is not None and route.vendor == vendor.name:
                found.append(
                    Endpoint(
                        vendor=vendor.name,
                        address=address,
                        dead_address=dead if dead != address else None,
                        has_dialect=bool(vendor.outcomes),
                    )
                )
    return tuple(found)


def lab_settings(settings: StackSettings, ports: Ports) -> StackSettings:
    """Return the settings with every vendor's HTTP port moved to the lab's."""
    moved = tuple(
        vendor.model_copy(update={"http_ports": (ports.vendor,)}) for vendor in settings.vendors
    )
    return settings.model_copy(update={"vendors": moved})


def listening_addresses(where: Sequence[Endpoint]) -> tuple[str, ...]:
    """Return every address Envoy stands on: the vendors', the dead ones, the outside one."""
    dead = [endpoint.dead_address for endpoint in where if endpoint.dead_address]
    return (*(endpoint.address for endpoint in where), *dead, OUTSIDE_ADDRESS)


def vendor_plan(where: Sequence[Endpoint], ports: Ports, patience_seconds: int) -> Json:
    """Return the plan of `traffic.vendor`: each vendor on its own addresses."""
    listen = [(endpoint.vendor, endpoint.address) for endpoint in where]
    return {
        "listen": [
            {"vendor": vendor, "address": address, "port": ports.vendor_upstream}
            for vendor, address in [*listen, ("outside", OUTSIDE_ADDRESS)]
        ],
        "control_host": "127.0.0.1",
        "control_port": ports.vendor_control,
        "slow_seconds": patience_seconds + 2,
        "patience_seconds": patience_seconds,
        "seed": 1,
    }


def crawler_plan(
    where: Sequence[Endpoint],
    ports: Ports,
    *,
    patience_seconds: int,
    count: int | None,
    requests_per_second: int | None,
    seed: int,
    round_envoy_share: float = 0.0,
) -> Json:
    """Return the plan of `traffic.crawler`.

    Args:
        where: the vendors' proxies.
        ports: where they and the crawler's own metrics are.
        patience_seconds: the stack's `telemetry.patience`.
        count: requests, tunnels and opaque connections to the vendors; None for no end.
        requests_per_second: pace; None for as fast as `concurrency` allows.
        seed: same seed, same sequence.
        round_envoy_share: part of the traffic that goes straight to the vendor, unseen.
    """
    vendors_of = [endpoint.vendor for endpoint in where]
    # They come on top, so that `count` are the vendors'.
    outside = 0 if count is None else round(count * OUTSIDE_SHARE)
    entries = []
    for endpoint in where:
        weight = 1 / len(set(vendors_of)) / vendors_of.count(endpoint.vendor)
        entry = _crawler_vendor(endpoint, ports.vendor, weight * (1 - round_envoy_share))
        entries.append(entry)
        if round_envoy_share:
            direct = {**entry, "port": ports.vendor_upstream, "opaque_port": ports.vendor_upstream}
            entries.append({**direct, "weight": weight * round_envoy_share})
    return {
        "seed": seed,
        "count": None if count is None else count + outside,
        "requests_per_second": requests_per_second,
        "concurrency": 96,
        "metrics_port": ports.crawler_metrics,
        "metrics_host": "127.0.0.1",
        "password_env": CREDENTIALS_VARIABLE,
        "connection_reuse": 20,
        "patience_seconds": patience_seconds,
        "vendors": entries,
        "outside": {
            "address": OUTSIDE_ADDRESS,
            "port": ports.vendor,
            "share": OUTSIDE_SHARE if count is None else outside / (count + outside),
        },
        "mix": MIX,
        "target": {"host_suffix": "sim.test", "sizes_bytes": SIZES_BYTES},
    }


def _crawler_vendor(endpoint: Endpoint, port: int, weight: float) -> Json:
    faults = dict(FAULTS)
    if endpoint.has_dialect:
        faults |= QUOTA_DIALECT
    if endpoint.dead_address is None:
        del faults["dead"]
    dead = {"dead_address": endpoint.dead_address} if endpoint.dead_address else {}
    return {
        "name": endpoint.vendor,
        "address": endpoint.address,
        "port": port,
        "opaque_port": port,
        "weight": weight,
        "faults": faults,
        **dead,
    }


def _host(entry: AddressRange, number: int) -> str:
    """Return the range's address of that number, or its only one."""
    network = entry.network
    return str(network[number] if network.num_addresses > number else network[0])
