"""What a move is said to cost is what it costs when crawlers really make it, through Envoy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lab.system import Lab, running
from money.charges import Month, month_charges
from money.quantities import Book, Part, Quantities
from money.traffic import by_day_and_part
from money.what_if.moved import parse_move
from money.what_if.prediction import what_if
from tests.lab.conftest import free_ports
from tests.money.books import contract, per_gb, per_success

COUNTS = 2500
RUNS = 2
"""Of each kind; each stands for an hour of the ledger."""

FAULTS = {
    "vendor-a": {"blocked": 0.2, "target-error": 0.02, "reset": 0.01},
    "vendor-b": {"blocked": 0.04, "target-error": 0.02, "vendor-error": 0.01},
}
BEFORE = {"vendor-a": 3.0, "vendor-b": 1.0}
AFTER = {"vendor-a": 2.1, "vendor-b": 1.9}
CONTRACTS = (
    contract("vendor-a", per_gb(("0.05", "8"), (None, "6"))),
    contract("vendor-b", per_success("0.0005")),
)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
LABELS = "proxy_vendor, proxy_pool, proxy_target"

Counts = Counter[tuple[str, ...]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("lab") / "what-if"
    with running(ports=free_ports(), folder=folder, say=lambda line: None) as running_lab:
        yield running_lab


def test_a_move_costs_and_brings_what_was_predicted(lab: Lab) -> None:
    """30 % of vendor-a's traffic is moved in the crawler's plan: the money, and the successes, of
    both vendors are within 5 % of what was predicted without it."""
    answer = what_if(
        book_of(lab, BEFORE, seed=1), CONTRACTS, 2026, 11, parse_move("vendor-a:vendor-b:30%", "")
    )
    after = book_of(lab, AFTER, seed=11)
    money = cost(month_charges(after, CONTRACTS, 2026, 11))
    successes = sum(one.successes for one in by_day_and_part(after).values())
    predicted = answer.money["USD"]
    print(f"{predicted}, really {money:.4f}; {answer.successes}, really {successes:.0f}")
    assert predicted.then == pytest.approx(money, rel=0.05)
    assert answer.successes.then == pytest.approx(successes, rel=0.05)
    # The move is larger than what is allowed for.
    assert predicted.now != pytest.approx(money, rel=0.05)
    assert answer.successes.now != pytest.approx(successes, rel=0.02)


def cost(month: Month) -> float:
    return float(sum((one.cost for one in month.charges), Decimal(0)))


def book_of(lab: Lab, weights: Mapping[str, float], seed: int) -> Book:
    """Let the crawler run, and return what Prometheus counted: a run is an hour."""
    hours: dict[datetime, dict[Part, Quantities]] = {}
    before = counted(lab)
    for run in range(RUNS):
        crawl(lab, weights, seed + run)
        now = counted(lab)
        hours[NOON + timedelta(hours=run)] = parts_of(now - before)
        before = now
    return Book(hours=hours, wire={}, coverage=dict.fromkeys(hours, 1.0))


def crawl(lab: Lab, weights: Mapping[str, float], seed: int) -> None:
    def two_vendors(own: dict[str, Any]) -> dict[str, Any]:
        first = {one["name"]: one for one in reversed(own["vendors"])}
        mix = {"http": 0.6, "tunnel": 0.4}
        vendors = [
            first[name] | {"mix": mix, "faults": FAULTS[name], "weight": weight}
            for name, weight in weights.items()
        ]
        return own | {"vendors": vendors}

    lab.start_crawler(count=COUNTS, requests_per_second=None, seed=seed, change=two_vendors)
    lab.family.wait_for_end("crawler")
    lab.settle()


def counted(lab: Lab) -> Counts:
    """Return the counters by metric, part, and outcome or result."""
    found: Counts = Counter()
    for metric, by in (
        ("istio_requests_total", "proxy_outcome"),
        ("istio_proxy_request_bytes_total", "proxy_result"),
        ("istio_proxy_response_bytes_total", "proxy_result"),
    ):
        vendors = "|".join(BEFORE)
        for one in lab.query(
            f'sum by ({LABELS}, {by}) ({metric}{{job="sidecars", proxy_vendor=~"{vendors}"}})'
        ):
            labels = one["metric"]
            part = [labels.get(name, "") for name in LABELS.split(", ")]
            found[metric, *part, labels.get(by, "")] += float(one["value"][1])
    return found


def parts_of(counts: Counts) -> dict[Part, Quantities]:
    found: dict[Part, Quantities] = {}
    for (metric, vendor, product, target, value), number in counts.items():
        part = Part(vendor, product, "", target)
        one = found.setdefault(
            part, Quantities(bytes_sent={}, bytes_received={}, requests={}, tunnels={})
        )
        kind = {
            "istio_requests_total": one.requests,
            "istio_proxy_request_bytes_total": one.bytes_sent,
            "istio_proxy_response_bytes_total": one.bytes_received,
        }[metric]
        kind[value] = number  # type: ignore[index]
    return found
