"""The lab's rules are the shipped ones but for their times, and every time is divided."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from components.alertmanager.config import alertmanager_config
from lab.prometheus import RULES
from lab.shortening import (
    DEMO_FACTOR,
    DRILL_FACTOR,
    LEAST_WAIT_SECONDS,
    shortened,
    shortened_alertmanager,
    shortened_rules,
)
from settings.alertmanager import Alertmanager

FILES = sorted(RULES.glob("*.yml"))
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# What is no expression of time, though digits and letters stand in it.
NAMES = re.compile(r'"(?:\\.|[^"\\])*"|(?<!\w)[a-zA-Z_:][\w:]*')


def seconds_of(text: str) -> list[float]:
    found = re.findall(r"(\d+)(ms|[smhd])\b", text)
    return [float(number) * SECONDS[unit] for number, unit in found]


def times_of(rule: dict[str, Any]) -> list[float]:
    """Every time of an expression in seconds: durations, and predict_linear's plain number."""
    expr = re.sub(r"\boffset\b", " ", rule["expr"])
    predicted = [float(found) for found in re.findall(r"predict_linear\(.*?, ([\d.]+)\)", expr)]
    return seconds_of(NAMES.sub(" ", expr)) + predicted


def waits_of(rule: dict[str, Any]) -> list[float]:
    return [sum(seconds_of(rule[key])) for key in ("for", "keep_firing_for") if key in rule]


def rules_of(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("factor", [DEMO_FACTOR, DRILL_FACTOR])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_time_of_a_rule_is_forgotten(file, factor):
    """A drill would wait an hour for one that is, or see it fire on the wrong window."""
    text = file.read_text(encoding="utf-8")
    before, after = rules_of(text), rules_of(shortened_rules(text, factor))
    assert sum(len([*times_of(rule), *waits_of(rule)]) for rule in before) > 10
    for shipped, short in zip(before, after, strict=True):
        assert times_of(short) == pytest.approx([time / factor for time in times_of(shipped)])
        least = [max(wait / factor, LEAST_WAIT_SECONDS) for wait in waits_of(shipped)]
        assert waits_of(short) == least
        assert set(shipped) == set(short)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_but_times_differs(file):
    """What is drilled is what is shipped: names, thresholds and words."""
    text = file.read_text(encoding="utf-8")
    for shipped, short in zip(rules_of(text), rules_of(shortened_rules(text, 60)), strict=True):
        for key in shipped.keys() - {"expr", "for", "keep_firing_for"}:
            assert short[key] == shipped[key]
        without = [
            re.sub(r"\d+(ms|[smhd])\b|, [\d.]+\)", "", one["expr"]) for one in (shipped, short)
        ]
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
