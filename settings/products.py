"""`vendors[].products`: what a vendor sells behind one address and port, told by the proxy user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field, StrictStr

from settings.billing import BillingEntry, begun_twice
from settings.masking import quoted
from settings.section import Problem, Section, path_text
from settings.values.checked_text import Text
from settings.values.kubernetes import DnsLabel

UserPattern = Annotated[
    StrictStr,
    Text(
        "user pattern",
        # Not what stands between the parts of a proxy in a list, which has a password.
        r"[A-Za-z0-9._~+@*-]{1,128}",
        "is not a pattern of user names; write letters, digits and ._~+@- with * for any other "
        "text, like *-zone-resi*",
    ),
]

MAX_USER_BYTES = 256
"""A longer user name has no product. The passive module keeps no more, and SOCKS5 can send no more
than 255 (RFC 1929)."""


class Product(Section):
    """One product of a vendor: the proxy users that buy it."""

    user: UserPattern = Field(examples=["*-zone-resi*"])
    """The whole user name of the proxy, in its case; `*` stands for any text, none included. It is
    a pattern of names, so write no session, and never a password."""
    name: DnsLabel = Field(examples=["residential"])
    """Label `proxy_pool` of these users' requests."""
    billing: BillingEntry | None = None
    """The product's own prices, with the keys of `vendors[].billing`; by default the vendor's."""

    def problems(self) -> Iterator[Problem]:
        yield from begun_twice(self.billing)


def product_of(products: Sequence[Product], user: str) -> str:
    """Return the name of the first product whose pattern fits, or nothing.

    lua/attribution.lua and wasm/parser/src/product.rs say the same, from the bytes of a request.

    Args:
        user: the user name as bytes, each as the character of its number (Latin-1).
    """
    if len(user) > MAX_USER_BYTES:
        return ""
    return next((one.name for one in products if fnmatchcase(user, one.user)), "")


def priced_twice(products: Sequence[Product]) -> Iterator[Problem]:
    """Several patterns may be one product, which has one price."""
    first: dict[str, int] = {}
    for index, product in enumerate(products):
        if product.billing is None:
            continue
        earlier = first.setdefault(product.name, index)
        if earlier != index:
            text = f"is also that of products[{earlier}], which has the same name; write it once"
            yield Problem(("products", index, "billing"), text)


def unused(products: Sequence[Product]) -> Iterator[Problem]:
    """The first match wins, so a pattern behind a wider one never applies."""
    for index, product in enumerate(products):
        for earlier, other in enumerate(products[:index]):
            first = path_text(("products", earlier))
            if product.user == other.user:
                text = f"{quoted(product.user)} is also {first}.user; remove one"
                yield Problem(("products", index, "user"), text)
                break
            if _contains(other.user, product.user):
                text = (
                    f"never applies, {first} matches every such user; "
                    "remove one, or put the narrower one first"
                )
                yield Problem(("products", index), text)
                break


def _contains(wider: str, narrower: str) -> bool:
    """Whether a pattern matches all that the other one does.

    It does if it matches the other one with a text for each `*` that no pattern can name: only a
    `*` of the wider one takes that, and would take any other text.
    """
    return fnmatchcase(narrower.replace("*", "#"), wider)
