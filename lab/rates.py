"""Compare the rates that the Fleet board shows with what the generator made in the same seconds.

Sidecar, generator and rules are read at moments up to two seconds apart, so the comparison holds
for steady traffic, averaged over a whole run.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Any

from dashboards.fleet import TABLE_QUERIES
from lab.prometheus import RATE_WINDOW_SECONDS
from lab.system import Lab

GENERATOR_RATE = f"sum by (vendor) (rate(crawler_requests_total[{RATE_WINDOW_SECONDS}s]))"
TOLERANCE = 0.01
STEADY_VARIATION = 0.3  # of the generator's own rate; a busy machine moves it by 0.2


class RateMeter:
    """Samples the board and the generator side by side; call `sample` about once a second.

    The generator's rate covers as many seconds as the board's. Opaque connections have no outcome,
    and another panel.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._begun: float | None = None
        self._board: Counter[str] = Counter()
        self._generator: Counter[str] = Counter()
        self._totals: list[float] = []

    @property
    def variation(self) -> float:
        """How far the generator's own rate moved, as a share of its mean; 0 without samples."""
        if not self._totals:
            return 0.0
        return (max(self._totals) - min(self._totals)) / statistics.mean(self._totals)

    @property
    def is_steady(self) -> bool:
        return self.variation <= STEADY_VARIATION

    @property
    def findings(self) -> list[str]:
        """Vendors whose rate the board shows wrong, if the traffic was steady."""
        return [
            f"{rate['vendor']}: the board shows {rate['board_per_second']} requests/s, the "
            f"generator made {rate['generator_per_second']}/s"
            for rate in self.rates()
            if self.is_steady and (rate["error"] is None or abs(rate["error"]) > TOLERANCE)
        ]

    def sample(self) -> None:
        """Take a sample, unless the traffic has not yet filled the window of the rates."""
        self._begun = self._begun or time.monotonic()
        if time.monotonic() - self._begun < RATE_WINDOW_SECONDS:
            return
        found = self._query(GENERATOR_RATE, "vendor")
        self._totals.append(found.total())
        self._generator += found
        self._board += self._query(TABLE_QUERIES["requests_per_second"], "proxy_vendor")

    def rates(self) -> list[dict[str, Any]]:
        """Return the averages by vendor; `error` is None where the generator made nothing."""
        found = []
        for vendor in sorted({*self._generator, *self._board}):
            board, generator = self._board[vendor], self._generator[vendor]
            found.append(
                {
                    "vendor": vendor,
                    "board_per_second": round(board / len(self._totals), 3),
                    "generator_per_second": round(generator / len(self._totals), 3),
                    "error": round(board / generator - 1, 5) if generator else None,
                }
            )
        return found

    def _query(self, expression: str, label: str) -> Counter[str]:
        answer = self._lab.query(expression)
        return Counter({one["metric"].get(label, ""): float(one["value"][1]) for one in answer})
