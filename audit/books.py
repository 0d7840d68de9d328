"""Which metric holds which row, and the three parties as Prometheus stores them."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from audit.ledger import CONNECTION, UNKNOWN, Pair, Parties
from audit.series import COUNTS, OPAQUE_BYTES, WIRE_BYTES, Labels, Row, Stamp, Target, target

SIDECARS, GENERATORS, VENDORS = "sidecars", "load-generator", "simulated-vendors"
JOBS = (SIDECARS, GENERATORS, VENDORS)

OUTSIDE = "outside"  # the programs' name for what is in no vendor's range
PASSTHROUGH = "PassthroughCluster"
UP, SECONDS = "up", "scrape_duration_seconds"
STARTED, IN_FLIGHT = "process_start_time_seconds", "crawler_in_flight"
GONE_AFTER_INTERVALS = 3  # scrapes that a process which has ended is missing at least
AWAY_AFTER_INTERVALS = 2  # without any scrape: Prometheus was away

Series = Mapping[Labels, Mapping[Stamp, float]]
RowOf = Callable[[Mapping[str, str]], Row]


class NothingToAuditError(Exception):
    """Prometheus holds no books; the text says of whom."""


def _request(labels: Mapping[str, str], vendor: str, visibility: str, outcome: str) -> Row:
    return Row(COUNTS, labels.get(vendor, ""), labels.get(visibility, ""), labels.get(outcome, ""))


def _connection(vendor: str) -> Row:
    return Row(COUNTS, UNKNOWN if vendor == OUTSIDE else vendor, "opaque", CONNECTION)


def _bytes(measure: str, vendor: str, direction: str) -> Row:
    visibility = "opaque" if measure == OPAQUE_BYTES else ""
    return Row(measure, UNKNOWN if vendor == OUTSIDE else vendor, visibility, direction)


_OPPOSITE = {"sent": "received", "received": "sent"}  # what a vendor received, a crawler sent

METRICS: Mapping[str, Mapping[str, RowOf]] = {
    SIDECARS: {
        "istio_requests_total": lambda labels: _request(
            labels, "proxy_vendor", "proxy_visibility", "proxy_outcome"
        ),
        "istio_tcp_connections_opened_total": lambda labels: _connection(labels["proxy_vendor"]),
        # Istio's `received` is what came from the crawler.
        "istio_tcp_received_bytes_total": lambda labels: _bytes(
            OPAQUE_BYTES, labels["proxy_vendor"], "sent"
        ),
        "istio_tcp_sent_bytes_total": lambda labels: _bytes(
            OPAQUE_BYTES, labels["proxy_vendor"], "received"
        ),
        "envoy_cluster_upstream_cx_tx_bytes_total": lambda labels: _bytes(
            WIRE_BYTES, labels["proxy_vendor"], "sent"
        ),
        "envoy_cluster_upstream_cx_rx_bytes_total": lambda labels: _bytes(
            WIRE_BYTES, labels["proxy_vendor"], "received"
        ),
        "envoy_cluster_upstream_cx_total": lambda labels: _connection(OUTSIDE),
    },
    GENERATORS: {
        "crawler_requests_total": lambda labels: _request(
            labels, "vendor", "visibility", "outcome"
        ),
        "crawler_connections_total": lambda labels: _connection(labels["vendor"]),
        "crawler_bytes_total": lambda labels: _bytes(
            OPAQUE_BYTES, labels["vendor"], labels["direction"]
        ),
    },
    VENDORS: {
        "vendor_requests_total": lambda labels: _request(labels, "vendor", "visibility", "outcome"),
        "vendor_opaque_connections_total": lambda labels: _connection(labels["vendor"]),
        "vendor_opaque_bytes_total": lambda labels: _bytes(
            OPAQUE_BYTES, labels["vendor"], _OPPOSITE[labels["direction"]]
        ),
        "vendor_wire_bytes_total": lambda labels: _bytes(
            WIRE_BYTES, labels["vendor"], _OPPOSITE[labels["direction"]]
        ),
    },
}
"""The counters of each job that are compared."""

SELECTED: Mapping[str, str] = {
    "envoy_cluster_upstream_cx_total": f'cluster_name="{PASSTHROUGH}"',
    "envoy_cluster_upstream_cx_tx_bytes_total": 'proxy_vendor!=""',
    "envoy_cluster_upstream_cx_rx_bytes_total": 'proxy_vendor!=""',
    **{name: 'proxy_vendor!=""' for name in METRICS[SIDECARS] if name.startswith("istio_")},
}


def selectors() -> list[str]:
    """Return what must be asked of Prometheus, one selector a metric, in this order.

    `up` first: a scrape's samples are stored at once, so the counters of each scrape that it knows
    are there. A scrape that ends between two questions is in the answers to later ones alone, and
    not taken for one.
    """
    found = [
        f'{name}{{job="{job}"' + (f",{SELECTED[name]}" if name in SELECTED else "") + "}"
        for job, metrics in METRICS.items()
        for name in metrics
    ]
    jobs = "|".join(JOBS)
    first, *more = [f'{name}{{job=~"{jobs}"}}' for name in (UP, SECONDS, STARTED)]
    return [first, *found, *more, f'{IN_FLIGHT}{{job="{GENERATORS}"}}']


Place = tuple[str, str, str]
"""Cluster, namespace and pod: no two pods share it."""


@dataclass
class _Raw:
    """All series of one target, as they came."""

    job: str
    place: Place
    up: dict[Stamp, float] = field(default_factory=dict)
    seconds: dict[Stamp, float] = field(default_factory=dict)
    started: dict[Stamp, int] = field(default_factory=dict)
    in_flight: dict[Stamp, int] = field(default_factory=dict)
    rows: defaultdict[Row, list[dict[Stamp, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    name: str = ""

    @property
    def is_up(self) -> bool:
        """Whether it was, once."""
        return any(value == 1 for value in self.up.values())


def parties(
    answers: Iterable[tuple[Mapping[str, str], Mapping[Stamp, float]]],
    *,
    begun: float,
    all_from_zero: bool = False,
) -> Parties:
    """Sort raw series into targets, and generators to their sidecars.

    Args:
        answers: labels (with `__name__`) and samples of each series.
        begun: the window's start; a process that started later began at 0.
        all_from_zero: every process began within the window.

    Raises:
        NothingToAuditError: there is no generator, or not one sidecar.
    """
    raws = _by_target(answers)
    stamps = sorted({stamp for raw in raws for stamp in raw.up})
    if not stamps:
        raise NothingToAuditError(
            f"Prometheus holds no scrapes of {', '.join(JOBS)} in this window: choose another"
        )
    interval = _interval(raws)
    crawling = {raw.place: raw for raw in raws if raw.job == GENERATORS}
    made: dict[str, dict[Place, Target]] = {job: {} for job in JOBS}
    for raw in raws:
        if raw.is_up:
            made[raw.job][raw.place] = _target(
                raw,
                from_zero=all_from_zero or _began_within(raw, crawling, stamps[0], interval, begun),
                last=stamps[-1],
                interval=interval,
            )
    generators, sidecars = made[GENERATORS], made[SIDECARS]
    if not generators:
        raise NothingToAuditError(
            f"no generator was scraped in this window (job {GENERATORS}): is it running?"
        )
    if not sidecars:
        raise NothingToAuditError(f"no sidecar was scraped in this window (job {SIDECARS})")
    # On a laptop there is one of each, and their addresses differ.
    if len(generators) == len(sidecars) == 1:
        sidecars = dict(zip(generators, sidecars.values(), strict=True))
    return Parties(
        pairs=[
            Pair(generator=one, sidecar=sidecars[place])
            for place, one in sorted(generators.items())
            if place in sidecars
        ],
        vendors=[one for _, one in sorted(made[VENDORS].items())],
        lonely=[one.name for place, one in sorted(generators.items()) if place not in sidecars],
        never_up=[
            f"{raw.name} ({raw.job})"
            for raw in sorted(raws, key=lambda raw: (raw.job, raw.place))
            # A sidecar's absence is its generator's.
            if raw.job != SIDECARS and not raw.is_up and not _is_fleeting(raw, stamps, interval)
        ],
        interval_seconds=interval / 1000,
    )


def _by_target(
    answers: Iterable[tuple[Mapping[str, str], Mapping[Stamp, float]]],
) -> list[_Raw]:
    raws: dict[tuple[str, Place], _Raw] = {}
    for labels, samples in answers:
        job, name = labels.get("job", ""), labels["__name__"]
        pod = labels.get("pod") or labels.get("instance", "")
        place = (labels.get("cluster", ""), labels.get("namespace", ""), pod)
        raw = raws.setdefault((job, place), _Raw(job, place))
        if name == UP:
            raw.up.update(samples)
        elif name == SECONDS:
            raw.seconds.update(samples)
        elif name == STARTED:
            raw.started.update({stamp: round(value * 1000) for stamp, value in samples.items()})
        elif name == IN_FLIGHT:
            raw.in_flight.update(_whole(samples))
        else:
            raw.rows[METRICS[job][name](labels)].append(_whole(samples))
    pods = Counter((job, place[-1]) for job, place in raws)
    for (job, place), raw in raws.items():
        raw.name = place[-1] if pods[job, place[-1]] == 1 else "/".join(filter(None, place))
    return [raw for raw in raws.values() if raw.up]


def _whole(samples: Mapping[Stamp, float]) -> dict[Stamp, int]:
    return {stamp: round(value) for stamp, value in samples.items()}


def _interval(raws: Sequence[_Raw]) -> float:
    """Return the usual milliseconds between two scrapes of one target, good or bad."""
    found = [b - a for raw in raws for a, b in itertools.pairwise(sorted(raw.up))]
    return statistics.median(found) if found else 0.0


def _is_fleeting(raw: _Raw, stamps: Sequence[Stamp], interval: float) -> bool:
    """Whether a target was hardly there: a pod that just begins, or had ended."""
    longest = GONE_AFTER_INTERVALS * interval
    return max(raw.up) - min(raw.up) < longest <= stamps[-1] - stamps[0]


def _began_within(
    raw: _Raw, crawling: Mapping[Place, _Raw], first: Stamp, interval: float, begun: float
) -> bool:
    """Whether the process started after the window did: by its own word, or found later.

    A sidecar that is found later may have been scraped late and no more: it is new if its pod's
    generator is, and was found with it.
    """
    if raw.started:
        return raw.started[min(raw.started)] / 1000 >= begun
    is_late = min(raw.up) > first + 2 * interval
    if not is_late or raw.job != SIDECARS:
        return is_late
    own = crawling.get(raw.place)
    return (
        own is not None
        and min(raw.up) - min(own.up) <= GONE_AFTER_INTERVALS * interval
        and _began_within(own, crawling, first, interval, begun)
    )


def _target(raw: _Raw, *, from_zero: bool, last: Stamp, interval: float) -> Target:
    good = {stamp: raw.seconds.get(stamp, 0.0) for stamp, up in raw.up.items() if up == 1}
    return target(
        raw.name,
        good,
        raw.rows,
        starts=raw.started or None,
        in_flight=raw.in_flight if raw.job == GENERATORS else None,
        failed=[stamp for stamp, up in raw.up.items() if up != 1],
        from_zero=from_zero,
        ended=max(good) < last - GONE_AFTER_INTERVALS * interval,
    )


def quiet_scrapes(of: Sequence[Target]) -> list[tuple[float, float]]:
    """Return when nobody was scraped for long: Prometheus was away."""
    moments = sorted({read.at for one in of for read in one.reads})
    intervals = [b.at - a.at for one in of for a, b in itertools.pairwise(one.reads)]
    if not intervals:
        return []
    longest = AWAY_AFTER_INTERVALS * statistics.median(intervals)
    return [(a, b) for a, b in itertools.pairwise(moments) if b - a > longest]
