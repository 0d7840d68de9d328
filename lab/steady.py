"""Do the board's rates tell the truth? Compared with the generator over the same seconds."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from dashboards.fleet import TABLE_QUERIES
from lab.comparison import crawler_books
from lab.loopback import get_json, query
from lab.system import Lab


@dataclass(frozen=True, kw_only=True)
class RateComparison:
    """Requests per second of one vendor, as the Fleet board shows and as the generator made."""

    vendor: str
    board: float
    generator: float

    @property
    def error(self) -> float:
        return self.board / self.generator - 1 if self.generator else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "vendor": self.vendor,
            "board_per_second": round(self.board, 3),
            "generator_per_second": round(self.generator, 3),
            "error": round(self.error, 5),
        }


def compare_rates(lab: Lab, window_seconds: int, samples: int = 12) -> list[RateComparison]:
    """Sample the board and the generator side by side, a second apart, and average.

    The board's rates reach `window_seconds` back, so each is set against the generator's own
    over as many seconds. Plain requests and tunnels; opaque connections have no outcome and
    another panel.

    Raises:
        LabError: the crawler ended first.
    """
    own: list[tuple[float, Counter[str]]] = []
    board: Counter[str] = Counter()
    generator: Counter[str] = Counter()
    taken = 0
    while taken < samples:
        now = time.time()
        own.append((now, _generated(lab)))
        earlier = next((point for point in own if point[0] <= now - window_seconds), None)
        if earlier is not None:
            own = own[own.index(earlier) :]  # what is older is never needed again
            for vendor, count in own[-1][1].items():
                generator[vendor] += (count - earlier[1][vendor]) / (now - earlier[0])
            for sample in query(lab.prometheus_url, TABLE_QUERIES["requests_per_second"], now):
                board[sample["metric"].get("proxy_vendor", "")] += float(sample["value"][1])
            taken += 1
        lab.family.check()
        time.sleep(max(0.0, now + 1 - time.time()))
    return [
        RateComparison(
            vendor=vendor, board=board[vendor] / taken, generator=generator[vendor] / taken
        )
        for vendor in sorted(generator)
    ]


def _generated(lab: Lab) -> Counter[str]:
    books = crawler_books(get_json(f"{lab.crawler_url}/books"))
    generated: Counter[str] = Counter()
    for (vendor, visibility, _), count in books.counts.items():
        if visibility != "opaque":
            generated[vendor] += count
    return generated
