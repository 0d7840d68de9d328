"""What a month's traffic costs, day by day and part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from money.quantities import Part


@dataclass(frozen=True, kw_only=True)
class Charge:
    """A part's cost on one UTC day."""

    day: date
    part: Part
    kind: Literal["usage", "commitment", "addresses"]
    currency: str
    cost: Decimal
    quantity: Decimal
    """Billable units: 0 for a commitment."""
    unit: Literal["GB", "GiB", "request", "address", ""]
    failed_cost: Decimal
    """Of `cost`, what traffic cost whose result is `refused` or `failed`."""


@dataclass(frozen=True, kw_only=True)
class Month:
    """A month's charges, up to the ledger's last hour. Charges of one day and contract add up to
    what the contract says, exactly."""

    year: int
    month: int
    charges: Sequence[Charge]
    without_price: Sequence[Part]
    """Parts with traffic but without a contract."""
