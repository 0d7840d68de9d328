"""Checks of single values that only a crawler's plan has."""

from __future__ import annotations

import itertools
from typing import cast

from simulation.agreed import MAX_BODY_BYTES
from simulation.crawler.faults import MIX
from simulation.crawler.plan import Spread
from simulation.plans import encodable, number, shares

SESSION_USER = "{user}-session-{id}"


def codes(value: object) -> frozenset[int]:
    found = value if isinstance(value, list) else [None]
    if not all(type(code) is int and 400 <= code <= 599 for code in found):
        raise ValueError("is no list of status codes: give [403, 429], each from 400 to 599")
    return frozenset(cast("list[int]", found))


def spread(value: object) -> Spread:
    """A check for a duration: a number, {"uniform": [low, high]} or {"exponential": mean}."""
    seconds = number(0, 86_400)
    try:
        if not isinstance(value, dict):
            return Spread(kind="uniform", low=seconds(value), high=seconds(value))
        [(kind, given)] = value.items()
        if kind == "uniform" and isinstance(given, list):
            low, high = map(seconds, given)
            if low <= high:
                return Spread(kind=kind, low=low, high=high)
        elif kind == "exponential":
            return Spread(kind=kind, low=seconds(given))
    except ValueError:
        pass
    raise ValueError(
        'is no duration: give seconds up to 86400, {"uniform": [low, high]} or'
        ' {"exponential": mean}'
    )


def shape(value: object) -> tuple[tuple[float, float], ...]:
    """A check for the rate's course: points of seconds and factor, seconds rising."""
    pairs = value if isinstance(value, list) else []
    good = bool(pairs) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(each) in (int, float) and 0 <= each <= 1e7 for each in pair)
        for pair in pairs
    )
    if not good or not all(a[0] < b[0] for a, b in itertools.pairwise(pairs)):
        raise ValueError("is no course: give [[seconds, factor], ...], seconds rising")
    if not any(factor for _, factor in pairs):
        raise ValueError("is 0 throughout: give a factor above 0")
    return tuple((float(at), float(factor)) for at, factor in pairs)


def user_pattern(value: object) -> str:
    good = isinstance(value, str) and "{user}" in value and "{id}" in value
    if not isinstance(value, str) or not good or not encodable(value):
        raise ValueError(f'is no pattern: give one with {{user}} and {{id}}, as "{SESSION_USER}"')
    return value


def mix(value: object) -> dict[str, float]:
    """A check for the shares of the protocols, which make up all counts."""
    found = shares(tuple(MIX))(value)
    if abs(sum(found.values()) - 1) > 1e-6:
        raise ValueError("does not sum to 1: the shares make up all counts")
    return found


def sizes(value: object) -> tuple[tuple[float, int], ...]:
    fix = f"give [[quantile 0 to 1, bytes 0 to {MAX_BODY_BYTES}], ...], both rising"
    pairs = value if isinstance(value, list) else []
    good = all(
        isinstance(pair, list)
        and len(pair) == 2
        and type(pair[0]) in (int, float)
        and type(pair[1]) is int
        and 0 <= pair[0] <= 1
        and 0 <= pair[1] <= MAX_BODY_BYTES
        for pair in pairs
    )
    rising = good and all(
        a[0] < b[0] and a[1] <= b[1]
        for a, b in itertools.pairwise(cast("list[list[float]]", pairs))
    )
    if not pairs or not rising:
        raise ValueError(f"is no list of rising sizes: {fix}")
    return tuple((float(quantile), size) for quantile, size in pairs)
