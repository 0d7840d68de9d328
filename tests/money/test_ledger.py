"""The hours that are written into a real Prometheus are read from it, and no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from books.prometheus import Prometheus
from lab.ledger_blocks import fill
from money.ledger import COVERAGE, REQUESTS, SENT, WIRE_SENT, read_book
from money.quantities import Book, Part, Quantities, Wire
from tests.money.ledger_server import serving

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BEGIN = datetime(2026, 9, 29, tzinfo=UTC)
END = datetime(2026, 10, 3, tzinfo=UTC)

SHOP = Part("vendor-a", "residential", "shop", "shops")
NEWS = Part("vendor-b", "", "news", "")
SILENT, LOST, HALF = (BEGIN + n * HOUR for n in (5, 7, 30))
"""An hour without traffic, one without data, and one of which a half was recorded."""


def book() -> Book:
    hours, wire, coverage = {}, {}, {}
    for number in range((END - BEGIN) // HOUR):
        at = BEGIN + number * HOUR
        if at == LOST:
            continue
        coverage[at] = 0.5 if at == HALF else 1.0
        hours[at], wire[at] = {}, {}
        if at == SILENT:
            continue
        hours[at][SHOP] = Quantities(
            bytes_sent={"delivered": 1000.0 + number, "failed": 10.0},
            bytes_received={"delivered": 50_000.0 + number},
            requests={"success": 300.0, "timeout": 2.0},
            tunnels={"success": 120.0},
        )
        if number % 2:
            hours[at][NEWS] = Quantities(bytes_sent={"": 7.0}, bytes_received={"": 8.25})
            wire[at]["vendor-b"] = Wire(bytes_sent=9.0, bytes_received=9.5)
        wire[at]["vendor-a"] = Wire(bytes_sent=1100.0, bytes_received=51_000.0)
    return Book(hours=hours, wire=wire, coverage=coverage)


@pytest.fixture(scope="module", params=[True, False], ids=["days and hours", "hours"])
def prometheus(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A ledger, and a store of the user's own, which has no days."""
    folder: Path = tmp_path_factory.mktemp("ledger")
    fill(folder / "data", book(), days=request.param)
    requests = {BEGIN: {SHOP: Quantities(requests={"success": 5.0})}}
    other = Book(hours=requests, wire={}, coverage={BEGIN: 1.0})
    fill(folder / "data", other, cluster="other", days=False)
    with serving(folder / "data") as server:
        yield server.api


def test_a_span_is_read_as_it_was_written(prometheus):
    assert read_book(prometheus, BEGIN, END, cluster="test") == book()


def test_a_span_ends_before_its_end(prometheus):
    """The last hour of September is not October's, and the first of October is."""
    october = datetime(2026, 10, 1, tzinfo=UTC)
    for start, end in ((BEGIN, october), (october, END)):
        read, whole = read_book(prometheus, start, end, cluster="test"), book()
        inside = {at: one for at, one in whole.hours.items() if start <= at < end}
        assert read.hours == inside
        assert read.coverage.keys() == read.wire.keys() == inside.keys()


def test_an_hour_without_data_is_not_one_without_traffic(prometheus):
    read = read_book(prometheus, BEGIN, BEGIN + DAY, cluster="test")
    assert read.hours[SILENT] == read.wire[SILENT] == {}
    assert read.coverage[SILENT] == 1
    assert LOST not in {*read.hours, *read.wire, *read.coverage}
    assert LOST + HOUR in read.hours


def test_a_day_is_the_sum_of_its_hours(prometheus):
    read, whole = read_book(prometheus, BEGIN, END, cluster="test", by_day=True), book()
    assert [*read.hours] == [BEGIN + n * DAY for n in range(4)]
    for day, parts in read.hours.items():
        hours = {at: one for at, one in whole.hours.items() if day <= at < day + DAY}
        assert read.coverage[day] == pytest.approx(sum(whole.coverage[at] for at in hours) / 24)
        for part, found in parts.items():
            for name in ("bytes_sent", "bytes_received", "requests", "tunnels"):
                sums: dict[str, float] = {}
                for one in hours.values():
                    for key, value in getattr(one.get(part, Quantities()), name).items():
                        sums[key] = sums.get(key, 0) + value
                assert getattr(found, name) == pytest.approx(sums)
        sent = sum(whole.wire[at].get("vendor-b", Wire()).bytes_sent for at in hours)
        assert read.wire[day]["vendor-b"].bytes_sent == sent


def test_clusters_of_one_store_are_told_apart_or_added_up(prometheus):
    """A long-term store has those of several; a ledger of this program has one."""
    other = read_book(prometheus, BEGIN, BEGIN + HOUR, cluster="other")
    assert other.hours == {BEGIN: {SHOP: Quantities(requests={"success": 5.0})}}
    both = read_book(prometheus, BEGIN, BEGIN + HOUR)
    assert both.hours[BEGIN][SHOP].requests == {"success": 305.0, "timeout": 2.0}


def test_what_is_not_over_yet_is_no_data(prometheus):
    """As is what was before the ledger; neither is an error."""
    for start in (BEGIN - 40 * DAY, END):
        read = read_book(prometheus, start, start + DAY)
        assert not {*read.hours, *read.wire, *read.coverage}


@pytest.mark.parametrize(
    ("start", "by_day"),
    [
        (BEGIN + timedelta(minutes=30), False),
        (BEGIN.replace(tzinfo=None), False),
        (BEGIN + HOUR, True),
    ],
)
def test_hours_and_days_are_whole_and_utc(prometheus, start, by_day):
    """Else an answer would have the hour before under its name."""
    with pytest.raises(ValueError, match="is no whole UTC"):
        read_book(prometheus, start, END, by_day=by_day)


def test_replicas_are_one_source(tmp_path):
    """Two replicas that recorded the same hour must not double it; the one with a gap has less."""
    fill(tmp_path / "data", book(), replicas=("prometheus-0", "prometheus-1"), days=False)
    gap = Book(
        hours={HALF: {SHOP: Quantities(bytes_sent={"delivered": 1.0})}},
        wire={HALF: {"vendor-a": Wire(bytes_sent=2.0)}},
        coverage={HALF: 0.1},
    )
    fill(tmp_path / "data", gap, replicas=("prometheus-2",), days=False)
    with serving(tmp_path / "data") as server:
        assert read_book(server.api, BEGIN, END) == book()
        days = read_book(server.api, BEGIN, END, by_day=True)
    assert days.hours[BEGIN][SHOP].requests["success"] == 300.0 * 22


@dataclasses.dataclass(frozen=True)
class Odd:
    """Answers each record with these values at the two first hours."""

    values: Mapping[str, tuple[str, str]]

    def get(self, path: str, **parameters: str) -> Any:
        start = int(parameters["start"])
        found = [[start + n * 3600, value] for n, value in enumerate(self._of(parameters["query"]))]
        labels = {"proxy_vendor": "vendor-a", "proxy_outcome": "success"}
        return {"result": [{"metric": labels, "values": found}]}

    def _of(self, query: str) -> tuple[str, str]:
        known = (value for name, value in self.values.items() if name in query)
        return next(known, ("1", "1"))


@pytest.mark.parametrize("record", [SENT, REQUESTS, WIRE_SENT, COVERAGE])
@pytest.mark.parametrize("value", ["+Inf", "1e300"])
def test_an_hour_that_says_more_than_can_be_is_one_without_data(record, value):
    """One such sample in a store of the user's own left no figure of the month."""
    read = read_book(Odd({record: (value, "1")}), BEGIN, BEGIN + 2 * HOUR)
    assert [*read.hours] == [*read.wire] == [*read.coverage] == [BEGIN + HOUR]


def test_an_hour_of_unknown_coverage_is_one_without_data():
    read = read_book(Odd({COVERAGE: ("NaN", "1")}), BEGIN, BEGIN + 2 * HOUR)
    assert [*read.hours] == [*read.coverage] == [BEGIN + HOUR]
