"""`make what-if`: what a month would have cost, and brought, with traffic moved to another vendor.

The moved requests take the destination's own outcomes and bytes at the same target group. The
month is then charged anew, so tiers, least sums and included units count as they do on the invoice.

Exit codes: 0 good, 2 could not run.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from money.charges import Month, month_charges
from money.command import CommandError, add_stack, ledger_of, parse_month, stack_of
from money.contract import Contract
from money.daily import coverage, traffic_of
from money.from_settings import contracts_of
from money.moved import Move, Rates, entries, moved_book, parse_move
from money.quantities import Book
from money.scorecard import ENOUGH_REQUESTS
from money.statistics import Z
from settings.loading import SettingsError
from tools.reports import add_out, could_not_run, finish, print_result


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


def main(arguments: Sequence[str] | None = None, now: datetime | None = None) -> int:
    options = _options(arguments)
    now = now or datetime.now(UTC)
    try:
        move = parse_move(options.move, options.target)
        stack = stack_of(options)
        month = parse_month(options.month, now)
        with ledger_of(stack) as ledger:
            book, until = ledger.month(month, now)
        answer = what_if(book, contracts_of(stack.settings), *month, move)
    except SettingsError as error:
        return could_not_run("what-if", options.out, *error.findings)
    except (CommandError, WhatIfError) as error:
        return could_not_run("what-if", options.out, str(error))
    except ValueError as error:
        return could_not_run("what-if", options.out, f"MOVE: {error}")
    except KeyboardInterrupt:
        return could_not_run("what-if", options.out, "stopped")
    covered = coverage(book, *month, until)
    status = print_result("\n".join(_lines(answer, month, covered)))
    return finish("what-if", options.out, {"status": status, "findings": [], **as_json(answer)})


def as_json(answer: Answer) -> dict[str, Any]:
    """Return the figures; `error` is half of the 95 % interval, null if it is not known."""
    return {
        "from": answer.move.source,
        "to": answer.move.destination,
        "share": answer.move.share,
        "target": answer.move.target,
        "month": f"{answer.month_now.year}-{answer.month_now.month:02}",
        "requests": round(answer.requests),
        "movedRequests": round(answer.moved_requests),
        "movedOpaqueBytes": round(answer.moved_bytes),
        "money": {currency: asdict(change) for currency, change in answer.money.items()},
        "successes": asdict(answer.successes),
    }


def _lines(answer: Answer, month: tuple[int, int], covered: float) -> Iterator[str]:
    move = answer.move
    where = f" to {move.target}" if move.target else ""
    opaque = answer.moved_bytes / 1e9
    more = f" and {opaque:,.1f} GB that cannot be read" if opaque else ""
    yield (
        f"If {move.share:.0%} of {move.source}'s traffic{where} in {month[0]}-{month[1]:02} "
        f"({covered:.1%} of its hours recorded) had gone to {move.destination}: "
        f"{answer.moved_requests:,.0f} requests{more}"
    )
    yield f"{'both vendors':<22}{'as it was':>16}{'moved':>16}   change"
    for currency, change in answer.money.items():
        yield _line(f"cost, {currency}", change, "{:,.2f}")
    yield _line("successes", answer.successes, "{:,.0f}")
    for currency, change in answer.money.items():
        if answer.successes.now and answer.successes.then:
            now = 1000 * change.now / answer.successes.now
            then = 1000 * change.then / answer.successes.then
            name = f"{currency} per 1,000"
            yield f"{name:<22}{now:>16,.4f}{then:>16,.4f}   {then - now:+,.4f}"
    yield from _further(answer)
    yield (
        "The interval is of what is not known of both vendors' rates. It does not know whether the "
        "vendor bears the load, or whether crawlers then ask again less."
    )


def _further(answer: Answer) -> Iterator[str]:
    """Say what a success more costs, which is the price of the move."""
    gained = answer.successes.then - answer.successes.now
    paid = {name: one.then - one.now for name, one in answer.money.items()}
    if len(paid) == 1 and gained >= 1:
        currency, more = next(iter(paid.items()))
        if more > 0:
            yield f"1,000 successes more cost {1000 * more / gained:,.4f} {currency}."


def _line(name: str, change: Change, form: str) -> str:
    difference = change.then - change.now
    sign = "+" if difference >= 0 else "-"
    interval = "interval unknown: less than two hours of data"
    if change.error is not None:
        low, high = difference - change.error, difference + change.error
        interval = f"({form.format(low)} to {form.format(high)})"
    return (
        f"{name:<22}{form.format(change.now):>16}{form.format(change.then):>16}   "
        f"{sign}{form.format(abs(difference))} {interval}"
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make what-if", description=__doc__)
    parser.add_argument("--move", default="", help="vendor-a:vendor-b:30%% (MOVE)")
    parser.add_argument("--target", default="", help="a target group; default: all (TARGET)")
    add_stack(parser)
    add_out(parser, "what-if.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
