"""What the exporter keeps, and for how long, when the ledger does not answer."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from books import prometheus as books_prometheus
from money.contract import Budget
from money.exporter.__main__ import answer, ledger_reader
from money.exporter.reader import KEEP_SECONDS, STUCK_SECONDS, Reader
from money.quantities import Book
from tests.money.months import HOUR, PART, book_of
from tests.pages import Page, serving
from tests.ports import free_block

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BUDGETS = (Budget(name="all", limit=Decimal(100000), currency=""),)
PASSWORD = "a-password-of-the-ledger"


class Ledger:
    """A ledger of 1 GB an hour, until `end`, which may be away."""

    def __init__(self) -> None:
        self.end, self.error = NOON, ""
        self.asked: list[tuple[datetime, datetime]] = []

    def __call__(self, begin: datetime, end: datetime) -> Book:
        self.asked.append((begin, end))
        if self.error:
            raise ValueError(self.error)
        until = min(end, self.end)
        hours = {BEGIN + n * HOUR: 1e9 for n in range((until - BEGIN) // HOUR)}
        return book_of(hours, until, keeps=lambda hour: hour >= begin)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def reader(ledger: Ledger, clock: Clock, lines: list[str]) -> Reader:
    return Reader(ledger, (), BUDGETS, say=lines.append, clock=clock)


def used(reader: Reader) -> float | None:
    found = re.search(r"^proxy_budget_used\{.*\} (.*)$", reader.page(), re.MULTILINE)
    return float(found[1]) if found else None


def test_figures_outlive_a_failed_read_by_an_hour_and_no_more(
    reader: Reader, ledger: Ledger, clock: Clock, lines: list[str]
) -> None:
    assert used(reader) is None
    assert reader.refresh()
    assert used(reader) == 19 * 24 + 12
    ledger.error = "away\nand more"
    clock.now += timedelta(seconds=KEEP_SECONDS)
    assert not reader.refresh()
    assert used(reader) == 19 * 24 + 12
    clock.now += timedelta(seconds=1)
    assert used(reader) is None
    assert 'money_exporter_reads_total{result="failed"} 1.0' in reader.page()
    assert f"money_exporter_last_read_timestamp_seconds {NOON.timestamp()}" in reader.page()
    assert lines == [r"the ledger was not read: ValueError: away\nand more"]

    ledger.error = ""
    assert reader.refresh()
    assert used(reader) == 19 * 24 + 12


def test_only_new_hours_are_read_and_all_of_them_once_a_day(
    reader: Reader, ledger: Ledger, clock: Clock
) -> None:
    reader.refresh()
    assert min(begin for begin, _ in ledger.asked) < BEGIN - timedelta(weeks=1)
    ledger.asked.clear()

    ledger.end = clock.now = NOON + 5 * HOUR
    reader.refresh()
    assert used(reader) == 19 * 24 + 17
    assert ledger.asked == [(NOON - 3 * HOUR, NOON + 6 * HOUR)]
    ledger.asked.clear()

    ledger.end = clock.now = NOON + 13 * HOUR
    reader.refresh()
    assert used(reader) == 20 * 24 + 1
    assert min(begin for begin, _ in ledger.asked) < BEGIN - timedelta(weeks=1)


def test_a_month_begins_at_zero(reader: Reader, ledger: Ledger, clock: Clock) -> None:
    reader.refresh()
    clock.now = ledger.end = datetime(2026, 12, 1, 2, tzinfo=UTC)
    reader.refresh()
    assert used(reader) == 2


def test_the_exporter_remembers_no_more_than_it_needs(
    reader: Reader, ledger: Ledger, clock: Clock
) -> None:
    for day in range(70):
        clock.now = ledger.end = NOON + timedelta(days=day)
        reader.refresh()
    assert len(reader._history.volumes) <= 62 * 24
    assert len(reader._history.days) <= 62


def test_a_read_that_never_ends_fails_the_probe(clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def read(begin: datetime, end: datetime) -> Book:
        begun.set()
        go_on.wait()
        return Book(hours={}, wire={}, coverage={})

    reader = Reader(read, (), BUDGETS, say=print, clock=clock)
    assert answer(reader, "/healthz").status == 200
    thread = threading.Thread(target=reader.refresh)
    thread.start()
    try:
        assert begun.wait(60)
        assert answer(reader, "/healthz").status == 200
        clock.now += timedelta(seconds=STUCK_SECONDS + 1)
        assert answer(reader, "/healthz").status == 503
        assert answer(reader, "/metrics").status == 200
    finally:
        go_on.set()
        thread.join()
    assert answer(reader, "/healthz").status == 200
    assert answer(reader, "/").status == 404


def vector(*series: str) -> str:
    return '{"status":"success","data":{"resultType":"matrix","result":[' + ",".join(series) + "]}}"


HOSTILE = {
    "not JSON": (200, "<html>please log in</html>"),
    "half of it": (200, '{"status":"success","data":{"resu'),
    "another shape": (200, '{"status":"success","data":[]}'),
    "no status": (200, "{}"),
    "a list": (200, "[1]"),
    "an error": (500, "no\nsuch server"),
    "no login": (401, "who are you"),
    "redirect": (302, ""),
    "an error in JSON": (422, '{"status":"error","error":"a\\u001b[31m\\nred line"}'),
    "no numbers": (200, vector('{"metric":{},"values":[[1,"x"]]}')),
    "no values": (200, vector('{"metric":{}}')),
    "nested deeply": (200, "[" * 200_000),
}


def answering(status: int, text: str) -> AbstractContextManager[Page]:
    away = {"Location": "http://127.0.0.1:9/elsewhere"}
    return serving(lambda asked: (status, text.encode(), away))


@pytest.fixture
def login(tmp_path: Path) -> Path:
    (tmp_path / "username").write_text("ledger-user")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return tmp_path


@pytest.fixture
def hostile(login: Path, lines: list[str], clock: Clock) -> Callable[[str], Reader]:
    def reading(url: str) -> Reader:
        read = ledger_reader(url, login, None, None)
        return Reader(read, (), BUDGETS, say=lines.append, clock=clock)

    return reading


@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_the_ledger_answers_is_one_line_without_a_secret(
    case: str, hostile: Callable[[str], Reader], lines: list[str]
) -> None:
    with answering(*HOSTILE[case]) as page:
        reader = hostile(page.url)
        assert not reader.refresh()
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert len(lines[0]) < 400
    assert PASSWORD not in lines[0] + reader.page()
    assert used(reader) is None


def test_a_ledger_that_is_away_or_silent_is_given_up(
    hostile: Callable[[str], Reader], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books_prometheus, "TIMEOUT_SECONDS", 0.2)
    assert not hostile(f"http://127.0.0.1:{free_block(['127.0.0.1'])}").refresh()
    ended = threading.Event()
    with serving(lambda asked: (ended.wait(), (200, b"", {}))[1]) as page:
        assert not hostile(page.url).refresh()
        ended.set()
    assert len(lines) == 2
    assert PASSWORD not in "".join(lines)


def test_unknown_labels_and_values_of_the_ledger_do_no_harm(
    hostile: Callable[[str], Reader],
) -> None:
    """Labels of another release, numbers that are none, an hour outside what was asked."""
    values = f'[[{NOON.timestamp()},"1"],[{NOON.timestamp() + 3600},"NaN"],[10,"+Inf"]]'
    labels = '{"proxy_vendor":"vendor-a","of_a_later_release":"x","team":""}'
    with answering(200, vector(f'{{"metric":{labels},"values":{values}}}')) as page:
        reader = hostile(page.url)
        reader.refresh()
        assert "nan" not in reader.page().lower()
        assert "inf" not in reader.page().lower()
    assert PART.vendor == "vendor-a"
