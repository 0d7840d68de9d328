"""Addresses of the lab, and the plans of its crawler and simulated vendors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from components.attribution.clusters import cluster_name
from lab.ports import Ports
from settings.catalogue import Catalogue
from settings.masking import quoted
from settings.stack import StackSettings
from settings.values.addresses import PortRange
from settings.vendors import AddressRange, Vendor

Json = dict[str, Any]

OUTSIDE_ADDRESS = "127.9.0.10"
"""An address in no vendor's range: its traffic must be counted as `outside`, and nowhere else."""

OUTSIDE_SHARE = 0.01

# Shares of protocols. TLS to the proxy is opaque, and so is SOCKS5 where nothing reads it. `crawl`
# is near what crawlers do, `even` gives each protocol a good share.
MIXES = {
    "crawl": {"http": 0.465, "tunnel": 0.46, "tls": 0.0375, "socks5": 0.0375},
    "even": {"http": 0.38, "tunnel": 0.3, "tls": 0.16, "socks5": 0.16},
}
UNINSPECTED_MIX = {"http": 0.25, "tunnel": 0.25, "tls": 0.25, "socks5": 0.25}
"""For a vendor whose connections Envoy does not inspect: all of them count as opaque."""

VISIBLE = {"http": "requests", "passive": "passive", "connections": "connections"}
"""What a sidecar sees, by a vendor's `inspect`; the crawler's and the vendors' plans name it so."""

MOST_COUNTS = 10_000_000
"""The most counts of one run, which a crawler's plan allows."""

LONGEST_PAUSE_SECONDS = 86_400.0  # how long a crawler waits after its last count

CREDENTIALS_VARIABLE = "LAB_PROXY_CREDENTIALS"

# Shares of each vendor's requests, so that every outcome occurs hundreds of times in 100,000; those
# that SOCKS5 can have, in 300,000 of the even mix there as well.
FAULTS = {
    "auth-challenge": 0.015,
    "auth-failed": 0.015,
    "blocked": 0.03,
    "close": 0.005,
    "dead": 0.012,
    "garbage": 0.012,
    "policy": 0.013,
    "quota": 0.012,
    "rate-limited": 0.04,
    "refused-open": 0.006,
    "rejected": 0.012,
    "reset": 0.01,
    "slow": 0.012,
    "stall": 0.012,
    "target-error": 0.03,
    "unreachable": 0.006,
    "vendor-error": 0.02,
}
RARER_FAULTS = {
    "ban-page": 0.003,
    "blocked-999": 0.003,
    "captcha-page": 0.003,
    "close-inside": 0.003,
    "policy-402": 0.003,
    "reset-inside": 0.003,
    "vendor-error-403": 0.003,
    "vendor-error-502": 0.003,
    "vendor-error-504": 0.003,
    "vendor-error-522": 0.003,
    "vendor-error-525": 0.003,
}
"""Further faults with the same outcomes: together these are all that a simulated vendor knows."""

QUOTA_DIALECT = {"quota": 0.002, "quota-dialect": 0.02}
"""Added for a vendor with an outcome rule: it answers an exhausted quota with 407."""

# HTML page sizes of real crawls: p10, p25, p50, p75, p90.
SIZES_BYTES = [[0.1, 6_000], [0.25, 13_000], [0.5, 32_000], [0.75, 71_000], [0.9, 147_000]]


def parse_count(text: str, *, customary: int) -> int:
    """Read how many counts to make.

    Raises:
        ValueError: with key, value, reason and fix.
    """
    if not re.fullmatch(r"0*[1-9][0-9]*", text, re.ASCII):
        raise ValueError(f"N: {quoted(text)} is no number of counts; {customary} is customary")
    if len(text) > 20 or int(text) > MOST_COUNTS:
        raise ValueError(f"N: {text[:20]} is above {MOST_COUNTS}; give that, or less")
    return int(text)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One proxy of a vendor, where crawlers connect; nothing listens at `dead_address`."""

    vendor: str
    address: str
    port: int
    dead_address: str | None
    has_dialect: bool
    visible: str
    """What Envoy sees of this vendor's connections: a value of VISIBLE."""


def endpoints(vendors: Sequence[Vendor], ports: Ports) -> tuple[Endpoint, ...]:
    """Return an endpoint for each range, in the stack's order.

    A range's own nested ranges keep their addresses: one that the catalogue gives to another
    vendor is left out.
    """
    catalogue = Catalogue.of(vendors)
    found = []
    for vendor in vendors:
        port = port_of(vendor, ports)
        for entry in vendor.ranges:
            address, dead = _host(entry, 10), _host(entry, 99)
            route = catalogue.find(address, port)
            if route is not None and route.vendor == vendor.name:
                found.append(
                    Endpoint(
                        vendor=vendor.name,
                        address=address,
                        port=port,
                        dead_address=dead if dead != address else None,
                        has_dialect=bool(vendor.outcomes),
                        visible=VISIBLE[vendor.inspect],
                    )
                )
    return tuple(found)


def authority(endpoint: Endpoint) -> str:
    """Return "127.1.0.10:3128", or "[::1]:3128"."""
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{host}:{endpoint.port}"


def port_of(vendor: Vendor, ports: Ports) -> int:
    """Return where crawlers connect to a vendor."""
    return vendor.ports[0].first if vendor.ports else ports.vendor


def lab_settings(settings: StackSettings, ports: Ports) -> StackSettings:
    """Return the settings with every vendor's ports moved to the lab's."""

    def moved(listed: Sequence[PortRange]) -> tuple[PortRange, ...]:
        return tuple(PortRange(ports.moved(one.first), ports.moved(one.last)) for one in listed)

    vendors = tuple(
        vendor.model_copy(
            update={"http_ports": moved(vendor.http_ports), "ports": moved(vendor.ports)}
        )
        for vendor in settings.vendors
    )
    return settings.model_copy(update={"vendors": vendors})


def listening_addresses(where: Sequence[Endpoint]) -> tuple[str, ...]:
    """Return every address Envoy stands on: the vendors', the dead ones, the outside one."""
    addresses = (one.address for one in where)
    return tuple(dict.fromkeys((*addresses, *dead_addresses(where), OUTSIDE_ADDRESS)))


def dead_addresses(where: Sequence[Endpoint]) -> tuple[str, ...]:
    """Return the vendors' addresses where nobody is."""
    return tuple(one.dead_address for one in where if one.dead_address)


def envoy_sockets(
    vendors: Sequence[Vendor], addresses: Sequence[str], ports: Ports
) -> list[tuple[str, int]]:
    """Return where Envoy listens for what crawlers send to these addresses.

    Where vendors share an address, on a port of each and on one that is nobody's.
    """
    catalogue = Catalogue.of(vendors)
    ported = {vendor.name: port_of(vendor, ports) for vendor in vendors if vendor.ports}
    sockets = []
    for address in addresses:
        own = [ported[r.vendor] for r in catalogue.covering(address) if r.vendor in ported]
        sockets += [(address, port) for port in ([*own, ports.nobodys] if own else [ports.vendor])]
    return sockets


def upstream_ports(vendors: Sequence[Vendor], ports: Ports) -> dict[str, int]:
    """Return where each vendor's simulation listens, by the name of its cluster."""
    return {cluster_name(one): ports.upstream_of(port_of(one, ports)) for one in vendors}


def outside_sockets(where: Sequence[Endpoint], ports: Ports) -> list[tuple[str, int]]:
    """Return what is no vendor's: an address outside, and nobody's port of each shared address."""
    seen = [one.address for one in where]
    shared = sorted({address for address in seen if seen.count(address) > 1})
    return [(OUTSIDE_ADDRESS, ports.vendor), *((one, ports.nobodys) for one in shared)]


def vendor_plan(where: Sequence[Endpoint], ports: Ports, timeout_after_seconds: int) -> Json:
    """Return the plan of `simulation.proxy`: each vendor on its own addresses."""
    listen = [
        {
            "vendor": endpoint.vendor,
            "address": endpoint.address,
            "port": ports.upstream_of(endpoint.port),
            "visible": endpoint.visible,
        }
        for endpoint in where
    ]
    strangers = [address for address, _ in outside_sockets(where, ports)]
    outside = [
        {"vendor": "outside", "address": address, "port": ports.outside_upstream}
        for address in strangers
    ]
    # Traffic that Envoy takes for nobody's reaches the same vendors, who serve it as before.
    nameless = [
        one | {"port": ports.outside_upstream} for one in listen if one["address"] not in strangers
    ]
    return {
        "listen": [*listen, *outside, *nameless],
        "control_host": "127.0.0.1",
        "control_port": ports.vendor_control,
        "slow_seconds": timeout_after_seconds + 2,
        "timeout_after_seconds": timeout_after_seconds,
        "seed": 1,
    }


def crawler_plan(
    where: Sequence[Endpoint],
    ports: Ports,
    *,
    timeout_after_seconds: int,
    count: int | None,
    requests_per_second: int | None,
    seed: int,
    mix: str = "crawl",
    round_envoy_share: float = 0.0,
) -> Json:
    """Return the plan of `simulation.crawler`.

    Args:
        where: the vendors' proxies.
        ports: where they and the crawler's own metrics are.
        timeout_after_seconds: the stack's `telemetry.timeoutAfter`.
        count: requests, tunnels and opaque connections to the vendors; None for no end.
        requests_per_second: pace; None for as fast as `concurrency` allows.
        seed: same seed, same sequence.
        mix: one of MIXES.
        round_envoy_share: part of the traffic that goes to the vendors without Envoy.
    """
    # Counts outside come on top, so that the vendors get all of `count`.
    outside = 0 if count is None else round(count * OUTSIDE_SHARE)
    vendors = list(_crawler_vendors(where, ports, round_envoy_share))
    strangers = outside_sockets(where, ports)
    outside_share = OUTSIDE_SHARE if count is None else outside / (count + outside)
    return {
        "seed": seed,
        "count": None if count is None else count + outside,
        "requests_per_second": requests_per_second,
        "concurrency": 96,
        "metrics_port": ports.crawler_metrics,
        "metrics_host": "127.0.0.1",
        "password_env": CREDENTIALS_VARIABLE,
        "connection_reuse": 20,
        "timeout_after_seconds": timeout_after_seconds,
        "vendors": vendors,
        "outside": [
            {"address": address, "port": port, "share": outside_share / len(strangers)}
            for address, port in strangers
        ],
        "mix": MIXES[mix],
        "target": {"host_suffix": "sim.test", "sizes_bytes": SIZES_BYTES},
    }


def with_every_fault(crawler_plan: Json) -> Json:
    """Return the plan with the rarer faults too, at every vendor that has any."""
    vendors = [
        one | ({"faults": one["faults"] | RARER_FAULTS} if one["faults"] else {})
        for one in crawler_plan["vendors"]
    ]
    return crawler_plan | {"vendors": vendors}


def with_pause_at_end(crawler_plan: Json, counts: int, requests_per_second: int) -> Json:
    """Return the plan for exactly `counts`, after which the crawler waits for its end.

    A crawler that ended with its last count would lose what was not scraped yet.
    """
    # Half a count short, so that rounding cannot make another count due.
    seconds = (counts - 0.5) / requests_per_second
    silence = seconds + LONGEST_PAUSE_SECONDS
    return crawler_plan | {
        "count": None,
        "requests_per_second": requests_per_second,
        "shape": [[0, 1], [seconds, 1], [seconds + 1e-6, 0], [silence, 0], [silence + 1, 1]],
    }


def _crawler_vendors(
    where: Sequence[Endpoint], ports: Ports, round_envoy_share: float
) -> Iterator[Json]:
    vendors_of = [endpoint.vendor for endpoint in where]
    for index, endpoint in enumerate(where):
        weight = 1 / len(set(vendors_of)) / vendors_of.count(endpoint.vendor)
        is_opaque = endpoint.visible == "connections"
        faults = {} if is_opaque else _faults(endpoint)
        entry = {
            "name": endpoint.vendor,
            "address": endpoint.address,
            "port": endpoint.port,
            "opaque_port": endpoint.port,
            "weight": weight * (1 - round_envoy_share),
            "visible": endpoint.visible,
            "faults": faults,
            "socks5_auth": index % 2 == 1,  # RFC 1929 at every other one
            **({"mix": UNINSPECTED_MIX} if is_opaque else {}),
            **({"dead_address": endpoint.dead_address} if endpoint.dead_address else {}),
        }
        yield entry
        if round_envoy_share:
            port = ports.upstream_of(endpoint.port)
            yield entry | {
                "port": port,
                "opaque_port": port,
                "weight": weight * round_envoy_share,
                # Only Envoy rejects a request, and it is not on this way.
                "faults": {name: share for name, share in faults.items() if name != "rejected"},
            }


def _faults(endpoint: Endpoint) -> dict[str, float]:
    faults = dict(FAULTS)
    if endpoint.has_dialect:
        faults |= QUOTA_DIALECT
    if endpoint.visible == "passive":
        del faults["rejected"]  # nothing is: Envoy parses no request
    if endpoint.dead_address is None:
        del faults["dead"]
    return faults


def _host(entry: AddressRange, number: int) -> str:
    """Return the range's address of that number, or its only one."""
    network = entry.network
    return str(network[number] if network.num_addresses > number else network[0])
