"""What a reconciliation says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

Kind = Literal[
    "billed_more",
    "billed_less",
    "day_twice",
    "foreign_traffic",
    "not_billed",
    "moved",
    "without_data",
    "time_zone",
    "unit",
    "counting",
    "wrong_tier",
    "wrong_price",
    "wrong_sum",
    "currency",
    "no_contract",
    "note",
]
Measure = Literal["bytes", "requests"]


class ReconcileError(Exception):
    """Both sides cannot be compared; one line with the reason and what to do."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A difference: what it is, and why if that can be told."""

    kind: Kind
    text: str
    """A sentence."""
    is_defect: bool = False
    """Whether it is a reason not to pay; else it is explained, or to the vendor's cost."""
    product: str = ""
    days: Sequence[date] = ()
    """Empty: of the month."""
    amount: Decimal = Decimal(0)
    """Money that it is about, in the reconciliation's currency; 0 where no price is known."""


@dataclass(frozen=True, kw_only=True)
class DayLine:
    """One day of one product, as both sides have it."""

    day: date
    product: str
    measure: Measure
    metered: float
    """What the contract bills of the measured traffic, in bytes or requests."""
    expected: float
    """`metered`, with an estimate for hours without data."""
    billed: float
    hours_without_data: float
    cost: Decimal | None
    """As the vendor says."""
    contract_cost: Decimal | None
    """What the contract makes of the billed quantity."""
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class BytesOfVendor:
    """A vendor's bytes that a contract by GB covers, and why fewer of them are billed."""

    measured: float
    free: float
    """Of `measured`, those whose result the contract leaves free."""
    overhead: float
    """Of `measured`, what a contract that counts `target` takes off."""

    @property
    def billable(self) -> float:
        return self.measured - self.free - self.overhead


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """A vendor's month, compared."""

    vendor: str
    source: str
    start: date
    end: date
    """Exclusive."""
    currency: str
    lines: Sequence[DayLine]
    findings: Sequence[Finding]
    cost: Decimal | None
    """What the vendor asks for, if it says."""
    contract_cost: Decimal | None
    """What the contract makes of the billed quantities, fixed sums included."""
    bytes: BytesOfVendor | None = None
    """Why the metered bytes are fewer than those on the wire; None without a price of bytes."""

    @property
    def defects(self) -> list[Finding]:
        return [one for one in self.findings if one.is_defect]

    @property
    def in_question(self) -> Decimal:
        """Of `cost`, what the defects are about; an invoice may ask for less than it counts."""
        about = sum((one.amount for one in self.defects), Decimal(0))
        return about if self.cost is None else min(about, self.cost)

    @property
    def pay(self) -> bool:
        return not self.defects
