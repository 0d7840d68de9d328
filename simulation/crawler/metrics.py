"""The crawler's books as metrics."""

from __future__ import annotations

from simulation.crawler.books import Books
from simulation.crawler.budget import Budget
from simulation.crawler.durations import histogram
from simulation.exposition import Family, exposition, labelled, start_time_family


def metrics_page(books: Books, in_flight: int, lag_seconds: float) -> str:
    families = [*_counters(books), *_gauges(books, in_flight, lag_seconds), *_histograms(books)]
    if books.budget:
        families += _budget(books.budget)
    named = [(f"crawler_{family[0]}", *family[1:]) for family in families]
    return exposition([*named, start_time_family(books.started_seconds)])


def _counters(books: Books) -> list[Family]:
    by_outcome, by_protocol = ("vendor", "visibility", "outcome"), ("vendor", "protocol")
    directed, wires = ("vendor", "direction"), ("vendor", "protocol", "direction")
    wire = {
        (*key, direction): size
        for key, each in books.wire.items()
        for direction, size in (("sent", each.sent), ("received", each.received))
    }
    sockets = {key: each.connections for key, each in books.wire.items()}
    truth = labelled(("vendor", "outcome"), books.truth)
    reasons = labelled(("vendor", "reason"), books.reasons)
    found = [
        ("requests", "Requests by the outcome a sidecar sees.", labelled(by_outcome, books.counts)),
        ("connections", "Opaque connections.", labelled(("vendor",), books.connections)),
        ("bytes", "Socket bytes of opaque connections.", labelled(directed, books.bytes)),
        ("counts", "Counts that have ended, by protocol.", labelled(by_protocol, books.protocols)),
        ("planned_requests", "Requests of the plan begun.", [("", books.requests)]),
        ("true_outcomes", "Visible successes as they were.", truth),
        ("unexpected", "Counts that were not as intended.", reasons),
        ("retries", "Counts that repeat a request.", labelled(by_protocol, books.retries)),
        ("bans", "Counts that were bans to the crawler.", labelled(("vendor",), books.bans)),
        ("wire_connections", "Sockets of all connections.", labelled(by_protocol, sockets)),
        ("wire_bytes", "Socket bytes of all connections.", labelled(wires, wire)),
    ]
    return [(f"{name}_total", "counter", meaning, samples) for name, meaning, samples in found]


def _gauges(books: Books, in_flight: int, lag_seconds: float) -> list[Family]:
    found = [
        ("in_flight", "Counts under way.", in_flight),
        ("in_flight_most", "The most counts that were under way at a time.", books.in_flight_most),
        ("start_lag_seconds", "Delay of the latest paced start.", lag_seconds),
        (
            "ended",
            "1 once no number changes any more.",
            int(books.ended_seconds is not None),
        ),
    ]
    return [(name, "gauge", meaning, [("", value)]) for name, meaning, value in found]


def _histograms(books: Books) -> list[Family]:
    latency = [
        sample
        for protocol, durations in sorted(books.latency.items())
        for sample in histogram(f'protocol="{protocol}"', durations)
    ]
    lags = histogram("", books.start_lag) if books.start_lag else []
    return [
        ("arrival_lag_seconds", "histogram", "Delays of all paced starts.", lags),
        ("latency_seconds", "histogram", "Start to end of answered counts.", latency),
    ]


def _budget(budget: Budget) -> list[Family]:
    stops = [("", budget.stops)]
    return [
        ("budget_bytes", "gauge", "Bytes a UTC day may cost.", [("", budget.limit_bytes)]),
        ("budget_used_bytes", "gauge", "Bytes of today.", [("", budget.used_bytes())]),
        ("budget_stops_total", "counter", "Times a day's bytes were used up.", stops),
    ]
