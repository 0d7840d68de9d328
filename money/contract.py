"""What a stack says about money, as plain data: contracts of vendors, and budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from money.quantities import Part

GIGABYTES = {"GB": 10**9, "GiB": 2**30}


@dataclass(frozen=True, kw_only=True)
class Tier:
    """The price of a unit up to a monthly quantity."""

    up_to: Decimal | None
    """In units of the month; None for the last tier."""
    price: Decimal


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that a contract charges for.

    `perGB` is by `unit` of billable bytes, `perRequest` by a request, `perSuccess` by a request
    whose outcome is in `successes`, `perAddressMonth` by an address and month.
    """

    kind: Literal["perGB", "perRequest", "perSuccess", "perAddressMonth"]
    tiers: Sequence[Tier]
    unit: Literal["GB", "GiB", "request", "address"]
    counts: Literal["wire", "target"] = "wire"
    """Of bytes: all on the wire, or those to and from the target (`overhead_*` is taken off)."""
    overhead_bytes_per_tunnel: int = 0
    overhead_bytes_per_request: int = 0
    free_results: frozenset[str] = frozenset()
    """Results whose bytes and requests are not billed."""
    successes: frozenset[str] = frozenset()
    """Outcomes that `perSuccess` bills."""
    addresses: int = 0
    """How many are rented, for `perAddressMonth`."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What a vendor charges for one product, or for all that have no contract of their own."""

    vendor: str
    product: str
    """Empty: every product without a contract of its own, and traffic of none."""
    currency: str
    """ISO 4217."""
    valid_from: date | None
    """None: always. The latest that is not after a day applies to it."""
    rules: Sequence[Rule]
    commitment: Decimal = Decimal(0)
    """Fixed sum of a month."""
    included: Decimal = Decimal(0)
    """Units of the first rule that the commitment pays; 0 with a commitment: a least sum, against
    which the usage is set off."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit of one month. An empty `vendor`, `product` or `team` stands for any."""

    name: str
    vendor: str = ""
    product: str = ""
    team: str = ""
    limit: Decimal
    currency: str
    """ISO 4217; empty if the limit is in GB (10^9 wire bytes, both ways)."""

    def covers(self, part: Part) -> bool:
        """Whether a part's traffic counts against it."""
        pairs = ((self.vendor, part.vendor), (self.product, part.product), (self.team, part.team))
        return all(own in ("", whose) for own, whose in pairs)
