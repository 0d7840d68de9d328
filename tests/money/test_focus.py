"""The FOCUS export is what the specification's version 1.2 says, and adds up."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime
from decimal import Decimal

import pytest

from money.charges import Month
from money.quantities import Part
from money.report.focus import focus_csv
from tests.money.november import FIRST, NOBODY, OTHER, SHOPS, charge, november

NOT_NULL = (
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargePeriodEnd", "ChargePeriodStart"),
    *("ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ProviderName"),
    *("PublisherName", "ServiceCategory", "ServiceName", "ChargeFrequency"),
)
NUMBERS = (
    *("BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity"),
    *("ConsumedQuantity", "CommitmentDiscountQuantity"),
)
ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase"},
    "ChargeClass": {""},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "CommitmentDiscountStatus": {"", "Used", "Unused"},
    "PricingCategory": {"Standard", "Committed", "Dynamic", "Other"},
    "PricingUnit": {"GB", "GiB", "Requests", "Addresses", "Units"},
    "ServiceCategory": {"Networking"},
}

MONTH = november(
    charge(SHOPS, "2.80", quantity=Decimal("0.333333333")),
    charge(SHOPS, "16.6666666666666666666666667", kind="commitment", quantity=Decimal(0), unit=""),
    charge(NOBODY, "0.0000000000000000000000033", kind="commitment", quantity=Decimal(0), unit=""),
    charge(OTHER, "0.00000012", unit="GiB", quantity=Decimal("1E+3")),
    charge(OTHER, "1.2", kind="addresses", unit="address", quantity=Decimal(100)),
    charge(SHOPS._replace(vendor="vendor-c"), "0.3", unit="request", currency="EUR"),
)


def rows(month: Month) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(focus_csv(month))))


def total(month: Month, currency: str) -> Decimal:
    return sum((one.cost for one in month.charges if one.currency == currency), Decimal(0))


@pytest.mark.parametrize("column", ["BilledCost", "EffectiveCost"])
@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_costs_add_up_exactly(column: str, currency: str) -> None:
    """Whoever sums up a column of the export gets the month's cost, to the last digit."""
    found = (Decimal(row[column]) for row in rows(MONTH) if row["BillingCurrency"] == currency)
    assert sum(found, Decimal(0)) == total(MONTH, currency)


def test_a_commitment_is_bought_once_and_then_drawn() -> None:
    """Summing BilledCost over purchases, or EffectiveCost over usage, counts no dollar twice."""
    of_it = [row for row in rows(MONTH) if row["CommitmentDiscountId"]]
    bought = [row for row in of_it if row["ChargeCategory"] == "Purchase"]
    drawn = [row for row in of_it if row["ChargeCategory"] == "Usage"]
    assert len(bought) == 1
    assert Decimal(bought[0]["EffectiveCost"]) == 0
    assert {Decimal(row["BilledCost"]) for row in drawn} == {0}
    assert sum(Decimal(row["EffectiveCost"]) for row in drawn) == Decimal(bought[0]["BilledCost"])
    assert [row["CommitmentDiscountStatus"] for row in drawn] == ["Used", "Unused"]


def test_every_row_keeps_the_norm() -> None:
    """A loader of FOCUS 1.2 takes the file: nulls, numbers, times, units and closed lists."""
    for row in rows(MONTH):
        assert not [name for name in NOT_NULL if not row[name].strip()]
        for name in NUMBERS:
            assert re.fullmatch(r"(-?\d+(\.\d+)?)?", row[name]), (name, row[name])
        for name, allowed in ALLOWED.items():
            assert row[name] in allowed, name
        for name in ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart"):
            datetime.strptime(row[name], "%Y-%m-%dT%H:%M:%SZ")
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
        assert re.fullmatch("[A-Z]{3}", row["BillingCurrency"])
        has_quantity = row["ChargeCategory"] == "Usage"
        has_quantity = has_quantity and row["CommitmentDiscountStatus"] != "Unused"
        assert bool(row["ConsumedQuantity"]) == bool(row["ConsumedUnit"]) == has_quantity
        of_commitment = {bool(row[f"CommitmentDiscount{name}"]) for name in ("Id", "Type", "Unit")}
        assert len(of_commitment) == 1
        assert not (row["ChargeCategory"] == "Purchase" and row["ChargeFrequency"] == "Usage-Based")


def test_a_team_and_a_target_are_tags() -> None:
    """Whoever loads the file can sum up by team; a part without one has no empty tag."""
    first, *_ = rows(MONTH)
    assert json.loads(first["Tags"]) == {"target": "shops", "team": "prices"}
    assert first["SubAccountId"] == "residential"
    unused = next(row for row in rows(MONTH) if row["CommitmentDiscountStatus"] == "Unused")
    assert json.loads(unused["Tags"]) == {}
    assert unused["SubAccountId"] == ""


def test_no_label_becomes_a_formula() -> None:
    """A spreadsheet that opens the file runs nothing that a label says."""
    part = Part("=cmd|'/c calc'!A0", "@SUM(1)", "-1+1", "+1")
    row = rows(november(charge(part, "-0.5", day=FIRST)))[0]
    for name in ("ProviderName", "SubAccountId", "BillingAccountId", "ChargeDescription"):
        assert row[name].startswith("'")
    assert row["BilledCost"] == "-0.5"
