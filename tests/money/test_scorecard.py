"""The scorecard names a best vendor only where the figures can bear it."""

from __future__ import annotations

from random import Random

import pytest

from money.confidence import wilson
from money.quantities import Part
from money.report.scorecard import Score, p95_of, scorecard
from tests.money.november import book, charge, november

A = Part("vendor-a", "", "prices", "shops")
B = A._replace(vendor="vendor-b")


def scores(*vendors: tuple[Part, float, float, str]) -> dict[str, Score]:
    """Return the scorecard of (part, successes, blocked, cost)."""
    traffic = [(part, {"success": good, "blocked": bad}, 1e9) for part, good, bad, _ in vendors]
    month = november(*(charge(part, cost) for part, _, _, cost in vendors if cost))
    return {one.vendor: one for one in scorecard(book(*traffic), month)}


def test_the_cheaper_success_is_best() -> None:
    """A vendor that costs more a request, and is blocked less, is the better buy."""
    found = scores((A, 9900, 100, "10.00"), (B, 5000, 5000, "8.00"))
    assert [found[name].verdict for name in ("vendor-a", "vendor-b")] == ["best", "dearer"]
    price = found["vendor-a"].cost_per_success
    assert price is not None
    assert price.value == pytest.approx(10 / 9900)
    assert price.low < price.value < price.high
    assert found["vendor-b"].blocked.value == pytest.approx(0.5)


def test_twelve_requests_are_not_best() -> None:
    """A vendor that was tried a dozen times, and never failed, is not named as the best."""
    found = scores((A, 9900, 100, "10.00"), (B, 12, 0, "0.001"))
    assert found["vendor-b"].verdict == "too few requests"
    assert found["vendor-a"].verdict == "no rival"
    assert list(found) == ["vendor-a", "vendor-b"]


def test_equal_vendors_have_no_winner() -> None:
    """Between two vendors within each other's error nobody is told to move."""
    found = scores((A, 950, 50, "1.00"), (B, 953, 47, "1.00"))
    assert {one.verdict for one in found.values()} == {"no clear best"}


def test_without_price_or_success_there_is_no_cost_per_success() -> None:
    """A missing price reads as missing, not as free."""
    found = scores((A, 900, 100, ""), (B, 0, 1000, "3.00"))
    assert [one.verdict for one in found.values()] == ["no price", "no success"]
    assert {one.cost_per_success for one in found.values()} == {None}


def test_the_interval_holds_the_true_rate() -> None:
    """Of seeded trials, 95 % of the intervals hold the rate that made them, at small counts too."""
    random, held, trials = Random(17), 0, 4000
    for _ in range(trials):
        rate, tries = random.uniform(0.02, 0.98), random.choice([12, 40, 400])
        hits = sum(random.random() < rate for _ in range(tries))
        low, _, high = wilson(hits, tries)
        held += low <= rate <= high
    assert 0.93 < held / trials < 0.97
    assert wilson(12, 12).low < 0.76
    assert wilson(0, 0) == (0, 0, 1)


def test_p95_leaves_out_vendors_without_answers() -> None:
    """A vendor without answers has no set-up time, and the page no NaN."""

    class Fake:
        def query(self, expression: str) -> list[dict[str, object]]:
            assert "[7d]" in expression
            return [
                {"metric": {"proxy_vendor": "vendor-a"}, "value": [0, "812.5"]},
                {"metric": {"proxy_vendor": "vendor-b"}, "value": [0, "NaN"]},
            ]

    assert p95_of(Fake()) == {"vendor-a": 812.5}
