"""The crawler's plan: which vendor is asked what, how often.

Its format is traffic/crawler.py's, which checks it at start.
"""

from __future__ import annotations

import math
from typing import Any

from settings.model import LoadGenerator
from settings.values import split_endpoint

# Nothing opaque: the one endpoint known of a vendor is its HTTP proxy, and SOCKS5 or TLS sent
# there would only show up in the vendor's error log.
MIX = {"http": 0.5, "tunnel": 0.5}
LEAST_REQUESTS_PER_SECOND = 0.01  # what the crawler takes
CONCURRENCY = (16, 10_000)  # Scrapy's default; what the crawler takes


def crawler_plan(
    load_generator: LoadGenerator, *, patience_seconds: int, metrics_port: int
) -> dict[str, Any]:
    """Return one replica's plan as plain values; all replicas have the same.

    The rate is shared out over the replicas, and the vendors get equal parts.
    """
    share = load_generator.requests_per_second / load_generator.replicas
    rate = max(LEAST_REQUESTS_PER_SECOND, round(share, 3))
    least, most = CONCURRENCY
    return {
        "seed": 1,
        "count": None,  # until it is told to stop
        "requests_per_second": rate,
        # Enough to keep the rate while every vendor takes as long as patience allows.
        "concurrency": min(most, max(least, math.ceil(rate * patience_seconds))),
        "connection_reuse": 20,
        "patience_seconds": patience_seconds,
        "metrics_host": "0.0.0.0",
        "metrics_port": metrics_port,
        "mix": MIX,
        "vendors": [
            _vendor(name, endpoint) for name, endpoint in sorted(load_generator.endpoints.items())
        ],
    }


def _vendor(name: str, endpoint: str) -> dict[str, Any]:
    address, port = split_endpoint(endpoint)
    return {"name": name, "address": str(address), "port": port, "weight": 1}
