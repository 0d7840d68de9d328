"""Whether the recorded rates hold what pods did that lived for seconds.

Two crowds under one Prometheus: 500 sidecars that outlive their crawlers for a last scrape, as the
program has them do, and 100 that end at once, as native ones do by themselves. What a rate says
between two evaluations is added up over the whole run and its last five minutes, and divided by
what the sidecars counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.emulated_sidecars import Crowd
from benchmarks.generator_memory import duration_seconds
from benchmarks.measure import Measure
from benchmarks.monitored import SCRAPE_SECONDS, Monitored, monitored
from components.mesh.values import LAST_SCRAPE_MARGIN_SECONDS
from lab.processes import LabError

Json = dict[str, Any]

WORKED_SECONDS = (20.0, 90.0)
WINDOW_SECONDS = 300
TOLERANCE = 0.01

CROWDS = (
    Crowd(
        name="scraped-last",
        sidecars=500,
        worked_seconds=WORKED_SECONDS,
        last_scrape_seconds=SCRAPE_SECONDS + LAST_SCRAPE_MARGIN_SECONDS,
        vendors=("vendor-a", "vendor-b", "vendor-c"),
    ),
    Crowd(
        name="ended-at-once",
        sidecars=100,
        worked_seconds=WORKED_SECONDS,
        last_scrape_seconds=0.0,
        vendors=("vendor-d", "vendor-e"),
    ),
)
RECORDS = {
    "requests": "proxy_vendor:istio_requests:rate5m",
    "connections": "proxy_vendor:envoy_cluster_upstream_cx:rate5m",
    "sent bytes": "proxy_vendor:envoy_cluster_upstream_cx_tx_bytes:rate5m",
    "received bytes": "proxy_vendor:envoy_cluster_upstream_cx_rx_bytes:rate5m",
}


def recorded_per_truth() -> list[Measure]:
    """Measure requests and bytes by vendor, and what no scrape saw by a crawler's lifetime."""
    seconds = duration_seconds()
    with monitored(CROWDS) as running:
        running.wait(seconds)
        running.stop_births()
        # The last ones live on, are seen for the last time, and leave the window.
        last = max(WORKED_SECONDS) + SCRAPE_SECONDS + LAST_SCRAPE_MARGIN_SECONDS
        running.wait(last + WINDOW_SECONDS + 3 * SCRAPE_SECONDS)
        ledger = running.ledger()
        recorded = {what: _added_up(running, name) for what, name in RECORDS.items()}
        missed = running.missed_evaluations()
    if ledger["living"]:
        raise LabError(f"{ledger['living']} emulated sidecars did not die out")
    return [
        *_ratios(ledger["crowds"], recorded),
        *_unseen(ledger["crowds"]),
        # Between the two a rate is taken to be the earlier's, so a few do no harm.
        Measure(name="evaluations missed", value=float(missed), unit="counts", note="of all rules"),
    ]


def _added_up(running: Monitored, record: str) -> dict[str, float]:
    """Return a rate's integral over all there is of it, by vendor."""
    return {labels["proxy_vendor"]: integral(found) for labels, found in running.history(record)}


def integral(samples: Sequence[tuple[float, float]]) -> float:
    """Return the area below (seconds, rate); each stands until the next, the last for a scrape."""
    ends = [seconds for seconds, _ in samples[1:]] + [samples[-1][0] + SCRAPE_SECONDS]
    return sum(rate * (end - seconds) for (seconds, rate), end in zip(samples, ends, strict=True))


def _ratios(crowds: Json, recorded: Mapping[str, Mapping[str, float]]) -> Iterator[Measure]:
    for crowd in CROWDS:
        for what, found in recorded.items():
            truth = {vendor: crowds[crowd.name]["truth"][vendor][what] for vendor in crowd.vendors}
            ratios = {vendor: found.get(vendor, 0.0) / truth[vendor] for vendor in crowd.vendors}
            worst = max(ratios, key=lambda vendor: abs(ratios[vendor] - 1))
            goal = TOLERANCE if crowd is CROWDS[0] else None
            each = ", ".join(f"{vendor} {ratio:.4f}" for vendor, ratio in ratios.items())
            yield Measure(
                name=f"{what} recorded / counted, off 1: {crowd.name}",
                value=abs(ratios[worst] - 1),
                unit="x",
                goal=goal,
                note=f"{each}; {sum(truth.values()):,} counted",
            )


def _unseen(crowds: Json) -> Iterator[Measure]:
    for crowd in CROWDS:
        for group in crowds[crowd.name]["lifetimes"]:
            yield Measure(
                name=f"requests no scrape saw, of crawlers of {group['from_seconds']} s and more: "
                f"{crowd.name}",
                value=group["unseen"] / group["requests"],
                unit="x",
                note=f"{group['sidecars']:,} pods, {group['requests']:,} requests",
            )
