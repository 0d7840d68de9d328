"""Which vendor serves a target group best, and how sure that is.

Set-up times are of a vendor as a whole, and not in the ledger: `p95_of` asks the main Prometheus.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, Protocol

from money.charges import Month
from money.confidence import ENOUGH_REQUESTS, Interval, wilson
from money.quantities import Book, Part
from money.traffic import Traffic, by_day_and_part

P95_DAYS = 7

Verdict = Literal[
    "best", "no clear best", "dearer", "no rival", "too few requests", "no success", "no price"
]


@dataclass(frozen=True, kw_only=True)
class Score:
    """A vendor's month at one target group. Rates are of requests, with 95 % intervals."""

    target: str
    vendor: str
    currency: str
    cost: Decimal
    traffic: Traffic
    success: Interval
    blocked: Interval
    cost_per_success: Interval | None
    """None without a price, or without a success."""
    verdict: Verdict


def scorecard(book: Book, month: Month) -> list[Score]:
    """Return a score for each target group and vendor with requests; the cheapest first.

    Opaque traffic has no requests, and is left out with its cost.
    """
    traffic: dict[tuple[str, str], Traffic] = defaultdict(Traffic)
    parts: set[Part] = set()
    for (_, part), one in by_day_and_part(book).items():
        if one.requests:
            traffic[part.target, part.vendor] += one
            parts.add(part)
    costs: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for charge in month.charges:
        if charge.part in parts:
            key = (charge.part.target, charge.part.vendor)
            costs[key][charge.currency] += charge.cost
    by_target: dict[str, list[Score]] = defaultdict(list)
    for (target, vendor), one in traffic.items():
        by_target[target].append(_score(target, vendor, one, costs.get((target, vendor), {})))
    return [score for target in sorted(by_target) for score in _judged(by_target[target])]


def _score(target: str, vendor: str, traffic: Traffic, costs: Mapping[str, Decimal]) -> Score:
    # A vendor whose contract changed its currency within the month has no one price.
    currency, cost = next(iter(costs.items())) if len(costs) == 1 else ("", Decimal(0))
    success = wilson(traffic.successes, traffic.requests)
    per_success = None
    if currency and success.value:
        per_request = float(cost) / traffic.requests
        per_success = Interval(*(per_request / rate for rate in reversed(success)))
    return Score(
        target=target,
        vendor=vendor,
        currency=currency,
        cost=cost,
        traffic=traffic,
        success=success,
        blocked=wilson(traffic.blocked, traffic.requests),
        cost_per_success=per_success,
        verdict="dearer",
    )


def _judged(scores: Sequence[Score]) -> list[Score]:
    """Order a target group's vendors, and say which is best if one is beyond doubt."""

    def comparable(score: Score) -> bool:
        return score.traffic.requests >= ENOUGH_REQUESTS and score.cost_per_success is not None

    def order(score: Score) -> tuple[bool, str, float, str]:
        value = score.cost_per_success.value if score.cost_per_success else 0.0
        return not comparable(score), score.currency, value, score.vendor

    ordered = sorted(scores, key=order)
    judged: list[Score] = []
    for score in ordered:
        rivals = [
            other
            for other in ordered
            if other is not score and comparable(other) and other.currency == score.currency
        ]
        judged.append(replace(score, verdict=_verdict(score, rivals, comparable(score))))
    return judged


def _verdict(score: Score, rivals: Sequence[Score], is_comparable: bool) -> Verdict:
    if score.cost_per_success is None:
        return "no success" if score.currency else "no price"
    if not is_comparable:
        return "too few requests"
    bounds = [one.cost_per_success for one in rivals if one.cost_per_success]
    if not bounds:
        return "no rival"
    if all(score.cost_per_success.high < other.low for other in bounds):
        return "best"
    if any(other.high < score.cost_per_success.low for other in bounds):
        return "dearer"
    return "no clear best"


class Queries(Protocol):
    """What is needed of a Prometheus."""

    def query(self, expression: str) -> list[dict[str, Any]]: ...


def p95_of(prometheus: Queries) -> dict[str, float]:
    """Ask the main Prometheus for each vendor's set-up time, in milliseconds.

    It is of a week, since that is what the main Prometheus keeps, and of the vendor as a whole,
    since set-up times have no target group.
    """
    found = prometheus.query(
        "histogram_quantile(0.95, sum by (proxy_vendor, le) (avg_over_time("
        f"proxy_vendor_le:istio_proxy_setup_milliseconds_bucket:rate5m[{P95_DAYS}d])))"
    )
    values = {one["metric"].get("proxy_vendor", ""): float(one["value"][1]) for one in found}
    return {vendor: value for vendor, value in values.items() if math.isfinite(value)}
