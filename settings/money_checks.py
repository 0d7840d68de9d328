"""What budgets and prices cannot say together with the rest of a stack."""

from __future__ import annotations

from collections.abc import Iterator

from settings.billing import entries
from settings.section import Problem, repeated
from settings.stack import StackSettings
from settings.vendors import Vendor

OTHER_TEAM = "other"
"""The team of pods without a team that counts."""


def budgets_are_of_something(settings: StackSettings) -> Iterator[Problem]:
    """A budget that nothing can count against would never be used up."""
    yield from repeated(
        (("budgets", index, "name"), budget.name) for index, budget in enumerate(settings.budgets)
    )
    names = [vendor.name for vendor in settings.vendors]
    for index, budget in enumerate(settings.budgets):
        vendors = [one for one in settings.vendors if budget.vendor in (None, one.name)]
        if not vendors:
            yield Problem(
                ("budgets", index, "vendor"),
                f"{budget.vendor!r} is none of vendors; write one of {', '.join(names)}",
            )
            continue
        products = sorted({pool for vendor in vendors for pool in pools_of(vendor)})
        if budget.product and budget.product not in products:
            named = f"write one of {', '.join(products)}" if products else "remove it"
            yield Problem(
                ("budgets", index, "product"),
                f"{budget.product!r} is no product or pool of the vendor; {named}",
            )
        teams = teams_of(settings)
        if budget.team and teams and budget.team not in teams:
            yield Problem(
                ("budgets", index, "team"),
                f"{budget.team!r} is no team of the crawlers; write one of {', '.join(teams)}, "
                "or correct crawlers.teams",
            )
        currency, billed = budget.limit.currency, currencies(vendors)
        if currency and currency not in billed:
            named = f"write {' or '.join(billed)}" if billed else "write the vendors' billing"
            yield Problem(
                ("budgets", index, "limit", "currency"),
                f"{currency} is that of no price, so nothing would count against it; {named}",
            )


def teams_of(settings: StackSettings) -> tuple[str, ...]:
    """Return every value that the label `team` can have; none where any can be."""
    crawlers = settings.crawlers
    if not settings.has_crawlers or (crawlers.team_label and not crawlers.teams):
        return ()
    return (*crawlers.teams, OTHER_TEAM) if crawlers.team_label else crawlers.namespaces


def usage_is_asked_of_vendors_with_an_api(settings: StackSettings) -> Iterator[Problem]:
    """The exporter would have credentials and nobody to give them to."""
    usages = {vendor.name: vendor.usage for vendor in settings.vendors}
    for vendor in settings.money_exporter.usage_secrets:
        usage, at = usages.get(vendor), ("moneyExporter", "usageSecrets", vendor)
        if usage is None or usage.api is None:
            yield Problem(
                at,
                "is no vendor with usage.api, so nobody would be asked; remove it, or write that",
            )
        elif usage.time_zone not in (None, "UTC"):
            yield Problem(
                at,
                "has days that are not UTC, which alone are compared each morning; remove it",
            )


def usage_is_of_products_that_exist(settings: StackSettings) -> Iterator[Problem]:
    """The vendor's bytes would be compared with nothing, and look like stolen credentials."""
    for number, vendor in enumerate(settings.vendors):
        pools = sorted(set(pools_of(vendor)))
        for index, one in enumerate(vendor.usage.products if vendor.usage else ()):
            if one.product and one.product not in pools:
                named = f"write one of {', '.join(pools)}" if pools else "remove it"
                yield Problem(
                    ("vendors", number, "usage", "products", index, "product"),
                    f"{one.product!r} is no product or pool of this vendor; {named}",
                )


def pools_of(vendor: Vendor) -> Iterator[str]:
    """Yield every value that the label `proxy_pool` can have."""
    yield from (product.name for product in vendor.products)
    yield from (block.pool for block in vendor.ranges if block.pool)


def currencies(vendors: list[Vendor]) -> list[str]:
    billings = [
        billing
        for vendor in vendors
        for billing in (vendor.billing, *(product.billing for product in vendor.products))
    ]
    return sorted({one.currency for billing in billings for one in entries(billing)})
