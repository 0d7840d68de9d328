"""From samples of counters to running totals, through restarts."""

from __future__ import annotations

import pytest

from books.counters import COUNTS, Key, process_from_samples

SUCCESS = Key(COUNTS, "vendor-a", "http", "success")
RESET = Key(COUNTS, "vendor-a", "http", "reset")


def made(series, **more):
    """A process that is scraped each second and takes a tenth to answer."""
    stamped = {
        key: [{1000 * n: v for n, v in enumerate(one) if v is not None} for one in several]
        for key, several in series.items()
    }
    return process_from_samples("pod", {1000 * n: 0.1 for n in range(4)}, stamped, **more)


def starts(*seconds):
    return {1000 * n: start for n, start in enumerate(seconds)}


@pytest.mark.parametrize(
    ("columns", "from_zero", "totals"),
    [
        ([[1, 2, 3, 4], [10, 10, 20, 20]], True, [11, 12, 23, 24]),
        ([[5, 6, 7, 8]], False, [0, 1, 2, 3]),
        ([[5, 5, 5, 5], [None, None, 3, 3]], False, [0, 0, 3, 3]),
        ([[5, 2, 3, None]], True, [5, 7, 8, 8]),
    ],
    ids=["series are added", "first scrape is the base", "a late series began at 0", "restarts"],
)
def test_running_totals(columns, from_zero, totals):
    """Totals grow through restarts and never fall."""
    assert made({SUCCESS: columns}, from_zero=from_zero).totals[SUCCESS] == totals


@pytest.mark.parametrize("after", [[2, 5], [None, 5]])
def test_a_counter_that_falls_or_vanishes_restarted(after):
    """With it restarted every counter of the process; what it had is kept."""
    found = made({SUCCESS: [[7, 9, *after]], RESET: [[1, 1, 1, 1]]}, from_zero=True)
    assert found.restarts == [2]
    assert found.totals == {SUCCESS: [7, 9, 9 + (after[0] or 0), 14], RESET: [1, 1, 2, 2]}


@pytest.mark.parametrize(
    ("exported", "restarts"), [((0.005, 0.005, 1.5, 1.5), [2]), ((0.005, 0.105, 0.015, 0.095), [])]
)
def test_an_exported_start_time_tells_of_restarts(exported, restarts):
    """Even of those after which counters grew beyond what they had; but jitter is no restart."""
    found = made({SUCCESS: [[1, 1, 4, 5]]}, starts=starts(*exported), from_zero=True)
    assert (found.restarts, found.totals[SUCCESS][-1]) == (restarts, 6 if restarts else 5)


def test_a_failed_scrape_may_hide_a_restart():
    """Unless the process exports its start time."""
    found = made({SUCCESS: [[1, 2, 9, 9]]}, failed=[1500])
    assert (found.restarts, found.outages) == ([], [2])
    assert made({SUCCESS: [[1, 2, 9, 9]]}, failed=[1500], starts=starts(0, 0, 0, 0)).outages == []


def test_the_scrapes_around_a_moment():
    """A scrape that has not ended may or may not have seen the moment of its start."""
    found = made({SUCCESS: [[0, 1, 2, 3]]})
    assert (found.last_by(1.05), found.last_by(1.1)) == (0, 1)
    assert (found.first_from(1.0), found.first_from(1.01)) == (1, 2)
    assert (found.last_by(-1), found.first_from(9)) == (None, None)


def test_a_process_counts_nothing_before_its_start_and_after_its_end():
    """Pods come and go within a window."""
    found = made(
        {SUCCESS: [[5, 6, 7, 8]]}, starts=starts(-3, -3, -3, -3), from_zero=True, ended=True
    )
    assert found.total(SUCCESS, found.last_by(-1)) == 0
    assert found.total(SUCCESS, found.first_with_all(-4.0, 2.0)) == 0
    assert found.total(SUCCESS, found.first_with_all(-2.9, 2.0)) == 5
    assert found.total(SUCCESS, found.first_from(9)) == 8
