"""CSV that a spreadsheet opens without harm."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins so for a formula, and runs it (OWASP, CSV Injection)."""

Cell = str | Decimal | int | None


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table as CSV: UTF-8, commas, line feeds, None as an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(one) for one in row] for row in rows)
    return file.getvalue()


def _cell(one: Cell) -> str:
    if one is None:
        return ""
    if isinstance(one, Decimal):
        return plain(one)
    text = str(one)
    return f"'{text}" if isinstance(one, str) and text.startswith(FORMULA) else text


def plain(number: Decimal) -> str:
    """Write a number with all its digits, without exponent, sign of plus or trailing zeros."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text
