"""Reads the ledger again and again, and keeps what it read for as long as that is honest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

from money.contract import Budget, Contract
from money.exporter.figures import figures
from money.exporter.page import Family, Sample, text_of
from money.forecast.history import History, history_since
from money.forecast.hours import HOUR, WEEK
from money.quantities import Book

KEEP_SECONDS = 3600.0
"""For so long after a good read its figures stay: an hour's figures change once an hour. Then there
are none, since a budget that seems to stand still is worse than one that nobody knows."""
READ_BACK = 3 * HOUR
"""How far behind its newest hour the ledger is read again: a record may come late."""
STUCK_SECONDS = 1800.0
"""A read that takes longer never ends: a server that sends a byte a minute breaks no time-out."""
LONGEST_REASON = 300

More = Callable[[History, datetime], list[Family]]
"""Returns what else is exported, at each read."""
Read = Callable[[datetime, datetime], Book]
"""Returns the ledger from a whole UTC hour to before another one."""


class Reader:
    """The figures of the last good read, as a page of metrics."""

    def __init__(
        self,
        read: Read,
        contracts: Sequence[Contract],
        budgets: Sequence[Budget],
        *,
        say: Callable[[str], None],
        more: More = lambda _, __: [],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read, self._contracts, self._budgets = read, contracts, budgets
        self._say, self._more, self._clock = say, more, clock
        self._history = History()
        self._whole_read_on: date | None = None
        self._figures_of: object = None
        self._computed = ""
        self._figures, self._good_at, self._begun_at = "", 0.0, 0.0
        self._counts = {"good": 0, "failed": 0}
        self._lock = threading.Lock()

    def refresh(self) -> bool:
        """Read what is new; a failure is counted and told, and costs nothing else.

        Returns:
            Whether it succeeded.
        """
        now = self._clock()
        self._begun_at = now
        try:
            text = self._new_figures(datetime.fromtimestamp(now, UTC))
        except Exception as error:  # whatever a ledger can answer must not end the exporter
            with self._lock:
                self._counts["failed"] += 1
            self._say(f"the ledger was not read: {_reason(error)}")
            return False
        finally:
            self._begun_at = 0.0
        with self._lock:
            self._figures, self._good_at = text, now
            self._counts["good"] += 1
        return True

    def page(self) -> str:
        """Return the metrics, without figures that are too old."""
        with self._lock:
            is_fresh = self._clock() - self._good_at <= KEEP_SECONDS
            own = text_of(_own_families(dict(self._counts), self._good_at))
            return own + (self._figures if is_fresh else "")

    def is_stuck(self) -> bool:
        begun_at = self._begun_at
        return begun_at > 0 and self._clock() - begun_at > STUCK_SECONDS

    def _new_figures(self, now: datetime) -> str:
        """Return the figures, computed anew after an hour or a day: 300 parts take two seconds."""
        self._read_new_hours(now)
        hours = (len(self._history.volumes), self._history.end, self._whole_read_on)
        if hours != self._figures_of:
            families = figures(self._history, self._contracts, self._budgets, now)
            self._computed, self._figures_of = text_of(families), hours
        return self._computed + text_of(self._more(self._history, now))

    def _read_new_hours(self, now: datetime) -> None:
        end = now.replace(minute=0, second=0, microsecond=0) + HOUR
        since = history_since(now)
        if self._whole_read_on != now.date():
            # Once a day all of it: hours that were filled in later count from then on.
            history = self._read_into(History(), since, end)
            self._history, self._whole_read_on = history, now.date()
        else:
            newest = self._history.end or since
            self._read_into(self._history, max(since, newest - READ_BACK), end)
            self._history.forget_before(since)

    def _read_into(self, history: History, begin: datetime, end: datetime) -> History:
        while begin < end:
            upto = min(begin + WEEK, end)  # a slice at a time: a whole book takes much memory
            history.add(self._read(begin, upto))
            begin = upto
        return history


def _own_families(counts: dict[str, int], good_at: float) -> list[Family]:
    return [
        Family(
            "money_exporter_reads_total",
            "Reads of the ledger, by result.",
            [Sample({"result": result}, number) for result, number in counts.items()],
            "counter",
        ),
        Family(
            "money_exporter_last_read_timestamp_seconds",
            "When the ledger was last read; 0 before the first time.",
            [Sample({}, good_at)],
        ),
    ]


def _reason(error: Exception) -> str:
    """Return an error as one short line, whatever a server wrote into it."""
    text = str(error).encode("unicode_escape").decode()[:LONGEST_REASON]
    return f"{type(error).__name__}: {text}"
