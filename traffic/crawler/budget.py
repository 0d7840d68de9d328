"""How many bytes a day may cost: traffic through real vendors is paid for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from traffic.plans import PlanError
from traffic.process import write_json

DAY_SECONDS = 86_400
GB = 10**9  # as vendors count


class Budget:
    """The bytes of a UTC day; `spent` says whether another count may start.

    Counts under way may end, so the day costs a little more than `limit_bytes`. With a `file` a
    restart goes on where the last `keep` was; without one it begins a new budget.
    """

    def __init__(
        self,
        limit_bytes: int,
        total: Callable[[], int],
        file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`total` is all bytes of this process until now.

        Raises:
            PlanError: the file can be neither read nor written.
        """
        self.limit_bytes, self.stops = limit_bytes, 0
        self._total, self._file, self._clock = total, file, clock
        self._day = self._today()
        self._before = total()  # of earlier days
        self._carried = 0  # of this day, by an earlier process
        self._stopped = False
        if file:
            self._read(file)

    def used_bytes(self) -> int:
        """Of today."""
        self._turn()
        return self._carried + self._total() - self._before

    def spent(self) -> bool:
        """Whether today's bytes are used up; true for the first time is a stop."""
        stopped = self.used_bytes() >= self.limit_bytes
        if stopped and not self._stopped:
            self.stops += 1
        self._stopped = stopped
        return stopped

    def seconds_left(self) -> float:
        """Until the next day."""
        return (self._day + 1) * DAY_SECONDS - self._clock()

    def keep(self) -> None:
        """Write today's use to the file, if there is one; raises OSError."""
        if self._file:
            used = self.used_bytes()
            write_json(self._file, {"day": _date(self._day), "used_bytes": used})

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

    def _read(self, file: Path) -> None:
        try:
            if file.exists():
                kept = json.loads(file.read_text())
                if str(kept["day"]) >= _date(self._day):
                    self._carried = int(kept["used_bytes"])
            self.keep()
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = f"keeps no day's use ({type(error).__name__}: {error})"
            fix = "give a writable path, or delete the file to begin anew"
            raise PlanError([f"budget_file: {json.dumps(str(file))} {reason}: {fix}"]) from None


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()
