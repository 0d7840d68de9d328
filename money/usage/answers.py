"""Read a JSON answer step by step; what is not as documented is refused by its place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from money.usage.figures import UsageError

MOST, LEAST = Decimal(10**18), Decimal("1e-12")
NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,12})?")


@dataclass(frozen=True)
class Answer:
    """A part of a vendor's answer. Messages quote its place and never its text, which may hold
    passwords (IPRoyal's sub-users) or the names of customers."""

    vendor: str
    value: Any = field(repr=False)
    where: str

    def refused(self, reason: str) -> UsageError:
        """Return the error that refuses the whole answer."""
        return UsageError(
            f"{self.vendor}: {self.where}: {reason}; nothing was imported: the API has changed, "
            "or this is another vendor's"
        )

    def __getitem__(self, key: str) -> Answer:
        if not isinstance(self.value, dict):
            raise self.refused("is no object")
        if key not in self.value:
            raise self.refused(f"lacks {key}")
        return Answer(self.vendor, self.value[key], f"{self.where} {key}")

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def only(self) -> Answer:
        """Return the one value of an object whose key is the customer's number."""
        if not isinstance(self.value, dict) or len(self.value) != 1:
            raise self.refused("is no object with one key")
        return Answer(self.vendor, next(iter(self.value.values())), self.where)

    def elements(self) -> list[Answer]:
        if not isinstance(self.value, list):
            raise self.refused("is no list")
        return [
            Answer(self.vendor, one, f"{self.where}[{number}]")
            for number, one in enumerate(self.value)
        ]

    def number(self, *, as_text: bool = False) -> Decimal:
        """Return a number that is 0 or more.

        Args:
            as_text: the vendor writes it in quotes, or may do.
        """
        if as_text and isinstance(self.value, str) and NUMBER.fullmatch(self.value):
            return Decimal(self.value)
        if not isinstance(self.value, Decimal):
            raise self.refused("is no number" if not isinstance(self.value, str) else "is text")
        if self.value < 0:
            raise self.refused("is negative")
        if self.value > MOST:
            raise self.refused("is more than any traffic")
        if 0 < self.value < LEAST:
            # 1e-999999999 is short to write, and has a billion digits as a fraction.
            raise self.refused("is less than any traffic")
        return self.value

    def whole(self, *, as_text: bool = False) -> Decimal:
        """Return a number of bytes or requests; a fraction means another unit."""
        found = self.number(as_text=as_text)
        if found != found.to_integral_value():
            raise self.refused("is no whole number, as if its unit were another")
        return found

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.refused("is no text")
        return self.value

    def moment(self) -> datetime:
        """Return a date and time with its offset; one without could be of any time zone."""
        try:
            found = datetime.fromisoformat(self.text())
        except ValueError:
            raise self.refused("is no date with a time") from None
        if found.tzinfo is None:
            raise self.refused("has no time zone")
        if not 2000 <= found.year < 2100:
            # In year 1 no other time zone can be had.
            raise self.refused("is of no year of this century")
        return found

    def day(self) -> date:
        """Return a UTC day: `2026-11-01`, or the midnight that it begins with."""
        text = self.text()
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            try:
                return date.fromisoformat(text)
            except ValueError:
                raise self.refused("is no day") from None
        if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]00:00:00(\.0+)?", text):
            return Answer(self.vendor, text[:10], self.where).day()
        found = self.moment().astimezone(UTC)
        if found != found.replace(hour=0, minute=0, second=0, microsecond=0):
            raise self.refused("is no midnight of UTC, so its days are of another time zone")
        return found.date()
