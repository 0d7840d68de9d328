"""Limits of a vendor: a rate of requests, a pace of bytes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

PACE_SECONDS = 0.05  # what a bandwidth gives at a time
LEAST_TAKEN_BYTES = 4096


class Bucket:
    """Tokens that come back at `rate` a second; at most a second's worth, and at least one."""

    __slots__ = ("_at", "_rate", "_room", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._at = rate, now
        self._tokens = self._room = max(1.0, rate)

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0 if there is one."""
        self._tokens = min(self._room, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (1 - self._tokens) / self._rate)

    def take(self) -> None:
        self._tokens -= 1


class Pacer:
    """Lets a connection's bytes through at a rate; what has to wait is at most one answer."""

    def __init__(
        self, give: Callable[[bytes | memoryview], None], drained: Callable[[], None]
    ) -> None:
        self._give, self._drained = give, drained
        self._queue: deque[memoryview] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._at = self._allowed = 0.0
        self._taken_until = 0.0
        self.rate = 1.0

    @property
    def most_taken(self) -> int:
        """Bytes that may arrive at once; never less than a usual head, which would be cut."""
        return max(LEAST_TAKEN_BYTES, int(self.rate * PACE_SECONDS))

    @property
    def waiting(self) -> bool:
        return bool(self._queue)

    def add(self, data: bytes | memoryview) -> None:
        self._queue.append(memoryview(data))
        if not self._timer:
            self._step()

    def took(self, size: int, read_on: Callable[[], None]) -> bool:
        """Whether to read nothing until `read_on`, after `size` bytes."""
        now = time.monotonic()
        self._taken_until = max(now, self._taken_until) + size / self.rate
        wait = self._taken_until - now
        if wait > PACE_SECONDS:
            self._reading = asyncio.get_running_loop().call_later(wait, read_on)
        return wait > PACE_SECONDS

    def stop(self) -> None:
        self._queue.clear()
        for timer in (self._timer, self._reading):
            if timer:
                timer.cancel()

    def _step(self) -> None:
        now = time.monotonic()
        most = self.rate * PACE_SECONDS * 2
        self._allowed = min(most, self._allowed + (now - self._at) * self.rate)
        self._at, self._timer = now, None
        while self._queue and self._allowed >= 1:
            part = self._queue.popleft()
            if len(part) > self._allowed:
                self._queue.appendleft(part[int(self._allowed) :])
                part = part[: int(self._allowed)]
            self._allowed -= len(part)
            self._give(part)
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(PACE_SECONDS, self._on_time)

    def _on_time(self) -> None:
        self._step()
        if not self._queue:
            self._drained()
