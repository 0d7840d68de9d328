"""A month's charges as FOCUS 1.2, the FinOps Open Cost and Usage Specification.

Facts are from its repository (FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, tag v1.2,
specification/columns and specification/attributes). Unit prices and SKUs are left out: the vendor's
price list is not known here, and with tiers a row may hold two prices.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from money.charges import Charge, Month
from money.months import month_bounds
from money.report.csv_text import Cell, csv_text

COLUMNS = (
    # All 21 that are mandatory in 1.2.
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass"),
    *("ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost"),
    *("EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
    # Those that apply, since usage is measured and there are commitments, products and tags.
    *("ChargeFrequency", "CommitmentDiscountCategory", "CommitmentDiscountId"),
    *("CommitmentDiscountQuantity", "CommitmentDiscountStatus", "CommitmentDiscountType"),
    *("CommitmentDiscountUnit", "ConsumedQuantity", "ConsumedUnit", "PricingCategory"),
    *("SubAccountId", "SubAccountName", "Tags"),
)

# GB is 10^9 and GiB 2^30 there too; a counted unit is a capitalized plural (unit_format.md).
UNITS = {"GB": "GB", "GiB": "GiB", "request": "Requests", "address": "Addresses"}

Row = dict[str, Cell]


def focus_csv(month: Month) -> str:
    """Return a month as a FOCUS dataset. BilledCost and EffectiveCost both add up to its cost."""
    rows = focus_rows(month)
    return csv_text(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))


def focus_rows(month: Month) -> Iterator[Row]:
    """Yield a row a charge, and one a vendor for its commitments.

    A commitment is bought once (BilledCost, EffectiveCost 0: it covers later usage) and is then
    used up by the charges that the month gives to days and parts (BilledCost 0, EffectiveCost).
    """
    used = {(one.day, one.part) for one in month.charges if one.kind == "usage"}
    for charge in month.charges:
        if charge.kind == "commitment":
            yield _drawn(month, charge, is_used=(charge.day, charge.part) in used)
        else:
            yield _direct(month, charge)
    yield from _purchases(month)


def _direct(month: Month, charge: Charge) -> Row:
    is_usage = charge.kind == "usage"
    unit = UNITS[charge.unit]
    return {
        **_of_charge(month, charge),
        **_costs(charge.cost, charge.cost),
        "ChargeCategory": "Usage" if is_usage else "Purchase",
        "ChargeDescription": f"{charge.part.vendor}: {'traffic' if is_usage else 'addresses'}",
        "ChargeFrequency": "Usage-Based" if is_usage else "Recurring",
        "ConsumedQuantity": charge.quantity if is_usage else None,
        "ConsumedUnit": unit if is_usage else None,
        "PricingCategory": "Standard",
        "PricingQuantity": charge.quantity,
        "PricingUnit": unit,
    }


def _drawn(month: Month, charge: Charge, *, is_used: bool) -> Row:
    return {
        **_of_charge(month, charge),
        **_costs(Decimal(0), charge.cost),
        **_commitment(month, charge.part.vendor, charge.currency, charge.cost),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{charge.part.vendor}: drawn from the commitment",
        "ChargeFrequency": "Usage-Based",
        "CommitmentDiscountStatus": "Used" if is_used else "Unused",
        # The usage itself has a row of its own.
        "ConsumedQuantity": Decimal(0) if is_used else None,
        "ConsumedUnit": "Units" if is_used else None,
        "PricingCategory": "Committed",
        "PricingQuantity": Decimal(0),
        "PricingUnit": "Units",
    }


def _purchases(month: Month) -> Iterator[Row]:
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for one in month.charges:
        if one.kind == "commitment":
            sums[one.part.vendor, one.currency] += one.cost
    for (vendor, currency), cost in sorted(sums.items()):
        begin, end = month_bounds(month.year, month.month)
        yield {
            **_common(month, vendor, currency, begin, end),
            **_costs(cost, Decimal(0)),
            **_commitment(month, vendor, currency, cost),
            "ChargeCategory": "Purchase",
            "ChargeDescription": f"{vendor}: monthly commitment",
            "ChargeFrequency": "Recurring",
            "PricingCategory": "Standard",
            "PricingQuantity": Decimal(1),
            "PricingUnit": "Units",
        }


def _commitment(month: Month, vendor: str, currency: str, cost: Decimal) -> Row:
    return {
        "CommitmentDiscountCategory": "Spend",
        "CommitmentDiscountId": f"{vendor} {month.year}-{month.month:02}",
        "CommitmentDiscountQuantity": cost,
        "CommitmentDiscountType": "Monthly commitment",
        "CommitmentDiscountUnit": currency,
    }


def _costs(billed: Decimal, effective: Decimal) -> Row:
    # Without unit prices, list and contracted cost are the billed one (listcost.md).
    return {
        "BilledCost": billed,
        "ContractedCost": billed,
        "EffectiveCost": effective,
        "ListCost": billed,
    }


def _of_charge(month: Month, charge: Charge) -> Row:
    begin = datetime(charge.day.year, charge.day.month, charge.day.day, tzinfo=UTC)
    part = charge.part
    tags = {"target": part.target, "team": part.team}
    return {
        **_common(month, part.vendor, charge.currency, begin, begin + timedelta(days=1)),
        "SubAccountId": part.product or None,
        "SubAccountName": part.product or None,
        "Tags": json.dumps({key: value for key, value in tags.items() if value}),
    }


def _common(month: Month, vendor: str, currency: str, begin: datetime, end: datetime) -> Row:
    first, after = month_bounds(month.year, month.month)
    return {
        **dict.fromkeys(COLUMNS),
        # The account's number at the vendor is not known here.
        "BillingAccountId": vendor,
        "BillingAccountName": vendor,
        "BillingCurrency": currency,
        "BillingPeriodStart": _time(first),
        "BillingPeriodEnd": _time(after),
        "ChargePeriodStart": _time(begin),
        "ChargePeriodEnd": _time(end),
        "InvoiceIssuerName": vendor,
        "ProviderName": vendor,
        "PublisherName": vendor,
        "ServiceCategory": "Networking",
        "ServiceName": "Proxy",
    }


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
