"""A budget: what a vendor, a product or a team may use in a month."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from money.quantities import Part


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
