"""`make what-if`: what a month would have cost, and brought, with traffic moved to another vendor.

The moved requests take the destination's own outcomes and bytes at the same target group. The
month is then charged anew, so tiers, least sums and included units count as they do on the invoice.

Exit codes: 0 good, 2 could not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from money.command import CommandError, add_stack, ledger_of, parse_month, stack_of
from money.from_settings import contracts_of
from money.traffic import coverage
from money.what_if.moved import Move, parse_move
from money.what_if.prediction import Answer, Change, WhatIfError, what_if
from settings.loading import SettingsError
from tools.reports import add_out, could_not_run, finish, print_result


def main(arguments: Sequence[str] | None = None, now: datetime | None = None) -> int:
    options = _options(arguments)
    now = now or datetime.now(UTC)
    try:
        move = parse_move(options.move, options.target)
        stack = stack_of(options)
        _require_known(move, [one.name for one in stack.settings.vendors])
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


def _require_known(move: Move, vendors: Sequence[str]) -> None:
    for name in (move.source, move.destination):
        if name not in vendors:
            raise CommandError(f"MOVE: {name} is no vendor; name two of {', '.join(vendors)}")


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
        # Successes are of both vendors: in two currencies there is no price of one.
        if len(answer.money) == 1 and answer.successes.now and answer.successes.then:
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
