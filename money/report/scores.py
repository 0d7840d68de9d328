"""The scorecard as a part of the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from money.confidence import ENOUGH_REQUESTS, Interval
from money.report.html import html, paragraph, table
from money.report.scorecard import P95_DAYS, Score


def scorecard_part(scores: Sequence[Score], p95: Mapping[str, float] | None) -> Iterator[str]:
    if not scores:
        return
    yield "<h2>Which vendor for which target group</h2>"
    header = ["Vendor", "Verdict", "Per 1,000 successes", "Success", "Blocked", "Requests"]
    if p95 is not None:
        header.append("p95 set-up")
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for one in scores:
        costs[one.target] += one.cost
    for target in sorted(costs, key=lambda name: -costs[name]):
        yield f"<h3>{html(target or 'no target group')}</h3>"
        yield table(header, [_cells(one, p95) for one in scores if one.target == target], words=2)
    yield paragraph(
        "In brackets: 95 % intervals. “Best” is a vendor whose cost per success is below all "
        f"others' by more than chance, over at least {ENOUGH_REQUESTS} requests. Fixed sums count "
        "with the traffic that they were spread to.",
        "quiet",
    )
    yield paragraph(
        "Set-up times are not in the ledger; set PROMETHEUS_URL to the main Prometheus to see them."
        if p95 is None
        else f"Set-up times are of the last {P95_DAYS} days, and of the vendor at all targets.",
        "quiet",
    )


def _cells(one: Score, p95: Mapping[str, float] | None) -> list[str]:
    setup = [] if p95 is None else [f"{p95[one.vendor]:,.0f} ms" if one.vendor in p95 else ""]
    return [
        one.vendor,
        one.verdict,
        _price(one.cost_per_success, one.currency),
        _rate(one.success),
        _rate(one.blocked),
        f"{one.traffic.requests:,.0f}",
        *setup,
    ]


def _rate(rate: Interval) -> str:
    return f"{rate.value:.1%} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def _price(price: Interval | None, currency: str) -> str:
    if price is None:
        return ""
    low, value, high = (f"{1000 * one:,.2f}" for one in price)
    return f"{value} {currency} ({low} to {high})"
