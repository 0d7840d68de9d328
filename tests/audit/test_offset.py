"""The offset between two books: where it must have moved, and by how much at least."""

from __future__ import annotations

import math

import pytest

from audit.offset import ANYTHING, NOTHING, Bounds, Gap, Move, Point, follow


def points(*bounds):
    return [Point(float(n), Bounds(*each)) for n, each in enumerate(bounds)]


@pytest.mark.parametrize("start", [NOTHING, ANYTHING])
def test_bounds_that_share_a_value_are_no_difference(start):
    """In flight now, counted by both later."""
    assert follow(points((-3, 0), (0, 5), (-1, 1)), [], start).moves == ()


def test_an_offset_that_stays_is_no_difference_where_the_books_began_earlier():
    """What was before the window is not its business."""
    assert follow(points((40, 44), (42, 50), (41, 42)), [], ANYTHING).moves == ()
    assert follow(points((40, 44), (42, 50), (41, 42)), [], NOTHING).unexplained == 42


def test_one_count_is_found_when_it_was_lost():
    """Between the last moment without and the first with."""
    found = follow(points((-2, 0), (0, 0), (-1, -1), (-3, -1)), [], NOTHING)
    assert found.moves == (Move(1.0, 2.0, -1, None),)
    assert (found.difference, found.explained, found.unexplained) == (-1, 0, 1)


def test_lost_and_doubled_do_not_cancel_out():
    """The sum is right and both are wrong."""
    found = follow(points((0, 0), (-2, -2), (0, 0)), [], NOTHING)
    assert (found.difference, found.unexplained) == (0, 4)


def test_a_gap_explains_what_it_allows_and_no_more():
    """Beyond it is unexplained."""
    gap = Gap(0.5, 1.5, Bounds(-5, 0))
    allowed = follow([Point(0, NOTHING), Point(2, Bounds(-5, -5))], [gap], NOTHING)
    assert allowed.moves == (Move(0.5, 1.5, -5, gap),)
    beyond = follow([Point(0, NOTHING), Point(2, Bounds(-7, -7))], [gap], NOTHING)
    assert (beyond.explained, beyond.unexplained, beyond.difference) == (5, 2, -7)
    wrong_way = follow([Point(0, NOTHING), Point(2, Bounds(1, 1))], [gap], NOTHING)
    assert (wrong_way.explained, wrong_way.unexplained) == (0, 1)


def test_a_gap_that_explains_anything_still_leaves_the_rest_of_the_window():
    """As where the books around it cannot be read."""
    gap = Gap(0.5, 1.5, Bounds(-math.inf, math.inf))
    found = follow(
        [Point(0, NOTHING), Point(2, Bounds(9, 9)), Point(3, Bounds(8, 8))], [gap], NOTHING
    )
    assert (found.explained, found.unexplained) == (9, 1)


def test_a_gap_behind_the_last_point_explains_nothing():
    """What cannot be compared any more is not judged."""
    gap = Gap(5.0, 6.0, Bounds(-9, 9))
    assert follow(points((0, 0), (0, 0)), [gap], NOTHING).moves == ()
