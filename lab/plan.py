"""The plans of the lab's crawler and simulated vendors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from lab.dialects import answers, documents
from lab.endpoints import (
    DESTINATION,
    DESTINATION_ADDRESS,
    Endpoint,
    outside_sockets,
    upstreams,
)
from lab.names import captured_resolver
from lab.ports import Ports
from settings.masking import quoted
from settings.products import Product

Json = dict[str, Any]

OUTSIDE_SHARE = 0.01

# Shares of protocols. TLS to the proxy is opaque, and so is SOCKS5 where nothing reads it. `crawl`
# is near what crawlers do, `even` gives each protocol a good share.
MIXES = {
    "crawl": {"http": 0.465, "tunnel": 0.46, "tls": 0.0375, "socks5": 0.0375},
    "even": {"http": 0.38, "tunnel": 0.3, "tls": 0.16, "socks5": 0.16},
}
UNINSPECTED_MIX = {"http": 0.25, "tunnel": 0.25, "tls": 0.25, "socks5": 0.25}
"""For a vendor whose connections Envoy does not inspect: all of them count as opaque."""

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

OWN_WORDS = "refused-open"
"""A fault that only those vendors have which refuse in the simulation's own words."""

# A user of each product, and one whose name tells none.
PRODUCT_WEIGHTS = (4.0, 3.0, 2.0, 1.0)
NO_PRODUCT_WEIGHT = 1.0

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


def vendor_plan(where: Sequence[Endpoint], ports: Ports, timeout_after_seconds: int) -> Json:
    """Return the plan of `simulation.proxy`: each vendor on its own addresses."""
    listen = [
        {
            "vendor": endpoint.vendor,
            "address": address,
            "port": port,
            "visible": endpoint.visible,
            **({"pool": endpoint.pool} if endpoint.pool else {}),
            "products": [{"user": one.user, "name": one.name} for one in endpoint.products],
        }
        for endpoint in where
        for address, port in upstreams(endpoint, ports)
    ]
    by_address = {endpoint.address for endpoint in where if not endpoint.host}
    strangers = [address for address, _ in outside_sockets(where, ports)]
    outside = [
        {"vendor": "outside", "address": address, "port": ports.outside_upstream}
        for address in strangers
    ]
    # Traffic that Envoy takes for nobody's reaches the same vendors, who serve it as before.
    nameless = [
        one | {"port": ports.outside_upstream}
        for one in listen
        if one["address"] in by_address.difference(strangers)
    ]
    return {
        "listen": [*listen, *outside, *_once(nameless)],
        "vendors": {one.vendor: {"answers": answers(one.preset)} for one in where if one.preset},
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
    strangers = outside_sockets(where, ports)
    each = 0 if count is None else math.ceil(count * OUTSIDE_SHARE / len(strangers))
    outside = each * len(strangers)
    vendors = list(_crawler_vendors(where, ports, round_envoy_share))
    outside_share = OUTSIDE_SHARE if count is None else outside / (count + outside)
    return {
        "seed": seed,
        "count": None if count is None else count + outside,
        "requests_per_second": requests_per_second,
        "concurrency": 96,
        "metrics_port": ports.crawler_metrics,
        "metrics_host": "127.0.0.1",
        "password_env": CREDENTIALS_VARIABLE,
        "name_server": captured_resolver(ports),
        "connection_reuse": 20,
        "timeout_after_seconds": timeout_after_seconds,
        "vendors": vendors,
        "outside": [
            {
                "address": address,
                "port": port,
                "share": outside_share / len(strangers),
                **({"name": DESTINATION} if address == DESTINATION_ADDRESS else {}),
            }
            for address, port in strangers
        ],
        "mix": MIXES[mix],
        "target": {"host_suffix": "sim.test", "sizes_bytes": SIZES_BYTES},
    }


def with_every_fault(crawler_plan: Json) -> Json:
    """Return the plan with the rarer faults too, at every vendor that has the usual ones.

    Those with a preset refuse in its words alone.
    """
    vendors = [
        one | ({"faults": one["faults"] | RARER_FAULTS} if OWN_WORDS in one["faults"] else {})
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
            "host" if endpoint.host else "address": endpoint.host or endpoint.address,
            "port": endpoint.port,
            "opaque_port": endpoint.port,
            "weight": weight * (1 - round_envoy_share),
            "visible": endpoint.visible,
            "faults": faults,
            "socks5_auth": index % 2 == 1 or bool(endpoint.products),  # RFC 1929
            **({"mix": UNINSPECTED_MIX} if is_opaque else {}),
            **_dead(endpoint),
            **({"pool": endpoint.pool} if endpoint.pool else {}),
            **({"users": _users(endpoint)} if endpoint.products else {}),
        }
        yield entry
        if round_envoy_share:
            address, port = upstreams(endpoint, ports)[0]
            past = {key: value for key, value in entry.items() if key != "host"}
            yield past | {
                "address": address,
                "port": port,
                "opaque_port": port,
                "weight": weight * round_envoy_share,
                # Only Envoy rejects a request, and it is not on this way.
                "faults": {name: share for name, share in faults.items() if name != "rejected"},
            }


def _dead(endpoint: Endpoint) -> Json:
    if endpoint.dead_host:
        return {"dead_host": endpoint.dead_host}
    return {"dead_address": endpoint.dead_address} if endpoint.dead_address else {}


def _users(endpoint: Endpoint) -> list[Json]:
    """Return the vendor's proxy users: one a product, and one whose name tells none."""
    products = [
        {"password_env": user_variable(endpoint.vendor, one), "pool": one.name, "weight": weight}
        for one, weight in zip(endpoint.products, PRODUCT_WEIGHTS, strict=False)
    ]
    return [*products, {"password_env": CREDENTIALS_VARIABLE, "weight": NO_PRODUCT_WEIGHT}]


def user_variable(vendor: str, product: Product) -> str:
    return f"{CREDENTIALS_VARIABLE}_{vendor}_{product.name}".replace("-", "_").upper()


def crawler_environment(where: Sequence[Endpoint], credentials: str) -> dict[str, str]:
    """Return the variables that a crawler's plan names; no file holds a user.

    Args:
        where: the vendors' proxies.
        credentials: user:password; the users of products are made of it.
    """
    user, _, password = credentials.partition(":")
    variables = {CREDENTIALS_VARIABLE: credentials}
    for endpoint in where:
        for product in endpoint.products:
            named = product.user.replace("*", user, 1).replace("*", "")
            variables[user_variable(endpoint.vendor, product)] = (
                f"{named}-session-{user}{{n}}:{password}"
            )
    return variables


def _once(listen: list[Json]) -> list[Json]:
    """Leave out what listens where an earlier entry does: a vendor's other ports."""
    places = [(one["address"], one["port"]) for one in listen]
    return [one for index, one in enumerate(listen) if places[index] not in places[:index]]


def _faults(endpoint: Endpoint) -> dict[str, float]:
    faults = dict(FAULTS)
    if endpoint.has_dialect:
        faults |= QUOTA_DIALECT
    if endpoint.preset:
        faults = {name: share for name, share in faults.items() if documents(endpoint.preset, name)}
    if endpoint.visible == "passive":
        faults.pop("rejected", None)  # nothing is: Envoy parses no request
    if endpoint.dead_address is None:
        faults.pop("dead", None)
    return faults
