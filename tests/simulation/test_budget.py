"""No count starts once a day's bytes are used up, and a restart changes nothing about that."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from simulation.crawler import run
from simulation.crawler.books import Books
from simulation.crawler.budget import DAY_SECONDS, Budget
from simulation.crawler.reading import read_plan
from simulation.plans import PlanError
from tests.simulation.conftest import WAIT_SECONDS, answer_all, page_with


class World:
    """A clock and the bytes of a process, which a test sets."""

    def __init__(self) -> None:
        self.seconds, self.bytes = 20_000.5 * DAY_SECONDS, 0  # noon, in October 2024

    def budget(self, file: Path | None = None) -> Budget:
        return Budget(1000, lambda: self.bytes, file, lambda: self.seconds)


@pytest.fixture
def world() -> World:
    return World()


def test_day_ends_at_its_limit_and_the_next_begins_at_midnight(world: World) -> None:
    """Days are UTC; a day that reaches the limit is one stop, however often `spent` is called."""
    budget = world.budget()
    world.bytes = 999
    assert not budget.spent()
    world.bytes = 1200
    assert [budget.spent(), budget.spent(), budget.stops] == [True, True, 1]
    assert budget.seconds_left() == DAY_SECONDS / 2
    world.seconds += DAY_SECONDS / 2
    assert (budget.spent(), budget.used_bytes()) == (False, 0)
    world.bytes += 1000
    assert (budget.spent(), budget.stops) == (True, 2)


def test_clock_that_is_set_back_gives_no_new_budget(world: World) -> None:
    """Otherwise a wrong clock would spend the day twice."""
    budget = world.budget()
    world.bytes = 1000
    world.seconds -= DAY_SECONDS
    assert budget.spent()


def test_restart_goes_on_where_the_file_is(world: World, tmp_path: Path) -> None:
    """A restart on the same day goes on with the file; the next day ignores it."""
    file = tmp_path / "used.json"
    before = world.budget(file)
    world.bytes = 900
    before.keep(at_the_end=True)
    assert json.loads(file.read_text()) == {"day": "2024-10-04", "used_bytes": 900}
    world.bytes = 0
    assert world.budget(file).used_bytes() == 900
    world.seconds += DAY_SECONDS
    assert world.budget(file).used_bytes() == 0


def test_process_that_is_killed_again_and_again_spends_no_day_twice(
    world: World, tmp_path: Path
) -> None:
    """The process is killed before it writes its use; the file was ahead of it."""
    file = tmp_path / "used.json"
    paid = 0
    for _ in range(500):
        world.bytes = 0
        budget = world.budget(file)
        while world.bytes < 45 and not budget.spent():
            world.bytes += 5
        paid += world.bytes
    assert budget.spent()
    assert 700 < paid <= 1000


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "[" * 100_000, '{"day": "soon", "used_bytes": 1}'),
        '{"day": "2024-10-04", "used_bytes": null}',
        '{"day": "2024-10-04", "used_bytes": Infinity}',
        '{"day": "2024-10-04", "used_bytes": -9}',
    ],
)
def test_file_that_says_nothing_is_refused(world: World, tmp_path: Path, content: str) -> None:
    """A file that cannot be read must not begin a new budget in silence."""
    file = tmp_path / "used.json"
    file.write_text(content)
    with pytest.raises(PlanError, match=r"budget_file: .* keeps no day's use .*: give a writable"):
        world.budget(file)


def test_spent_budget_starts_nothing_more(vendors: Any, tmp_path: Path) -> None:
    """Counts in flight end; the run waits for the next day or a signal, and its metrics say so."""
    port = vendors.outside["port"]
    plan = vendors.plan(
        count=None,
        concurrency=4,
        mix={"http": 1},
        target={"sizes_bytes": [[1, 20_000]]},
        max_gb_per_day=0.0005,
        budget_file=str(tmp_path / "used.json"),
        metrics_port=port,
        retries={},
    )
    crawler = vendors.start_crawler(plan, "--json")
    page = page_with(f"http://127.0.0.1:{port}/metrics", "\ncrawler_in_flight 0\n")
    page = page_with(f"http://127.0.0.1:{port}/metrics", "\ncrawler_budget_stops_total 1\n")
    assert "\ncrawler_budget_bytes 500000\n" in page
    crawler.terminate()
    books = json.loads(crawler.communicate(timeout=WAIT_SECONDS)[0])
    used = books["budget"]["used_bytes"]
    assert 500_000 <= used < 500_000 + 4 * 21_000
    assert used == sum(row["bytes_sent"] + row["bytes_received"] for row in books["wire"])
    assert books["budget"]["stops"] == 1
    assert books["requests"] == books["attempts"] <= used / 20_000
    kept = json.loads((tmp_path / "used.json").read_text())
    assert kept["used_bytes"] == used
    # The next process of the day has nothing left.
    again = vendors.start_crawler({**plan, "duration_seconds": 0.3}, "--json")
    books = json.loads(again.communicate(timeout=WAIT_SECONDS)[0])
    assert (books["requests"], books["budget"]["stops"]) == (0, 1)


CLOSED_SECONDS = 3


class ClosedAtFirst:
    """A budget that is spent at first."""

    def __init__(self, *_: object) -> None:
        self._opens = time.monotonic() + CLOSED_SECONDS

    def spent(self) -> bool:
        return time.monotonic() < self._opens

    def seconds_left(self) -> float:
        return self._opens - time.monotonic()


def test_starts_missed_meanwhile_are_not_made_up_for(
    monkeypatch: pytest.MonkeyPatch, peer: Any
) -> None:
    """A new day begins at the plan's rate, not with a burst of all that was due before."""
    monkeypatch.setattr(run, "Budget", ClosedAtFirst)

    place = {**peer(answer_all), "name": "a"}

    async def crawl() -> Books:
        crawler = run.Crawler(
            read_plan(
                {
                    "vendors": [place],
                    "mix": {"http": 1},
                    "requests_per_second": 100,
                    "in_flight_cap": 20,
                    "duration_seconds": CLOSED_SECONDS + 1,
                    "max_gb_per_day": 1,
                },
                {},
            )
        )
        await crawler.run(asyncio.Event(), asyncio.Event())
        return crawler.books

    books = asyncio.run(crawl())
    # Of 400 those of the first seconds are gone, and what was taken by workers that waited.
    assert 0 < books.requests <= 121
    assert books.start_lag
    assert books.start_lag.most_seconds < CLOSED_SECONDS
    assert not books.unexpected
