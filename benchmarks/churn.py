"""Do the recorded rates hold what pods counted that lived for seconds?

One Prometheus scrapes two fleets: 500 sidecars that outlive their crawlers for a last scrape, as
the program configures them, and 100 that end at once, as Kubernetes' native sidecars do. The
benchmark integrates each recorded rate over the whole run and divides by what the sidecars counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.emulated_sidecars import Fleet
from benchmarks.measure import Measure
from benchmarks.monitored import SCRAPE_SECONDS, Monitored, monitored, number_from
from components.mesh.values import LAST_SCRAPE_MARGIN_SECONDS
from lab.processes import LabError

Json = dict[str, Any]

WORKED_SECONDS = (20.0, 90.0)
LAST_SCRAPE_SECONDS = SCRAPE_SECONDS + LAST_SCRAPE_MARGIN_SECONDS
WINDOW_SECONDS = 300
TOLERANCE = 0.01

FLEETS = (
    Fleet(
        name="scraped-last",
        sidecars=500,
        worked_seconds=WORKED_SECONDS,
        last_scrape_seconds=LAST_SCRAPE_SECONDS,
        vendors=("vendor-a", "vendor-b", "vendor-c"),
    ),
    Fleet(
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


def recorded_against_counted() -> list[Measure]:
    """Measure requests and bytes by vendor, and the requests that no scrape saw by lifetime."""
    with monitored(FLEETS) as running:
        running.wait(number_from("DURATION", 120))
        running.stop_sidecars()
        # The last sidecars end, are scraped once more, and leave the rules' window.
        running.wait(
            max(WORKED_SECONDS) + LAST_SCRAPE_SECONDS + WINDOW_SECONDS + 3 * SCRAPE_SECONDS
        )
        totals = running.totals()
        recorded = {what: _integrated(running, name) for what, name in RECORDS.items()}
        missed = running.own_metric("prometheus_rule_group_iterations_missed_total")
    if totals["living"]:
        raise LabError(f"{totals['living']} emulated sidecars did not end")
    return [
        *_ratios(totals["fleets"], recorded),
        *_unseen(totals["fleets"]),
        # The integral takes the earlier rate for a missed one, so a few do no harm.
        Measure(name="evaluations missed", value=missed, unit="counts", note="of all rules"),
    ]


def _integrated(running: Monitored, record: str) -> dict[str, float]:
    """Return the integral of a recorded rate by vendor."""
    return {labels["proxy_vendor"]: integral(found) for labels, found in running.history(record)}


def integral(samples: Sequence[tuple[float, float]]) -> float:
    """Return the area below (seconds, rate), where each rate holds until the next sample."""
    ends = [seconds for seconds, _ in samples[1:]] + [samples[-1][0] + SCRAPE_SECONDS]
    return sum(rate * (end - seconds) for (seconds, rate), end in zip(samples, ends, strict=True))


def _ratios(fleets: Json, recorded: Mapping[str, Mapping[str, float]]) -> Iterator[Measure]:
    for fleet in FLEETS:
        for what, found in recorded.items():
            counted = {v: fleets[fleet.name]["counted"][v][what] for v in fleet.vendors}
            ratios = {vendor: found.get(vendor, 0.0) / counted[vendor] for vendor in fleet.vendors}
            each = ", ".join(f"{vendor} {ratio:.4f}" for vendor, ratio in ratios.items())
            yield Measure(
                name=f"{what} recorded / counted, distance from 1: {fleet.name}",
                value=max(abs(ratio - 1) for ratio in ratios.values()),
                goal=TOLERANCE if fleet is FLEETS[0] else None,
                note=f"{each}; {sum(counted.values()):,} counted",
            )


def _unseen(fleets: Json) -> Iterator[Measure]:
    for fleet in FLEETS:
        for group in fleets[fleet.name]["lifetimes"]:
            yield Measure(
                name=f"requests that no scrape saw, crawlers of {group['from_seconds']} s or more: "
                f"{fleet.name}",
                value=group["unseen"] / group["requests"],
                note=f"{group['sidecars']:,} pods, {group['requests']:,} requests",
            )
