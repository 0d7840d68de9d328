"""Do the board's rates tell the truth? Compared with the generator over the same seconds.

The two clocks are up to two seconds apart (scrape, rule evaluation), so the comparison holds for
steady traffic, averaged over all of a run.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from typing import Any

from dashboards.fleet import TABLE_QUERIES
from lab.comparison import Books
from lab.system import Lab


@dataclass(frozen=True, kw_only=True)
class RateComparison:
    """Requests per second of one vendor, as the Fleet board shows and as the generator made."""

    vendor: str
    board: float
    generator: float

    @property
    def error(self) -> float:
        if not self.generator:
            return math.inf if self.board else 0.0
        return self.board / self.generator - 1

    def as_json(self) -> dict[str, Any]:
        return {
            "vendor": self.vendor,
            "board_per_second": round(self.board, 3),
            "generator_per_second": round(self.generator, 3),
            "error": None if math.isinf(self.error) else round(self.error, 5),  # JSON knows no inf
        }


class RateMeter:
    """Samples the board and the generator side by side; call `sample` about once a second.

    The board's rates reach `window_seconds` back, so each is set against the generator's own
    over as many seconds. Plain requests and tunnels; opaque connections have no outcome and
    another panel.
    """

    def __init__(self, lab: Lab, window_seconds: int) -> None:
        self._lab, self._window_seconds = lab, window_seconds
        self._history: deque[tuple[float, Counter[str]]] = deque()
        self._board: defaultdict[str, float] = defaultdict(float)
        self._generator: defaultdict[str, float] = defaultdict(float)
        self._totals: list[float] = []

    @property
    def variation(self) -> float:
        """How far the generator's own rate moved, as a part of its mean; 0 without samples."""
        if not self._totals:
            return 0.0
        return (max(self._totals) - min(self._totals)) / statistics.mean(self._totals)

    def sample(self, books: Books) -> None:
        """Take one sample; `books` are the generator's, of this moment."""
        now = time.time()
        self._history.append((now, _answered(books)))
        then, before = self._history[0]
        if then > now - self._window_seconds:
            return
        while self._history[1][0] <= now - self._window_seconds:
            self._history.popleft()
            then, before = self._history[0]
        rates = {
            vendor: (count - before[vendor]) / (now - then)
            for vendor, count in self._history[-1][1].items()
        }
        self._totals.append(sum(rates.values()))
        for vendor, rate in rates.items():
            self._generator[vendor] += rate
        for found in self._lab.query(TABLE_QUERIES["requests_per_second"]):
            self._board[found["metric"].get("proxy_vendor", "")] += float(found["value"][1])

    def comparisons(self) -> list[RateComparison]:
        """Return the averages by vendor; empty when no window was filled."""
        samples = len(self._totals)
        return [
            RateComparison(
                vendor=vendor,
                board=self._board[vendor] / samples,
                generator=self._generator[vendor] / samples,
            )
            for vendor in sorted({*self._generator, *self._board})
        ]


def _answered(books: Books) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (vendor, visibility, _), count in books.counts.items():
        if visibility != "opaque":
            counts[vendor] += count
    return counts
