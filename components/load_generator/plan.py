"""The load generator's plan: which vendors it uses, how often, and how a pod ends; pure.

Its format is that of `python -m simulation.crawler --help-plan`. Replicas share the plan and differ
in their seeds.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from components.attribution.groups import groups
from components.file_text import json_text
from components.mesh.values import LAST_SCRAPE_MARGIN_SECONDS
from components.prometheus.config import LOAD_GENERATOR_PORT
from components.repository_files import ROOT, ProgramFiles, program_files
from settings.catalogue import Catalogue
from settings.load_generator import LoadGenerator, ProxyInDetail
from settings.loading import SettingsError
from settings.stack import StackSettings
from settings.values.addresses import split_endpoint
from settings.vendors import Vendor, inspected_ports
from simulation.crawler.reading import read_plan
from simulation.plans import PlanError

Json = dict[str, Any]

NAME = "load-generator"
PLAN = "plan.json"
BUDGET_FOLDER = "/var/run/budget"

MIN_REQUESTS_PER_SECOND = 0.01  # the crawler's own bounds
MAX_IN_FLIGHT = 10_000
HTTP_PROXY_PROTOCOLS = ("http", "tunnel")  # others would fill an HTTP proxy's error log

MAX_DRAIN_SECONDS = 60  # a node that is drained must not wait for Scrapy's three minutes
TIMEOUT_MARGIN_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class GeneratorPlan:
    """What the pods of the load generator get."""

    files: ProgramFiles
    """The program, the plan, and a plan for each replica, `<pod's name>.json`."""
    crawler_labels: dict[str, str]
    """Labels by which the attribution selects crawlers' pods."""
    login_variables: dict[str, str]
    """Name of the environment variable with `user:password`, by vendor with a login."""
    drain_seconds: int
    """From a pod's signal to end until Prometheus has scraped its last request."""


def generator_plan(settings: StackSettings) -> GeneratorPlan:
    """Return what the pods of the load generator get.

    Raises:
        SettingsError: the crawler would refuse its plan, in a pod that never starts.
    """
    plan = crawler_plan(settings)
    replicas = range(settings.load_generator.replicas)
    plans = {PLAN: plan, **{f"{NAME}-{n}.json": replica_plan(n) for n in replicas}}
    program = program_files("crawler")
    return GeneratorPlan(
        files=ProgramFiles(
            data=program.data | {file: json_text(content) for file, content in plans.items()},
            items=program.items | {file: file for file in plans},
        ),
        crawler_labels=settings.crawlers.selector,
        login_variables={
            entry["name"]: entry["password_env"]
            for entry in plan["vendors"]
            if "password_env" in entry
        },
        # The generator lingers until it was scraped.
        drain_seconds=plan["drain_seconds"] + plan["linger_seconds"],
    )


def credentials_variable(vendor: str) -> str:
    """Name the environment variable that holds `user:password` for a vendor."""
    return f"LOGIN_{vendor.upper().replace('-', '_')}"


def has_login(settings: StackSettings, vendor: str) -> bool:
    """Whether the generator logs in at a vendor: from a Secret, or at a simulated vendor."""
    if settings.load_generator.endpoints[vendor].credentials_secret:
        return True
    return settings.is_simulated(vendor) and settings.simulated_vendors.vendors[vendor].login


def visible_at(endpoint: str, vendors: tuple[Vendor, ...]) -> str:
    """Return what a sidecar sees of connections to a vendor's address, as the plans name it.

    `requests` of HTTP; `passive`, those and SOCKS5's handshake, on every port; or `connections`.
    """
    address, port = split_endpoint(endpoint)
    assert port is not None  # settings.values.check_endpoint
    network = Catalogue.of(vendors).covering(address)[0].network
    group = next(
        group for group in groups(vendors) for chain in group.chains if network in chain.networks
    )
    if group.is_passive:
        return "passive"
    inspected = any(port in ports for ports in inspected_ports(vendors))
    return "requests" if group.parses_http and inspected else "connections"


def crawler_plan(settings: StackSettings) -> Json:
    """Return the plan that replicas share: the profile, changed by the stack's settings.

    Raises:
        SettingsError: the crawler would refuse it, in a pod that never starts.
    """
    generator, telemetry = settings.load_generator, settings.telemetry
    profile = profile_of(generator)
    plan = {
        **profile,
        **_rate(generator, profile, telemetry.timeout_after),
        "count": None,  # it runs until the pod ends
        "duration_seconds": None,
        "timeout_after_seconds": telemetry.timeout_after,
        "drain_seconds": min(MAX_DRAIN_SECONDS, telemetry.timeout_after + TIMEOUT_MARGIN_SECONDS),
        "linger_seconds": settings.prometheus.scrape_interval + LAST_SCRAPE_MARGIN_SECONDS,
        "metrics_host": "*",  # probes come to the pod's first address, IPv4 or IPv6
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
            # Outside the container, whose restart would begin the budget of the day anew.
            "budget_file": f"{BUDGET_FOLDER}/budget.json",
        }
    _refuse_unreadable(plan)
    return plan


def replica_plan(replica: int) -> Json:
    """Return the plan of one replica, counted from 0: the shared plan with its own seed."""
    return {"profile": PLAN, "seed": replica + 1}


def profile_of(generator: LoadGenerator) -> Json:
    path = ROOT / "simulation" / "profiles" / f"{generator.profile}.json"
    profile: Json = json.loads(path.read_text(encoding="utf-8"))
    return profile


def _rate(generator: LoadGenerator, profile: Json, timeout_seconds: int) -> Json:
    """Return a replica's share of the rate, and how many requests it may have in flight.

    Empty for a profile without a rate.
    """
    if profile["arrival"] == "closed":
        return {}
    whole = generator.requests_per_second or profile["requests_per_second"]
    rate = round(whole / generator.replicas, 3)
    if rate < MIN_REQUESTS_PER_SECOND:
        raise SettingsError(
            [
                f"loadGenerator.replicas: {generator.replicas} is too many for {whole} requests a "
                f"second, each would send less than {MIN_REQUESTS_PER_SECOND}; write fewer"
            ]
        )
    peak = rate * max((factor for _, factor in profile.get("shape", [])), default=1)
    # Enough to keep the rate while every vendor answers as late as the crawler waits.
    room = max(profile["in_flight_cap"], math.ceil(peak * timeout_seconds))
    return {"requests_per_second": rate, "in_flight_cap": min(MAX_IN_FLIGHT, room)}


def _vendor(settings: StackSettings, name: str, proxy: ProxyInDetail, usual_mix: Json) -> Json:
    address, port = split_endpoint(proxy.address)
    simulated = settings.is_simulated(name)
    entry: Json = {
        "name": name,
        "address": str(address),
        "port": port,
        "weight": proxy.weight,
        "simulated": simulated,
        "visible": visible_at(proxy.address, settings.vendors),
    }
    if proxy.session:
        entry["session"] = proxy.session
    if has_login(settings, name):
        entry |= {"password_env": credentials_variable(name), "socks5_auth": True}
    if not simulated and settings.load_generator.mix is None:
        entry["mix"] = _http_proxy_mix(usual_mix)
    return entry


def _http_proxy_mix(mix: Json) -> Json:
    """Return the part of a mix that an HTTP proxy takes, in the same proportions."""
    known = {protocol: mix[protocol] for protocol in HTTP_PROXY_PROTOCOLS if mix.get(protocol)}
    total = sum(known.values())
    return {protocol: share / total for protocol, share in known.items()}


def _refuse_unreadable(plan: Json) -> None:
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
