"""Books and contracts that tests make up."""

from __future__ import annotations

import math
import random
from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from money.contract import Contract, Rule, Tier
from money.quantities import Book, Part, Quantities, Wire
from money.results import RESULT_OF

GB, GIB = 10**9, 2**30


def hour(text: str) -> datetime:
    """Read "2026-11-01 10" as the hour that begins then, UTC."""
    return datetime.strptime(text, "%Y-%m-%d %H").replace(tzinfo=UTC)


def tiers(*steps: tuple[str | None, str]) -> tuple[Tier, ...]:
    """Make tiers of ("10", "8.4"), (None, "7")."""
    return tuple(
        Tier(up_to=up_to and Decimal(up_to), price=Decimal(price)) for up_to, price in steps
    )


def per_gb(*steps: tuple[str | None, str], unit="GB", **more) -> Rule:
    return Rule(kind="perGB", tiers=tiers(*steps), unit=unit, **more)


def per_request(price: str, **more) -> Rule:
    return Rule(kind="perRequest", tiers=tiers((None, price)), unit="request", **more)


def per_success(price: str, successes=("success",)) -> Rule:
    return Rule(
        kind="perSuccess",
        tiers=tiers((None, price)),
        unit="request",
        successes=frozenset(successes),
    )


def per_address(price: str, addresses: int) -> Rule:
    return Rule(
        kind="perAddressMonth", tiers=tiers((None, price)), unit="address", addresses=addresses
    )


def contract(
    vendor: str,
    *rules: Rule,
    product: str = "",
    currency: str = "USD",
    since: str | None = None,
    monthly: str = "0",
    includes: str = "0",
) -> Contract:
    return Contract(
        vendor=vendor,
        product=product,
        currency=currency,
        valid_from=date.fromisoformat(since) if since else None,
        rules=rules,
        commitment=Decimal(monthly),
        included=Decimal(includes),
    )


FIVE_CONTRACTS = (
    contract("vendor-a", per_gb(("10", "8"), (None, "6.5"), free_results=frozenset({"failed"}))),
    contract("vendor-b", per_success("0.003")),
    contract(
        "vendor-c", per_request("0.0015", free_results=frozenset({"refused"})), currency="EUR"
    ),
    contract("vendor-d", per_address("1.5", 20)),
    contract(
        "vendor-e",
        per_gb(
            (None, "9"),
            unit="GiB",
            counts="target",
            overhead_bytes_per_tunnel=250,
            overhead_bytes_per_request=60,
        ),
        monthly="90",
        includes="4",
    ),
)
"""One of each: by GB with tiers, by success, by request, by address, and a commitment."""


def quantities(
    *,
    received: Mapping[str, float] | None = None,
    sent: Mapping[str, float] | None = None,
    requests: Mapping[str, float] | None = None,
    tunnels: Mapping[str, float] | None = None,
) -> Quantities:
    """Make a part's hour: bytes by result, requests and tunnels by outcome."""
    return Quantities(
        bytes_sent=dict(sent or {}),
        bytes_received=dict(received or {}),
        requests=dict(requests or {}),
        tunnels=dict(tunnels or {}),
    )


def book(
    rows: Iterable[tuple[datetime, Part, Quantities]], *, until: datetime | None = None
) -> Book:
    """Make a book of rows, with the vendors' wire bytes equal to the sum of their parts.

    `until` is the last hour that the ledger knows, without traffic if no row has it.
    """
    hours: dict[datetime, dict[Part, Quantities]] = {}
    for at, part, traffic in rows:
        parts = hours.setdefault(at, {})
        parts[part] = parts[part] + traffic if part in parts else traffic
    coverage = dict.fromkeys((*hours, *((until,) if until else ())), 1.0)
    wire = {at: wire_of(parts) for at, parts in hours.items()}
    return Book(hours=hours, wire=wire, coverage=coverage)


def wire_of(parts: Mapping[Part, Quantities]) -> dict[str, Wire]:
    found: dict[str, Wire] = {}
    for part, traffic in parts.items():
        before = found.get(part.vendor, Wire())
        found[part.vendor] = replace(
            before,
            bytes_sent=before.bytes_sent + sum(traffic.bytes_sent.values()),
            bytes_received=before.bytes_received + sum(traffic.bytes_received.values()),
        )
    return found


PARTS = (
    Part("vendor-a", "residential", "search", "shops"),
    Part("vendor-a", "residential", "prices", "shops"),
    Part("vendor-a", "mobile", "prices", "other"),
    Part("vendor-b", "", "search", "shops"),
    Part("vendor-b", "", "prices", "flights"),
    Part("vendor-c", "", "search", "flights"),
    Part("vendor-d", "", "prices", "shops"),
    Part("vendor-e", "", "search", "other"),
)
"""Vendors, products, teams and targets of the seeded months."""

OUTCOMES = {"success": 0.9, "target_error": 0.04, "blocked": 0.03, "timeout": 0.02, "reset": 0.01}
"""Shares of the requests of a seeded month."""


def seeded_hour(chance: random.Random, at: datetime, share: float) -> Quantities:
    """Make up an hour of a part whose mean is `share` of 1,000 requests: busy by day, less at
    the weekend."""
    by_day = 1 + 0.5 * math.sin((at.hour - 9) / 24 * 2 * math.pi)
    weekend = 0.7 if at.weekday() >= 5 else 1.0
    total = 1000 * share * by_day * weekend * chance.uniform(0.9, 1.1)
    requests = {outcome: round(total * part) for outcome, part in OUTCOMES.items()}
    tunnels = {outcome: number // 2 for outcome, number in requests.items()}
    sent: dict[str, float] = {}
    received: dict[str, float] = {}
    for outcome, number in requests.items():
        result = RESULT_OF[outcome]
        size = 60_000 if result == "delivered" else 800
        sent[result] = sent.get(result, 0) + number * 1_200
        received[result] = received.get(result, 0) + number * round(size * chance.uniform(0.9, 1.1))
    return Quantities(bytes_sent=sent, bytes_received=received, requests=requests, tunnels=tunnels)


def seeded_month(seed: int, year: int = 2026, month: int = 11, *, days: int | None = None) -> Book:
    """Make up a whole month of `PARTS`, or its first days; equal seeds give equal books."""
    chance = random.Random(f"{seed} {year}-{month}")
    begin = datetime(year, month, 1, tzinfo=UTC)
    hours = 24 * (days or monthrange(year, month)[1])
    return book(
        (at, part, seeded_hour(chance, at, 1 / (1 + number)))
        for at in (begin + timedelta(hours=number) for number in range(hours))
        for number, part in enumerate(PARTS)
    )
