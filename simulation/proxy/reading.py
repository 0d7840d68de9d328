"""From JSON to a plan, or to one vendor's behaviour; every finding is named."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Final

from simulation.plans import (
    VARIABLE,
    PlanError,
    SecretValueError,
    Section,
    address,
    address_or_all,
    encodable,
    flag,
    mapping,
    name,
    number,
    objects,
    shares,
    text,
    whole,
)
from simulation.proxy.answers import DIALECTS, FAULTS
from simulation.proxy.plan import (
    MAX_SECONDS,
    SESSION_SECONDS,
    Behaviour,
    Exits,
    Latency,
    Limits,
    Listen,
    Plan,
)

MAX_EXITS = 65_536


def latency(value: object) -> Latency:
    """Seconds, or their median and 95th percentile."""
    wanted = value if isinstance(value, dict) else {"p50": value, "p95": value}
    try:
        p50, p95 = (number(0, MAX_SECONDS)(wanted[key]) for key in ("p50", "p95"))
    except (KeyError, ValueError):
        p50, p95 = 1.0, 0.0
    if p95 < p50 or (p95 > p50 == 0) or len(wanted) != 2:
        raise ValueError(
            "is no latency: give seconds up to 3600, or {p50, p95}, rising from above 0"
        )
    return Latency(p50=p50, sigma=math.log(p95 / p50) / NORMAL_P95 if p95 > p50 else 0.0)


def fault_shares(value: object) -> tuple[tuple[float, str], ...]:
    """Up to which part of 1 each fault is drawn."""
    found = shares(FAULTS)(value)
    return tuple(zip(itertools.accumulate(found.values()), found, strict=True))


def dialect(value: object) -> dict[str, str]:
    found = {}
    for key, wording in mapping(value).items():
        if key not in DIALECTS:
            raise ValueError(f"names {key}: use {', '.join(DIALECTS)}")
        if not isinstance(wording, str) or wording not in DIALECTS[key]:
            given, known = json.dumps(wording), ", ".join(DIALECTS[key])
            raise ValueError(f"gives {key} {given}: use one of {known}")
        found[key] = DIALECTS[key][wording]
    return found


def _logins(given: Mapping[str, object]) -> list[tuple[str, str]]:
    """Users and variables; a password in the place of either is a likely slip, and not shown."""
    for user, variable in given.items():
        if not user or ":" in user or not encodable(user):
            raise SecretValueError("has a user that is empty or has a colon: give the name alone")
        if not isinstance(variable, str) or not VARIABLE.fullmatch(variable):
            reason = f"gives {user} what is no name of a variable"
            raise SecretValueError(f"{reason}: give the name, not what it holds")
    return [(user, str(variable)) for user, variable in given.items()]


def passwords(environment: Mapping[str, str]) -> Callable[[object], dict[str, str]]:
    """A check for {"user": "NAME_OF_A_VARIABLE"}; the variables are set in `environment`."""

    def check(value: object) -> dict[str, str]:
        found = {}
        for user, variable in _logins(mapping(value)):
            password = environment.get(variable)
            if not password:
                given = json.dumps(variable)
                raise ValueError(f"gives {user} {given}, no set variable: export it to the vendor")
            if not encodable(password):
                raise ValueError(f"gives {user} {variable}, which is no UTF-8: set it anew")
            found[user] = password
        if not found:
            raise ValueError('is empty: give {"user": "NAME_OF_A_VARIABLE"}, or leave it out')
        return found

    return check


PLAN_KEYS: Final = (
    *("listen", "vendors", "control_host", "control_port", "slow_seconds", "patience_seconds"),
    *("seed", "certificate", "key"),
)
LISTEN_KEYS: Final = ("vendor", "address", "port", "opaque")
VENDOR_KEYS: Final = ("credentials", "exits", "limits", "latency_seconds", "dialect", "faults")
LIMIT_KEYS: Final = (
    *("requests_per_second", "session_requests_per_second", "connections", "quota_bytes"),
    "bandwidth_bytes_per_second",
)
NORMAL_P95 = 1.6448536269514722  # the normal distribution's 95th percentile, in deviations


def read_behaviour(
    raw: object, path: str, findings: list[str], environment: Mapping[str, str]
) -> Behaviour:
    """Check what a plan or the control endpoint says of one vendor; notes what is bad."""
    top = Section(raw, path, findings, VENDOR_KEYS)
    below = f"{path}.".lstrip(".")
    exits = top.take("exits", mapping, None)
    several = Section(exits or {}, f"{below}exits", findings, ("count", "session_seconds"))
    count = several.take("count", whole(1, MAX_EXITS), 1, required=exits is not None)
    seconds = several.take("session_seconds", number(0.01, 86_400), SESSION_SECONDS)
    limits = Section(top.take("limits", mapping, {}), f"{below}limits", findings, LIMIT_KEYS)
    rate = number(0.01, 1e6)
    return Behaviour(
        raw=raw if isinstance(raw, dict) else {},
        credentials=top.take("credentials", passwords(environment), {}),
        exits=None if exits is None else Exits(count=count, session_seconds=seconds),
        limits=Limits(
            requests_per_second=limits.take("requests_per_second", rate, None),
            session_requests_per_second=limits.take("session_requests_per_second", rate, None),
            connections=limits.take("connections", whole(0, 1_000_000), None),
            quota_bytes=limits.take("quota_bytes", whole(0, 2**60), None),
            bandwidth_bytes_per_second=limits.take(
                "bandwidth_bytes_per_second", whole(1000, 10**10), None
            ),
        ),
        latency=top.take("latency_seconds", latency, None),
        dialect=top.take("dialect", dialect, dict[str, str]()),
        faults=top.take("faults", fault_shares, ()),
    )


def read_plan(raw: object, environment: Mapping[str, str] = os.environ) -> Plan:
    """Check a parsed plan; `environment` holds the variables that `credentials` name.

    Raises:
        PlanError: with every finding, not only the first.
    """
    findings: list[str] = []
    top = Section(raw, "", findings, PLAN_KEYS)
    listen: list[Listen] = []
    for index, entry in enumerate(top.take("listen", objects, list[object](), required=True)):
        item = Section(entry, f"listen[{index}]", findings, LISTEN_KEYS)
        wanted = Listen(
            vendor=item.take("vendor", name, "", required=True),
            address=item.take("address", address, "", required=True),
            port=item.take("port", whole(1, 65535), 0, required=True),
            opaque=item.take("opaque", flag, False),
        )
        taken = {(other.address, other.port) for other in listen}
        if wanted.port and (wanted.address, wanted.port) in taken:
            item.note("port", wanted.port, f"repeats {wanted.address}: give each address once")
        listen.append(wanted)
    described = top.take("vendors", mapping, dict[str, object]())
    for stranger in sorted(described.keys() - {item.vendor for item in listen}):
        findings.append(f"vendors.{stranger}: is no vendor of listen: give it a place there")
    plan = Plan(
        listen=tuple(listen),
        vendors={
            name: read_behaviour(item, f"vendors.{name}", findings, environment)
            for name, item in described.items()
        },
        control_port=top.take("control_port", whole(1, 65535), 0, required=True),
        control_host=top.take("control_host", address_or_all, "127.0.0.1"),
        slow_seconds=top.take("slow_seconds", number(0, 3600), 30.0),
        # 10 s: telemetry.timeoutAfter's default, which divides timeout from client_cancelled.
        patience_seconds=top.take("patience_seconds", number(0.1, 3600), 10.0),
        seed=top.take("seed", whole(0, 2**63), 1),
        certificate=top.take("certificate", text, None),
        key=top.take("key", text, None),
    )
    if (plan.certificate is None) != (plan.key is None):
        top.note("certificate", plan.certificate, "stands alone: give certificate and key, or none")
    if findings:
        raise PlanError(sorted(findings))
    return plan
