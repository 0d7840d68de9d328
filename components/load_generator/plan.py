"""The crawlers' plan: which vendor is asked what, how often, and how a pod ends.

Its format is that of `python -m simulation.crawler --help-plan`. Replicas have the same
plan and seeds of their own.
"""

from __future__ import annotations

import json
import math
from typing import Any

from components.attribution.groups import groups
from components.mesh.values import LAST_SCRAPE_MARGIN_SECONDS
from components.prometheus.config import LOAD_GENERATOR_PORT
from components.repository_files import ROOT
from settings.catalogue import Catalogue
from settings.load_generator import LoadGenerator, ProxyInDetail
from settings.loading import SettingsError
from settings.stack import StackSettings
from settings.values import split_endpoint
from settings.vendors import Vendor, inspected_ports
from simulation.crawler.reading import read_plan
from simulation.plans import PlanError

Json = dict[str, Any]

PLAN = "plan.json"
BUDGET_FOLDER = "/var/run/budget"

LEAST_REQUESTS_PER_SECOND = 0.01  # what the crawler takes
MOST_IN_FLIGHT = 10_000  # what the crawler takes
CLEAR = ("http", "tunnel")  # what an HTTP proxy takes: others would fill its owner's error log

MOST_DRAIN_SECONDS = 60  # a drained node must not wait for Scrapy's three minutes
TIMEOUT_MARGIN_SECONDS = 5
GRACE_MARGIN_SECONDS = 10  # for Python and the kubelet; after it the pod is killed


def drain_seconds(settings: StackSettings) -> int:
    """How long what is in flight may take to end, once the pod is told to."""
    return min(MOST_DRAIN_SECONDS, settings.telemetry.timeout_after + TIMEOUT_MARGIN_SECONDS)


def linger_seconds(settings: StackSettings) -> int:
    """How long the last numbers stay to be scraped, the generator's and its sidecar's."""
    return settings.prometheus.scrape_interval + LAST_SCRAPE_MARGIN_SECONDS


def grace_seconds(settings: StackSettings) -> int:
    """The pod's `terminationGracePeriodSeconds`, which holds both.

    A native sidecar begins to drain when the generator has ended, and is killed at its end: by then
    the generator has lingered, so that nothing is left to be scraped.
    """
    return drain_seconds(settings) + linger_seconds(settings) + GRACE_MARGIN_SECONDS


def credentials_variable(vendor: str) -> str:
    """Name the environment variable that holds `user:password` for a vendor."""
    return f"LOGIN_{vendor.upper().replace('-', '_')}"


def asks_with_login(settings: StackSettings, vendor: str) -> bool:
    """Whether the generator has credentials for a vendor: of a Secret, or of a simulated one's."""
    if settings.load_generator.endpoints[vendor].credentials_secret:
        return True
    return settings.is_simulated(vendor) and settings.simulated_vendors.vendors[vendor].login


def shows_requests(endpoint: str, vendors: tuple[Vendor, ...]) -> bool:
    """Whether a sidecar looks into what goes to an address of a vendor's, or counts connections."""
    address, port = split_endpoint(endpoint)
    assert port is not None  # settings.values.check_endpoint
    network = Catalogue.of(vendors).covering(address)[0].network
    parses = next(
        group.parses_http
        for group in groups(vendors)
        for chain in group.chains
        if network in chain.networks
    )
    return parses and any(port in ports for ports in inspected_ports(vendors))


def crawler_plan(settings: StackSettings) -> Json:
    """Return the plan of each replica as plain values: the profile, and what the stack says.

    Raises:
        SettingsError: the crawler would refuse it, in a pod that never starts.
    """
    generator = settings.load_generator
    profile = profile_of(generator)
    plan = {
        **profile,
        **_rate(generator, profile, settings.telemetry.timeout_after),
        "count": None,  # until it is told to stop
        "duration_seconds": None,
        "timeout_after_seconds": settings.telemetry.timeout_after,
        "drain_seconds": drain_seconds(settings),
        "linger_seconds": linger_seconds(settings),
        "metrics_host": "*",  # probes come to the pod's first address, of either family
        "metrics_port": LOAD_GENERATOR_PORT,
        "mix": dict(sorted((generator.mix or profile["mix"]).items())),
        "target": {"host_suffix": generator.host_suffix},
        "vendors": [
            _vendor(settings, name, proxy, profile["mix"])
            for name, proxy in sorted(generator.endpoints.items())
        ],
    }
    if generator.max_gb_per_day is not None:
        share = math.floor(generator.max_gb_per_day / generator.replicas * 1e9) / 1e9
        plan |= {
            "max_gb_per_day": share,
            # Outside the container, whose restart would begin the day anew.
            "budget_file": f"{BUDGET_FOLDER}/budget.json",
        }
    _refuse_what_no_crawler_takes(plan)
    return plan


def replica_plan(replica: int) -> Json:
    """Return the plan of one replica, counted from 0: the shared one with a seed of its own."""
    return {"profile": PLAN, "seed": replica + 1}


def profile_of(generator: LoadGenerator) -> Json:
    path = ROOT / "simulation" / "profiles" / f"{generator.profile}.json"
    profile: Json = json.loads(path.read_text(encoding="utf-8"))
    return profile


def _rate(generator: LoadGenerator, profile: Json, timeout_seconds: int) -> Json:
    """Return a replica's share of the rate, and room for it; nothing where there is no rate."""
    if profile["arrival"] == "closed":
        return {}
    whole = generator.requests_per_second or profile["requests_per_second"]
    rate = round(whole / generator.replicas, 3)
    if rate < LEAST_REQUESTS_PER_SECOND:
        raise SettingsError(
            [
                f"loadGenerator.replicas: {generator.replicas} is too many for {whole} requests a "
                f"second, each would send less than {LEAST_REQUESTS_PER_SECOND}; write fewer"
            ]
        )
    peak = rate * max((factor for _, factor in profile.get("shape", [])), default=1)
    # Enough to keep the rate while every vendor takes as long as `telemetry.timeoutAfter` allows.
    room = max(profile["in_flight_cap"], math.ceil(peak * timeout_seconds))
    return {"requests_per_second": rate, "in_flight_cap": min(MOST_IN_FLIGHT, room)}


def _vendor(settings: StackSettings, name: str, proxy: ProxyInDetail, usual_mix: Json) -> Json:
    address, port = split_endpoint(proxy.address)
    simulated = settings.is_simulated(name)
    seen = shows_requests(proxy.address, settings.vendors)
    entry: Json = {
        "name": name,
        "address": str(address),
        "port": port,
        "weight": proxy.weight,
        "simulated": simulated,
        "visible": "requests" if seen else "connections",
    }
    if proxy.session:
        entry["session"] = proxy.session
    if asks_with_login(settings, name):
        entry |= {"password_env": credentials_variable(name), "socks5_auth": True}
    if not simulated and settings.load_generator.mix is None:
        entry["mix"] = _in_clear(usual_mix)
    return entry


def _in_clear(mix: Json) -> Json:
    """Return a mix without what is opaque, in the same proportions."""
    known = {protocol: mix[protocol] for protocol in CLEAR if mix.get(protocol)}
    total = sum(known.values())
    return {protocol: share / total for protocol, share in known.items()}


def _refuse_what_no_crawler_takes(plan: Json) -> None:
    logins = {
        entry["password_env"]: "user:password"
        for entry in plan["vendors"]
        if "password_env" in entry
    }
    try:
        read_plan(plan, logins)
    except PlanError as error:
        raise SettingsError(
            f"loadGenerator: the crawler would refuse its plan, {finding}; "
            "change what the key follows from"
            for finding in error.findings
        ) from None
