"""Charges add up exactly, and keep what a contract says in every month that can be made up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from money.billable import billable
from money.charges import month_charges
from money.exact import STEPS, cents, price_at, price_of
from money.quantities import Book, Part
from money.reconcile.metered import Metered
from tests.money.books import (
    FIVE_CONTRACTS,
    GB,
    GIB,
    PARTS,
    book,
    contract,
    hour,
    per_address,
    per_gb,
    per_request,
    quantities,
    seeded_month,
    tiers,
)

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
RESULTS = st.sampled_from(["delivered", "refused", "failed", ""])
OUTCOMES = st.sampled_from(["success", "target_error", "blocked", "timeout", "auth_challenge"])
SIZES = st.one_of(st.integers(0, 30 * GIB), st.floats(0, 1e10))
NUMBERS = st.one_of(st.integers(0, 10**6), st.floats(0, 1e5))
TRAFFIC = st.builds(
    lambda sent, received, requests: quantities(sent=sent, received=received, requests=requests),
    st.dictionaries(RESULTS, SIZES),
    st.dictionaries(RESULTS, SIZES),
    st.dictionaries(OUTCOMES, NUMBERS),
)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 719).map(lambda hours: BEGIN + timedelta(hours=hours)),
        st.sampled_from(PARTS),
        TRAFFIC,
    ),
    max_size=12,
    unique_by=lambda row: row[:2],
)
LEAST_SUM = contract("vendor-a", per_gb(("5", "8.4"), (None, "7.123456789")), monthly="100.01")
SETS = st.sampled_from([FIVE_CONTRACTS, (LEAST_SUM, *FIVE_CONTRACTS[1:])])


def november(rows, contracts, **more):
    found = book(rows, until=hour("2026-11-30 23"))
    return month_charges(found, contracts, 2026, 11, **more)


def sums(charges, key):
    found = defaultdict(Decimal)
    for charge in charges:
        found[key(charge)] += charge.cost
    return found


def units_of(rows, one):
    rule = one.rules[0]
    factor = {"GB": GB, "GiB": GIB}.get(rule.unit, 1)
    total = sum(
        Fraction(billable(traffic, rule).total)
        for _, part, traffic in rows
        if part.vendor == one.vendor
    )
    return total / factor


@given(ROWS, SETS)
def test_the_days_add_up_to_what_the_contract_says(rows, contracts):
    """A month costs its fixed sums and its tiers, whatever day or part the traffic was on."""
    charged = sums(november(rows, contracts).charges, lambda charge: charge.part.vendor)
    for one in contracts:
        rule = one.rules[0]
        if rule.kind == "perAddressMonth":
            exact = Fraction(rule.addresses) * Fraction(rule.tiers[0].price)
        else:
            units = units_of(rows, one)
            cost = price_of(rule.tiers, units)
            if one.included:
                overage = cost - price_of(rule.tiers, min(units, Fraction(one.included)))
                exact = Fraction(one.commitment) + overage
            else:
                exact = max(cost, Fraction(one.commitment))
        # Bytes of an hour are summed as floats: 1e-9 is far below a cent.
        assert abs(Fraction(charged[one.vendor]) - exact) <= Fraction(1, 10**9) * (1 + exact)


@given(ROWS, SETS)
def test_the_parts_add_up_to_the_day(rows, contracts):
    """A day costs the same when all its traffic is one part's."""
    together = [(at, part._replace(product="", team="t", target="")) for at, part, _ in rows]
    merged = {}
    for key, (_, _, traffic) in zip(together, rows, strict=True):
        merged[key] = merged[key] + traffic if key in merged else traffic
    alone = [(*key, traffic) for key, traffic in merged.items()]
    if any("target" in rule.counts for one in contracts for rule in one.rules):
        contracts = tuple(
            replace(one, rules=tuple(replace(rule, counts="wire") for rule in one.rules))
            for one in contracts
        )

    def by_day(found):
        return sums(found, lambda charge: (charge.day, charge.part.vendor, charge.kind))

    parts, whole = (by_day(november(each, contracts).charges) for each in (rows, alone))
    assert parts.keys() == whole.keys()
    for key, cost in parts.items():
        # Floats of several parts may round otherwise than their sum.
        assert abs(cost - whole[key]) <= Decimal("1e-9") * (1 + cost)


@given(ROWS, SETS, st.randoms())
def test_the_order_of_the_hours_is_nothing(rows, contracts, chance):
    """A book read newest first is the same book, to the last digit."""
    again = list(rows)
    chance.shuffle(again)
    assert november(rows, contracts) == november(again, contracts)


@given(ROWS, SETS)
def test_no_charge_is_below_nothing_and_none_failed_more_than_it_cost(rows, contracts):
    """Rounding goes to the largest part, and never turns a share negative."""
    for charge in november(rows, contracts).charges:
        assert 0 <= charge.failed_cost <= charge.cost
        assert charge.quantity >= 0
        assert charge.cost * STEPS == int(charge.cost * STEPS)


@given(ROWS, st.randoms())
def test_splitting_a_book_changes_nothing(rows, chance):
    """What is read in two halves, and put together, costs what the whole costs."""
    whole = book(rows, until=hour("2026-11-30 23"))
    first = {at: parts for at, parts in whole.hours.items() if chance.random() < 0.5}
    second = {at: parts for at, parts in whole.hours.items() if at not in first}
    joined = Book(hours={**second, **first}, wire=whole.wire, coverage=whole.coverage)
    assert month_charges(joined, FIVE_CONTRACTS, 2026, 11) == month_charges(
        whole, FIVE_CONTRACTS, 2026, 11
    )


def usage(day, size, vendor="vendor-a", product="", **more):
    part = Part(vendor, product, "search", "shops")
    return hour(f"2026-11-{day:02} 10"), part, quantities(received={"delivered": size}, **more)


def costs(rows, *contracts, **more):
    return {
        (charge.day.day, charge.part.product, charge.kind): cents(charge.cost)
        for charge in november(rows, contracts, **more).charges
        if charge.cost
    }


def test_a_gigabyte_is_not_a_gibibyte():
    """The difference is 7.4 %, and a contract says which."""
    decimal = contract("vendor-a", per_gb((None, "10")))
    binary = contract("vendor-a", per_gb((None, "10"), unit="GiB"))
    assert costs([usage(1, 107_374_182_400)], decimal)[1, "", "usage"] == Decimal("1073.74")
    assert costs([usage(1, 107_374_182_400)], binary)[1, "", "usage"] == Decimal("1000.00")


def test_a_contract_that_begins_in_mid_month_bills_from_its_day():
    """It takes its part of the month's fixed sum, and its tiers begin anew."""
    old = contract("vendor-a", per_gb(("1", "8"), (None, "6")), monthly="30")
    new = contract("vendor-a", per_gb(("1", "5"), (None, "4")), monthly="60", since="2026-11-21")
    found = costs([usage(20, 40 * GB), usage(21, 2 * GB), usage(22, 10 * GB)], old, new)
    # 20 days of 30.00 and 10 of 60.00 are least sums: 20.00 each.
    assert found[20, "", "usage"] == Decimal("222.00")  # 8 + 39 x 6 - 20
    assert (21, "", "usage") not in found  # 5 + 4 are below 20
    assert found[22, "", "usage"] == Decimal("29.00")  # 9 + 40 - 20
    assert found[20, "", "commitment"] == Decimal("1.00")
    assert found[21, "", "commitment"] == Decimal("2.00")


def test_a_contract_to_come_bills_nothing_yet():
    """Until then the traffic has no price, and is said to have none."""
    new = contract("vendor-a", per_gb((None, "5")), since="2026-12-01")
    month = november([usage(20, GB)], (new,))
    assert (month.charges, month.without_price) == ([], [usage(20, GB)[1]])


def test_a_product_of_its_own_leaves_the_vendors_contract():
    """Its bytes climb its own tiers."""
    rows = [usage(1, 2 * GB, product="mobile"), usage(1, 2 * GB, product="residential")]
    vendor = contract("vendor-a", per_gb(("1", "8"), (None, "6")))
    mobile = contract("vendor-a", per_gb((None, "20")), product="mobile")
    assert costs(rows, vendor, mobile) == {
        (1, "mobile", "usage"): Decimal("40.00"),
        (1, "residential", "usage"): Decimal("14.00"),
    }


def test_a_month_that_has_begun_owes_its_days_and_no_more():
    """A commitment of 30.00 is 5.00 on the fifth; a closed month owes all of it."""
    one = contract("vendor-a", per_gb((None, "1")), monthly="30")
    found = month_charges(book([usage(5, GB)]), (one,), 2026, 11)
    assert sum(charge.cost for charge in found.charges) == 5
    closed = month_charges(book([usage(5, GB)]), (one,), 2026, 11, through=date(2026, 11, 30))
    assert sum(charge.cost for charge in closed.charges) == 30
    assert month_charges(book([]), (one,), 2026, 11).charges == []


def test_several_rules_of_one_contract_add_up():
    """A vendor that bills bytes and requests, and rents addresses."""
    one = contract("vendor-a", per_gb((None, "2")), per_request("0.001"), per_address("3", 10))
    found = november([usage(1, GB, requests={"success": 500})], (one,)).charges
    assert sums(found, lambda charge: charge.unit) == {
        "GB": 2,
        "request": Decimal("0.5"),
        "address": 30,
    }


def test_bytes_that_do_not_count_are_taken_off_and_never_below_nothing():
    """An overhead set too high makes a gigabyte free, and no gigabyte a gift."""
    rule = per_gb((None, "1"), counts="target", overhead_bytes_per_tunnel=10**6)
    one = contract("vendor-a", rule)
    hours = usage(1, GB, requests={"success": 10}, tunnels={"success": 10})
    assert costs([hours], one)[1, "", "usage"] == Decimal("0.99")
    too_much = usage(1, GB, requests={"success": 2000}, tunnels={"success": 2000})
    assert costs([too_much], one) == {}


def test_the_way_from_wire_bytes_to_billable_ones_is_known():
    """Each byte that is measured and not billed has its reason."""
    rule = per_gb(
        (None, "1"),
        counts="target",
        overhead_bytes_per_tunnel=250,
        overhead_bytes_per_request=60,
        free_results=frozenset({"failed"}),
    )
    traffic = quantities(
        sent={"delivered": 5000, "failed": 400},
        received={"delivered": 20_000, "failed": 100},
        requests={"success": 8, "timeout": 1},
        tunnels={"success": 3},
    )
    rows = [
        (hour("2026-11-01 10"), Part(vendor, "", "search", ""), traffic)
        for vendor in ("vendor-a", "vendor-b")
    ]
    hours = book(rows)
    contracts = tuple(contract(vendor, rule) for vendor in ("vendor-a", "vendor-b"))
    metered = Metered(book=hours, vendor="vendor-a", contracts=contracts)
    found = metered.bytes_of([at.date() for at in hours.hours], UTC)
    assert (found.measured, found.free) == (25_500, 500)
    assert found.overhead == 3 * 250 + 5 * 60
    assert found.billable == billable(traffic, rule).total


def test_the_next_unit_has_the_price_of_its_tier():
    """At the edge the dearer tier is used up."""
    steps = tiers(("10", "8"), (None, "6.5"))
    assert [price_at(steps, Fraction(units)) for units in (0, 9, 10, 99)] == [
        *(Decimal(8), Decimal(8)),
        *(Decimal("6.5"), Decimal("6.5")),
    ]


def test_a_seeded_month_is_the_same_each_time():
    """Other tests compare figures of it."""
    assert seeded_month(7, days=2) == seeded_month(7, days=2) != seeded_month(8, days=2)
    assert len(seeded_month(7, days=2).hours) == 48
