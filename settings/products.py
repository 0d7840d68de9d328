"""`vendors[].products`: what a vendor sells behind one address and port, told by the proxy user."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictStr

from settings.section import Section
from settings.values.checked_text import Text
from settings.values.kubernetes import DnsLabel

UserPattern = Annotated[
    StrictStr,
    Text(
        "user pattern",
        r"[A-Za-z0-9._~+@*-]{1,128}",
        "is not a pattern of user names; write letters, digits and ._~+@- with * for any text, "
        "like *-zone-resi*",
    ),
]


class Product(Section):
    """One product of a vendor: the proxy users that buy it."""

    user: UserPattern = Field(examples=["*-zone-resi*"])
    """The whole user name of the proxy, in its case; `*` stands for any text, none included. It is
    a pattern of names, so write no session, and never a password."""
    name: DnsLabel = Field(examples=["residential"])
    """Label `proxy_pool` of these users' requests."""
