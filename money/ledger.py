"""Read the ledger: what each hour carried, from the HTTP API of any Prometheus that keeps it.

The records are steps (rules/ledger_records.yml): from five minutes after an hour's end, for an
hour, they have the sum of that hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from money.quantities import Book, Part, Quantities, Wire

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_QUERY = timedelta(days=31)
MOST = 1e18
"""Bytes or requests of an hour or day. An hour that says more, such as +Inf, is one without data:
else a single sample of the user's own store would leave no figure of the whole month."""

_LEVEL = "team_proxy_vendor_pool_visibility"
SENT = f"{_LEVEL}_result_target:istio_proxy_request_bytes:sum1h"
RECEIVED = f"{_LEVEL}_result_target:istio_proxy_response_bytes:sum1h"
REQUESTS = f"{_LEVEL}_outcome_target:istio_requests:sum1h"
WIRE_SENT = "proxy_vendor:envoy_cluster_upstream_cx_tx_bytes:sum1h"
WIRE_RECEIVED = "proxy_vendor:envoy_cluster_upstream_cx_rx_bytes:sum1h"
CONNECTIONS = "proxy_vendor:envoy_cluster_upstream_cx:sum1h"
COVERAGE = "cluster:recorded_hour:ratio"
RECORDS = (SENT, RECEIVED, REQUESTS, WIRE_SENT, WIRE_RECEIVED, CONNECTIONS, COVERAGE)
"""All that the ledger keeps; connections are for people to ask for."""

_PART = ("proxy_vendor", "proxy_pool", "team", "proxy_target")
_TUNNELS = ("tunnel", "socks")
"""Values of the label `proxy_visibility` of a CONNECT and of a SOCKS5 request."""


class _Form(NamedTuple):
    """How a record is read."""

    span: timedelta
    """What one value is the sum of."""
    read_after: timedelta
    """From a span's beginning to the moment at which its sum is read."""
    expression: str


# Five minutes before the step ends, and not back into the step before: so the hour is found even if
# the ledger was away for most of the step. Each replica of Prometheus records the same traffic, and
# a gap only lowers its sum.
_HOURS = _Form(HOUR, 2 * HOUR, "max without (prometheus_replica) (last_over_time({}[50m]))")
# The inner steps are whole hours since 1970. In the window are the day's 24 moments at which hours
# are read, and no 25th: Prometheus 2 takes one at the window's beginning too.
_HOURS_OF_DAYS = _Form(DAY, DAY + HOUR, f"sum_over_time({_HOURS.expression}[23h30m:1h])")
# What the ledger records itself (`day_of`): a step that begins two hours after the day's end.
_DAYS = _Form(DAY, 2 * DAY, "last_over_time({}[21h])")


def day_record(record: str) -> str:
    """Return the name under which the ledger keeps a record's days."""
    return record.replace(":sum1h", ":sum1d").replace("recorded_hour", "recorded_day")


def day_expression(record: str) -> str:
    """Return what the ledger records under that name: the last UTC day that is over, as a step.

    A month of hours is so many samples that to read them takes seconds.
    """
    # The last hour of a day is read an hour after the day's end.
    day = f"sum_over_time({_HOURS.expression.format(record)}[23h30m:1h] offset -1h)"
    mean = " / 24" if record == COVERAGE else ""
    return f"last_over_time(({day}{mean})[1d:1d] offset 2h)"


class Prometheus(Protocol):
    """What is asked of a server; books.prometheus.Prometheus is one."""

    def get(self, path: str, **parameters: str) -> Any:
        """Return `data` of the answer of a page below /api/v1."""


def read_book(
    prometheus: Prometheus,
    start: datetime,
    end: datetime,
    *,
    cluster: str | None = None,
    by_day: bool = False,
) -> Book:
    """Return the ledger from `start` to before `end`.

    Args:
        start: a whole UTC hour; with `by_day` the beginning of a UTC day, as is `end`.
        cluster: label `cluster` of the hours wanted, where the store has those of several.
        by_day: one entry of a whole day, under its first hour, which is read faster. Its coverage
            is that of the day's 24 hours, those without data among them.

    Returns:
        An hour without data, not over, or just over is in none of its mappings.

    Raises:
        ValueError: the times are no whole hours or days.
    """
    span = DAY if by_day else HOUR
    for time in (start, end):
        if time.utcoffset() != timedelta(0) or (time - EPOCH) % span:
            raise ValueError(f"{time} is no whole UTC {'day' if by_day else 'hour'}")
    entries = _Entries()
    # In slices, so that no answer is larger than Prometheus gives (--query.max-samples).
    while start < end:
        until = min(end, start + LONGEST_QUERY)
        if by_day:
            entries.read(_Query(prometheus, start, until, _DAYS, cluster))
            # Of today and yesterday there is no such record yet, and in other stores none at all.
            for first, last in entries.missing(start, until):
                entries.read(_Query(prometheus, first, last, _HOURS_OF_DAYS, cluster))
        else:
            entries.read(_Query(prometheus, start, until, _HOURS, cluster))
        start = until
    return entries.book()


_Values = list[tuple[datetime, float]]


@dataclass(frozen=True)
class _Query:
    """A span of whole hours or days of one store, read in one form."""

    prometheus: Prometheus
    start: datetime
    end: datetime
    form: _Form
    cluster: str | None

    def coverage(self) -> dict[datetime, float]:
        """Return what share of each hour or day was recorded: of shards, the mean."""
        hours = self.form.span // HOUR if self.form == _HOURS_OF_DAYS else 1
        return {
            at: value / hours
            for _, values in self._asked(COVERAGE, "avg ({})")
            for at, value in values
        }

    def sums(self, record: str, *labels: str) -> Iterator[tuple[dict[str, str], _Values]]:
        """Yield the sum of each hour or day by these labels, where it is above 0."""
        return self._asked(record, f"sum by ({', '.join(labels)}) ({{}}) > 0")

    def _asked(self, record: str, over_shards: str) -> Iterator[tuple[dict[str, str], _Values]]:
        name = day_record(record) if self.form == _DAYS else record
        chosen = f"{name}{{cluster={json.dumps(self.cluster)}}}" if self.cluster else name
        span, read_after = self.form.span, self.form.read_after
        begins = {
            round((at + read_after).timestamp()): at
            for at in (self.start + n * span for n in range((self.end - self.start) // span))
        }
        answer = self.prometheus.get(
            "query_range",
            query=over_shards.format(self.form.expression.format(chosen)),
            start=str(min(begins)),
            end=str(max(begins)),
            step=f"{span.total_seconds():.0f}",
        )
        for series in answer["result"]:
            yield series["metric"], [(begins[at], float(x)) for at, x in series["values"]]


@dataclass(frozen=True)
class _Entries:
    """The entries of a Book while it is read."""

    coverage: dict[datetime, float] = field(default_factory=dict)
    parts: dict[datetime, dict[Part, dict[str, dict[str, float]]]] = field(default_factory=dict)
    """Arguments of Quantities."""
    wire: dict[datetime, dict[str, dict[str, float]]] = field(default_factory=dict)
    """Arguments of Wire."""

    def missing(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the spans of days that have no entry."""
        first = None
        while start <= end:
            if start == end or start in self.coverage:
                if first:
                    yield first, start
                first = None
            elif first is None:
                first = start
            start += DAY

    def read(self, query: _Query) -> None:
        covered = {at: share for at, share in query.coverage().items() if 0 <= share <= MOST}
        self.coverage.update(covered)
        if not covered:
            return
        for at in covered:
            # Nothing in it is nothing on the wire, and no hour without data.
            self.parts[at], self.wire[at] = {}, {}
        for name, record in (("bytes_sent", SENT), ("bytes_received", RECEIVED)):
            for labels, values in query.sums(record, *_PART, "proxy_result"):
                self._add(labels, name, labels.get("proxy_result", ""), values)
        for labels, values in query.sums(REQUESTS, *_PART, "proxy_outcome", "proxy_visibility"):
            outcome = labels.get("proxy_outcome", "")
            self._add(labels, "requests", outcome, values)
            if labels.get("proxy_visibility") in _TUNNELS:
                self._add(labels, "tunnels", outcome, values)
        for name, record in (("bytes_sent", WIRE_SENT), ("bytes_received", WIRE_RECEIVED)):
            for labels, values in query.sums(record, "proxy_vendor"):
                vendor = labels.get("proxy_vendor", "")
                for at, value in values:
                    if value > MOST:
                        self._forget(at)
                    elif at in self.wire:
                        self.wire[at].setdefault(vendor, {})[name] = value

    def _add(self, labels: dict[str, str], name: str, key: str, values: _Values) -> None:
        part = Part(*(labels.get(label, "") for label in _PART))
        for at, value in values:
            if value > MOST:
                self._forget(at)
            elif at in self.parts:
                numbers = self.parts[at].setdefault(part, {}).setdefault(name, {})
                # Plain requests and tunnels of one outcome are two series.
                numbers[key] = numbers.get(key, 0.0) + value

    def _forget(self, at: datetime) -> None:
        for entries in (self.coverage, self.parts, self.wire):
            entries.pop(at, None)

    def book(self) -> Book:
        return Book(
            hours={
                at: {part: Quantities(**numbers) for part, numbers in parts.items()}
                for at, parts in self.parts.items()
            },
            wire={
                at: {vendor: Wire(**numbers) for vendor, numbers in vendors.items()}
                for at, vendors in self.wire.items()
            },
            coverage=self.coverage,
        )
