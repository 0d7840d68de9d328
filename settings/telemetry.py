"""`telemetry`: how much each sidecar measures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

from pydantic import Field, StrictBool, StrictInt, StrictStr

from settings.section import Problem, Section
from settings.values.checked_text import Text
from settings.values.quantities import Duration

# No comma, at which Istio splits the list, and no regular expression: Envoy would not start with
# one that it cannot read.
StatisticName = Annotated[
    StrictStr,
    Text(
        "name",
        r"[A-Za-z0-9_.:;|*-]+",
        "is not the name of a statistic; write it as Envoy has it, with * for any text",
    ),
]


class Telemetry(Section):
    """How much each sidecar measures."""

    buckets: Annotated[
        tuple[Annotated[StrictInt, Field(ge=1)], ...], Field(min_length=1, max_length=20)
    ] = (50, 100, 250, 500, 1000, 2500, 5000, 10000)
    """Upper bounds of the set-up time's histogram in milliseconds, ascending. Each costs a series
    per vendor and visibility in every sidecar. A change takes effect as pods restart."""
    also_export: tuple[StatisticName, ...] = Field(default=(), examples=[["*outlier_detection*"]])
    """Further statistics of Envoy that crawlers' sidecars export, by their full names, with `*` for
    any text. This program's list takes the place of the mesh's
    `proxyStatsMatcher.inclusionRegexps` in crawlers' pods, so repeat those here; the mesh's
    prefixes and suffixes stay in force. A change takes effect as pods restart."""
    series_budget: Annotated[StrictInt, Field(ge=1)] = 1000
    """Most series that one sidecar may expose. A stack whose vendors and buckets need more is
    refused before anything is deployed."""
    native_histograms: StrictBool = False
    """Whether Prometheus stores set-up times as native histograms, one series each instead of one a
    bucket. Needs Prometheus 3.9 or newer wherever they are stored (docs/series.md)."""
    histogram_sampling: Annotated[StrictInt, Field(ge=1)] = 1
    """With 10, Prometheus stores the set-up times of one sidecar in ten; requests, outcomes and
    bytes are stored of all. At least 10 of `crawlers.expectedPods` must be left (docs/series.md).
    """
    timeout_after: Duration = 10
    """A crawler that leaves without an answer after this time counts as the vendor's `timeout`,
    sooner as `client_cancelled`. A change cuts no connection."""
    access_logs: StrictBool = False
    """Whether sidecars print a line of JSON for each request and opaque connection to a vendor, and
    for each connection to a `passive` one: vendor, outcome, code, flags, bytes, times, addresses,
    and no host, URL or header. A change cuts all connections to vendors; while on, one of
    `timeoutAfter` cuts tunnels on inspected ports."""
    log_outside: StrictBool = False
    """Whether sidecars print a line of JSON for each connection to nobody's address, for `make
    discover`: destination, bytes, time, and no user or URL. A change cuts such connections after
    45 s."""
    delay_pod_termination: StrictBool | None = None
    """Whether a terminating pod's sidecar stays for one more scrape (`prometheus.scrapeInterval`
    and 5 s). Without it the last counts are lost (docs/limits.md). Default: with `istio.install:
    true`. Every pod, Job and gateway of the mesh then ends that much later, also those of others
    who use it; `terminationGracePeriodSeconds` must leave room. Istio's experimental agentgateway
    needs `false`. With `istio.install: false`, `true` adds it to the output `optionalIstioValues`;
    crawlers can also ask for it alone (docs/limits.md). A change takes effect as pods restart."""

    def problems(self) -> Iterator[Problem]:
        for lower, upper in pairwise(self.buckets):
            if upper <= lower:
                yield Problem(
                    ("buckets",), f"has {upper} after {lower}; write each bound once, ascending"
                )
                return
