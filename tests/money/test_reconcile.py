"""Invoices with and without errors, beside the ledger."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from money.quantities import Book, Part, Quantities
from money.reconcile.compare import reconcile, sentence
from money.reconcile.days import Month, odd_days
from money.reconcile.findings import Finding, ReconcileError, Reconciliation
from money.reconcile.metered import (
    Metered,
    MeteredDay,
    hours_of,
    on_the_wire,
    received_alone,
    with_free_results,
)
from money.reconcile.readings import Reading
from money.usage.figures import DayOfUsage, days_between
from tests.money.books import contract, hour, per_address, per_gb, per_success
from tests.money.invoices import (
    CONTRACTS,
    DAY,
    END,
    PART,
    START,
    factors,
    invoice,
    ledger,
    on,
    times,
)

BOOK = ledger(1)
NEXT = DAY + timedelta(days=1)


def found(usage, book=BOOK, contracts=CONTRACTS):
    """Return kind and days of each finding."""
    result = reconcile(usage, book, contracts)
    return [(one.kind, list(one.days)) for one in result.findings]


@pytest.mark.parametrize("noise", ["none", "within"])
@pytest.mark.parametrize("seed", range(5))
def test_right_invoice_is_paid(seed, noise):
    """A vendor that counts with up to 1 % of noise a day is right."""
    book = ledger(seed)
    result = reconcile(invoice(book, seed=seed, noise=noise, priced_by=CONTRACTS), book, CONTRACTS)
    assert result.findings == []
    assert result.pay
    assert sentence(result).startswith("Pay USD ")


@pytest.mark.parametrize(
    ("share", "kind"),
    [(1.05, "billed_more"), (1.5, "foreign_traffic"), (2, "day_twice"), (0, "not_billed")],
)
@pytest.mark.parametrize("seed", range(3))
def test_day_that_is_billed_otherwise_is_named(seed, share, kind):
    usage = invoice(BOOK, seed=seed, change=on(DAY, times(share)))
    assert found(usage) == [(kind, [DAY])]
    assert reconcile(usage, BOOK, CONTRACTS).pay is (share < 1)


def test_day_that_is_billed_less_is_no_reason_not_to_pay():
    result = reconcile(invoice(BOOK, change=on(DAY, times(0.9))), BOOK, CONTRACTS)
    assert [one.kind for one in result.findings] == ["billed_less"]
    assert result.pay


def test_day_listed_twice_is_named():
    """The file's second line of a day has other figures, so the sum is not twice the day."""
    usage = invoice(BOOK, change=on(DAY, lambda row: replace(times(1.7)(row), listed=2)))
    assert found(usage) == [("day_twice", [DAY])]


def test_two_lines_a_day_are_usual_where_all_days_have_them():
    """Two zones of one product."""
    usage = invoice(BOOK, change=lambda rows: [replace(row, listed=2) for row in rows])
    assert found(usage) == []


def test_foreign_traffic_on_an_idle_day_is_named():
    """No crawler ran, and the vendor bills half a gigabyte: somebody has the password."""
    hours = {at: {} if at.date() == DAY else parts for at, parts in BOOK.hours.items()}
    wire = {at: {} if at.date() == DAY else one for at, one in BOOK.wire.items()}
    book = replace(BOOK, hours=hours, wire=wire)
    usage = invoice(book, change=on(DAY, lambda row: replace(row, bytes=Decimal(5 * 10**8))))
    result = reconcile(usage, book, CONTRACTS)
    (one,) = result.findings
    assert (one.kind, list(one.days)) == ("foreign_traffic", [DAY])
    assert "change the password" in one.text
    assert one.amount == pytest.approx(Decimal("0.5") * 7, rel=Decimal("0.1"))
    assert sentence(result).startswith("Do not pay the invoice of vendor-a for November 2026 yet")


def test_traffic_that_is_booked_a_day_later_is_explained():
    size = Decimal(3 * 10**8)
    usage = invoice(
        BOOK,
        change=lambda rows: [
            replace(row, bytes=(row.bytes or 0) + {DAY: -size, NEXT: size}.get(row.day, 0))
            for row in rows
        ],
    )
    assert found(usage) == [("moved", [DAY, NEXT])]
    assert reconcile(usage, BOOK, CONTRACTS).pay


@pytest.mark.parametrize("hours", [-8, 2, 9])
def test_days_of_another_time_zone_are_explained(hours):
    usage = invoice(BOOK, zone=timezone(timedelta(hours=hours)))
    assert found(usage) == [("time_zone", [])]
    result = reconcile(usage, BOOK, CONTRACTS)
    assert result.pay
    assert f"UTC{hours:+d}" in result.findings[0].text


def test_days_of_the_stated_time_zone_need_no_explanation():
    usage = invoice(BOOK, zone=timezone(timedelta(hours=-3)))
    usage = replace(usage, time_zone="America/Sao_Paulo")
    assert found(usage) == []
    metered = Metered(book=BOOK, vendor="vendor-a", contracts=CONTRACTS)
    of_utc, of_zone = (
        metered.bytes_of(days_between(START, END), zone)
        for zone in (UTC, ZoneInfo("America/Sao_Paulo"))
    )
    assert reconcile(usage, BOOK, CONTRACTS).bytes == of_zone != of_utc


@pytest.mark.parametrize(
    ("factor", "pay"), [(2**30 / 10**9, False), (10**9 / 2**30, True)], ids=["GB", "GiB"]
)
def test_other_gigabyte_is_named(factor, pay):
    """7.4 % of all days is the difference of 10^9 and 2^30, whoever mixed them up."""
    usage = invoice(BOOK, factor=factor)
    assert found(usage) == [("unit", [])]
    assert reconcile(usage, BOOK, CONTRACTS).pay is pay


@pytest.mark.parametrize(
    ("counting", "says", "pay"),
    [
        (on_the_wire, "all bytes on the wire", False),
        (received_alone, "received bytes alone", True),
    ],
)
def test_other_counting_is_named(counting, says, pay):
    """The overhead of tunnels is what the contract leaves out, or the sent bytes."""
    result = reconcile(invoice(BOOK, counting=counting), BOOK, CONTRACTS)
    assert [one.kind for one in result.findings] == ["counting"]
    assert says in result.findings[0].text
    assert result.pay is pay


def test_free_traffic_that_is_billed_is_named():
    """Most requests were blocked, and the contract says that those are free."""
    book = Book(
        hours={
            at: {
                PART: Quantities(
                    bytes_received={"delivered": 10**8 + at.hour, "refused": 10**7},
                    requests={"success": 100, "blocked": 100},
                )
            }
            for at in BOOK.hours
        },
        wire={},
        coverage=BOOK.coverage,
    )
    free = (contract("vendor-a", per_gb((None, "8"), free_results=frozenset({"refused"}))),)
    usage = invoice(book, counting=with_free_results, contracts=free)
    result = reconcile(usage, book, free)
    assert [one.kind for one in result.findings] == ["counting"]
    assert "leaves free" in result.findings[0].text
    assert not result.pay


def test_unexplained_difference_of_all_days_is_named():
    result = reconcile(invoice(BOOK, factor=1.04), BOOK, CONTRACTS)
    assert [(one.kind, list(one.days)) for one in result.findings] == [("billed_more", [])]
    assert not result.pay


def test_hours_without_data_are_no_fault_of_the_vendor():
    """Prometheus was away for six hours; the vendor counted."""
    away = {datetime(2026, 11, 8, hour, tzinfo=UTC) for hour in range(9, 15)}

    def known(mapping):
        return {at: value for at, value in mapping.items() if at not in away}

    book = Book(hours=known(BOOK.hours), wire=known(BOOK.wire), coverage=known(BOOK.coverage))
    usage = invoice(BOOK)
    result = reconcile(usage, book, CONTRACTS)
    assert [(one.kind, list(one.days)) for one in result.findings] == [("without_data", [DAY])]
    assert "lacks 6.0 h" in result.findings[0].text
    assert result.pay
    # Twice the day is more than the hours can explain.
    assert found(invoice(BOOK, change=on(DAY, times(2))), book) == [("foreign_traffic", [DAY])]


def test_month_without_data_is_not_judged():
    few = {at: parts for at, parts in BOOK.hours.items() if at.day < 5}
    book = Book(hours=few, wire={}, coverage=dict.fromkeys(few, 1.0))
    with pytest.raises(ReconcileError, match="data of 4 of 30 days"):
        reconcile(invoice(BOOK), book, CONTRACTS)


def test_tunnel_over_midnight_is_on_both_its_days():
    """Its bytes come to the parts when it closes, and the vendor counts them as they pass."""
    size = 3 * 10**8
    hours = dict(BOOK.hours)
    wire = dict(BOOK.wire)
    opened, closed = (datetime(2026, 11, day, hour, tzinfo=UTC) for day, hour in ((8, 22), (9, 2)))
    for at, wire_bytes, part_bytes in ((opened, size, 0), (closed, size, 2 * size)):
        of_vendor = wire[at]["vendor-a"]
        wire[at] = {
            "vendor-a": replace(of_vendor, bytes_received=of_vendor.bytes_received + wire_bytes)
        }
        before = hours[at][PART]
        received = {**before.bytes_received}
        received["delivered"] += part_bytes
        hours[at] = {PART: replace(before, bytes_received=received)}
    book = replace(BOOK, hours=hours, wire=wire)
    as_it_passed = invoice(
        BOOK,
        change=lambda rows: [
            replace(row, bytes=(row.bytes or 0) + (size if row.day in (DAY, NEXT) else 0))
            for row in rows
        ],
    )
    assert found(as_it_passed, book) == []


def test_products_are_compared_one_by_one():
    mobile = PART._replace(product="mobile")
    both = {at: {**parts, **BOOK.hours[at]} for at, parts in ledger(2, part=mobile).hours.items()}
    book = Book(hours=both, wire={}, coverage=BOOK.coverage)
    one = invoice(ledger(2, part=mobile), product="mobile")
    other = invoice(BOOK, change=on(DAY, times(1.06)))
    usage = replace(one, rows=[*one.rows, *other.rows])
    result = reconcile(usage, book, CONTRACTS)
    assert [(each.kind, each.product) for each in result.findings] == [
        ("billed_more", "residential")
    ]
    assert "of residential" in result.findings[0].text


def test_figures_of_the_whole_vendor_are_compared_with_all_its_products():
    usage = invoice(BOOK, product="")
    assert found(usage) == []


def test_other_vendors_traffic_is_not_compared():
    stranger = Part("vendor-b", "", "", "")
    other = {at: {**parts, stranger: parts[PART]} for at, parts in BOOK.hours.items()}
    assert found(invoice(BOOK), replace(BOOK, hours=other)) == []


WRONG_PRICE = (contract("vendor-a", per_gb(("20", "9.1"), (None, "9.1"), counts="target")),)


def test_wrong_price_is_named():
    usage = invoice(BOOK, priced_by=WRONG_PRICE)
    result = reconcile(usage, BOOK, CONTRACTS)
    assert {one.kind for one in result.findings} == {"wrong_price"}
    assert not result.pay
    assert "USD 9.1 a GB, no price of the contract" in result.findings[0].text


def test_wrong_tier_is_named_with_its_days():
    """The vendor bills the first tier's price for all, though the month has passed it."""
    first_tier = (contract("vendor-a", per_gb((None, "8.4"))),)
    result = reconcile(invoice(BOOK, priced_by=first_tier), BOOK, CONTRACTS)
    (one,) = result.findings
    assert one.kind == "wrong_tier"
    assert one.days[-1] == date(2026, 11, 30)
    assert one.days[0] > START
    assert "billed at USD 8.4 a GB, the price of another tier; by the contract it is 7" in one.text
    units = sum(row.bytes for row in invoice(BOOK).rows) / 10**9
    assert one.amount == pytest.approx(Decimal("1.4") * (units - 20), rel=Decimal("0.01"))


def test_wrong_tier_of_a_sum_alone_is_named():
    usage = invoice(BOOK)
    units = sum(row.bytes or 0 for row in usage.rows) / 10**9
    usage = replace(usage, currency="USD", costs={"residential": round(units * Decimal("8.4"), 2)})
    result = reconcile(usage, BOOK, CONTRACTS)
    assert [one.kind for one in result.findings] == ["wrong_tier"]
    assert not result.pay


def test_wrong_sum_is_named():
    usage = replace(invoice(BOOK), currency="USD", costs={"residential": Decimal(999)})
    result = reconcile(usage, BOOK, CONTRACTS)
    assert [one.kind for one in result.findings] == ["wrong_sum"]
    assert "USD 999.00" in result.findings[0].text


def test_fixed_sums_may_be_billed_apart():
    both = (contract("vendor-a", *CONTRACTS[0].rules, per_address("1.5", 20)),)
    usage = invoice(BOOK, contracts=both, priced_by=both)
    result = reconcile(usage, BOOK, both)
    assert [one.kind for one in result.findings] == ["note"]
    assert "without commitment and addresses" in result.findings[0].text
    assert result.pay


@pytest.mark.parametrize("includes", ["0", "20"])
def test_cost_of_days_before_the_commitment_is_explained(includes):
    """The vendor's days have their price, and its commitment pays for the first of them."""
    committed = (contract("vendor-a", *CONTRACTS[0].rules, monthly="100", includes=includes),)
    usage = invoice(BOOK, priced_by=CONTRACTS)
    result = reconcile(usage, BOOK, committed)
    assert [one.kind for one in result.findings] in (["note"], [])
    assert result.pay


def test_figures_without_the_contracts_products_are_not_priced():
    by_product = (replace(CONTRACTS[0], product="residential"),)
    usage = replace(invoice(BOOK, product=""), currency="USD", costs={"": Decimal(999)})
    result = reconcile(usage, BOOK, by_product)
    assert [one.kind for one in result.findings] == ["no_contract"]
    assert "USD 999.00" in sentence(result)
    assert "if its prices are right, which were not checked" in sentence(result)


def test_other_currency_is_named():
    usage = replace(invoice(BOOK, priced_by=CONTRACTS), currency="EUR")
    assert found(usage) == [("currency", [])]


def test_successes_are_compared_where_they_are_billed():
    """A vendor that bills successes says requests; its bytes are no matter."""
    by_success = (contract("vendor-a", per_success("0.003")),)
    sums: dict[date, Decimal] = {}
    for at, parts in BOOK.hours.items():
        if START <= at.date() < END:
            number = Decimal(parts[PART].requests["success"])
            sums[at.date()] = sums.get(at.date(), Decimal(0)) + number
    rows = [
        DayOfUsage(
            day=day, product="", bytes=Decimal(0), requests=number * (2 if day == DAY else 1)
        )
        for day, number in sums.items()
    ]
    usage = replace(invoice(BOOK), rows=rows)
    result = reconcile(usage, BOOK, by_success)
    assert [(one.kind, list(one.days)) for one in result.findings] == [("day_twice", [DAY])]
    assert "requests" in result.findings[0].text


def test_vendor_without_billing_is_compared_by_bytes():
    result = reconcile(invoice(BOOK, counting=on_the_wire), BOOK, ())
    assert [one.kind for one in result.findings] == ["no_contract"]
    assert result.contract_cost is None


@pytest.mark.parametrize("noise", ["within", "normal"])
def test_rates_of_false_alarms_and_of_detection(noise):
    """Of 300 months, with noise of at most 1 % none names a day and all name the padded one; with
    noise of 1 % standard deviation 2 in 100 name a wrong day, and 85 in 100 the padded one."""
    chance = random.Random(noise)
    days = days_between(START, END)
    false_alarms = detected = 0
    for seed in range(300):
        size = {day: 10**11 * chance.uniform(0.6, 1.1) for day in days}
        noisy = factors(seed, noise)
        padded = chance.choice(days)
        named = [
            [
                one.day
                for one in odd_days(
                    Month(
                        reading=Reading(
                            kind=None,
                            says="",
                            days={
                                day: MeteredDay(metered=size[day], missing=0, hours_without_data=0)
                                for day in days
                            },
                        ),
                        billed={
                            day: size[day] * noisy[day] * (share if day == padded else 1)
                            for day in days
                        },
                        listed=dict.fromkeys(days, 1),
                    )
                )
                if one.excess > 0
            ]
            for share in (1, 1.05)
        ]
        false_alarms += bool(named[0])
        detected += named[1] == [padded]
    if noise == "within":
        assert (false_alarms, detected) == (0, 300)
    else:
        assert false_alarms <= 9
        assert detected >= 240


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("Asia/Kolkata", "2026-10-31 19"),  # from 18:30
        ("Asia/Kathmandu", "2026-10-31 18"),  # from 18:15
        ("America/St_Johns", "2026-11-01 03"),  # from 2:30; 25 hours
        ("Australia/Lord_Howe", "2026-10-31 13"),
        ("Europe/Berlin", "2026-10-31 23"),
    ],
)
def test_a_time_zones_days_have_each_hour_once(zone, first):
    """Days from half past an hour had 23, and each invoice of theirs seemed 4 % too high."""
    for begin, end in ((date(2026, 3, 1), date(2026, 12, 1)), (date(2028, 2, 1), date(2028, 3, 2))):
        days = days_between(begin, end)
        hours = [hour for day in days for hour in hours_of(day, ZoneInfo(zone))]
        assert {later - earlier for earlier, later in pairwise(hours)} == {timedelta(hours=1)}
    assert hours_of(START, ZoneInfo(zone))[0] == hour(first)


def test_no_more_is_in_question_than_is_asked_for() -> None:
    """An invoice may count too much and ask for little: its own sum is the most."""
    counted = Finding(kind="billed_more", text="", is_defect=True, amount=Decimal("3063.10"))
    found = Reconciliation(
        vendor="vendor-a",
        source="",
        start=date(2026, 11, 1),
        end=date(2026, 12, 1),
        currency="USD",
        lines=[],
        findings=[counted],
        cost=Decimal("16.80"),
        contract_cost=None,
    )
    assert "About USD 16.80 are in question." in sentence(found)
