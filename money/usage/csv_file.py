"""A vendor's invoice or export as CSV. No vendor documents one, so everything is given by name:
the columns, the units, how a date, a number and money are written. Nothing is guessed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from money.usage.figures import (
    DayOfUsage,
    Usage,
    UsageError,
    added_up,
    refuse_missing_days,
    with_empty_days,
)
from settings.usage import CsvFile, CsvNumbers, VendorUsage

UNITS: Mapping[str, int] = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}

MOST_BYTES = 32 * 2**20
NUMBER_HERE = "#"

SIGNS = {
    "none": "",
    "point": ".",
    "comma": ",",
    "apostrophe": "'",
    "space": " ",
    "semicolon": ";",
    "tab": "\t",
    "pipe": "|",
}
"""By the words that a stack file has for them."""


def usage_of_file(
    path: Path, usage: VendorUsage, form: CsvFile, vendor: str, start: date, end: date
) -> Usage:
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
    return usage_of_text(content, path.name, usage, form, vendor, start, end)


def usage_of_text(
    content: bytes,
    source: str,
    usage: VendorUsage,
    form: CsvFile,
    vendor: str,
    start: date,
    end: date,
) -> Usage:
    """Read a file's content, as `form`, the vendor's `usage.csv`, says that it is written.

    Raises:
        UsageError: as `usage_of_file`.
    """
    lines = _lines(content, source, form)
    read, totals = [], []
    for number, cells in lines:
        where = f"{source}:{number}"
        if form.total and cells[form.day.column].strip() == form.total:
            totals.append((where, _row(cells, where, form, start, "")))
            continue
        day = _day(cells[form.day.column], where, form)
        if not start <= day < end:
            raise UsageError(f"{where}: {day} is not from {start} up to {end}; is it this month's?")
        read.append(_row(cells, where, form, day, _product(cells, where, usage, form)))
    if form.total and len(totals) != 1:
        raise UsageError(
            f"{source}: has {len(totals)} lines of {form.total!r}, as if it were cut off; "
            "export it again, or leave out usage.csv.total"
        )
    for where, row in totals:
        _refuse_wrong_total(where, row, read, UNITS[_unit(form)])
    rows = added_up(read)
    if "%H" in form.day.format:
        rows = [replace(row, listed=1) for row in rows]  # hours, not a day twice
    if usage.skips_empty_days:
        rows = with_empty_days(rows, start, end)
    refuse_missing_days(rows, start, end, source)
    return Usage(
        vendor=vendor,
        source=source,
        start=start,
        end=end,
        time_zone=usage.time_zone or "UTC",
        rows=rows,
        currency=form.cost.currency if form.cost else "",
    )


def _lines(content: bytes, source: str, form: CsvFile) -> list[tuple[int, Mapping[str, str]]]:
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
        file = io.StringIO(text, newline="")
        table = csv.reader(file, delimiter=SIGNS[form.separator], strict=True)
        found = [(table.line_num, line) for line in table if line]
    except csv.Error:
        raise UsageError(f"{source}: is no CSV, or is cut off; export it again") from None
    if not found:
        raise UsageError(f"{source}: is empty")
    heading = [cell.strip() for cell in found[0][1]]
    numbers = [one.column for one in (form.traffic, form.requests, form.cost) if one]
    for column in (form.day.column, *numbers, *([form.product] if form.product else [])):
        if heading.count(column) != 1:
            raise UsageError(
                f"{source}: has {heading.count(column) or 'no'} column {column!r} by the separator "
                f"{SIGNS[form.separator]!r}; correct usage.csv"
            )
    for number, line in found[1:]:
        if len(line) != len(heading):
            raise UsageError(
                f"{source}:{number}: has {len(line)} cells, and the heading {len(heading)}, as if "
                "it were cut off; export it again"
            )
    return [(number, dict(zip(heading, line, strict=True))) for number, line in found[1:]]


def _day(cell: str, where: str, form: CsvFile) -> date:
    try:
        return datetime.strptime(cell.strip(), form.day.format).date()
    except ValueError:
        raise UsageError(
            f"{where}: column {form.day.column!r} is no date like {form.day.format}; correct "
            "usage.csv.day.format (a time zone in a cell is not read: give usage.timeZone)"
        ) from None


def _product(cells: Mapping[str, str], where: str, usage: VendorUsage, form: CsvFile) -> str:
    if not form.product:
        return ""
    name = cells[form.product].strip()
    for one in usage.products:
        if one.name == name:
            return one.product or ""
    raise UsageError(
        f"{where}: column {form.product!r} names what usage.products does not; if it is yours, "
        "add it, else ask the vendor what it bills"
    )


def _unit(form: CsvFile) -> str:
    return form.traffic.unit if form.traffic else "B"


def _row(
    cells: Mapping[str, str], where: str, form: CsvFile, day: date, product: str
) -> DayOfUsage:
    traffic = _number(cells, where, form, form.traffic, is_count=_unit(form) == "B")
    return DayOfUsage(
        day=day,
        product=product,
        bytes=None if traffic is None else traffic * UNITS[_unit(form)],
        requests=_number(cells, where, form, form.requests, is_count=True),
        cost=_number(cells, where, form, form.cost),
    )


def _number(
    cells: Mapping[str, str],
    where: str,
    form: CsvFile,
    column: CsvNumbers | None,
    *,
    is_count: bool = False,
) -> Decimal | None:
    if column is None:
        return None
    before, _, after = column.text.partition(NUMBER_HERE)
    # A space that cannot break stands for a space: spreadsheets write it.
    text = cells[column.column].strip().replace("\u00a0", " ").replace("\u202f", " ")
    if text.startswith(before) and text.endswith(after):
        digits = text[len(before) : len(text) - len(after)]
        found = _decimal(digits, form)
        if found is not None and is_count and not re.fullmatch(r"\d+(\.0)?", str(found)):
            # 1.000 is a thousand where . parts thousands; 1000.0 is what pandas writes.
            raise UsageError(
                f"{where}: column {column.column!r} counts, and has decimals; correct decimal or "
                "thousands, or the unit, in usage.csv"
            )
        if found is not None:
            return found
    shape = column.text.replace(NUMBER_HERE, f"1{SIGNS[form.thousands]}234{SIGNS[form.decimal]}5")
    raise UsageError(
        f"{where}: column {column.column!r} is no number like {shape!r}; correct its unit and "
        "text, decimal or thousands in usage.csv"
    )


def _decimal(digits: str, form: CsvFile) -> Decimal | None:
    """Read a number that is 0 or more; signs of thousands stand where they belong, or nowhere."""
    decimal, thousands = SIGNS[form.decimal], SIGNS[form.thousands]
    whole = "[0-9]{1,18}"
    if thousands:
        whole += f"|[0-9]{{1,3}}({re.escape(thousands)}[0-9]{{3}})+"
    if not re.fullmatch(f"({whole})({re.escape(decimal)}[0-9]{{1,12}})?", digits):
        return None
    return Decimal(digits.replace(thousands, "").replace(decimal, "."))


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
    last_digits = (one.as_tuple().exponent for one in figures)
    return sum(
        (Decimal(5).scaleb(one - 1) for one in last_digits if isinstance(one, int)), Decimal(0)
    )
