"""The waiting of an open arrival: who starts when it is due."""

from __future__ import annotations

import asyncio
from collections import deque

# Wake-ups are no closer than this. Near the most that the crawler can do, a wake-up for each start
# takes a quarter more CPU: every request would wake the vendor's process by itself. A lag as long
# is what the selector's clock, in milliseconds, costs anyway.
STEP_SECONDS = 0.0005


class Pace:
    """Wakes the workers at their times, with one timer for all of them.

    Times come in their order, so who has waited longest is due first. A sleep for each worker
    would cost a tenth of the rate that the crawler can keep.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def until(self, at: float) -> asyncio.Future[None]:
        """What ends once `at` has come, by the loop's clock; `at` is no earlier than the last."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((at, turn))
        if self._timer is None:
            self._timer = self._loop.call_at(at, self._wake)
        return turn

    def stop(self) -> None:
        """Cancel who still waits: no count is lost, none has begun."""
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
