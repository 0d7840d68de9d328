"""The contracts and budgets that a stack file says."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from money.contract import Budget, Contract, Rule, Tier
from settings.billing import Billing, PerGB, entries
from settings.stack import StackSettings

THOUSAND = 1000


def contracts_of(settings: StackSettings) -> tuple[Contract, ...]:
    """Return each vendor's contracts, and those of its products with prices of their own."""
    return tuple(
        contract(vendor.name, product, one)
        for vendor in settings.vendors
        for product, billing in (
            ("", vendor.billing),
            *((each.name, each.billing) for each in vendor.products),
        )
        for one in entries(billing)
    )


def budgets_of(settings: StackSettings) -> tuple[Budget, ...]:
    return tuple(
        Budget(
            name=one.name,
            vendor=one.vendor or "",
            product=one.product or "",
            team=one.team or "",
            limit=one.limit.money or one.limit.gb or Decimal(0),
            currency=one.limit.currency or "",
        )
        for one in settings.budgets
    )


def contract(vendor: str, product: str, billing: Billing) -> Contract:
    commit = billing.commit
    return Contract(
        vendor=vendor,
        product=product,
        currency=billing.currency,
        valid_from=billing.valid_from,
        rules=tuple(rules(billing)),
        commitment=commit.monthly if commit else Decimal(0),
        included=(commit and commit.includes) or Decimal(0),
    )


def rules(billing: Billing) -> Iterator[Rule]:
    """Yield the rules; the first that bills usage is the one that a commitment's units are of."""
    free = frozenset[str](billing.free)
    if billing.per_gb:
        yield by_bytes(billing.per_gb, free)
    if billing.per_request:
        price = open_tier(billing.per_request.per_1000 / THOUSAND)
        yield Rule(kind="perRequest", tiers=price, unit="request", free_results=free)
    if one := billing.per_success:
        yield Rule(
            kind="perSuccess",
            tiers=open_tier(one.per_1000 / THOUSAND),
            unit="request",
            successes=frozenset(one.outcomes),
        )
    if address := billing.per_address_month:
        yield Rule(
            kind="perAddressMonth",
            tiers=open_tier(address.price),
            unit="address",
            addresses=address.addresses,
        )


def by_bytes(per_gb: PerGB, free: frozenset[str]) -> Rule:
    written = tuple(Tier(up_to=tier.up_to, price=tier.price) for tier in per_gb.tiers)
    of_target = per_gb.counts == "target"
    return Rule(
        kind="perGB",
        tiers=open_tier(per_gb.price) if per_gb.price is not None else written,
        unit=per_gb.unit,
        counts=per_gb.counts,
        overhead_bytes_per_tunnel=per_gb.overhead.tunnel if of_target else 0,
        overhead_bytes_per_request=per_gb.overhead.request if of_target else 0,
        free_results=free,
    )


def open_tier(price: Decimal) -> tuple[Tier, ...]:
    return (Tier(up_to=None, price=price),)
