"""The table of outcomes as the passive module's configuration, which is text."""

from __future__ import annotations

import re

from components.attribution.outcome import ANSWERS, answer_lines

CONDITION = r"(-|credentials|no-credentials|header:[a-z0-9-]+(:[^\s#]+)?)"
DIRECTIVES = (
    r"codes( [1-9]\d\d)+",
    rf"answer [1-9]\d\d [1-9]\d\d (any|plain|tunnel) {CONDITION} [a-z_]+",
    r"socks (method|auth|reply) \d{1,3} \d{1,3} [a-z_]+",
    r"result [a-z_]+ (delivered|refused|failed)",
)


def test_every_line_is_a_directive_that_the_module_reads():
    """A line that the module cannot read makes it refuse the whole configuration."""
    unread = [
        line
        for line in answer_lines()
        if not any(re.fullmatch(directive, line) for directive in DIRECTIVES)
    ]
    assert unread == []


def test_every_answer_counts_as_something():
    """The last row takes every answer, so none is without an outcome; no row is after it."""
    last = ANSWERS[-1]
    assert (last.first, last.last, last.kind, last.condition) == (100, 999, "any", "-")
    assert [row for row in ANSWERS if row.first > row.last] == []
