"""Starts requests on time in arrivals that have a rate."""

from __future__ import annotations

import asyncio
from collections import deque

# Two wake-ups are at least this far apart. One for each start would cost a quarter more CPU at a
# high rate; the selector's clock of whole milliseconds causes as much lag anyway.
STEP_SECONDS = 0.0005


class Pace:
    """Wakes the workers at their times, with one timer for all of them.

    The times come in order. A sleep for each worker would cost a tenth of the crawler's rate.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def until(self, at: float) -> asyncio.Future[None]:
        """Return a future that ends at `at` by the loop's clock; times never decrease."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((at, turn))
        if self._timer is None:
            self._timer = self._loop.call_at(at, self._wake)
        return turn

    def stop(self) -> None:
        """Cancel every start that still waits; none has begun, so none is lost."""
        if self._timer:
            self._timer.cancel()
        for _, turn in self._waiting:
            turn.cancel()

    def _wake(self) -> None:
        waiting, now = self._waiting, self._loop.time()
        while waiting and waiting[0][0] <= now:
            _, turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
        self._timer = None
        if waiting:
            self._timer = self._loop.call_at(max(waiting[0][0], now + STEP_SECONDS), self._wake)
