"""What a stack file says of a vendor's own figures."""

from __future__ import annotations

from money.usage.account import Account
from money.usage.csv_file import Column, CsvFormat
from settings.usage import CsvFile, CsvNumbers, VendorUsage
from settings.vendors import Vendor

SIGNS = {
    "none": "",
    "point": ".",
    "comma": ",",
    "apostrophe": "'",
    "space": " ",
    "semicolon": ";",
    "tab": "\t",
    "pipe": "|",
}


def account_of(vendor: Vendor, url: str = "") -> Account | None:
    """Return what is asked of a vendor's API, if the stack names one.

    Args:
        url: instead of the vendor's own address.
    """
    usage = vendor.usage
    if usage is None or usage.api is None:
        return None
    return Account(
        vendor=vendor.name,
        api=usage.api,
        organization=usage.organization or "",
        products=_products(usage),
        unit=usage.unit or "",
        time_zone=usage.time_zone or "UTC",
        skips_empty_days=usage.skips_empty_days,
        url=url,
    )


def format_of(vendor: Vendor) -> CsvFormat | None:
    """Return how a vendor's file is written, if the stack says."""
    if vendor.usage is None or vendor.usage.csv is None:
        return None
    return csv_format(vendor.usage, vendor.usage.csv)


def csv_format(usage: VendorUsage, csv: CsvFile) -> CsvFormat:
    return CsvFormat(
        day=csv.day.column,
        day_format=csv.day.format,
        time_zone=usage.time_zone or "UTC",
        traffic=_column(csv.traffic),
        traffic_unit=csv.traffic.unit if csv.traffic else "B",
        requests=_column(csv.requests),
        cost=_column(csv.cost),
        currency=csv.cost.currency if csv.cost else "",
        product=csv.product or "",
        products=_products(usage),
        separator=SIGNS[csv.separator],
        decimal="," if csv.decimal == "comma" else ".",
        thousands=SIGNS[csv.thousands],
        total=csv.total or "",
        skips_empty_days=usage.skips_empty_days,
    )


def _products(usage: VendorUsage) -> dict[str, str]:
    return {one.name: one.product or "" for one in usage.products}


def _column(numbers: CsvNumbers | None) -> Column | None:
    return Column(name=numbers.column, text=numbers.text) if numbers else None
