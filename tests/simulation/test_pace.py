"""One timer starts all workers of a run with a rate, each on time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from simulation.crawler.pace import STEP_SECONDS, Pace


class Clock:
    """A loop whose time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def call_at(self, at: float, call: Callable[[], None]) -> Clock:
        self.timers.append((at, call))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def pass_until(self, at: float) -> None:
        self.now = at
        while self.timers and self.timers[0][0] <= at:
            self.timers.pop(0)[1]()


def on_a_clock(scene: Callable[[Clock, Pace], None]) -> None:
    async def run() -> None:
        clock: Any = Clock()
        scene(clock, Pace(clock))

    asyncio.run(run())


def test_each_is_woken_at_its_time_by_one_timer() -> None:
    """No worker starts early, and at most one timer runs."""

    def scene(clock: Clock, pace: Pace) -> None:
        turns = [pace.until(100.0 + number) for number in (1, 2, 2, 3)]
        for at, woken in ((100.9, 0), (101.0, 1), (101.9, 1), (102.0, 3), (103.0, 4)):
            clock.pass_until(at)
            assert [turn.done() for turn in turns] == [True] * woken + [False] * (4 - woken)
            assert len(clock.timers) == (woken < 4)
        last = pace.until(104.0)
        clock.pass_until(104.0)
        assert last.done()

    on_a_clock(scene)


def test_starts_close_to_each_other_share_a_wake_up() -> None:
    """Starts within one step share a wake-up, and their lag is counted."""

    def scene(clock: Clock, pace: Pace) -> None:
        turns = [pace.until(101.0 + number * STEP_SECONDS / 4) for number in range(4)]
        clock.pass_until(101.0)
        assert [turn.done() for turn in turns] == [True, False, False, False]
        [(at, _)] = clock.timers
        assert at == pytest.approx(101.0 + STEP_SECONDS)
        clock.pass_until(at)
        assert all(turn.done() for turn in turns)

    on_a_clock(scene)


def test_who_left_is_passed_over_and_a_stop_cancels_the_rest() -> None:
    """A signal must not wait for a start that is due tomorrow."""

    def scene(clock: Clock, pace: Pace) -> None:
        first, second, third = (pace.until(at) for at in (101.0, 102.0, 86_500.0))
        first.cancel()
        clock.pass_until(102.0)
        assert second.result() is None
        pace.stop()
        assert third.cancelled()
        assert clock.timers == []

    on_a_clock(scene)
