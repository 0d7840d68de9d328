"""Which backups are deleted."""

from __future__ import annotations

import pytest

from backups.names import is_name, new_name, outdated

DAYS = [f"202611{day:02}-030000" for day in range(1, 11)]


@pytest.mark.parametrize(
    ("found", "complete", "deleted"),
    [
        (DAYS[:3], DAYS[:3], []),
        (DAYS[:5], DAYS[:5], DAYS[:2]),
        # An incomplete one keeps no complete one out, and goes when a newer one is complete.
        (DAYS[:5], [DAYS[0], DAYS[1], DAYS[2], DAYS[4]], [DAYS[0], DAYS[3]]),
        # The newest is in the making.
        (DAYS[:5], DAYS[:4], [DAYS[0]]),
        (DAYS[:5], [], []),
    ],
)
def test_all_but_the_newest_complete_ones_are_deleted(found, complete, deleted):
    """Backups that fail night after night push no good one out."""
    assert outdated(found, complete, 3, DAYS[9]) == deleted


def test_a_clock_that_was_ahead_costs_no_backup():
    """The one that was just made is the newest, whatever name another has."""
    found = [*DAYS[:3], "20271231-030000"]
    assert outdated(found, found, 1, DAYS[2]) == DAYS[:2]


def test_what_another_job_is_making_stays():
    """A person's job and the nightly one run at once; the first to end is not the older."""
    running, newer = new_name(ago=60), new_name()
    assert outdated([DAYS[0], running, newer], [newer], 1, newer) == [DAYS[0]]


def test_a_name_is_a_moment():
    """Names sort by age, and a folder of another name is nobody's backup."""
    assert is_name(new_name())
    assert not is_name("2026-11-30")
