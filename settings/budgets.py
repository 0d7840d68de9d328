"""`budgets`: what a vendor, a product or a team may use in a month."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from settings.section import Problem, Section
from settings.values.kubernetes import DnsLabel, LabelValue
from settings.values.money import Amount, Currency


class Limit(Section):
    """How much, in money or bytes."""

    money: Amount | None = Field(default=None, examples=[500])
    """A sum of money, with `currency`."""
    currency: Currency | None = Field(default=None, examples=["USD"])
    """ISO 4217; costs in another currency do not count."""
    gb: Amount | None = Field(default=None, examples=[300])
    """10^9 wire bytes, both ways together."""

    def problems(self) -> Iterator[Problem]:
        if (self.money is None) == (self.gb is None):
            yield Problem(
                (),
                "is neither money nor gb, or both; write {money: 500, currency: USD} or {gb: 300}",
            )
        elif self.money is not None and not self.currency:
            yield Problem(("currency",), "is missing; write it, like currency: USD")
        elif self.gb is not None and self.currency:
            yield Problem(("currency",), "has no effect with gb; remove it")


class Budget(Section):
    """A limit of each calendar month, UTC."""

    name: DnsLabel = Field(examples=["residential"])
    """The budget in metrics and alerts (label `budget`)."""
    vendor: DnsLabel | None = None
    """Traffic of this vendor alone."""
    product: DnsLabel | None = None
    """Traffic of this product alone (label `proxy_pool`)."""
    team: LabelValue | None = None
    """Traffic of this team alone."""
    limit: Limit = Field(examples=[{"money": 500, "currency": "USD"}])
    """How much in a month; alerts fire at 50, 85 and 100 % of it."""
