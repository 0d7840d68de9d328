"""`vendors[].tls`: TLS to the vendor from the sidecar, for crawlers that speak none."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from settings.hosts import is_address
from settings.section import Problem, Section
from settings.values.checked_text import Text, titled
from settings.values.kubernetes import LABEL

CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def not_an_address(name: str) -> str:
    if is_address(name):
        raise ValueError(
            "is an address, which TLS cannot ask for; write the name in the vendor's certificate"
        )
    return name


ServerName = Annotated[
    StrictStr,
    AfterValidator(not_an_address),
    Text(
        "host",
        rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})+",
        "is not the full name of a host; write the name in the vendor's certificate, in lower "
        "case, like gw.vendor.example",
    ),
]


def certificates_alone(text: str) -> str:
    """Return the certificates of a PEM text, without what stands between them."""
    if "PRIVATE KEY-----" in text:
        raise ValueError(
            "holds a private key, which an EnvoyFilter would show; write the CA's certificate "
            "alone, and replace the key if others can read it"
        )
    found = re.findall(rf"{CERTIFICATE}.*?-----END CERTIFICATE-----", text, re.DOTALL)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(found))
    except (ssl.SSLError, ValueError):
        raise ValueError(
            "holds no certificate in PEM; write the path of a file that begins with "
            f"{CERTIFICATE}, or its text"
        ) from None
    return "".join(f"{one}\n" for one in found)


class VendorTls(Section):
    """TLS between the sidecar and a vendor, whose crawlers speak plain HTTP or SOCKS5.

    Without it, proxy credentials cross the internet in clear.
    """

    originate: StrictBool = False
    """Whether the sidecar speaks TLS 1.2 or later to the vendor, on every port that crawlers use
    there. A vendor whose certificate is wrong, expired or of an unknown CA gets nothing
    (`connect_failed`). Crawlers that speak TLS to the proxy themselves would speak TLS inside TLS.
    Where the filters are missing, crawlers speak to the vendor in clear, as without it. Bytes are
    counted before encryption (docs/rollout.md: what a change cuts)."""
    sni: ServerName | None = Field(default=None, examples=["gw.vendor.example"])
    """The name that is asked for, and that the certificate must have. Required beside `cidrs`; by
    default each of `hosts` is its own."""
    # `settings.loading` has put the file's text here already: models read no file.
    ca: (
        Annotated[StrictStr, AfterValidator(certificates_alone), titled("path or certificates")]
        | None
    ) = None
    """The CA that signs the vendor's certificate: a PEM file's path from the project's root, or its
    text. Default: those that the sidecar's image trusts."""

    def problems(self) -> Iterator[Problem]:
        for key in ("sni", "ca"):
            if not self.originate and getattr(self, key) is not None:
                text = "has no effect without originate: true; add it, or remove tls"
                yield Problem((key,), text)
