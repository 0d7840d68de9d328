"""Where a vendor's usage is asked for, and with which credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from money.usage.figures import UsageError

TOKEN, USER, PASSWORD, URL = "USAGE_TOKEN", "USAGE_USERNAME", "USAGE_PASSWORD", "USAGE_URL"
"""Environment variables of one vendor's credentials, and of an address that is not its usual."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """What is asked of a vendor's usage API. Nothing of it is secret."""

    vendor: str
    api: str
    """A key of `money.usage.apis.APIS`."""
    organization: str = ""
    """The vendor's number for the customer, where its API asks for it."""
    products: Mapping[str, str] = field(default_factory=dict)
    """The vendor's name for what it sells (a zone, a sub-user) -> the stack's product."""
    unit: Literal["GB", "GiB", ""] = ""
    """What a GB of the vendor's is, where its API counts in them without saying so."""
    time_zone: str = "UTC"
    skips_empty_days: bool = False
    url: str = ""
    """Instead of the vendor's own address."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What opens one vendor's usage API; never shown."""

    token: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Credentials:
        """Take them from environment variables; each may be missing."""
        return cls(
            token=environment.get(TOKEN, "").strip(),
            username=environment.get(USER, "").strip(),
            password=environment.get(PASSWORD, ""),
        )

    def required_token(self, what: str) -> str:
        """Return the token, or say which one is missing.

        Raises:
            UsageError: there is none, or it cannot be sent in a header.
        """
        if not self.token:
            raise UsageError(f"{TOKEN}: is not set; set it to {what}")
        if not (self.token.isascii() and self.token.isprintable()):
            # Else the HTTP library would quote it in its error.
            raise UsageError(f"{TOKEN}: holds a character that no header can; copy it again")
        return self.token

    def required_login(self, what: str) -> str:
        """Return "user:password", or say which one is missing.

        Raises:
            UsageError: one of them is missing.
        """
        for name, value in ((USER, self.username), (PASSWORD, self.password)):
            if not value:
                raise UsageError(f"{name}: is not set; set {USER} and {PASSWORD} to {what}")
            if not value.isprintable():  # also what was no UTF-8 in the environment
                raise UsageError(f"{name}: holds a character that no login can; copy it again")
        return f"{self.username}:{self.password}"
