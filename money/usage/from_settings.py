"""Whose usage API a stack asks."""

from __future__ import annotations

from money.usage.account import Account
from settings.vendors import Vendor


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
        products={one.name: one.product or "" for one in usage.products},
        unit=usage.unit or "",
        time_zone=usage.time_zone or "UTC",
        skips_empty_days=usage.skips_empty_days,
        url=url,
    )
