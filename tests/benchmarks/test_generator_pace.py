"""How the start lag is measured: near a maximum that lasts, each process on a core of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import generator_pace


def test_each_round_asks_for_80_percent_of_its_own_maximum(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both runs are as long, every start is in the figure, and a round's line says how it went."""
    asked: list[float] = []
    lags = iter([0.009, 0.002, 0.004, 0.003, 0.050])

    def books(rate: float, folder: Path, vendor: int) -> dict[str, Any]:
        asked.append(rate)
        first = rate == generator_pace.MORE_THAN_ANYBODY_CAN
        lag = {"p50_seconds": 0.001, "p99_seconds": 9.0 if first else next(lags)}
        lag["most_seconds"] = 2 * lag["p99_seconds"]
        seconds = 10.0 if first else 12.5
        attempts = generator_pace.COUNTS
        return {
            "attempts": attempts,
            "started_seconds": 100.0,
            "ended_seconds": 100.0 + seconds,
            "start_lag": lag,
        }

    monkeypatch.setattr(generator_pace, "_books", books)
    monkeypatch.setattr(generator_pace, "start_vendor", lambda family, folder: 0)
    [measure] = generator_pace.start_lag()
    most = generator_pace.COUNTS / 10
    assert asked == [generator_pace.MORE_THAN_ANYBODY_CAN, 0.8 * most] * generator_pace.ROUNDS
    assert (measure.value, measure.met) == (pytest.approx(4.0), True)
    assert measure.note == "24,000 of at most 30,000 counts/s; 5 rounds, 2.00 to 50.00 ms"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == generator_pace.ROUNDS
    assert "start lag p50 1.00, p99 9.00, latest 18.0 ms, load average" in lines[0]


@pytest.mark.parametrize(
    ("every", "bound"),
    [({0, 1}, {11: {0}, 22: {1}}), ({2, 5, 7}, {11: {5}, 22: {7}}), ({3}, {})],
)
def test_crawler_and_vendor_do_not_share_a_core(
    every: set[int], bound: dict[int, set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are as many; with one core nobody is bound."""
    found: dict[int, set[int]] = {}
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: every, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", found.__setitem__, raising=False)
    generator_pace._keep_apart(11, 22)
    assert found == bound
