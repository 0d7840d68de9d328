"""The offset between two books: where it must have moved, and by how much at least."""

from __future__ import annotations

import math

import pytest

from books.events import SIDECAR, Event
from books.offset import ANYTHING, NOTHING, Bounds, Gap, Move, Point, follow

EVENT = Event(SIDECAR, "pod", 0.5, 1.5, "restarted")


def points(*bounds):
    return [Point(float(n), Bounds(*each)) for n, each in enumerate(bounds)]


def amounts(moves):
    """Return (difference, explained, unexplained)."""
    explained = sum(abs(move.amount) for move in moves if move.gap)
    unexplained = sum(abs(move.amount) for move in moves if not move.gap)
    return sum(move.amount for move in moves), explained, unexplained


def gap(low, high, after=0.5, before=1.5):
    return Gap(after, before, ((EVENT, Bounds(low, high)),))


@pytest.mark.parametrize("start", [NOTHING, ANYTHING])
def test_bounds_that_share_a_value_are_no_difference(start):
    """What is in flight now is counted by both later."""
    assert follow(points((-3, 0), (0, 5), (-1, 1)), [], start) == []


def test_a_constant_offset_is_a_difference_only_where_both_books_began_at_0():
    """What was counted before the window does not matter otherwise."""
    constant = points((40, 44), (42, 50), (41, 42))
    assert follow(constant, [], ANYTHING) == []
    assert amounts(follow(constant, [], NOTHING)) == (42, 0, 42)


def test_one_count_is_found_when_it_was_lost():
    """It was lost between the last scrape that had it and the first that lacks it."""
    found = follow(points((-2, 0), (0, 0), (-1, -1), (-3, -1)), [], NOTHING)
    assert found == [Move(1.0, 2.0, -1, None)]


def test_lost_and_doubled_do_not_cancel_out():
    """The sum is right and both are wrong."""
    found = follow(points((0, 0), (-2, -2), (0, 0)), [], NOTHING)
    assert amounts(found) == (0, 0, 4)


@pytest.mark.parametrize(
    ("allowed", "offset", "explained", "unexplained"),
    [
        ((-5, 0), -5, 5, 0),
        ((-5, 0), -7, 5, 2),
        ((-5, 0), 1, 0, 1),
        ((-math.inf, math.inf), 9, 9, 0),
    ],
)
def test_a_gap_explains_what_it_allows_and_no_more(allowed, offset, explained, unexplained):
    """The rest stays unexplained, as does a move in the other direction."""
    after = [Point(0, NOTHING), Point(2, Bounds(offset, offset))]
    found = follow(after, [gap(*allowed)], NOTHING)
    assert amounts(found)[1:] == (explained, unexplained)
    # Nothing outside the gap is excused.
    found = follow([*after, Point(3, Bounds(offset - 1, offset - 1))], [gap(*allowed)], NOTHING)
    assert amounts(found)[2] == unexplained + 1


def test_a_gap_behind_the_last_point_explains_nothing():
    """What cannot be compared any more is not judged."""
    assert follow(points((0, 0), (0, 0)), [gap(-9, 9, 5.0, 6.0)], NOTHING) == []
