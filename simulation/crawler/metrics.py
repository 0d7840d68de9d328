"""The crawler's books as metrics."""

from __future__ import annotations

from simulation.crawler.books import Books
from simulation.crawler.durations import histogram
from simulation.exposition import Family, counter, exposition, gauge, start_time_family

VENDOR, PROTOCOL = ("vendor",), ("vendor", "protocol")
POOL = ("vendor", "pool", "outcome")
OUTCOME, WIRE = ("vendor", "visibility", "outcome"), (*PROTOCOL, "direction")


def metrics_page(books: Books, in_flight: int, lag_seconds: float) -> str:
    families = [*_counters(books), *_gauges(books, in_flight, lag_seconds), *_histograms(books)]
    named = [(f"crawler_{family[0]}", *family[1:]) for family in families]
    return exposition([*named, start_time_family(books.started_seconds)])


def _counters(books: Books) -> list[Family]:
    sockets = {key: each.connections for key, each in books.wire.items()}
    wire = {(*key, "sent"): each.sent for key, each in books.wire.items()}
    wire |= {(*key, "received"): each.received for key, each in books.wire.items()}
    directed, truth, reason = (*VENDOR, "direction"), (*VENDOR, "outcome"), (*VENDOR, "reason")
    found = [
        counter("requests", "Requests by the outcome a sidecar sees.", OUTCOME, books.counts),
        counter("pool_requests", "Requests of a pool.", POOL, books.pools),
        counter("connections", "Opaque connections.", VENDOR, books.connections),
        counter("outside_connections", "Those outside, by place.", ("place",), books.places),
        counter("bytes", "Socket bytes of opaque connections.", directed, books.bytes),
        counter("counts", "Counts that have ended, by protocol.", PROTOCOL, books.protocols),
        counter("planned_requests", "Requests of the plan begun.", (), {(): books.requests}),
        counter("true_outcomes", "Visible successes as they were.", truth, books.truth),
        counter("unexpected", "Counts that were not as intended.", reason, books.reasons),
        counter("retries", "Counts that repeat a request.", PROTOCOL, books.retries),
        counter("bans", "Counts that were bans to the crawler.", VENDOR, books.bans),
        counter("wire_connections", "Sockets of all connections.", PROTOCOL, sockets),
        counter("wire_bytes", "Socket bytes of all connections.", WIRE, wire),
    ]
    if books.budget:
        stops = {(): books.budget.stops}
        found.append(counter("budget_stops", "Times a day's bytes were used up.", (), stops))
    return found


def _gauges(books: Books, in_flight: int, lag_seconds: float) -> list[Family]:
    ended = books.ended_seconds is not None
    found = [
        gauge("in_flight", "Counts under way.", in_flight),
        gauge("in_flight_most", "The most counts under way at a time.", books.in_flight_most),
        gauge("start_lag_seconds", "Delay of the latest paced start.", lag_seconds),
        gauge("ended", "1 once no number changes any more.", int(ended)),
    ]
    if budget := books.budget:
        found.append(gauge("budget_bytes", "Bytes a UTC day may cost.", budget.limit_bytes))
        found.append(gauge("budget_used_bytes", "Bytes of today.", budget.used_bytes()))
    return found


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
