"""The rows of the table say what was measured."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import main
from benchmarks.measure import Measure, cpu_ratio, table
from lab.processes import LabError


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    """One slow round of one side does not decide a comparison."""
    measure = cpu_ratio("a / b", [11e-6, 12e-6, 90e-6], [10e-6, 10e-6, 10e-6], goal=1.1)
    assert measure.value == pytest.approx(1.2)
    assert measure.met is False
    assert measure.note == "12 us / 10 us; 3 rounds, 1.10 to 9.00"


def test_rounds_are_compared_in_pairs():
    """Different numbers of rounds are an error."""
    with pytest.raises(ValueError, match="longer"):
        cpu_ratio("a / b", [1.0], [1.0, 1.0])


def test_only_a_figure_with_a_goal_can_miss_it():
    """Figures without a goal are only reported."""
    assert Measure(name="m", value=9.0, note="").met is None
    assert Measure(name="m", value=1.0, goal=1.0, note="").met is True


def test_the_table_aligns() -> None:
    """Columns can be read down, whatever the units."""
    text = table(
        [
            Measure(name="memory", value=12.34, unit="MB", goal=10.0, note="resident"),
            Measure(name="CPU a request", value=1.0, note="5 rounds"),
        ]
    )
    assert text.splitlines() == [
        "measure          ratio     goal  met",
        "memory         12.3 MB  10.0 MB   no  resident",
        "CPU a request     1.00        -    -  5 rounds",
    ]


@pytest.mark.parametrize(
    ("value", "status"), [(1.0, 0), (2.0, 1)], ids=["met goals are 0", "a missed goal is 1"]
)
def test_the_exit_code_says_whether_a_goal_was_missed(monkeypatch, capsys, value, status):
    """A pipeline reads the exit code, not the table."""
    measures = [Measure(name="m", value=value, goal=1.5, note="")]
    monkeypatch.setattr("benchmarks.__main__.BENCHMARKS", {"one": lambda: measures})
    assert main([]) == status
    assert "m " in capsys.readouterr().out


def test_a_benchmark_that_cannot_run_is_one_line_and_exit_code_2(monkeypatch, capsys):
    """There is no traceback, and no table that looks like a result."""

    def fail():
        raise LabError("port 21128 cannot be used")

    monkeypatch.setattr("benchmarks.__main__.BENCHMARKS", {"one": fail})
    assert main([]) == 2
    assert main(["--only", "other"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-2:] == [
        "port 21128 cannot be used",
        "ONLY: 'other' is unknown; use one",
    ]
