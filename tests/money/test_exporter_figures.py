"""The exporter's metrics of one book and its contracts, against numbers computed by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from money.billable import billable
from money.contract import Budget, Contract, Rule
from money.exporter import figures as figures_module
from money.exporter import prices
from money.exporter.figures import figures
from money.exporter.page import text_of
from money.forecast.history import history_of
from money.quantities import Book, Part, Quantities
from money.results import RESULT_OF
from tests.money.books import per_address, per_gb, per_request, per_success
from tests.rules.test_rules import FAILURES, NO_FAILURES

DAY = timedelta(days=1)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
PART = Part("vendor-a", "residential", "team-a", "shops")

Samples = dict[str, float]


def contract(*rules: Rule, vendor: str = "vendor-a", **more: object) -> Contract:
    whole = Contract(vendor=vendor, product="", currency="USD", valid_from=None, rules=rules)
    return replace(whole, **more)  # type: ignore[arg-type]


def an_hour(gigabytes: float = 1.0, requests: float = 1000.0) -> Quantities:
    return Quantities(
        bytes_sent={"delivered": gigabytes * 1e8, "failed": gigabytes * 1e8},
        bytes_received={"delivered": gigabytes * 8e8},
        requests={"success": requests * 0.9, "connect_failed": requests * 0.1},
    )


def book_until(now: datetime, *parts: Part, **amounts: float) -> Book:
    hours = [BEGIN + n * timedelta(hours=1) for n in range(int((now - BEGIN) / DAY * 24))]
    one = an_hour(**amounts)
    return Book(
        hours={hour: dict.fromkeys(parts or (PART,), one) for hour in hours}, wire={}, coverage={}
    )


def exported(
    book: Book, *contracts: Contract, budgets: tuple[Budget, ...] = (), now: datetime = NOW
) -> Samples:
    text = text_of(figures(history_of(book), contracts, budgets, now))
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def of(samples: Samples, name: str) -> Samples:
    return {key: value for key, value in samples.items() if re.match(rf"{name}(?:{{|$)", key)}


def sample(samples: Samples, name: str, **labels: str) -> float:
    found = [
        value
        for key, value in of(samples, name).items()
        if all(f'{label}="{text}"' in key for label, text in labels.items())
    ]
    assert len(found) == 1, (name, labels, [*of(samples, name)])
    return found[0]


def one_price(samples: Samples) -> float:
    (price,) = set(of(samples, "proxy_unit_price").values())
    return price


def test_a_months_cost_is_by_part_and_currency() -> None:
    """60 hours of 1 GB, of which a tenth failed and is free: 54 GB for 8 USD each."""
    samples = exported(
        book_until(NOW), contract(per_gb((None, "8"), free_results=frozenset({"failed"})))
    )
    assert samples[
        'proxy_cost_month_to_date{proxy_vendor="vendor-a",proxy_pool="residential",'
        'team="team-a",proxy_target="shops",currency="USD"}'
    ] == pytest.approx(432)
    assert sample(samples, "proxy_cost_last_day") == pytest.approx(24 * 0.9 * 8)
    assert samples["proxy_ledger_last_hour_timestamp_seconds"] == NOW.timestamp()


def test_on_the_first_of_a_month_the_last_day_is_of_the_month_before() -> None:
    now = datetime(2026, 12, 1, 1, tzinfo=UTC)
    samples = exported(book_until(now), contract(per_gb((None, "8"))), now=now)
    assert sample(samples, "proxy_cost_last_day") == pytest.approx(24 * 8)
    assert sample(samples, "proxy_cost_month_to_date") == pytest.approx(8)


def test_a_product_keeps_its_price_as_a_month_begins() -> None:
    """Its traffic has the vendor's contract; of the new month no hour is in the ledger yet."""
    now = datetime(2026, 12, 1, 0, 30, tzinfo=UTC)
    samples = exported(book_until(now - DAY), contract(per_gb(("50", "8"), (None, "5"))), now=now)
    price = sample(samples, "proxy_unit_price", proxy_pool="residential", proxy_result="delivered")
    assert price == pytest.approx(8e-9)


def test_the_price_of_a_byte_is_that_of_the_tier_reached() -> None:
    tiered = contract(per_gb(("50", "8"), (None, "5")))
    before = exported(book_until(BEGIN + DAY), tiered, now=BEGIN + DAY)
    after = exported(book_until(NOW), tiered)
    for samples, price in ((before, 8), (after, 5)):
        prices = of(samples, "proxy_unit_price")
        assert len(prices) == 4 + 4, "of the product seen, and of traffic of none"
        assert one_price(samples) == pytest.approx(price / 1e9)


def test_a_result_that_is_free_has_no_price() -> None:
    free = contract(per_gb((None, "8"), unit="GiB", free_results=frozenset({"failed", "refused"})))
    samples = exported(book_until(NOW), free)
    assert not any("failed" in key or "refused" in key for key in of(samples, "proxy_unit_price"))
    assert one_price(samples) == pytest.approx(8 / 2**30)


def test_what_a_commitment_pays_costs_nothing_more() -> None:
    included = contract(per_gb((None, "8")), commitment=Decimal(300), included=Decimal(55))
    least = contract(per_gb((None, "8")), commitment=Decimal(470))
    for each in (included, least):
        early, late = (exported(book_until(now), each, now=now) for now in (BEGIN + 2 * DAY, NOW))
        assert one_price(early) == 0
        assert one_price(late) == pytest.approx(8e-9)
        fixed = sample(early, "proxy_fixed_cost_per_second", proxy_vendor="vendor-a")
        assert fixed * 30 * 86400 == pytest.approx(float(each.commitment))


def test_overhead_that_is_not_billed_lowers_the_price_of_a_byte() -> None:
    """900 requests an hour of 50 kB overhead are 4.5 % of the GB; 100 reached no vendor."""
    rule = per_gb((None, "8"), counts="target", overhead_bytes_per_request=50_000)
    samples = exported(book_until(NOW), contract(rule))
    price = sample(samples, "proxy_unit_price", proxy_pool="residential", proxy_result="delivered")
    assert price == pytest.approx(8e-9 * 0.955)


def test_requests_and_successes_have_a_price_by_outcome() -> None:
    request = contract(per_request("0.0015", free_results=frozenset({"failed"})), vendor="vendor-b")
    success = contract(per_success("0.003"), vendor="vendor-c")
    samples = exported(Book(hours={}, wire={}, coverage={}), request, success)
    by_request = of(samples, "proxy_unit_price")
    assert sample(samples, "proxy_unit_price", proxy_vendor="vendor-c") == 0.003
    found = (re.search(r'vendor-b".*proxy_outcome="(\w+)"', key) for key in by_request)
    outcomes = [each[1] for each in found if each]
    assert set(outcomes) == NO_FAILURES - {"rejected"} | {"blocked", "rate_limited"}
    assert (
        sample(samples, "proxy_unit_price", proxy_vendor="vendor-b", proxy_outcome="blocked")
        == 0.0015
    )
    assert set(RESULT_OF) == FAILURES | NO_FAILURES, "an outcome without a price costs nothing"


def test_rented_addresses_are_a_fixed_cost() -> None:
    """Traffic of any product costs nothing more, which is a price: PriceMissing must not fire."""
    samples = exported(book_until(NOW), contract(per_address("1.2", 100)))
    fixed = sample(samples, "proxy_fixed_cost_per_second")
    assert fixed == pytest.approx(120 / (30 * 86400))
    assert one_price(samples) == 0
    sample(samples, "proxy_unit_price", proxy_pool="residential", proxy_result="delivered")
    assert sample(samples, "proxy_cost_month_to_date") == pytest.approx(12), "three days of thirty"


def test_the_contract_in_force_today_has_the_price() -> None:
    old = contract(per_gb((None, "8")), commitment=Decimal(30))
    new = replace(contract(per_gb((None, "6"))), valid_from=date(2026, 11, 3))
    samples = exported(book_until(NOW), old, new)
    assert one_price(samples) == pytest.approx(6e-9)
    assert of(samples, "proxy_fixed_cost_per_second") == {}


def test_a_budget_is_exported_with_its_forecast() -> None:
    budgets = (
        Budget(name="all", limit=Decimal(600), currency=""),
        Budget(name="usd", vendor="vendor-a", limit=Decimal(10000), currency="USD"),
    )
    samples = exported(book_until(NOW), contract(per_gb((None, "8"))), budgets=budgets)
    assert sample(samples, "proxy_budget_limit", budget="all", unit="GB") == 600
    assert sample(samples, "proxy_budget_used", budget="all") == pytest.approx(60)
    assert sample(samples, "proxy_budget_used", budget="usd", unit="USD") == pytest.approx(480)
    low, expected, high = (
        sample(samples, "proxy_budget_forecast", budget="all", bound=bound)
        for bound in ("low", "expected", "high")
    )
    assert expected == pytest.approx(720)
    assert 60 < low < expected < high
    exhausted = of(samples, "proxy_budget_exhaustion_timestamp_seconds")
    at = exhausted.pop('proxy_budget_exhaustion_timestamp_seconds{budget="all"}')
    assert at == pytest.approx((BEGIN + 25 * DAY).timestamp(), abs=3600)
    assert exhausted == {}, "the other one lasts"


def test_parts_beyond_the_bound_are_one_series_a_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_module, "MOST_PARTS", 10)
    parts = [PART._replace(target=f"target-{n}", vendor=f"vendor-{n % 2}") for n in range(40)]
    contracts = [contract(per_gb((None, "8")), vendor=f"vendor-{n}") for n in range(2)]
    samples = exported(book_until(NOW, *parts), *contracts)
    costs = of(samples, "proxy_cost_month_to_date")
    assert len(costs) == 10 + 2
    assert sum(costs.values()) == pytest.approx(40 * 60 * 8)


def test_an_empty_ledger_has_limits_and_no_more() -> None:
    """The first five minutes of a stack."""
    budget = Budget(name="all", limit=Decimal(600), currency="")
    samples = exported(Book(hours={}, wire={}, coverage={}), budgets=(budget,))
    assert samples == {
        'proxy_budget_limit{budget="all",unit="GB"}': 600,
        'proxy_budget_used{budget="all",unit="GB"}': 0,
    }


def test_labels_that_the_ledger_gives_cannot_break_the_page() -> None:
    """Quotes, line breaks, half a character, ten thousand of them."""
    hostile = 'a"\\\n} 9\n# HELP x' + "\ud800" + "z" * 10_000
    part = Part("vendor-a", hostile, hostile, hostile)
    text = text_of(
        figures(history_of(book_until(NOW, part)), [contract(per_gb((None, "8")))], (), NOW)
    )
    text.encode("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("# ")]
    assert all(re.fullmatch(r"\w+(\{.*\})? [-+.\de]+", line) for line in lines), lines
    assert max(map(len, lines)) < 1500


@pytest.mark.parametrize("products", [1, 200])
def test_prices_read_each_part_a_fixed_number_of_times(monkeypatch, products):
    """Else prices of fifty products in forty teams take half a minute of each hour's figures."""
    counted = []

    def counts(traffic, rule):
        counted.append(rule)
        return billable(traffic, rule)

    monkeypatch.setattr(prices, "billable", counts)
    one = Quantities(bytes_sent={"delivered": 1e9}, requests={"success": 5.0})
    now = datetime(2026, 11, 2, tzinfo=UTC)
    parts = {Part("vendor-a", f"p{number}", "", ""): one for number in range(products)}
    month = Book(hours={now: parts}, wire={}, coverage={})
    contracts = [contract(per_gb((None, "8")))]
    found, _ = prices.price_families(month, contracts, now)
    assert {sample.labels["proxy_pool"] for sample in found.samples} > {"p0"}
    assert len(counted) == 2 * products
