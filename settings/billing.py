"""`vendors[].billing`: what a vendor counts, and at which price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Field, StrictInt, Tag

from settings.section import Problem, Section
from settings.values.money import Amount, Currency, Day, Price
from settings.values.outcomes import VendorOutcome


class PriceTier(Section):
    """A step of a price."""

    up_to: Amount | None = None
    """Up to how many units a month; the last tier has none."""
    price: Price = Field(examples=[8.4])
    """Price of a unit in this tier."""


# Measured with a login of 82 characters, as residential vendors' are, and an answer of 39 bytes
# ("HTTP/1.1 200 Connection established"). Tunnels: urllib and requests 225 bytes, httpx 270, wget
# 282, curl 312, aiohttp 348. Plain requests: 168, curl and wget 198. A character more of the login
# is 1.3 bytes more.
class Overhead(Section):
    """What is on the wire, and not to or from the target."""

    tunnel: Annotated[StrictInt, Field(ge=0, le=100_000)] = 280
    """Bytes of a tunnel: the CONNECT with its credentials, and the answer to it."""
    request: Annotated[StrictInt, Field(ge=0, le=100_000)] = 170
    """Bytes of a plain request: its credentials, and the site's name in its first line."""


class PerGB(Section):
    """A price of bytes."""

    price: Price | None = Field(default=None, examples=[8.4])
    """Price of a unit. Required, or `tiers`."""
    tiers: Annotated[tuple[PriceTier, ...], Field(max_length=20)] = ()
    """Prices by the month's units, like `[{upTo: 100, price: 8.4}, {price: 7}]`: the first 100 at
    8.4, all above at 7."""
    unit: Literal["GB", "GiB"] = Field(examples=["GB"])
    """`GB` is 10^9 bytes, `GiB` 2^30, which is 7.4 % more."""
    counts: Literal["wire", "target"] = "wire"
    """`wire`: all bytes of the connections, both ways. `target`: those to and from the site, which
    is `wire` less `overhead`."""
    overhead: Overhead = Overhead()
    """What `counts: target` takes off."""

    def problems(self) -> Iterator[Problem]:
        if self.price is None and not self.tiers:
            yield Problem(("price",), "is missing; write it, like price: 8.4, or tiers")
        if self.price is not None and self.tiers:
            yield Problem(("tiers",), "is a second price; remove it, or price")
        if self.counts == "wire" and self.sets("overhead"):
            yield Problem(("overhead",), "has no effect with counts: wire; remove it")
        yield from descending(self.tiers)


def descending(tiers: Sequence[PriceTier]) -> Iterator[Problem]:
    for index, tier in enumerate(tiers):
        at = ("tiers", index, "upTo")
        if index == len(tiers) - 1:
            if tier.up_to is not None:
                yield Problem(
                    at, "is of the last tier, and what is above has no price; remove it here"
                )
        elif tier.up_to is None:
            yield Problem(at, "is missing; write where the tier ends, the last alone is open")
        elif index and (before := tiers[index - 1].up_to) and tier.up_to <= before:
            text = f"{tier.up_to} is not above the tier before ({before}); write them ascending"
            yield Problem(at, text)


class PerRequest(Section):
    """A price of requests."""

    per_1000: Price = Field(alias="per1000", examples=[1.5])
    """Price of 1,000 requests, tunnels included, that reached the vendor."""


class PerSuccess(Section):
    """A price of successes."""

    per_1000: Price = Field(alias="per1000", examples=[3])
    """Price of 1,000 successful requests, tunnels included."""
    outcomes: Annotated[tuple[VendorOutcome, ...], Field(min_length=1)] = ("success",)
    """Outcomes that the vendor calls a success."""


class PerAddressMonth(Section):
    """A price of addresses."""

    price: Price = Field(examples=[1.2])
    """Price of an address and month."""
    addresses: Annotated[StrictInt, Field(ge=1, le=10**7)] = Field(examples=[100])
    """How many are rented."""


class Commitment(Section):
    """A sum that is paid each month."""

    monthly: Amount = Field(examples=[500])
    """The sum."""
    includes: Amount | None = None
    """Units that it pays: GB, GiB or requests, of the first of `perGB`, `perRequest` and
    `perSuccess`. More is billed by its price, in the tier that the month has reached. Without it
    the sum is the least that a month costs: usage is billed above it."""


class Billing(Section):
    """What a vendor counts, and at which price."""

    currency: Currency = Field(examples=["USD"])
    """ISO 4217. Sums of several currencies are never added up."""
    valid_from: Day | None = None
    """First day (UTC) on which it applies. A change of prices is a second entry of a list: the
    latest that is not after a day applies. In a month of two, each takes its days' part of fixed
    sums, and tiers begin anew."""
    per_gb: PerGB | None = Field(default=None, alias="perGB")
    """A price of bytes."""
    per_request: PerRequest | None = None
    """A price of requests."""
    per_success: PerSuccess | None = None
    """A price of successes."""
    per_address_month: PerAddressMonth | None = None
    """A price of addresses."""
    commit: Commitment | None = None
    """A sum that is paid each month."""
    free: tuple[Literal["refused", "failed"], ...] = ()
    """What is not billed by `perGB` and `perRequest`: `refused` by a site or vendor (`blocked`,
    `policy`, `rate_limited`), or `failed` (any other failure)."""

    def problems(self) -> Iterator[Problem]:
        usage = self.per_gb or self.per_request or self.per_success
        if not usage and not self.per_address_month and not self.commit:
            yield Problem(
                ("perGB",),
                "is missing, and so is any other price; write one, like "
                "perGB: {price: 8.4, unit: GB}",
            )
        if self.per_request and self.per_success:
            yield Problem(
                ("perSuccess",), "bills requests that perRequest bills already; remove one"
            )
        if self.commit and self.commit.includes and not usage:
            yield Problem(
                ("commit", "includes"),
                "is of no unit; write perGB, perRequest or perSuccess with the price above it",
            )
        if self.free and not self.per_gb and not self.per_request:
            yield Problem(("free",), "has no effect without perGB or perRequest; remove it")


def form_of(value: object) -> str:
    return "<list>" if isinstance(value, list | tuple) else "<one>"


BillingEntry = Annotated[
    Annotated[Billing, Tag("<one>")]
    | Annotated[Annotated[tuple[Billing, ...], Field(min_length=1)], Tag("<list>")],
    Discriminator(form_of),
]


def entries(billing: Billing | tuple[Billing, ...] | None) -> tuple[Billing, ...]:
    """Return a vendor's or product's entries, one or a list."""
    if billing is None:
        return ()
    return billing if isinstance(billing, tuple) else (billing,)


def begun_twice(billing: Billing | tuple[Billing, ...] | None) -> Iterator[Problem]:
    """Two entries of one day would both apply."""
    first: dict[object, int] = {}
    for index, one in enumerate(entries(billing)):
        earlier = first.setdefault(one.valid_from, index)
        if earlier != index:
            at = ("billing", index, "validFrom")
            if one.valid_from:
                yield Problem(
                    at,
                    f"{one.valid_from} is also that of billing[{earlier}]; write another day",
                )
            else:
                yield Problem(
                    at,
                    f"is missing, as in billing[{earlier}]; write from which day each applies",
                )
