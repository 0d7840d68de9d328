"""From samples of counters to running totals, through restarts."""

from __future__ import annotations

import pytest

from audit.series import COUNTS, Row, target

SUCCESS = Row(COUNTS, "vendor-a", "http", "success")
RESET = Row(COUNTS, "vendor-a", "http", "reset")


def made(series, *, reads=4, **more):
    """A target that is read each second and takes a tenth to answer."""
    scrapes = {1000 * n: 0.1 for n in range(reads)}
    stamped = {
        row: [{1000 * n: v for n, v in enumerate(one) if v is not None} for one in several]
        for row, several in series.items()
    }
    return target("pod", scrapes, stamped, **more)


def test_series_of_one_row_are_added():
    """A row's codes, pools and targets are series of their own."""
    found = made({SUCCESS: [[1, 2, 3, 4], [10, 10, 20, 20]]}, from_zero=True)
    assert found.totals[SUCCESS] == [11, 12, 23, 24]


def test_what_was_there_before_the_window_is_not_of_it():
    """The first read is the base, but not of a series that comes later: that began at 0."""
    found = made({SUCCESS: [[5, 6, 7, 8], [None, None, 3, 3]]})
    assert found.totals[SUCCESS] == [0, 1, 5, 6]


@pytest.mark.parametrize("after", [[2, 5], [None, 5]])
def test_a_counter_that_falls_or_vanishes_restarted(after):
    """From there its process counts from 0; what it had is kept."""
    found = made({SUCCESS: [[7, 9, *after]], RESET: [[1, 1, 1, 1]]}, from_zero=True)
    assert found.restarts == [2]
    assert found.totals[SUCCESS] == [7, 9, 9 + (after[0] or 0), 14]
    assert found.totals[RESET] == [1, 1, 2, 2]


def test_a_process_that_tells_its_start_is_believed():
    """Also where its counters are beyond what they were."""
    starts = {0: 5, 1000: 5, 2000: 1500, 3000: 1500}
    found = made({SUCCESS: [[1, 1, 4, 5]]}, starts=starts, from_zero=True)
    assert found.restarts == [2]
    assert found.totals[SUCCESS] == [1, 1, 5, 6]


def test_a_start_that_is_worked_out_anew_is_the_same_one():
    """Now minus uptime is a few milliseconds off, time and again."""
    starts = {0: 5, 1000: 105, 2000: 15, 3000: 95}
    assert made({SUCCESS: [[1, 1, 4, 5]]}, starts=starts).restarts == []


def test_a_failed_scrape_may_hide_a_restart():
    """Where no start is told, a counter may have grown beyond what it was."""
    found = made({SUCCESS: [[1, 2, 9, 9]]}, failed=[1500])
    assert (found.restarts, found.absences) == ([], [2])
    told = dict.fromkeys(range(0, 4000, 1000), 0)
    assert made({SUCCESS: [[1, 2, 9, 9]]}, failed=[1500], starts=told).absences == []


def test_the_reads_around_a_moment():
    """A read that has not ended tells nothing of its start, and the reverse."""
    found = made({SUCCESS: [[0, 1, 2, 3]]})
    assert (found.last_by(1.05), found.last_by(1.1)) == (0, 1)
    assert (found.first_from(1.0), found.first_from(1.01)) == (1, 2)
    assert (found.last_by(-1), found.first_from(9)) == (None, None)


def test_before_its_begin_a_process_counted_nothing_and_after_its_end_nothing_more():
    """Pods come and go within a window."""
    found = made({SUCCESS: [[1, 1, 2, 3]]}, from_zero=True, ended=True)
    assert found.total(SUCCESS, found.last_by(-1)) == 0
    assert found.total(SUCCESS, found.first_from(9)) == 3
