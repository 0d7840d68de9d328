"""How much a stack is going to measure, told before it is deployed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from components.attribution.stats import SidecarSeries, expected_series
from settings.crawlers import Mode
from settings.loading import SettingsError
from settings.stack import StackSettings

# `up`, scrape_duration_seconds and three more: Prometheus adds them to each scrape by itself.
SERIES_OF_A_SCRAPE = 5


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one Prometheus that scrapes every crawler's sidecar is expected to take in."""

    sidecar: SidecarSeries
    """Of one whose histograms are kept: the most that any has."""
    sidecars: int
    histogram_sampling: int
    scrape_interval_seconds: int

    @property
    def series(self) -> int:
        """Of all sidecars; of most of them without histograms, where those are sampled."""
        always = self.sidecar.total - self.sidecar.setup_times + SERIES_OF_A_SCRAPE
        setup_times = self.sidecar.setup_times / self.histogram_sampling
        return round(self.sidecars * (always + setup_times))

    @property
    def samples_per_second(self) -> int:
        return math.ceil(self.series / self.scrape_interval_seconds)

    def as_output(self) -> dict[str, int]:
        """Return the numbers as the stack's output `expected`."""
        return {
            "seriesPerSidecar": self.sidecar.total,
            "sidecars": self.sidecars,
            "series": self.series,
            "samplesPerSecond": self.samples_per_second,
        }


def estimate(settings: StackSettings, mode: Mode = "full") -> Estimate:
    """Return what is expected of a stack.

    Args:
        mode: of the crawlers. Budgets and limits are for `full`, whatever the stack says, so that
            the kill switch changes none of them and the way back is never refused.

    Raises:
        SettingsError: a sidecar has more series than `telemetry.seriesBudget`. Refused here,
            since afterwards it would show as a Prometheus out of memory.
    """
    telemetry = settings.telemetry
    sidecar = expected_series(
        settings.vendors,
        telemetry.buckets,
        targets=len(settings.targets),
        destinations=settings.destinations,
        native_histograms=telemetry.native_histograms,
        mode=mode,
    )
    if sidecar.total > telemetry.series_budget:
        native = "" if telemetry.native_histograms else ", or set telemetry.nativeHistograms"
        raise SettingsError(
            [
                f"telemetry.seriesBudget: {telemetry.series_budget} is less than the "
                f"{sidecar.total} series expected of a sidecar ({sidecar.requests} of requests, "
                f"{sidecar.setup_times} of set-up times, {sidecar.connections} of connections); "
                "raise it, or have fewer vendors, pools, targets, destinations, ports of hosts or "
                f"telemetry.buckets{native}"
            ]
        )
    return Estimate(
        sidecar=sidecar,
        sidecars=settings.crawlers.expected_pods,
        histogram_sampling=telemetry.histogram_sampling,
        scrape_interval_seconds=settings.prometheus.scrape_interval,
    )
