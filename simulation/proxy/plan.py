"""The plan of the simulated vendors: each key with its check and its default."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulation.plans import (
    VARIABLE,
    PlanError,
    SecretValueError,
    address_or_all,
    encodable,
    finding,
    flag,
    key,
    mapping,
    nested,
    number,
    one_of,
    plain_name,
    several,
    shares,
    text,
    under,
    whole,
    without_secrets,
)
from simulation.proxy.answers import DIALECTS, FAULTS, WORDED

SESSION_SECONDS = 600.0  # ten minutes is what most vendors give a session
HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
MAX_SECONDS = 3600.0
VISIBLE = ("requests", "passive", "connections")
USER_PATTERN = re.compile(r"[A-Za-z0-9._~+@*-]{1,128}")  # as `vendors[].products` of a stack
MAX_EXITS = 65_536
NORMAL_P95 = 1.6448536269514722  # the normal distribution's 95th percentile, in deviations


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Log-normal around the median `p50`; `sigma` 0 is always p50."""

    p50: float
    sigma: float

    def draw(self, chance: random.Random) -> float:
        spread = math.exp(chance.gauss(0, self.sigma)) if self.sigma else 1.0
        return min(self.p50 * spread, MAX_SECONDS)


def latency(value: object) -> Latency:
    """A check for seconds, or their median and 95th percentile."""
    wanted = value if isinstance(value, dict) else {"p50": value, "p95": value}
    try:
        p50, p95 = (number(0, MAX_SECONDS)(wanted[each]) for each in ("p50", "p95"))
    except (KeyError, ValueError):
        p50, p95 = 1.0, 0.0
    if p95 < p50 or (p95 > p50 == 0) or len(wanted) != 2:
        raise ValueError(
            "is no latency: give seconds up to 3600, or {p50, p95}, rising from above 0"
        )
    return Latency(p50=p50, sigma=math.log(p95 / p50) / NORMAL_P95 if p95 > p50 else 0.0)


def fault_shares(value: object) -> tuple[tuple[float, str], ...]:
    """A check for shares of faults; each comes with the part of 1 up to which it is drawn."""
    found = shares(FAULTS)(value)
    return tuple(zip(itertools.accumulate(found.values()), found, strict=True))


def dialect(value: object) -> Mapping[str, str]:
    """A check for how a vendor words a fault: a fault to the one that words it."""
    found = {}
    for fault, wording in mapping(value).items():
        if fault not in DIALECTS:
            raise ValueError(f"names {without_secrets(fault)}: use {', '.join(DIALECTS)}")
        if not isinstance(wording, str) or wording not in DIALECTS[fault]:
            given, known = json.dumps(without_secrets(wording)), ", ".join(DIALECTS[fault])
            raise ValueError(f"gives {fault} {given}: use one of {known}")
        found[fault] = DIALECTS[fault][wording]
    return found


def headers(value: object) -> Mapping[str, str]:
    found = mapping(value)
    for name, content in found.items():
        if not HEADER.fullmatch(name) or not isinstance(content, str) or not content.isprintable():
            raise ValueError('are no headers: give {"x-error": "text"}')
        if not content.isascii():
            raise ValueError("are not in ASCII: write them so")
    return {name: str(content) for name, content in found.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """An answer in a vendor's own words; `connect` says for which requests, null for all."""

    status: int = key(whole(200, 999))
    headers: Mapping[str, str] = key(headers, {})
    connect: bool | None = key(flag, None)


def wordings(value: object) -> Mapping[str, tuple[Wording, ...]]:
    """A check for {fault: [answer, ...]}, which come in turn."""
    found = {}
    for fault, given in mapping(value).items():
        if fault not in WORDED:
            raise ValueError(f"names {without_secrets(fault)}: use {', '.join(WORDED)}")
        try:
            found[fault] = several(Wording, "give [{status, headers}]", least=1)(given)
        except PlanError as error:
            raise PlanError([under(fault, line) for line in error.findings]) from None
        except ValueError as reason:
            raise PlanError([finding(fault, given, str(reason))]) from None
    return found


def logins(value: object) -> Mapping[str, str]:
    """A check for {user: name of a variable}; a password in the place of either is not shown."""
    given = mapping(value)
    for user, variable in given.items():
        if not user or ":" in user or not encodable(user):
            raise SecretValueError("has a user that is empty or has a colon: give the name alone")
        if not isinstance(variable, str) or not VARIABLE.fullmatch(variable):
            reason = f"gives {without_secrets(user)} what is no name of a variable"
            raise SecretValueError(f"{reason}: give the name, not what it holds")
    if not given:
        raise ValueError('is empty: give {"user": "NAME_OF_A_VARIABLE"}, or leave it out')
    return {user: str(variable) for user, variable in given.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Exits:
    """`count` exit addresses; a session keeps one of them for `session_seconds`, then another."""

    count: int = key(whole(1, MAX_EXITS))
    session_seconds: float = key(number(0.01, 86_400), SESSION_SECONDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a customer may take; None is without limit. A rate's bucket holds a second's worth."""

    requests_per_second: float | None = key(number(0.01, 1e6), None)
    quota_bytes: int | None = key(whole(0, 2**60), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """How a vendor treats its customers; without credentials anybody is one."""

    credentials: Mapping[str, str] = key(logins, {})  # user to variable
    exits: Exits | None = key(nested(Exits), None)
    limits: Limits = key(nested(Limits), Limits())
    latency_seconds: Latency | None = key(latency, None)
    dialect: Mapping[str, str] = key(dialect, {})
    answers: Mapping[str, tuple[Wording, ...]] = key(wordings, {})
    faults: tuple[tuple[float, str], ...] = key(fault_shares, ())
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)  # by user
    raw: Mapping[str, object] = field(default_factory=dict)  # the JSON that says all of it


def user_pattern(value: object) -> str:
    if not isinstance(value, str) or not USER_PATTERN.fullmatch(value):
        raise SecretValueError("is no pattern of user names: give one such as *-zone-resi*")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """What the users buy whose name fits the pattern, in which * stands for any text."""

    user: str = key(user_pattern)
    name: str = key(plain_name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listen:
    """`visible` says what a sidecar sees of the connections here, as in a crawler's plan.

    The first of `products` that fits a request's user is its pool in the books, else `pool` is.
    """

    vendor: str = key(plain_name)
    address: str = key(address_or_all)
    port: int = key(whole(1, 65535))
    visible: str = key(one_of(VISIBLE), "requests")
    pool: str = key(plain_name, "")
    products: tuple[Product, ...] = key(
        several(Product, "give [{user, name}], or leave it out"), ()
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to serve. Times are seconds; `certificate` and `key` are PEM paths, both or neither."""

    listen: tuple[Listen, ...] = key(several(Listen, "give at least one entry", least=1))
    vendors: Mapping[str, Any] = key(mapping, {})  # name to Behaviour, once the plan is read
    control_port: int = key(whole(1, 65535))
    control_host: str = key(address_or_all, "127.0.0.1")
    slow_seconds: float = key(number(0, 3600), 30.0)
    # The default of telemetry.timeoutAfter, which divides timeout from client_cancelled.
    timeout_after_seconds: float = key(number(0.1, 3600), 10.0)
    seed: int = key(whole(0, 2**63), 1)
    certificate: str | None = key(text, None)
    key: str | None = key(text, None)
