"""Prices, currencies and days, read as an operator writes them.

Every parser raises `ValueError` with "reason; remedy".
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import StrictStr, WithJsonSchema
from pydantic.functional_validators import PlainValidator

from settings.values.checked_text import Text, titled


def parse_number(value: object) -> Decimal:
    """Read 8.4 or "8.4" as the digits say, without a float's noise; 0 or more."""
    written = str(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("is not a number; write digits, like 8.4")
    if re.fullmatch(r"-[0-9].*", written):
        raise ValueError("is below 0; write 0 or more")
    if re.fullmatch(r"[0-9.]*,[0-9.,]*", written):
        raise ValueError("has a comma, which is read differently by country; write 8.4")
    if isinstance(value, float) and "e" in written:
        written = f"{Decimal(written):f}"
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", written):
        raise ValueError(
            "is not a number of at most 12 digits and 9 decimals; write it without currency, "
            "unit or spaces, like 8.4"
        )
    return Decimal(written)


def parse_amount(value: object) -> Decimal:
    """Read a number above 0."""
    if not (amount := parse_number(value)):
        raise ValueError("is nothing; write more than 0")
    return amount


def parse_day(value: object) -> date:
    """Read 2026-11-01.

    PyYAML makes a date of it, and Pulumi's engine hands over what Go prints of a time.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)( 00:00:00 \+0000 UTC)?", str(value))
    try:
        return date.fromisoformat(match[1] if match else "")
    except ValueError:
        raise ValueError("is not a day; write year, month and day, like 2026-11-01") from None


Price = Annotated[
    Decimal,
    PlainValidator(parse_number),
    WithJsonSchema({"type": ["number", "string"], "title": "price"}),
]
Amount = Annotated[
    Decimal,
    PlainValidator(parse_amount),
    WithJsonSchema({"type": ["number", "string"], "title": "amount"}),
]
Day = Annotated[date, PlainValidator(parse_day), titled("day")]
Currency = Annotated[
    StrictStr,
    Text(
        "currency",
        r"[A-Z]{3}",
        "is not a currency; write the three capitals of ISO 4217, like USD",
    ),
]
