"""A vendor's rate of requests."""

from __future__ import annotations


class Bucket:
    """A token bucket: `rate` tokens a second come back, up to a second's worth and at least one."""

    __slots__ = ("_at", "_rate", "_room", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._at = rate, now
        self._tokens = self._room = max(1.0, rate)

    def wait(self, now: float) -> float:
        """Return the seconds until there is a token; 0 if there is one."""
        self._tokens = min(self._room, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (1 - self._tokens) / self._rate)

    def take(self) -> None:
        self._tokens -= 1
