"""Exact sums of money: steps of a price, and shares that add up.

Costs are whole numbers of 10^-12 of the currency, so that they add up exactly in any order, in a
`Decimal` of 28 digits too. Only what is shown is rounded to cents.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from money.contract import Tier

STEPS = 10**12
"""How many of the smallest amounts make one of the currency."""


def steps(value: Fraction) -> int:
    """Return a sum as the nearest number of the smallest amounts."""
    return round(value * STEPS)


def decimal(smallest: int) -> Decimal:
    """Return a number of the smallest amounts as a sum of money."""
    return Decimal(f"{smallest}e-12")


def cents(cost: Decimal) -> Decimal:
    """Round a sum as it is shown."""
    return cost.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def price_of(tiers: Sequence[Tier], units: Fraction) -> Fraction:
    """Return what a month's first `units` cost."""
    cost, below = Fraction(0), Fraction(0)
    for tier in tiers:
        top = units if tier.up_to is None else min(units, Fraction(tier.up_to))
        cost += max(Fraction(0), top - below) * Fraction(tier.price)
        below = max(below, top)
    return cost


def price_at(tiers: Sequence[Tier], units: Fraction) -> Decimal:
    """Return the price of the next unit, after a month's first `units`."""
    return next(tier.price for tier in tiers if tier.up_to is None or units < Fraction(tier.up_to))


def shared(amount: int, weights: Sequence[Fraction]) -> list[int]:
    """Split a whole number by weights; the largest takes what rounding leaves.

    Without any weight there is nothing to split, and `amount` is 0.
    """
    if not (whole := sum(weights)):
        return [0] * len(weights)
    shares = [amount * weight // whole for weight in weights]
    largest = max(range(len(weights)), key=lambda index: weights[index])
    shares[largest] += amount - sum(shares)
    return shares
