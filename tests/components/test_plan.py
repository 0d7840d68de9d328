from __future__ import annotations

import json
from typing import get_args

import pytest

from components.load_generator.plan import (
    MAX_DRAIN_SECONDS,
    crawler_plan,
    credentials_variable,
)
from components.repository_files import ROOT
from settings.load_generator import RATELESS_PROFILES, LoadGenerator
from settings.loading import SettingsError, parse_settings
from simulation.crawler.reading import read_plan

PROFILES = sorted(path.stem for path in (ROOT / "simulation" / "profiles").glob("*.json"))
VENDORS = [
    {"name": "vendor-a", "cidrs": ["10.1.0.0/16", "2001:db8::/32"]},
    {"name": "vendor-b", "cidrs": ["10.2.0.0/16"], "httpPorts": [3128]},
    {"name": "vendor-c", "cidrs": ["10.3.0.0/16"], "inspect": "connections"},
    {"name": "vendor-d", "cidrs": ["10.4.0.0/16"], "inspect": "passive"},
]
SIMULATED = {"enabled": True, "vendors": {"vendor-b": {"endpoint": "10.2.0.10:3128"}}}
ENDPOINTS = {"vendor-b": "10.2.0.10:3128", "vendor-a": "[2001:db8::1]:8080"}


def stack(generator=None, **sections):
    usual = {"enabled": True, "maxGBPerDay": 2, "endpoints": ENDPOINTS}
    return parse_settings(
        {
            "cluster": "dev",
            "vendors": VENDORS,
            "simulatedVendors": SIMULATED,
            "loadGenerator": usual | (generator or {}),
            **sections,
        }
    )


def read(raw):
    """The plan as the pod reads it: from text, with the variables that it names."""
    names = [entry["password_env"] for entry in raw["vendors"] if "password_env" in entry]
    return read_plan(json.loads(json.dumps(raw)), dict.fromkeys(names, "crawler:secret"))


def test_every_shipped_profile_can_be_chosen():
    """A profile that lies in simulation/profiles and in no stack is of no use, and the reverse."""
    assert sorted(get_args(LoadGenerator.model_fields["profile"].annotation)) == PROFILES
    closed = [
        name
        for name in PROFILES
        if json.loads((ROOT / "simulation" / "profiles" / f"{name}.json").read_text())["arrival"]
        == "closed"
    ]
    assert closed == list(RATELESS_PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_plan_of_every_profile_is_one_the_crawler_takes(profile):
    """It refuses a plan it does not know whole: the pod would never start."""
    plan = read(crawler_plan(stack({"profile": profile})))
    assert [(v.name, v.address, v.port) for v in plan.vendors] == [
        ("vendor-a", "2001:db8::1", 8080),
        ("vendor-b", "10.2.0.10", 3128),
    ]
    assert plan.count is None
    assert plan.duration_seconds is None  # or the pod would end, and begin anew
    assert plan.metrics_host == "*"


@pytest.mark.parametrize(
    ("replicas", "rate", "each"),
    [(1, 10, 10), (3, 10, 3.333), (100, 1, 0.01), (1, 5000, 5000), (4, None, 25)],
)
def test_replicas_share_the_rate(replicas, rate, each):
    """The stack's rate, or else the profile's, is that of all replicas together, at any size."""
    own = {} if rate is None else {"requestsPerSecond": rate}
    plan = read(crawler_plan(stack({"replicas": replicas, **own})))
    assert plan.requests_per_second == each
    assert plan.most_in_flight() >= min(10_000, each * plan.timeout_after_seconds)


@pytest.mark.parametrize(("replicas", "most"), [(1, 2), (3, 0.666666666), (1000, 0.002)])
def test_replicas_share_the_day(replicas, most):
    """What all of them may cost is what the stack says, never a byte more."""
    raw = crawler_plan(stack({"replicas": replicas}))
    assert raw["max_gb_per_day"] == most
    assert raw["max_gb_per_day"] * replicas <= 2
    assert raw["budget_file"].startswith("/var/run/budget/")


def test_what_costs_nothing_needs_no_bound():
    """A rehearsal with simulated vendors alone runs without an end."""
    raw = crawler_plan(stack({"maxGBPerDay": None, "endpoints": {"vendor-b": "10.2.0.10:3128"}}))
    assert "max_gb_per_day" not in raw
    assert "budget_file" not in raw


def test_a_real_http_proxy_gets_http_alone():
    """SOCKS5 sent there would only show in its owner's error log.

    A real vendor's answers have no mark of the simulation, and are not all unexpected.
    """
    real, simulated = read(crawler_plan(stack())).vendors
    assert (real.simulated, simulated.simulated) == (False, True)
    assert real.mix == pytest.approx({"http": 1 / 3, "tunnel": 2 / 3})
    assert simulated.mix == {"http": 0.3, "tunnel": 0.6, "socks5": 0.1}
    wanted = {"socks5": 1.0}
    plan = read(crawler_plan(stack({"mix": wanted})))
    assert all(vendor.mix == wanted for vendor in plan.vendors)


def test_what_a_sidecar_does_not_look_into_is_counted_as_connections():
    """The generator's books would otherwise have requests that no sidecar can show."""
    endpoints = {
        "vendor-a": "10.1.0.10:9000",  # no port where HTTP is looked for
        "vendor-b": "10.2.0.10:3128",
        "vendor-c": "10.3.0.10:3128",  # inspect: connections
        "vendor-d": "10.4.0.10:9000",  # inspect: passive, which reads every port
    }
    plan = read(crawler_plan(stack({"endpoints": endpoints})))
    assert {vendor.name: vendor.visible for vendor in plan.vendors} == {
        "vendor-a": "connections",
        "vendor-b": "requests",
        "vendor-c": "connections",
        "vendor-d": "passive",
    }


def test_a_proxys_own_keys_reach_the_plan():
    """Weight, session and credentials are each vendor's own."""
    secret = {"name": "vendor-a-login", "key": "login"}
    endpoints = {
        "vendor-a": {
            "address": "10.1.0.10:3128",
            "weight": 2.5,
            "session": "sticky",
            "credentialsSecret": secret,
        },
        "vendor-b": {"address": "10.2.0.10:3128", "weight": 0},
    }
    raw = crawler_plan(stack({"endpoints": endpoints, "hostSuffix": "shop.example"}))
    one, other = read(raw).vendors
    assert (one.weight, one.credentials, one.session) == (2.5, "crawler:secret", "sticky")
    assert (other.weight, other.session) == (0, "rotating")
    assert read(raw).target.host_suffix == "shop.example"
    # The name of the variable, and nothing of the Secret.
    assert raw["vendors"][0]["password_env"] == credentials_variable("vendor-a") == "LOGIN_VENDOR_A"
    assert "vendor-a-login" not in json.dumps(raw)


@pytest.mark.parametrize(
    ("patience", "scrape", "drain", "linger"),
    [("10s", "15s", 15, 20), ("1s", "5s", 6, 10), ("5m", "1m", MAX_DRAIN_SECONDS, 65)],
)
def test_the_end_of_a_pod_fits_its_grace_period(patience, scrape, drain, linger):
    """If the pod were killed sooner, only the sidecar would count its open requests."""
    settings = stack(telemetry={"timeoutAfter": patience}, prometheus={"scrapeInterval": scrape})
    raw = crawler_plan(settings)
    assert (raw["drain_seconds"], raw["linger_seconds"]) == (drain, linger)
    assert linger > settings.prometheus.scrape_interval


def test_what_the_crawler_refuses_is_refused_before():
    """Else the pod would never start, and only its log would say why."""
    with pytest.raises(SettingsError) as refused:
        crawler_plan(stack(telemetry={"timeoutAfter": "2h"}))
    (finding,) = refused.value.findings
    assert finding.startswith(
        "loadGenerator: the crawler would refuse its plan, timeout_after_seconds:"
    )
    assert "; " in finding


def test_no_replica_sends_more_than_its_part():
    """The slowest crawler sends 0.01 a second: a thousand would send more than was said."""
    settings = stack({"replicas": 1000, "requestsPerSecond": 1})
    with pytest.raises(SettingsError, match=r"loadGenerator\.replicas: 1000 is too many for 1 "):
        crawler_plan(settings)
