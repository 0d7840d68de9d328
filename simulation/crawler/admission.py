"""Places for counts: who may start, and who waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Coroutine, Iterator
from typing import cast


class RefusalPause:
    """Makes starts wait while all of them are refused: a sidecar that is gone must not be hammered.

    After `most` refusals without a connection in between, one start at a time finds out.
    """

    SHORTEST_SECONDS, LONGEST_SECONDS = 0.05, 1.0

    def __init__(self, most: int) -> None:
        self._most = most
        self._until = 0.0  # by the loop's clock
        self.connected()
        self.ever_connected = False

    def connected(self) -> None:
        self.ever_connected = True
        self._row, self._seconds = 0, self.SHORTEST_SECONDS

    def refused(self) -> None:
        self._row += 1

    @property
    def nobody(self) -> bool:
        """Whether there never was a connection, and enough were refused to say so."""
        return not self.ever_connected and self._row >= self._most

    def wait(self, now: float) -> float:
        """Seconds until a start may try again; 0 takes this turn."""
        if self._row < self._most:
            return 0.0
        if now < self._until:
            return self._until - now
        self._until = now + self._seconds
        self._seconds = min(2 * self._seconds, self.LONGEST_SECONDS)
        return 0.0


async def first_of(*waits: Coroutine[object, object, object], seconds: float | None = None) -> None:
    """Until one of them is over, or the seconds; the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


@contextlib.contextmanager
def tracked(tasks: set[asyncio.Task[None]]) -> Iterator[None]:
    """Keep the running task in `tasks` meanwhile: a stop may cancel it, no count is lost."""
    task = cast("asyncio.Task[None]", asyncio.current_task())
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)


class HostLimit:
    """At most `limit` counts of a host at a time; further ones wait in their order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._busy: Counter[int] = Counter()
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}

    def take(self, host: int) -> asyncio.Future[None] | None:
        """A slot at once, or what ends when there is one."""
        if self._busy[host] < self._limit:
            self._busy[host] += 1
            return None
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(host, deque()).append(turn)
        return turn

    def give(self, host: int) -> None:
        """Hand the slot on, or back."""
        waiting = self._waiting.get(host)
        while waiting:
            turn = waiting.popleft()
            if not waiting:
                del self._waiting[host]
            if not turn.done():
                turn.set_result(None)
                return
        self._busy[host] -= 1
        if not self._busy[host]:
            del self._busy[host]  # hosts are many, busy ones few
