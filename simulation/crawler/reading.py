"""From JSON to a plan; every finding is named, not only the first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from simulation.crawler.checks import SESSION_USER, codes, mix, shape, sizes, spread, user_pattern
from simulation.crawler.deck import cells
from simulation.crawler.faults import FAULTS, MIX
from simulation.crawler.plan import (
    ARRIVALS,
    PATIENCE_MARGIN_SECONDS,
    VISIBLE,
    Hosts,
    Outside,
    Plan,
    Retries,
    Sticky,
    Vendor,
)
from simulation.crawler.profiles import with_profile
from simulation.plans import (
    PlanError,
    Section,
    address,
    address_or_all,
    anything,
    encodable,
    flag,
    name,
    number,
    objects,
    one_of,
    or_null,
    shares,
    some_objects,
    text,
    variable,
    whole,
)

MAX_COUNT = 10_000_000  # a deck is kept in memory
SIMULATED_CREDENTIALS = "crawler:simulated"  # opens nothing: simulated vendors take any
# Quantiles of HTML page sizes: HTTP Archive, p10/25/50/75/90 = 6/13/32/71/147 kB.
PAGE_SIZES: Final = ((0.1, 6000), (0.25, 13000), (0.5, 32000), (0.75, 71000), (0.9, 147000))
MAX_HOSTS = 100_000  # 8 bytes each
# Scrapy's RETRY_HTTP_CODES and RETRY_TIMES defaults.
RETRY_CODES: Final = frozenset({500, 502, 503, 504, 522, 524, 408, 429})
RETRY_MAXIMUM = 2
DRAIN_SECONDS = 2.4  # with what leaving takes, 3 s in all
SESSION_SECONDS = 600.0  # what vendors keep a sticky exit for, by default
PLAN_KEYS: Final = (
    *("profile", "description", "seed", "count", "duration_seconds"),
    *("arrival", "requests_per_second", "shape", "shape_period_seconds"),
    *("concurrency", "in_flight_cap", "per_host_concurrency", "think_seconds"),
    *("connection_reuse", "tunnel_hold_seconds", "timeout_seconds", "patience_seconds"),
    *("retries", "hosts", "vendors", "outside", "mix", "session", "ban_codes", "target"),
    *("metrics_host", "metrics_port", "drain_seconds", "linger_seconds", "max_gb_per_day"),
    *("budget_file", "user", "password_env"),
)
VENDOR_KEYS: Final = (
    *("name", "address", "port", "opaque_port", "dead_address", "weight", "mix", "visible"),
    *("faults", "user", "password_env", "session", "ban_codes", "socks5_auth", "simulated"),
)


def read_plan(raw: object, environment: Mapping[str, str], folder: Path | None = None) -> Plan:
    """Check a parsed plan.

    Args:
        raw: the plan; a profile it names lies below its own keys.
        environment: holds the variables that `password_env` names.
        folder: where the path of a profile starts; the working directory if None.

    Raises:
        PlanError: with every finding, not only the first.
    """
    found: list[str] = []
    raw = with_profile(raw, folder or Path())
    top = Section(raw, "", found, PLAN_KEYS)
    raw_target = top.take("target", anything, cast(object, {}))
    target = Section(raw_target, "target", found, ("host_suffix", "sizes_bytes"))
    rate = top.take("requests_per_second", or_null(number(0.01, 1e5)), None)
    points = top.take("shape", or_null(shape), None)
    plan = Plan(
        seed=top.take("seed", whole(0, 2**63), 1),
        count=top.take("count", or_null(whole(1, MAX_COUNT)), None),
        duration_seconds=top.take("duration_seconds", or_null(number(0.1, 1e8)), None),
        arrival=top.take("arrival", one_of(ARRIVALS), "constant" if rate else "closed"),
        requests_per_second=rate,
        shape=points or (),
        shape_period_seconds=top.take("shape_period_seconds", or_null(number(1, 1e7)), None),
        # 16: Scrapy's CONCURRENT_REQUESTS default.
        concurrency=top.take("concurrency", whole(1, 10_000), 16),
        in_flight_cap=top.take("in_flight_cap", or_null(whole(1, 10_000)), None),
        per_host_concurrency=top.take("per_host_concurrency", or_null(whole(1, 10_000)), None),
        think_seconds=top.take("think_seconds", or_null(spread), None),
        tunnel_hold_seconds=top.take("tunnel_hold_seconds", or_null(spread), None),
        hosts=_read_hosts(top, found),
        retries=_read_retries(top, found),
        timeout_seconds=top.take("timeout_seconds", or_null(number(0.2, 3600)), None),
        metrics_host=top.take("metrics_host", address_or_all, "127.0.0.1"),
        metrics_port=top.take("metrics_port", or_null(whole(1, 65535)), None),
        drain_seconds=top.take("drain_seconds", number(0, 3600), DRAIN_SECONDS),
        linger_seconds=top.take("linger_seconds", number(0, 3600), 0.0),
        max_gb_per_day=top.take("max_gb_per_day", or_null(number(1e-6, 1e6)), None),
        budget_file=_read_budget_file(top, folder or Path()),
        connection_reuse=top.take("connection_reuse", whole(1, 1_000_000), 20),
        # 10 s: telemetry.timeoutAfter's default.
        patience_seconds=top.take("patience_seconds", number(0.2, 3600), 10.0),
        vendors=_read_vendors(top, environment, found),
        outside=_read_outside(top, found),
        host_suffix=target.take("host_suffix", name, "sim.test"),
        sizes_bytes=target.take("sizes_bytes", sizes, PAGE_SIZES),
    )
    top.take("description", or_null(text), None)
    _check_together(plan, top)
    if found:
        raise PlanError(sorted(found))
    return plan


def _check_together(plan: Plan, top: Section) -> None:
    """Note the keys that are good by themselves but not beside each other."""
    closed, rate = plan.arrival == "closed", plan.requests_per_second
    if closed and rate:
        top.note("requests_per_second", rate, "has no meaning in arrival closed: leave out one")
    if not closed and not rate:
        top.note("arrival", plan.arrival, "has no rate: add requests_per_second")
    if closed and plan.shape:
        top.note("shape", plan.shape, "shapes a rate, arrival closed has none: leave it out")
    if not closed and plan.think_seconds:
        top.note("think_seconds", top.given("think_seconds"), "is for arrival closed: leave it out")
    period = plan.shape_period_seconds
    if period and not plan.shape:
        top.note("shape_period_seconds", period, "has no shape to repeat: add shape")
    if period and plan.shape and plan.shape[-1][0] > period:
        top.note("shape_period_seconds", period, "ends before the shape does: give more")
    if plan.per_host_concurrency and not plan.hosts:
        top.note("per_host_concurrency", plan.per_host_concurrency, "has no hosts: add hosts")
    limit = plan.timeout_seconds
    if limit and abs(limit - plan.patience_seconds) < PATIENCE_MARGIN_SECONDS:
        reason = f"is so near patience_seconds {plan.patience_seconds:g} that both sides may differ"
        top.note("timeout_seconds", limit, f"{reason}: keep {PATIENCE_MARGIN_SECONDS:g} s away")
    if limit and limit < plan.patience_seconds and any("slow" in v.faults for v in plan.vendors):
        top.note("timeout_seconds", limit, "is too short for the fault slow: exceed patience")
    if plan.linger_seconds and plan.metrics_port is None:
        top.note("linger_seconds", plan.linger_seconds, "shows nothing: add metrics_port")
    _check_budget(plan, top)
    _check_cap(plan, top)


def _check_budget(plan: Plan, top: Section) -> None:
    paid = sorted({vendor.name for vendor in plan.vendors if not vendor.simulated})
    if paid and plan.max_gb_per_day is None:
        reason = f"bounds no cost, but traffic of {', '.join(paid)} is paid for"
        top.note("max_gb_per_day", None, f"{reason}: add max_gb_per_day, such as 1")
    if plan.budget_file and plan.max_gb_per_day is None:
        top.note("budget_file", str(plan.budget_file), "has no budget to keep: add max_gb_per_day")


def _check_cap(plan: Plan, top: Section) -> None:
    cap = plan.in_flight_cap
    if not cap:
        return
    closed = plan.arrival == "closed"
    if plan.concurrency > cap and (closed or top.given("concurrency")):
        top.note("concurrency", plan.concurrency, f"is above in_flight_cap {cap}: lower it")
    if closed or not sum(vendor.weight for vendor in plan.vendors):
        return
    hold = plan.tunnel_hold_seconds.mean() if plan.tunnel_hold_seconds else 0.0
    seconds = {"slow": plan.limit_seconds()}
    # What every count lasts at least, on average: by Little's law more would only queue.
    least = sum(
        share * (seconds.get(fault, 0.0) + hold * (protocol == "tunnel" and not fault))
        for _, protocol, fault, share in cells(plan)
    )
    peak = (plan.requests_per_second or 0) * max((f for _, f in plan.shape), default=1)
    if least * peak > cap:
        reason = f"is below the {math.ceil(least * peak)} that the rate keeps in flight"
        top.note("in_flight_cap", cap, f"{reason}: raise it, or lower requests_per_second")


def _read_budget_file(top: Section, folder: Path) -> Path | None:
    named = top.take("budget_file", or_null(text), None)
    return folder / named if named else None


def _read_hosts(top: Section, found: list[str]) -> Hosts | None:
    raw = top.take("hosts", anything, None)
    if raw is None:
        return None
    item = Section(raw, "hosts", found, ("count", "zipf_exponent"))
    return Hosts(
        count=item.take("count", whole(1, MAX_HOSTS), 1, required=True),
        # 1: what web traffic is near to (Breslau et al. 1999: 0.64 to 0.83 for pages).
        zipf_exponent=item.take("zipf_exponent", number(0, 10), 1.0),
    )


def _read_retries(top: Section, found: list[str]) -> Retries | None:
    raw = top.take("retries", anything, None)
    if raw is None:
        return None
    item = Section(raw, "retries", found, ("codes", "maximum", "switch_vendor", "errors"))
    return Retries(
        codes=item.take("codes", codes, RETRY_CODES),
        maximum=item.take("maximum", whole(0, 100), RETRY_MAXIMUM),
        switch_vendor=item.take("switch_vendor", flag, False),
        errors=item.take("errors", flag, True),
    )


def _read_session(section: Section, where: str, found: list[str]) -> Sticky | None:
    """`session` is a word, or an object with a word as its mode."""
    raw = section.take("session", anything, cast(object, "rotating"))
    if isinstance(raw, str):
        raw = {"mode": raw}
    path = f"{where}.session".lstrip(".")
    item = Section(raw, path, found, ("mode", "sessions", "requests", "seconds", "user"))
    mode = item.take("mode", one_of(("rotating", "sticky")), "rotating", required=True)
    usual_seconds: float | None = SESSION_SECONDS
    sticky = Sticky(
        sessions=item.take("sessions", whole(1, 10_000), 1),
        requests=item.take("requests", or_null(whole(1, 1_000_000)), None),
        seconds=item.take("seconds", or_null(number(0.1, 1e6)), usual_seconds),
        user=item.take("user", user_pattern, SESSION_USER),
    )
    return sticky if mode == "sticky" else None


def _read_vendors(
    top: Section, environment: Mapping[str, str], found: list[str]
) -> tuple[Vendor, ...]:
    usual_mix = top.take("mix", mix, MIX)
    usual_session = _read_session(top, "", found)
    usual_bans = top.take("ban_codes", codes, frozenset[int]())
    usual_credentials = _read_credentials(top, environment) or SIMULATED_CREDENTIALS
    vendors: list[Vendor] = []
    for index, raw in enumerate(top.take("vendors", objects, list[object](), required=True)):
        where = f"vendors[{index}]"
        item = Section(raw, where, found, VENDOR_KEYS)
        port = item.take("port", whole(1, 65535), 1, required=True)
        own_session = _read_session(item, where, found)
        vendor = Vendor(
            name=item.take("name", name, "", required=True),
            address=item.take("address", address, "", required=True),
            port=port,
            opaque_port=item.take("opaque_port", whole(1, 65535), port),
            dead_address=item.take("dead_address", or_null(address), None),
            weight=item.take("weight", number(0, 1e9), 1.0),
            mix=item.take("mix", mix, usual_mix),
            visible=item.take("visible", one_of(VISIBLE), "requests"),
            faults=item.take("faults", shares(tuple(FAULTS)), {}),
            credentials=_read_credentials(item, environment) or usual_credentials,
            session=usual_session if item.given("session") is None else own_session,
            ban_codes=item.take("ban_codes", codes, usual_bans),
            socks5_auth=item.take("socks5_auth", flag, False),
            simulated=item.take("simulated", flag, True),
        )
        _check_vendor(vendor, item)
        vendors.append(vendor)
    if vendors and not any(vendor.weight for vendor in vendors):
        top.note("vendors", [v.weight for v in vendors], "are all the weights: give one above 0")
    return tuple(vendors)


def _check_vendor(vendor: Vendor, item: Section) -> None:
    # A vendor may stand here more than once, an entry for each of its addresses.
    if vendor.name == "outside":
        item.note("name", vendor.name, "is kept for addresses outside: give another")
    if vendor.faults.get("dead") and not vendor.dead_address:
        item.note("faults.dead", vendor.faults["dead"], "has no dead_address: add one")
    if vendor.faults and vendor.visible == "connections":
        item.note("faults", vendor.faults, "show in no connection: leave them out")
    if vendor.faults and not vendor.simulated:
        item.note("faults", vendor.faults, "are for simulated vendors: leave them out")
    user, _, password = vendor.credentials.partition(":")
    if vendor.socks5_auth and max(len(user.encode()) + 64, len(password.encode())) > 255:
        # RFC 1929: a byte holds their length; 64 leave room for a session's id.
        item.note("socks5_auth", True, "takes short credentials: user 191 bytes, password 255")


def _read_outside(top: Section, found: list[str]) -> tuple[Outside, ...]:
    places: list[Outside] = []
    for index, raw in enumerate(top.take("outside", some_objects, list[object]())):
        item = Section(raw, f"outside[{index}]", found, ("address", "port", "share"))
        place = Outside(
            address=item.take("address", address, "", required=True),
            port=item.take("port", whole(1, 65535), 1, required=True),
            share=item.take("share", number(0, 1), 0.0, required=True),
        )
        places.append(place)
    parts = [place.share for place in places]
    if sum(parts) > 1 + 1e-9:
        top.note("outside", parts, "are shares above 1 together: give less")
    return tuple(places)


def _read_credentials(section: Section, environment: Mapping[str, str]) -> str | None:
    """`user:password`: whole out of the variable, or `user` and the variable's password."""
    user = section.take("user", or_null(text), None)
    named = section.take("password_env", or_null(variable), None)
    if user and ":" in user:
        # RFC 7617: the first colon ends the user.
        section.note("user", user.partition(":")[0] + ":***", "has a colon: give the user alone")
    if named is None:
        if user and section.given("password_env") is None:
            section.note("user", user, "has no password_env: name the variable with the password")
        return None
    value = environment.get(named, "")
    if not value:
        section.note("password_env", named, "is no set variable: export it")
    elif not encodable(value):
        section.note("password_env", named, "holds no text in UTF-8: set it anew")
        return None
    elif not user and ":" not in value:
        section.note("password_env", named, "holds no user:password: set it so, or give user")
    return f"{user}:{value}" if user else value
