"""What a month would have cost, and brought, with a move of traffic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from money.charges import Month, month_charges
from money.confidence import ENOUGH_REQUESTS, Z
from money.contract import Contract
from money.quantities import Book
from money.traffic import traffic_of
from money.what_if.moved import Move, Rates, entries, moved_book


class WhatIfError(Exception):
    """A question that has no answer: one line, with what to do."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A figure now and then, and half of the 95 % interval of the difference (None: unknown)."""

    now: float
    then: float
    error: float | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Figures of the two vendors, all of their traffic in the month."""

    move: Move
    money: Mapping[str, Change]
    """By currency."""
    successes: Change
    requests: float
    """Of the two vendors; the move changes nothing about them."""
    moved_requests: float
    moved_bytes: float
    """Opaque ones, which belong to no request; they move with the same share."""
    month_now: Month
    month_then: Month


def what_if(book: Book, contracts: Sequence[Contract], year: int, month: int, move: Move) -> Answer:
    """Predict a month with the move from the same month without it.

    Raises:
        WhatIfError: a vendor has no price, or too few requests to learn from.
    """
    there = Rates.measured(book, move.resembles)
    here = Rates.measured(book, move.takes)
    _require_enough(move, here, there)

    def charged(moved: Book) -> Month:
        return month_charges(moved, contracts, year, month)

    def changed(arriving: float, leaving: float) -> Month:
        return charged(moved_book(book, move, there.shifted(arriving), here.bytes_factor(leaving)))

    now, then = charged(book), changed(0, 0)
    _require_prices(move, then)
    bounds = [(changed(-1, 0), changed(1, 0)), (changed(0, -1), changed(0, 1))]
    is_known = math.isfinite(there.error + here.error)
    both = (move.source, move.destination)
    money = {
        currency: Change(
            now=float(_cost(now, both, currency)),
            then=float(_cost(then, both, currency)),
            error=_half(bounds, both, currency) if is_known else None,
        )
        for currency in sorted({one.currency for one in then.charges if one.part.vendor in both})
    }
    return Answer(
        move=move,
        money=money,
        successes=_successes(book, move, here, there),
        requests=sum(
            traffic_of(one).requests for _, part, one in entries(book) if part.vendor in both
        ),
        moved_requests=move.share * here.requests,
        moved_bytes=move.share * here.opaque_bytes,
        month_now=now,
        month_then=then,
    )


def _successes(book: Book, move: Move, here: Rates, there: Rates) -> Change:
    both = (move.source, move.destination)
    now = sum(traffic_of(one).successes for _, part, one in entries(book) if part.vendor in both)
    moved = move.share * here.requests
    error = Z * moved * math.hypot(here.success_error, there.success_error)
    return Change(
        now=now,
        then=now + moved * (there.success - here.success),
        error=error if math.isfinite(error) else None,
    )


def _require_enough(move: Move, here: Rates, there: Rates) -> None:
    where = f" to {move.target}" if move.target else ""
    if not here.requests and not here.opaque_bytes:
        raise WhatIfError(f"MOVE: {move.source} has no traffic{where} in this month to be moved")
    if here.requests and there.requests < ENOUGH_REQUESTS:
        raise WhatIfError(
            f"MOVE: {move.destination} had {there.requests:.0f} requests{where} in this month, too "
            f"few to predict from; send it {ENOUGH_REQUESTS} first"
        )


def _require_prices(move: Move, then: Month) -> None:
    for part in then.without_price:
        if part.vendor in (move.source, move.destination):
            product = f", product {part.product}" if part.product else ""
            raise WhatIfError(
                f"MOVE: {part.vendor}{product} has no price; set `billing` of the vendor"
            )


def _cost(month: Month, vendors: tuple[str, str], currency: str) -> Decimal:
    found = (
        one.cost for one in month.charges if one.part.vendor in vendors and one.currency == currency
    )
    return sum(found, Decimal(0))


def _half(bounds: Sequence[tuple[Month, Month]], vendors: tuple[str, str], currency: str) -> float:
    """Return the error of both vendors' rates; they are independent of each other."""
    return math.hypot(
        *(
            float(abs(_cost(high, vendors, currency) - _cost(low, vendors, currency))) / 2
            for low, high in bounds
        )
    )
