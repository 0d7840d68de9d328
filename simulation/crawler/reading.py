"""From JSON to a crawler's plan: its profile below it, its credentials out of the environment."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from simulation.crawler.plan import TIMEOUT_MARGIN_SECONDS, Plan, User, Vendor
from simulation.crawler.sequence import request_kinds
from simulation.plans import Json, PlanError, encodable, finding, read, under

SIMULATED_CREDENTIALS = "crawler:simulated"  # opens nothing: simulated vendors take any
PROFILES = Path(__file__).resolve().parent.parent / "profiles"


def read_plan(raw: object, environment: Mapping[str, str], folder: Path | None = None) -> Plan:
    """Check a parsed plan.

    Args:
        raw: the plan; a profile it names lies below its own keys.
        environment: holds the variables that `password_env` names.
        folder: where the path of a profile starts; the working directory if None.

    Raises:
        PlanError: with every finding of single keys or, where these are good, of keys together.
    """
    folder = folder or Path()
    raw = with_profile(raw, folder)
    try:
        plan = read(Plan, raw)
    except PlanError as error:
        raise PlanError(
            [under("plan", line) if line.startswith(":") else line for line in error.findings]
        ) from None
    assert isinstance(raw, dict)
    findings: list[str] = []
    plan = _completed(plan, raw, environment, folder, findings)
    findings += _clashes(plan, raw)
    if findings:
        raise PlanError(sorted(findings))
    return plan


def with_profile(raw: object, folder: Path) -> object:
    """Put the keys of `raw` over those of the profile it names; `raw` itself if it names none."""
    if not isinstance(raw, dict) or raw.get("profile") is None:
        return raw
    named = raw["profile"]
    if not isinstance(named, str) or not named:
        raise PlanError([finding("profile", named, f"is no name: give one of {profiles()}")])
    is_path = "/" in named or named.endswith(".json")
    path = folder / named if is_path else PROFILES / f"{named}.json"
    if not is_path and not path.is_file():
        fix = f"use one of {profiles()}, or the path of a file"
        raise PlanError([finding("profile", named, f"is unknown: {fix}")])
    try:
        profile = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        # An OSError's own text has the path again.
        why = error.strerror if isinstance(error, OSError) else error
        reason = f"cannot be read as JSON: {why}: correct the file"
        raise PlanError([finding("profile", named, reason)]) from None
    if not isinstance(profile, dict) or "profile" in profile:
        fix = "give an object that names no profile itself"
        raise PlanError([finding("profile", named, f"holds no profile: {fix}")])
    return {**profile, **raw}


def profiles() -> str:
    """Return the names of the profiles that lie beside this program."""
    return ", ".join(sorted(path.stem for path in PROFILES.glob("*.json"))) or "none that exists"


def _completed(
    plan: Plan, raw: Json, environment: Mapping[str, str], folder: Path, findings: list[str]
) -> Plan:
    """Give vendors what they leave to the plan, and resolve paths and credentials."""
    usual = _credentials(plan, "", environment, findings) or SIMULATED_CREDENTIALS
    vendors = []
    for index, vendor in enumerate(plan.vendors):
        own = _credentials(vendor, f"vendors[{index}].", environment, findings)
        completed = dataclasses.replace(
            vendor,
            opaque_port=vendor.opaque_port or vendor.port,
            mix=plan.mix if vendor.mix is None else vendor.mix,
            session=vendor.session or plan.session,
            credentials=own or usual,
            users=_users(vendor, f"vendors[{index}].", environment, findings),
        )
        findings += [f"vendors[{index}].{line}" for line in _vendor_clashes(completed)]
        vendors.append(completed)
    return dataclasses.replace(
        plan,
        vendors=tuple(vendors),
        arrival="constant" if plan.requests_per_second and "arrival" not in raw else plan.arrival,
        budget_file=folder / plan.budget_file if plan.budget_file else None,
    )


def _users(
    vendor: Vendor, path: str, environment: Mapping[str, str], findings: list[str]
) -> tuple[User, ...]:
    return tuple(
        dataclasses.replace(
            user,
            credentials=_credentials(user, f"{path}users[{index}].", environment, findings) or "",
        )
        for index, user in enumerate(vendor.users)
    )


def _credentials(
    entry: Plan | Vendor | User, path: str, environment: Mapping[str, str], findings: list[str]
) -> str | None:
    """Return `user:password` out of the variable that the entry names."""
    named = entry.password_env
    if named is None:
        return None
    value = environment.get(named, "")
    reason = ""
    if not value:
        reason = "is no set variable: export it"
    elif not encodable(value):
        reason = "holds no text in UTF-8: set it anew"
    elif ":" not in value:
        reason = "holds no user:password: set it so"
    if reason:
        findings.append(finding(f"{path}password_env", named, reason))
    return value


def _vendor_clashes(vendor: Vendor) -> Iterator[str]:
    """Name what does not go together in one vendor; a name may repeat, once for each address."""
    if vendor.name == "outside":
        yield finding("name", vendor.name, "is kept for addresses outside: give another")
    if not vendor.address and not vendor.host:
        yield "address: is missing: add it, or host"
    if vendor.address and vendor.host:
        yield finding("host", vendor.host, "stands beside address: leave out one")
    if vendor.users and not any(user.weight for user in vendor.users):
        weights = [user.weight for user in vendor.users]
        yield finding("users", weights, "are all the weights: give one above 0")
    if vendor.users and vendor.session == "sticky":
        yield finding("session", "sticky", "is for one user: write {n} in users instead")
    if vendor.faults.get("dead") and not vendor.dead_address and not vendor.dead_host:
        yield finding("faults.dead", vendor.faults["dead"], "has no dead_address: add one")
    if vendor.faults and vendor.visible == "connections":
        yield finding("faults", vendor.faults, "show in no connection: leave them out")
    if vendor.faults and not vendor.simulated:
        yield finding("faults", vendor.faults, "are for simulated vendors: leave them out")
    # RFC 1929: a byte holds their length; 64 leave room for a session's id.
    longest = 0
    for credentials in (vendor.credentials, *(user.credentials for user in vendor.users)):
        user, _, password = (each.encode(errors="replace") for each in credentials.partition(":"))
        longest = max(longest, len(user) + 64, len(password))
    if vendor.socks5_auth and longest > 255:
        reason = "takes short credentials: user 191 bytes, password 255"
        yield finding("socks5_auth", True, reason)


def _clashes(plan: Plan, raw: Json) -> Iterator[str]:
    """Name the keys that are good by themselves but not beside each other."""
    if not any(vendor.weight for vendor in plan.vendors):
        weights = [vendor.weight for vendor in plan.vendors]
        yield finding("vendors", weights, "are all the weights: give one above 0")
    parts = [place.share for place in plan.outside]
    if sum(parts) > 1 + 1e-9:
        yield finding("outside", parts, "are shares above 1 together: give less")
    yield from _arrival_clashes(plan)
    if plan.per_host_concurrency and not plan.hosts:
        limit = plan.per_host_concurrency
        yield finding("per_host_concurrency", limit, "has no hosts: add hosts")
    yield from _timeout_clashes(plan)
    if plan.linger_seconds and plan.metrics_port is None:
        yield finding("linger_seconds", plan.linger_seconds, "shows nothing: add metrics_port")
    paid = sorted({vendor.name for vendor in plan.vendors if not vendor.simulated})
    if paid and plan.max_gb_per_day is None:
        reason = f"bounds no cost, but traffic of {', '.join(paid)} is paid for"
        yield finding("max_gb_per_day", None, f"{reason}: add max_gb_per_day, such as 1")
    if plan.budget_file and plan.max_gb_per_day is None:
        reason = "has no budget to keep: add max_gb_per_day"
        yield finding("budget_file", str(plan.budget_file), reason)
    yield from _cap_clashes(plan, raw)


def _arrival_clashes(plan: Plan) -> Iterator[str]:
    closed, rate = plan.arrival == "closed", plan.requests_per_second
    if closed and rate:
        reason = "has no meaning in arrival closed: leave out one"
        yield finding("requests_per_second", rate, reason)
    if not closed and not rate:
        yield finding("arrival", plan.arrival, "has no rate: add requests_per_second")
    if closed and plan.shape:
        yield finding("shape", plan.shape, "shapes a rate, arrival closed has none: leave it out")
    period = plan.shape_period_seconds
    if period and not plan.shape:
        yield finding("shape_period_seconds", period, "has no shape to repeat: add shape")
    if period and plan.shape and plan.shape[-1][0] > period:
        yield finding("shape_period_seconds", period, "ends before the shape does: give more")


def _timeout_clashes(plan: Plan) -> Iterator[str]:
    limit, sidecars = plan.timeout_seconds, plan.timeout_after_seconds
    if limit and abs(limit - sidecars) < TIMEOUT_MARGIN_SECONDS:
        reason = f"is so near timeout_after_seconds {sidecars:g} that both sides may differ"
        fix = f"keep {TIMEOUT_MARGIN_SECONDS:g} s away"
        yield finding("timeout_seconds", limit, f"{reason}: {fix}")
    if limit and limit < sidecars and any("slow" in v.faults for v in plan.vendors):
        reason = "is too short for the fault slow: exceed timeout_after_seconds"
        yield finding("timeout_seconds", limit, reason)


def _cap_clashes(plan: Plan, raw: Json) -> Iterator[str]:
    cap, closed = plan.in_flight_cap, plan.arrival == "closed"
    if not cap:
        return
    if plan.concurrency > cap and (closed or raw.get("concurrency")):
        yield finding("concurrency", plan.concurrency, f"is above in_flight_cap {cap}: lower it")
    if closed or not sum(vendor.weight for vendor in plan.vendors):
        return
    # What every count lasts at least, on average: by Little's law more would only queue.
    slow = sum(share for _, _, fault, share in request_kinds(plan) if fault == "slow")
    least = slow * plan.limit_seconds()
    peak = (plan.requests_per_second or 0) * max((f for _, f in plan.shape or ()), default=1)
    if least * peak > cap:
        reason = f"is below the {math.ceil(least * peak)} that the rate keeps in flight"
        fix = "raise it, or lower requests_per_second"
        yield finding("in_flight_cap", cap, f"{reason}: {fix}")
