"""The bytes that a day may use, because real vendors bill them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from simulation.plans import PlanError
from simulation.process import write_json

DAY_SECONDS = 86_400
AHEAD_PARTS = 100  # the file is ahead of what is spent by this part of a day's bytes
GB = 10**9  # as vendors count


class Budget:
    """Counts the bytes of a UTC day; `spent` says whether they are used up.

    Requests in flight may end, so the day uses a little more than `limit_bytes`. The `file` keeps
    the day's use over a restart. It is written ahead, so that a process which is killed again and
    again does not spend the day twice. Without a file a restart begins a new budget.
    """

    def __init__(
        self,
        limit_bytes: int,
        total: Callable[[], int],
        file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take `total`, which returns all bytes of this process until now.

        Raises:
            PlanError: the file can be neither read nor written.
        """
        self.limit_bytes, self.stops = limit_bytes, 0
        self._ahead = limit_bytes // AHEAD_PARTS
        self._total, self._file, self._clock = total, file, clock
        self._day = self._today()
        self._before = total()  # of earlier days
        self._carried = 0  # of this day, by an earlier process
        self._stopped = self._reported = False
        self._kept = 0  # of this day, in the file
        if file:
            self._read(file)

    def used_bytes(self) -> int:
        """Return the bytes of today."""
        self._turn()
        return self._carried + self._total() - self._before

    def spent(self) -> bool:
        """Return whether today's bytes are used up, and count a stop when they just were."""
        used = self.used_bytes()
        stopped = used >= self.limit_bytes
        # Early enough for the file to hold what is in flight as well.
        if self._file and min(used + self._ahead // 2, self.limit_bytes) > self._kept:
            try:
                self.keep()
            except OSError as error:  # a full disk is reported once, and ends no run
                if not self._reported:
                    print(f"crawler: budget_file: cannot be written: {error}", file=sys.stderr)
                self._reported = True
        if stopped and not self._stopped:
            self.stops += 1
        self._stopped = stopped
        return stopped

    def seconds_left(self) -> float:
        """Return the seconds until the next day."""
        return (self._day + 1) * DAY_SECONDS - self._clock()

    def keep(self, *, at_the_end: bool = False) -> None:
        """Write today's use to the file, if there is one; ahead of it unless `at_the_end`.

        Raises:
            OSError: it cannot be written.
        """
        if self._file:
            used = self.used_bytes()
            kept = used if at_the_end else max(used, min(used + self._ahead, self.limit_bytes))
            write_json(self._file, {"day": _date(self._day), "used_bytes": kept})
            self._kept = kept

    def as_json(self) -> dict[str, object]:
        return {
            "limit_bytes": self.limit_bytes,
            "used_bytes": self.used_bytes(),
            "stops": self.stops,
        }

    def _today(self) -> int:
        return int(self._clock() // DAY_SECONDS)

    def _turn(self) -> None:
        # A clock that was set back begins no new day.
        if (today := self._today()) > self._day:
            self._day, self._carried, self._before = today, 0, self._total()
            self._kept = 0

    def _read(self, file: Path) -> None:
        try:
            if file.exists():
                kept = json.loads(file.read_text())
                day, used = date.fromisoformat(kept["day"]), kept["used_bytes"]
                if type(used) is not int or used < 0:
                    raise ValueError("used_bytes is no whole number from 0 up")
                if day.isoformat() >= _date(self._day):
                    self._carried = used
            self.keep()
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"keeps no day's use ({type(error).__name__}: {error})"
            fix = "give a writable path, or delete the file to begin anew"
            raise PlanError([f"budget_file: {json.dumps(str(file))} {reason}: {fix}"]) from None


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()
