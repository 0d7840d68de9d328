"""A vendor's CSV file, read as the stack says it is written."""

from __future__ import annotations

import contextlib
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from money.usage.csv_file import usage_of_file, usage_of_text
from money.usage.figures import UsageError
from settings.usage import VendorUsage

START, END = date(2026, 11, 1), date(2026, 11, 4)


def usage_by(csv: dict[str, Any], **more: Any) -> VendorUsage:
    return VendorUsage.model_validate({"timeZone": "UTC", "csv": csv, **more})


def german(*, skips_empty_days: bool = False, **changed: Any) -> VendorUsage:
    csv = {
        "day": {"column": "Datum", "format": "%d.%m.%Y"},
        "separator": "semicolon",
        "decimal": "comma",
        "thousands": "point",
        "traffic": {"column": "Verkehr", "text": "# GB", "unit": "GB"},
        "requests": {"column": "Anfragen"},
        "cost": {"column": "Betrag", "text": "# €", "currency": "EUR"},
        "product": "Zone",
        "total": "Summe",
    }
    return usage_by(
        {**csv, **changed},
        timeZone="Europe/Berlin",
        products=[{"name": "resi_1", "product": "residential"}],
        skipsEmptyDays=skips_empty_days,
    )


GERMAN = german()

FILE = """\
Datum;Zone;Verkehr;Anfragen;Betrag;Hinweis
01.11.2026;resi_1;1,5 GB;1.000;12,60 €;
02.11.2026;resi_1;1.234,25 GB;20;10.367,70 €;"viel; sehr viel"
03.11.2026;resi_1;0,00 GB;0;0,00 €;
Summe;;1.235,75 GB;1.020;10.380,30 €;
"""


def read(text: str | bytes, usage: VendorUsage = GERMAN):
    content = text if isinstance(text, bytes) else text.encode()
    return usage_of_text(content, "invoice.csv", usage, usage.csv, "vendor-a", START, END)


def test_file_is_read_as_its_format_says():
    found = read("\ufeff" + FILE)
    assert [row.bytes for row in found.rows] == [15 * 10**8, 1_234_250_000_000, 0]
    assert [row.requests for row in found.rows] == [1000, 20, 0]
    assert [row.cost for row in found.rows] == [Decimal("12.60"), Decimal("10367.70"), 0]
    assert found.products == ["residential"]
    assert (found.currency, found.time_zone) == ("EUR", "Europe/Berlin")


def test_unit_is_the_formats():
    """A GB of 2^30 bytes is 7 % more than one of 10^9."""
    found = read(FILE, german(traffic={"column": "Verkehr", "text": "# GB", "unit": "GiB"}))
    assert found.rows[0].bytes == Decimal("1.5") * 2**30


def test_hours_are_added_up():
    day = {"column": "Datum", "format": "%d.%m.%Y %H:%M"}
    form = german(day=day, total=None, cost=None, requests=None, product=None)
    text = "Datum;Verkehr\n" + "".join(
        f"0{day}.11.2026 {hour:02}:00;0,5 GB\n" for day in (1, 2, 3) for hour in range(24)
    )
    found = read(text, form)
    assert [(row.bytes, row.listed) for row in found.rows] == [(12 * 10**9, 1)] * 3


def test_day_that_is_listed_twice_is_kept():
    """The vendor bills it twice; that is for the reconciliation to say."""
    form = german(total=None)
    lines = FILE.splitlines()
    found = read("\n".join([*lines[:3], lines[2], lines[3]]), form)
    assert [(row.listed, row.requests) for row in found.rows] == [(1, 1000), (2, 40), (1, 0)]


def test_days_without_traffic_may_be_left_out_if_the_stack_says_so():
    form = german(total=None, skips_empty_days=True)
    found = read("\n".join(FILE.splitlines()[:2]), form)
    assert [row.bytes for row in found.rows] == [15 * 10**8, 0, 0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("1,5 GB", "1,5 MB", "unit", id="other unit in a cell"),
        pytest.param("1,5 GB", "1.5 GB", "decimal", id="the other locale's sign"),
        pytest.param("1.234,25", "1234.25", "decimal", id="mixed signs"),
        pytest.param("1.234,25", "1.23,25", "thousands", id="sign of thousands in a wrong place"),
        pytest.param("12,60 €", "$12,60", "column 'Betrag'", id="other money"),
        pytest.param("1.000", "-1", "no number", id="negative"),
        pytest.param("1.000", "", "no number", id="empty cell"),
        pytest.param("1.000", "NaN", "no number", id="no number"),
        pytest.param("03.11.2026", "04.11.2026", "not from", id="day of another span"),
        pytest.param("01.11.2026", "11/01/2026", "day.format", id="other date format"),
        pytest.param("01.11.2026", "01.11.2026 CET", "timeZone", id="time zone in a cell"),
        pytest.param("01.11.2026", "31.02.2026", "no date", id="day that is none"),
        pytest.param("resi_1;1,5", "isp_9;1,5", "usage.products", id="unknown zone"),
        pytest.param("Summe;;1.235,75", "Summe;;1.235,65", "not the sum", id="wrong sum"),
        pytest.param("Summe;;1.235,75 GB;1.020;10.380,30 €;\n", "", "cut off", id="no sum"),
        pytest.param(";Hinweis", "", "cells", id="a cell too many"),
        pytest.param("Verkehr", "Traffic", "no column 'Verkehr'", id="other heading"),
        pytest.param("Hinweis", "Datum", "2 column 'Datum'", id="heading twice"),
        pytest.param(";", ",", "no column 'Datum'", id="other separator"),
        pytest.param('"viel; sehr viel"\n', '"viel', "cut off", id="open quote"),
        pytest.param(FILE, "<html><body>Sign in</body></html>", "HTML", id="page of HTML"),
        pytest.param(FILE, "\n<!doctype html>", "HTML", id="page of HTML after a line"),
        pytest.param(FILE, "", "is empty", id="empty"),
        pytest.param(FILE, "PK\0\0", "no text", id="spreadsheet"),
    ],
)
def test_file_that_is_otherwise_is_refused(old, new, said):
    assert old in FILE
    with pytest.raises(UsageError) as error:
        read(FILE.replace(old, new))
    assert said in str(error.value)
    assert str(error.value).startswith("invoice.csv")


@pytest.mark.parametrize("length", range(0, len(FILE) - 1, 7))
def test_truncated_file_is_refused(length):
    """Cut anywhere, the file is refused: its line of totals is not there or not whole."""
    with pytest.raises(UsageError):
        read(FILE[:length])


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    at=st.integers(0, len(FILE.encode())),
    length=st.integers(0, 20),
    new=st.one_of(st.binary(max_size=8), st.sampled_from([b"-", b"1", b",", b";", b'"', b"\n"])),
)
def test_whatever_a_file_holds_it_is_read_or_refused(at, length, new):
    """No line of a vendor's ends the command with a traceback."""
    content = FILE.encode()
    with contextlib.suppress(UsageError):
        read(content[:at] + new + content[at + length :])


def test_missing_day_is_named():
    """It would be taken for a day without traffic, and the invoice for less than it is."""
    lines = FILE.splitlines()
    with pytest.raises(UsageError, match="residential for 2026-11-02"):
        read("\n".join([*lines[:2], lines[3]]), german(total=None))


def test_other_encoding_is_refused():
    with pytest.raises(UsageError, match="UTF-8"):
        read(FILE.encode("utf-16"))


def test_totals_may_be_rounded():
    """Each figure is rounded to the digits it shows; their sum then differs a little."""
    text = "day,GB\n2026-11-01,0.33\n2026-11-02,0.33\n2026-11-03,0.33\nTotal,1.00\n"
    day = {"column": "day", "format": "%Y-%m-%d"}
    form = usage_by({"day": day, "traffic": {"column": "GB", "unit": "GB"}, "total": "Total"})
    assert len(read(text, form).rows) == 3
    with pytest.raises(UsageError, match="not the sum"):
        read(text.replace("1.00", "1.33"), form)


def test_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UsageError, match="cannot be read: "):
            usage_of_file(path, GERMAN, GERMAN.csv, "vendor-a", START, END)


COUNTS: dict[str, Any] = {
    "day": {"column": "Date", "format": "%Y-%m-%d"},
    "traffic": {"column": "Bytes", "unit": "B"},
    "requests": {"column": "Requests"},
}


@pytest.mark.parametrize("first", ["1.000,5", "1,1.000", "1.5,5", "1,5.5"])
def test_what_is_counted_has_no_decimals(first):
    """Without a word 1.000 would be one request, where the file means a thousand."""
    text = f"Date,Bytes,Requests\n2026-11-01,{first}\n2026-11-02,1,5\n2026-11-03,1,5\n"
    with pytest.raises(UsageError, match="counts, and has decimals"):
        read(text, usage_by(COUNTS))


@pytest.mark.parametrize("total", ["7,15", "6,16", "5,15"])
def test_a_total_of_counts_is_exact(total):
    """Rounding excuses GB that are shown whole, and no lost request."""
    text = "Date,Bytes,Requests\n2026-11-01,1,5\n2026-11-02,2.0,5\n2026-11-03,3,5\n"
    form = usage_by({**COUNTS, "total": "Total"})
    assert read(f"{text}Total,6,15\n", form).rows[1].bytes == 2
    with pytest.raises(UsageError, match="not the sum of the lines"):
        read(f"{text}Total,{total}\n", form)
