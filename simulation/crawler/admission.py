"""Which requests may start now, and which have to wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import cast


class RefusalPause:
    """Lets one start at a time try while every connection is refused, with growing pauses.

    It begins after `most` refusals in a row. Without it a crawler whose sidecar has gone would try
    thousands of times a second.
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
    def unreachable(self) -> bool:
        """Whether no connection was ever made, and enough were refused to be sure."""
        return not self.ever_connected and self._row >= self._most

    def wait(self, now: float) -> float:
        """Return the seconds until a start may try again; 0 gives this turn to the caller."""
        if self._row < self._most:
            return 0.0
        if now < self._until:
            return self._until - now
        self._until = now + self._seconds
        self._seconds = min(2 * self._seconds, self.LONGEST_SECONDS)
        return 0.0


async def first_of(*waits: Coroutine[object, object, object], seconds: float | None = None) -> None:
    """Wait for the first of them, or for the seconds, and cancel the others."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


@contextlib.contextmanager
def tracked(tasks: set[asyncio.Task[None]]) -> Iterator[None]:
    """Keep the running task in `tasks` meanwhile, so that a stop may cancel it without loss."""
    task = cast("asyncio.Task[None]", asyncio.current_task())
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)
