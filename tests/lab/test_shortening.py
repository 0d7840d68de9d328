"""The lab's rules are the shipped ones but for their times, and every time is divided."""

from __future__ import annotations

import re
from typing import Any

import pytest

from components.alertmanager.config import alertmanager_config
from components.prometheus.rules import rules_of
from lab.shortening import (
    DEMO_FACTOR,
    DRILL_FACTOR,
    LEAST_WAIT_SECONDS,
    shortened,
    shortened_alertmanager,
    shortened_rules,
)
from settings.alertmanager import Alertmanager
from tests.rules.promql import FILES

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# What is no expression of time, though digits and letters stand in it.
NAMES = re.compile(r'"(?:\\.|[^"\\])*"|(?<!\w)[a-zA-Z_:][\w:]*')


def seconds_of(text: str) -> list[float]:
    found = re.findall(r"(\d+)(ms|[smhd])\b", text)
    return [float(number) * SECONDS[unit] for number, unit in found]


def times_of(rule: dict[str, Any]) -> list[float]:
    """Return every duration of an expression in seconds."""
    return seconds_of(NAMES.sub(" ", re.sub(r"\boffset\b", " ", rule["expr"])))


def waits_of(rule: dict[str, Any]) -> list[float]:
    return [sum(seconds_of(rule[key])) for key in ("for", "keep_firing_for") if key in rule]


@pytest.mark.parametrize("factor", [DEMO_FACTOR, DRILL_FACTOR])
@pytest.mark.parametrize("name", FILES)
def test_no_time_of_a_rule_is_forgotten(name, factor):
    """A drill would wait an hour for one that is, or see it fire on the wrong window."""
    file = FILES[name]
    pairs = zip(rules_of(file), rules_of(shortened_rules(file, factor)), strict=True)
    for shipped, short in pairs:
        assert times_of(short) == pytest.approx([time / factor for time in times_of(shipped)])
        least = [max(wait / factor, LEAST_WAIT_SECONDS) for wait in waits_of(shipped)]
        assert waits_of(short) == least
        assert set(shipped) == set(short)
        # No plain number of seconds: nothing would divide it.
        assert not re.search(r"\bpredict_linear\(.*, \d+\)", shipped["expr"])


@pytest.mark.parametrize("name", FILES)
def test_nothing_but_times_differs(name):
    """What is drilled is what is shipped: names, thresholds and words."""
    file = FILES[name]
    for shipped, short in zip(rules_of(file), rules_of(shortened_rules(file, 60)), strict=True):
        for key in shipped.keys() - {"expr", "for", "keep_firing_for"}:
            assert short[key] == shipped[key]
        without = [re.sub(r"\d+(ms|[smhd])\b", "", one["expr"]) for one in (shipped, short)]
        assert without[0] == without[1]


def test_every_wait_of_alertmanager_is_divided():
    """Its routes are the shipped ones, their waits in the scale of the rules."""
    shipped = alertmanager_config(Alertmanager())

    def waits(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [
                v for v in node.values() if isinstance(v, str) and re.fullmatch(r"\d+m?[smhd]", v)
            ]
            return own + [wait for value in node.values() for wait in waits(value)]
        return [wait for one in node for wait in waits(one)] if isinstance(node, list) else []

    assert len(waits(shipped)) >= 7
    short = waits(shortened_alertmanager(shipped, 60))
    assert short == [shortened(wait, 60) for wait in waits(shipped)]


@pytest.mark.parametrize(
    ("time", "factor", "expected"),
    [
        ("5m", 60, "5s"),
        ("5m", 20, "15s"),
        ("30s", 60, "500ms"),
        ("6h", 20, "1080s"),
        ("0s", 60, "0s"),
    ],
)
def test_times_are_written_as_prometheus_reads_them(time, factor, expected):
    """Whole seconds as such, parts of one in milliseconds: 0.5s would be refused."""
    assert shortened(time, factor) == expected
