"""What is metered here is what a vendor bills, by its own sockets and its own rule, within 0.5 %.

Each vendor writes three bills (docs/simulated-vendors.md). Our side is what an operator has:
Prometheus' counters as an hour of the ledger, and a contract with the default overhead.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from lab.loopback import get_json
from lab.system import running
from money.billable import NEVER_SENT
from money.charges import month_charges
from money.exact import cents
from money.quantities import Book, Part, Quantities
from money.results import REFUSED, RESULT_OF
from settings.billing import Overhead
from tests.lab.conftest import free_ports
from tests.money.books import GB, contract, per_address, per_gb, per_request, per_success

pytestmark = pytest.mark.long

COUNTS = 6000
HOUR = datetime(2026, 11, 30, 23, tzinfo=UTC)
OVERHEAD = Overhead()
RULES = {
    "wire": per_gb((None, "1")),
    "target": per_gb(
        (None, "1"),
        counts="target",
        overhead_bytes_per_tunnel=OVERHEAD.tunnel,
        overhead_bytes_per_request=OVERHEAD.request,
    ),
    "delivered": per_gb((None, "1"), free_results=frozenset({"refused", "failed"})),
}


@pytest.fixture(scope="module", params=["http", "passive"])
def run(request, tmp_path_factory):
    """Return what the vendors wrote and what Prometheus counted, of one seeded run."""
    folder = tmp_path_factory.mktemp("lab") / "bills"
    with running(
        ports=free_ports(), folder=folder, say=lambda line: None, inspect=request.param
    ) as lab:
        lab.start_crawler(count=COUNTS, requests_per_second=None, mix="even", seed=7)
        lab.family.wait_for_end("crawler")
        lab.settle()
        yield request.param, get_json(f"{lab.vendor_url}/books"), metered(lab)


def metered(lab):
    """Return Prometheus' counters as an hour of the ledger."""
    parts = defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
    for metric, kind, by in (
        ("istio_proxy_request_bytes_total", "bytes_sent", "proxy_result"),
        ("istio_proxy_response_bytes_total", "bytes_received", "proxy_result"),
        ("istio_requests_total", "requests", "proxy_outcome"),
    ):
        for sample in lab.query(f'{metric}{{proxy_vendor!=""}}'):
            labels, value = sample["metric"], float(sample["value"][1])
            names = ("proxy_vendor", "proxy_pool", "team", "proxy_target")
            quantities = parts[Part(*(labels.get(name, "") for name in names))]
            quantities[kind][labels.get(by, "")] += value
            if kind == "requests" and labels["proxy_visibility"] in ("tunnel", "socks"):
                quantities["tunnels"][labels[by]] += value
    hour = {part: Quantities(**kinds) for part, kinds in parts.items()}
    return Book(hours={HOUR: hour}, wire={}, coverage={HOUR: 1.0})


def bills(books, rule):
    """Return the bytes that each vendor bills."""
    rows = books["bills"]
    return {
        row["vendor"]: row["count"]
        for row in rows
        if row["counts"] == rule and row["vendor"].startswith("vendor-")
    }


@pytest.mark.parametrize("rule", RULES)
def test_billable_bytes_are_those_of_the_vendors_bill(run, rule):
    """By vendor; also of those whose connections nobody reads."""
    inspect, books, book = run
    theirs = bills(books, rule)
    contracts = tuple(contract(vendor, RULES[rule]) for vendor in theirs)
    ours = defaultdict(Decimal)
    for charge in month_charges(book, contracts, 2026, 11).charges:
        ours[charge.part.vendor] += charge.quantity * GB
    assert len(theirs) >= 10
    for vendor, billed in theirs.items():
        apart = float(ours[vendor]) / billed - 1
        print(f"{inspect} {rule} {vendor}: {ours[vendor]:.0f} of {billed}, {apart:+.4%}")
        assert abs(apart) <= 0.005, vendor


def counted(books, vendor, is_billed=lambda outcome: True):
    """Return the requests in a vendor's own books."""
    rows = books["counts"]
    return sum(
        row["count"] for row in rows if row["vendor"] == vendor and is_billed(row["outcome"])
    )


def test_a_run_costs_what_its_vendors_would_charge(run):
    """Five kinds of contract; the other side is arithmetic on the vendors' own books."""
    inspect, books, book = run
    wire = bills(books, "wire")
    megabytes = {vendor: Decimal(size) / 10**6 for vendor, size in wire.items()}
    contracts = (
        contract("vendor-a", per_gb(("0.005", "8000"), (None, "6500"))),
        contract("vendor-b", per_success("0.3")),
        contract("vendor-c", per_request("0.15", free_results=frozenset({"refused"}))),
        contract("vendor-d", per_address("1.5", 20)),
        contract("vendor-e", per_gb((None, "9000")), monthly="90", includes="0.004"),
    )
    sent = counted(
        books,
        "vendor-c",
        lambda outcome: RESULT_OF[outcome] != REFUSED and outcome not in NEVER_SENT,
    )
    by_hand = {
        "vendor-a": 5 * 8 + (megabytes["vendor-a"] - 5) * Decimal("6.5"),
        "vendor-b": counted(books, "vendor-b", lambda outcome: outcome == "success")
        * Decimal("0.3"),
        "vendor-c": sent * Decimal("0.15"),
        "vendor-d": 20 * Decimal("1.5"),
        "vendor-e": 90 + (megabytes["vendor-e"] - 4) * 9,
    }
    month = month_charges(book, contracts, 2026, 11)
    ours = defaultdict(Decimal)
    for charge in month.charges:
        ours[charge.part.vendor] += charge.cost
    for vendor, cost in by_hand.items():
        print(f"{inspect} {vendor}: {cents(ours[vendor])} USD, by hand {cents(cost)}")
        if vendor in ("vendor-a", "vendor-e") and inspect == "http":  # Envoy adds a date
            assert abs(ours[vendor] / cost - 1) <= Decimal("0.005"), vendor
        else:
            assert cents(ours[vendor]) == cents(cost), vendor
    traffic = {part.vendor for part in month.without_price}
    assert traffic >= wire.keys() - by_hand.keys()


def test_requests_that_reached_a_vendor_are_in_its_books(run):
    """Else a price by request would be of something else."""
    _, books, book = run
    for vendor in ("vendor-a", "vendor-b", "vendor-c"):
        ours = sum(
            number
            for part, traffic in book.hours[HOUR].items()
            if part.vendor == vendor
            for outcome, number in traffic.requests.items()
            if outcome not in NEVER_SENT
        )
        # A vendor of SOCKS5 can say that it has no connection to the site.
        assert ours == counted(books, vendor, lambda outcome: outcome not in NEVER_SENT)
