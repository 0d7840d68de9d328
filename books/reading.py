"""Which metric holds which counts, and every process's counters as Prometheus stored them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from books.counters import (
    CONNECTION,
    COUNTS,
    OPAQUE_BYTES,
    OUTSIDE,
    WIRE_BYTES,
    Books,
    Key,
    Pod,
    Process,
    Timestamp,
    process_from_samples,
)
from components.attribution.groups import CLUSTER_PREFIX, DESTINATION_PREFIX

SIDECARS, GENERATORS, VENDORS = "sidecars", "load-generator", "simulated-vendors"
JOBS = (SIDECARS, GENERATORS, VENDORS)

UP, SECONDS = "up", "scrape_duration_seconds"
STARTED, IN_FLIGHT = "process_start_time_seconds", "crawler_in_flight"
GONE_AFTER_SCRAPES = 3  # a process that missed as many has ended
AWAY_AFTER_SCRAPES = 2  # Prometheus was away if no process was scraped for as long

Labels = Mapping[str, str]
KeyOf = Callable[[Labels], Key]
Series = Iterable[tuple[Labels, Mapping[Timestamp, float]]]


class NothingToCompareError(Exception):
    """Prometheus holds no counts of one of the parties; the text names it."""


def _requests(prefix: str = "") -> KeyOf:
    names = [f"{prefix}{name}" for name in ("vendor", "visibility", "outcome")]
    return lambda labels: Key(COUNTS, *(labels.get(name, "") for name in names))


def _connections(vendor_label: str) -> KeyOf:
    return lambda labels: Key(COUNTS, labels[vendor_label], "opaque", CONNECTION)


def _bytes(measure: str, vendor_label: str, directions: Mapping[str, str]) -> KeyOf:
    """Return the key of bytes, whose direction is the crawler's: it sent what a vendor received."""
    visibility = "opaque" if measure == OPAQUE_BYTES else ""
    return lambda labels: Key(
        measure, labels[vendor_label], visibility, directions[labels.get("direction", "")]
    )


_SENT, _RECEIVED = {"": "sent"}, {"": "received"}
_AS_NAMED = {"sent": "sent", "received": "received"}
_OPPOSITE = {"sent": "received", "received": "sent"}

METRICS: Mapping[str, Mapping[str, KeyOf]] = {
    SIDECARS: {
        "istio_requests_total": _requests("proxy_"),
        "istio_tcp_connections_opened_total": _connections("proxy_vendor"),
        "istio_proxy_request_bytes_total": _bytes(OPAQUE_BYTES, "proxy_vendor", _SENT),
        "istio_proxy_response_bytes_total": _bytes(OPAQUE_BYTES, "proxy_vendor", _RECEIVED),
        "envoy_cluster_upstream_cx_tx_bytes_total": _bytes(WIRE_BYTES, "proxy_vendor", _SENT),
        "envoy_cluster_upstream_cx_rx_bytes_total": _bytes(WIRE_BYTES, "proxy_vendor", _RECEIVED),
        "envoy_cluster_upstream_cx_total": lambda labels: Key(
            COUNTS, OUTSIDE, "opaque", CONNECTION
        ),
    },
    GENERATORS: {
        "crawler_requests_total": _requests(),
        "crawler_connections_total": _connections("vendor"),
        "crawler_bytes_total": _bytes(OPAQUE_BYTES, "vendor", _AS_NAMED),
    },
    VENDORS: {
        "vendor_requests_total": _requests(),
        "vendor_opaque_connections_total": _connections("vendor"),
        "vendor_opaque_bytes_total": _bytes(OPAQUE_BYTES, "vendor", _OPPOSITE),
        "vendor_wire_bytes_total": _bytes(WIRE_BYTES, "vendor", _OPPOSITE),
    },
}
"""The counters that are compared, by Prometheus job."""

# Outside every range connections alone are compared: the generator knows no bytes of them. Those to
# the stack's destinations are among them, as they are for the generator.
_OUTSIDE_ONLY = ("envoy_cluster_upstream_cx_total",)
# What a request costs on the wire is nothing that a generator or a vendor counts.
_OPAQUE_ONLY = ("istio_proxy_request_bytes_total", "istio_proxy_response_bytes_total")


def selector(job: str, metric: str) -> str:
    """Return the PromQL selector of one metric of METRICS."""
    only = ""
    if job == SIDECARS:
        # A destination of the stack has its name where strangers have `outside`.
        vendors = f',proxy_vendor!~"|{OUTSIDE}",cluster_name!~"{DESTINATION_PREFIX}.*"'
        outside = f',proxy_vendor!="",cluster_name!~"{CLUSTER_PREFIX}.*"'
        only = outside if metric in _OUTSIDE_ONLY else vendors
        only += ',proxy_visibility="opaque"' if metric in _OPAQUE_ONLY else ""
    return f'{metric}{{job="{job}"{only}}}'


def selectors() -> list[str]:
    """Return every selector that is read, in the order in which they must be.

    Prometheus stores all samples of a scrape at once, so `up` comes first: the counters of every
    scrape it knows are there. Scrapes that end between two questions are left out.
    """
    jobs = "|".join(JOBS)
    first, *more = [f'{name}{{job=~"{jobs}"}}' for name in (UP, SECONDS, STARTED)]
    counters = [selector(job, name) for job, metrics in METRICS.items() for name in metrics]
    return [first, *counters, *more, f'{IN_FLIGHT}{{job="{GENERATORS}"}}']


Place = tuple[str, str, str]
"""Cluster, namespace and pod, which together name one pod."""


@dataclass
class _Target:
    """All series of one scraped target, as Prometheus returned them."""

    job: str
    place: Place
    name: str = ""
    series: defaultdict[str, dict[Timestamp, float]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    counters: defaultdict[Key, list[dict[Timestamp, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @property
    def up(self) -> Mapping[Timestamp, float]:
        return self.series[UP]

    @property
    def was_up(self) -> bool:
        return any(self.up.values())

    def add(self, labels: Labels, samples: Mapping[Timestamp, float]) -> None:
        name = labels["__name__"]
        if name in METRICS[self.job]:
            counts = {stamp: round(value) for stamp, value in samples.items()}
            self.counters[METRICS[self.job][name](labels)].append(counts)
        else:
            self.series[name].update(samples)


def books_from_series(answers: Series, *, begun: float, all_from_zero: bool = False) -> Books:
    """Sort raw series into processes, and put each generator beside its sidecar.

    Args:
        answers: labels (with `__name__`) and samples of each series of `selectors()`.
        begun: the window's start. The counters of a process that started later began at 0.
        all_from_zero: every process started within the window.

    Raises:
        NothingToCompareError: no generator or no sidecar was scraped.
    """
    targets = _targets(answers)
    last = max((stamp for target in targets for stamp in target.up), default=0)
    intervals = [b - a for target in targets for a, b in itertools.pairwise(sorted(target.up))]
    interval = statistics.median(intervals) if intervals else 0.0
    places = {target.place: target for target in targets if target.job == GENERATORS}
    found: dict[str, dict[Place, Process]] = {job: {} for job in JOBS}
    for target in targets:
        if target.was_up:
            is_new = all_from_zero or _is_new(target, places, begun)
            found[target.job][target.place] = _process(
                target, is_new, gone_before=last - GONE_AFTER_SCRAPES * interval
            )
    generators, sidecars = found[GENERATORS], found[SIDECARS]
    for job in (GENERATORS, SIDECARS):
        if not found[job]:
            raise NothingToCompareError(
                f"Prometheus scraped no {job} in this window: choose another, or start one"
            )
    if len(generators) == len(sidecars) == 1:  # the lab, where their addresses differ
        sidecars = dict(zip(generators, sidecars.values(), strict=True))
    return Books(
        pods=[
            Pod(generator=generator, sidecar=sidecars[place])
            for place, generator in generators.items()
            if place in sidecars
        ],
        vendors=list(found[VENDORS].values()),
        without_sidecar=[one.name for place, one in generators.items() if place not in sidecars],
        never_up=[
            f"{target.name} ({target.job})"
            for target in targets
            # A missing sidecar is reported for its generator; a pod at the window's edge is none.
            if target.job != SIDECARS and not target.was_up and len(target.up) > GONE_AFTER_SCRAPES
        ],
        interval_seconds=interval / 1000,
    )


def quiet_times(books: Books) -> list[tuple[float, float]]:
    """Return from when to when no process was scraped: Prometheus itself was away."""
    processes = (*books.generators, *books.sidecars, *books.vendors)
    moments = sorted({scrape.began for one in processes for scrape in one.scrapes})
    longest = AWAY_AFTER_SCRAPES * books.interval_seconds or math.inf
    return [(a, b) for a, b in itertools.pairwise(moments) if b - a > longest]


def _targets(answers: Series) -> list[_Target]:
    found: dict[tuple[str, Place], _Target] = {}
    for labels, samples in answers:
        pod = labels.get("pod") or labels.get("instance", "")
        place = (labels.get("cluster", ""), labels.get("namespace", ""), pod)
        job = labels.get("job", "")
        found.setdefault((job, place), _Target(job, place)).add(labels, samples)
    pods = Counter((job, place[-1]) for job, place in found)
    for (job, place), target in found.items():
        target.name = place[-1] if pods[job, place[-1]] == 1 else "/".join(filter(None, place))
    return [target for _, target in sorted(found.items()) if target.up]


def _is_new(target: _Target, generators: Mapping[Place, _Target], begun: float) -> bool:
    """Return whether the process started within the window.

    A sidecar exports no start time; it is as old as the generator of its pod.
    """
    exporter = target if target.series[STARTED] else generators.get(target.place)
    starts = exporter.series[STARTED] if exporter else {}
    return bool(starts) and starts[min(starts)] >= begun


def _process(target: _Target, is_new: bool, *, gone_before: float) -> Process:
    seconds = target.series[SECONDS]
    good = {stamp: seconds.get(stamp, 0.0) for stamp, up in target.up.items() if up}
    return process_from_samples(
        target.name,
        good,
        target.counters,
        starts=target.series[STARTED],
        in_flight=target.series[IN_FLIGHT],
        failed=[stamp for stamp, up in target.up.items() if not up],
        from_zero=is_new,
        ended=max(good) < gone_before,
    )
