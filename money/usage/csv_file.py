"""A vendor's invoice or export as CSV. No vendor documents one, so everything is given by name:
the columns, the units, how a date, a number and money are written. Nothing is guessed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from money.usage.figures import (
    DayOfUsage,
    Usage,
    UsageError,
    added_up,
    refuse_missing_days,
    with_empty_days,
)

TrafficUnit = Literal["B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]
UNITS: Mapping[str, int] = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}

MOST_BYTES = 32 * 2**20
NUMBER_HERE = "#"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of numbers."""

    name: str
    text: str = NUMBER_HERE
    """What a cell looks like, with # for the number: "$#", "# GB"."""


@dataclass(frozen=True, kw_only=True)
class CsvFormat:
    """How to read a vendor's file."""

    day: str
    """Column of the day."""
    day_format: str
    """As Python's strptime has it: "%d.%m.%Y". With %H, lines are hours, and are added up."""
    time_zone: str
    """Whose midnights part the days: an IANA name."""
    traffic: Column | None = None
    traffic_unit: TrafficUnit = "B"
    requests: Column | None = None
    cost: Column | None = None
    currency: str = ""
    product: str = ""
    """Column of the vendor's name for what it sells; empty: all lines are one product."""
    products: Mapping[str, str] = field(default_factory=dict)
    """Those names -> the stack's products."""
    separator: str = ","
    decimal: Literal[".", ","] = "."
    thousands: str = ""
    total: str = ""
    """What the column of the day says in the line of totals, which must be right."""
    skips_empty_days: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns that a file must have."""
        numbers = [one.name for one in (self.traffic, self.requests, self.cost) if one]
        return [self.day, *numbers, *([self.product] if self.product else [])]


def usage_of_file(path: Path, form: CsvFormat, vendor: str, start: date, end: date) -> Usage:
    """Read the days from `start` up to, without, `end`; the file may have no others.

    Raises:
        UsageError: a line is not as the format says. Nothing of the file is used.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"FILE: {path} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise UsageError(f"FILE: has more than {MOST_BYTES >> 20} MiB; give one month's file")
    return usage_of_text(content, path.name, form, vendor, start, end)


def usage_of_text(
    content: bytes, source: str, form: CsvFormat, vendor: str, start: date, end: date
) -> Usage:
    """Read a file's content.

    Raises:
        UsageError: as `usage_of_file`.
    """
    lines = _lines(content, source, form)
    read, totals = [], []
    for number, cells in lines:
        where = f"{source}:{number}"
        if form.total and cells[form.day].strip() == form.total:
            totals.append((where, _row(cells, where, form, start, "")))
            continue
        day = _day(cells[form.day], where, form)
        if not start <= day < end:
            raise UsageError(f"{where}: {day} is not from {start} up to {end}; is it this month's?")
        read.append(_row(cells, where, form, day, _product(cells, where, form)))
    if form.total and len(totals) != 1:
        raise UsageError(
            f"{source}: has {len(totals)} lines of {form.total!r}, as if it were cut off; "
            "export it again, or leave out usage.csv.total"
        )
    for where, row in totals:
        _refuse_wrong_total(where, row, read, UNITS[form.traffic_unit])
    rows = added_up(read)
    if "%H" in form.day_format:
        rows = [replace(row, listed=1) for row in rows]  # hours, not a day twice
    if form.skips_empty_days:
        rows = with_empty_days(rows, start, end)
    refuse_missing_days(rows, start, end, source)
    return Usage(
        vendor=vendor,
        source=source,
        start=start,
        end=end,
        time_zone=form.time_zone,
        rows=rows,
        currency=form.currency if form.cost else "",
    )


def _lines(content: bytes, source: str, form: CsvFormat) -> list[tuple[int, Mapping[str, str]]]:
    """Return the lines below the heading, by column."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{source}: is no text in UTF-8; save it as such") from None
    if text.lstrip().startswith("<"):
        raise UsageError(f"{source}: is a page of HTML; download the CSV file itself")
    if "\0" in text:
        raise UsageError(f"{source}: is no text; save it as CSV")
    try:
        table = csv.reader(io.StringIO(text, newline=""), delimiter=form.separator, strict=True)
        found = [(table.line_num, line) for line in table if line]
    except csv.Error:
        raise UsageError(f"{source}: is no CSV, or is cut off; export it again") from None
    if not found:
        raise UsageError(f"{source}: is empty")
    heading = [cell.strip() for cell in found[0][1]]
    for column in form.columns:
        if heading.count(column) != 1:
            raise UsageError(
                f"{source}: has {heading.count(column) or 'no'} column {column!r} by the separator "
                f"{form.separator!r}; correct usage.csv"
            )
    for number, line in found[1:]:
        if len(line) != len(heading):
            raise UsageError(
                f"{source}:{number}: has {len(line)} cells, and the heading {len(heading)}, as if "
                "it were cut off; export it again"
            )
    return [(number, dict(zip(heading, line, strict=True))) for number, line in found[1:]]


def _day(cell: str, where: str, form: CsvFormat) -> date:
    try:
        return datetime.strptime(cell.strip(), form.day_format).date()
    except ValueError:
        raise UsageError(
            f"{where}: column {form.day!r} is no date like {form.day_format}; correct "
            "usage.csv.dayFormat (a time zone in a cell is not read: give usage.csv.timeZone)"
        ) from None


def _product(cells: Mapping[str, str], where: str, form: CsvFormat) -> str:
    if not form.product:
        return ""
    name = cells[form.product].strip()
    if name not in form.products:
        raise UsageError(
            f"{where}: column {form.product!r} names what usage.products does not; if it is yours, "
            "add it, else ask the vendor what it bills"
        )
    return form.products[name]


def _row(
    cells: Mapping[str, str], where: str, form: CsvFormat, day: date, product: str
) -> DayOfUsage:
    traffic = _number(cells, where, form, form.traffic, is_count=form.traffic_unit == "B")
    return DayOfUsage(
        day=day,
        product=product,
        bytes=None if traffic is None else traffic * UNITS[form.traffic_unit],
        requests=_number(cells, where, form, form.requests, is_count=True),
        cost=_number(cells, where, form, form.cost),
    )


def _number(
    cells: Mapping[str, str],
    where: str,
    form: CsvFormat,
    column: Column | None,
    *,
    is_count: bool = False,
) -> Decimal | None:
    if column is None:
        return None
    before, _, after = column.text.partition(NUMBER_HERE)
    # A space that cannot break stands for a space: spreadsheets write it.
    text = cells[column.name].strip().replace("\u00a0", " ").replace("\u202f", " ")
    if text.startswith(before) and text.endswith(after):
        digits = text[len(before) : len(text) - len(after)]
        found = _decimal(digits, form)
        if found is not None and is_count and not re.fullmatch(r"\d+(\.0)?", str(found)):
            # 1.000 is a thousand where . parts thousands; 1000.0 is what pandas writes.
            raise UsageError(
                f"{where}: column {column.name!r} counts, and has decimals; correct decimal or "
                "thousands, or the unit, in usage.csv"
            )
        if found is not None:
            return found
    shape = column.text.replace(NUMBER_HERE, f"1{form.thousands}234{form.decimal}5")
    raise UsageError(
        f"{where}: column {column.name!r} is no number like {shape!r}; correct its unit and text, "
        "decimal or thousands in usage.csv"
    )


def _decimal(digits: str, form: CsvFormat) -> Decimal | None:
    """Read a number that is 0 or more; signs of thousands stand where they belong, or nowhere."""
    whole = "[0-9]{1,18}"
    if form.thousands:
        whole += f"|[0-9]{{1,3}}({re.escape(form.thousands)}[0-9]{{3}})+"
    if not re.fullmatch(f"({whole})({re.escape(form.decimal)}[0-9]{{1,12}})?", digits):
        return None
    if form.thousands:
        digits = digits.replace(form.thousands, "")
    return Decimal(digits.replace(form.decimal, "."))


def _refuse_wrong_total(
    where: str, total: DayOfUsage, rows: Sequence[DayOfUsage], byte_unit: int
) -> None:
    for name, unit in (("bytes", byte_unit), ("requests", 1), ("cost", 1)):
        said = getattr(total, name)
        if said is None:
            continue
        figures = [getattr(row, name) / unit for row in rows]
        said /= unit
        # Of what is counted one by one, nothing is rounded.
        is_count = name == "requests" or (name == "bytes" and unit == 1)
        allowed = Decimal(0) if is_count else _rounding([said, *figures])
        if abs(sum(figures, Decimal(0)) - said) > allowed:
            raise UsageError(
                f"{where}: its {name} are not the sum of the lines, as if some were missing; "
                "export it again"
            )


def _rounding(figures: Iterable[Decimal]) -> Decimal:
    """Return by how much a sum can differ from its parts, each rounded to the digits it shows."""
    return sum((_half_of_last_digit(one) for one in figures), Decimal(0))


def _half_of_last_digit(figure: Decimal) -> Decimal:
    exponent = figure.as_tuple().exponent
    return Decimal(5).scaleb(exponent - 1) if isinstance(exponent, int) else Decimal(0)
