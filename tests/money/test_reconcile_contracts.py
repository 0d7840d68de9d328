"""Invoices under each kind of contract, to the cent, and one padded day in each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from decimal import Decimal

import pytest

from money.charges import month_charges
from money.reconcile.compare import reconcile
from money.reconcile.metered import Metered, as_contract
from money.usage.figures import DayOfUsage, Usage, days_between
from tests.money.books import FIVE_CONTRACTS, seeded_month
from tests.money.invoices import DAY, END, START

BOOK = seeded_month(5)
MONTH = month_charges(BOOK, FIVE_CONTRACTS, 2026, 11)


def invoice_of(vendor: str, share: str = "1") -> Usage:
    """Bill what the contract bills, `share` times of it on one day; the sum is the month's."""
    metered = Metered(book=BOOK, vendor=vendor, contracts=FIVE_CONTRACTS)
    days = days_between(START, END)
    sizes, requests = (
        metered.days(metered.hours(None, measure, as_contract), measure, days, UTC)
        for measure in ("bytes", "requests")
    )
    rows = [
        DayOfUsage(
            day=day,
            product="",
            bytes=Decimal(round(sizes[day].metered)) * (Decimal(share) if day == DAY else 1),
            requests=Decimal(round(requests[day].metered)) * (Decimal(share) if day == DAY else 1),
        )
        for day in days
    ]
    charges = [one for one in MONTH.charges if one.part.vendor == vendor]
    return Usage(
        vendor=vendor,
        source="invoice.csv",
        start=START,
        end=END,
        time_zone="UTC",
        rows=rows,
        currency=charges[0].currency,
        costs={"": round(sum((one.cost for one in charges), Decimal(0)), 2)},
    )


@pytest.mark.parametrize("vendor", [one.vendor for one in FIVE_CONTRACTS])
def test_right_invoice_is_paid_under_each_contract(vendor):
    """By GB with tiers, by success, by request, by address, and with a commitment."""
    result = reconcile(invoice_of(vendor), BOOK, FIVE_CONTRACTS)
    assert result.findings == []
    assert result.contract_cost is not None
    assert round(result.contract_cost, 2) == result.cost


@pytest.mark.parametrize("vendor", [one.vendor for one in FIVE_CONTRACTS])
def test_padded_day_is_named_under_each_contract(vendor):
    usage = replace(invoice_of(vendor, "1.05"), costs={}, currency="")
    result = reconcile(usage, BOOK, FIVE_CONTRACTS)
    assert [(one.kind, list(one.days)) for one in result.findings] == [("billed_more", [DAY])]
    # Addresses cost the same with any traffic.
    assert result.pay is (vendor == "vendor-d")
    assert bool(result.findings[0].amount) is not result.pay


def test_foreign_traffic_is_named_where_bytes_cost_nothing():
    """Whoever has stolen the password of rented addresses gets them banned."""
    result = reconcile(invoice_of("vendor-d", "1.5"), BOOK, FIVE_CONTRACTS)
    assert [one.kind for one in result.findings] == ["foreign_traffic"]
    assert not result.pay
