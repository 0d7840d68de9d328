"""Sidecars that are not there: one process answers scrapes as crowds of them would.

    python -m benchmarks.emulated_sidecars --port 21601 --plan crowds.json

Each has a path of its own and a life: it is discovered, its crawler works, stops, and it is gone.
What is listed at /targets follows, as Kubernetes would list pods. Every counter is a function of
the time that the crawler has worked, so what each sidecar counted in its life is known to the
request, and /ledger tells it. /stop lets crowds die out.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import json
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.attribution.groups import CLUSTER_PREFIX
from components.attribution.stats import SETUP_METRIC

Json = dict[str, Any]
Labels = dict[str, str]

VISIBILITIES = ("http", "tunnel")
# Outcome, status, requests a second of a crawler of average zeal. The rare ones first happen when
# a sidecar has been scraped for a while.
OUTCOMES = (
    ("success", "200", 0.8),
    ("target_error", "404", 0.1),
    ("rate_limited", "429", 0.05),
    ("blocked", "403", 0.03),
    ("timeout", "504", 0.01),
    ("connect_failed", "503", 0.01),
)
SENT_BYTES_A_REQUEST = 600
RECEIVED_BYTES_A_REQUEST = 42_000
BUCKETS = (50, 100, 250, 500, 1000, 2500, 5000, 10000)
# Istio's, from its bootstrap (istio/istio, pkg/bootstrap/config.go), in milliseconds and in bytes.
ISTIO_BUCKETS = (
    *(0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000),
    *(300000, 600000, 1800000, 3600000),
)
LIFETIMES_SECONDS = (0, 30, 45, 60, 75, 90)
"""Bounds of the groups in which the ledger tells what was never scraped."""

# What a sidecar tells of itself, and our scrape drops: Istio's default inclusion.
OTHER_METRICS = tuple(
    f"envoy_{name}"
    for name in (
        *(f"server_{n}" for n in ("live", "state", "version", "concurrency", "hot_restart_epoch")),
        *(f"server_{n}" for n in ("memory_allocated", "memory_heap_size", "parent_connections")),
        *(f"server_{n}" for n in ("total_connections", "days_until_first_cert_expiring")),
        *(f"server_{n}" for n in ("debug_assertion_failures", "dynamic_unknown_fields")),
        *(f"server_{n}" for n in ("static_unknown_fields", "envoy_bug_failures", "stats_recent")),
        *(f"cluster_manager_{n}" for n in ("cluster_added", "cluster_modified", "cluster_removed")),
        *(f"cluster_manager_{n}" for n in ("active_clusters", "warming_clusters", "cds_version")),
        *(f"cluster_manager_cds_{n}" for n in ("update_attempt", "update_success", "update_time")),
        *(f"cluster_manager_cds_{n}" for n in ("update_failure", "update_rejected", "init_fetch")),
        *(f"listener_manager_{n}" for n in ("listener_added", "listener_modified", "lds_version")),
        *(f"listener_manager_{n}" for n in ("listener_create_success", "total_listeners_active")),
        *(f"listener_manager_{n}" for n in ("listener_in_place_updated", "workers_started")),
        *(f"listener_manager_lds_{n}" for n in ("update_attempt", "update_success", "update_time")),
        *(f"wasm_{n}" for n in ("envoy_wasm_runtime_null_active", "remote_load_fetch_successes")),
    )
)
XDS_METRICS = tuple(
    f"envoy_cluster_{name}"
    for name in (
        *(
            "upstream_cx_active",
            "upstream_cx_total",
            "upstream_cx_connect_fail",
            "lb_healthy_panic",
        ),
        *("upstream_cx_rx_bytes_total", "upstream_cx_tx_bytes_total", "upstream_rq_total"),
        *(
            "upstream_rq_active",
            "upstream_rq_pending_total",
            "membership_healthy",
            "update_success",
        ),
        *("membership_total", "assignment_stale", "bind_errors", "upstream_rq_timeout"),
    )
)


@dataclass(frozen=True)
class Series:
    """One line of a page; `pace` is how much it grows while an average crawler works a second.

    `ledger` is what of a vendor it counts for the truth, if anything.
    """

    line: str
    pace: float
    ledger: tuple[str, str] | None = None


def our_series(vendors: Sequence[str], workload: str) -> list[Series]:
    """Return what the scrape keeps of a sidecar that uses every vendor."""
    found = []
    for vendor in vendors:
        for visibility in VISIBILITIES:
            for outcome, code, pace in OUTCOMES:
                labels = {
                    "source_workload": workload,
                    "source_workload_namespace": "crawlers",
                    "response_code": code,
                    "proxy_vendor": vendor,
                    "proxy_visibility": visibility,
                    "proxy_outcome": outcome,
                    "proxy_pool": "",
                }
                line = _line("istio_requests_total", labels)
                found.append(Series(line, pace, (vendor, "requests")))
            labels = {"proxy_vendor": vendor, "proxy_visibility": visibility}
            found += _histogram(f"istio_{SETUP_METRIC}", labels, BUCKETS, 0.98)
        labels = {
            "source_workload": workload,
            "source_workload_namespace": "crawlers",
            "proxy_vendor": vendor,
            "proxy_visibility": "opaque",
        }
        for name, pace in (
            ("istio_tcp_connections_opened_total", 0.2),
            ("istio_tcp_sent_bytes_total", 0.2 * RECEIVED_BYTES_A_REQUEST),
            ("istio_tcp_received_bytes_total", 0.2 * SENT_BYTES_A_REQUEST),
        ):
            found.append(Series(_line(name, labels), pace))
        found += _cluster(f"{CLUSTER_PREFIX}{vendor}", vendor)
    found += _cluster("PassthroughCluster", None)
    lua = _line("envoy_http_lua_errors", {"http_conn_manager_prefix": "proxyobs"})
    return [*found, Series(lua, 0.0)]


def istio_series(vendors: Sequence[str], workload: str) -> list[Series]:
    """Return what Istio's own statistics make of the same traffic: all labels, all histograms."""
    found = []
    for vendor in vendors:
        for _, code, pace in OUTCOMES:
            labels = {
                "reporter": "source",
                "source_workload": workload,
                "source_canonical_service": workload,
                "source_canonical_revision": "latest",
                "source_workload_namespace": "crawlers",
                "source_principal": "spiffe://cluster.local/ns/crawlers/sa/default",
                "source_app": workload,
                "source_version": "",
                "source_cluster": "Kubernetes",
                "destination_workload": "unknown",
                "destination_workload_namespace": "unknown",
                "destination_principal": "unknown",
                "destination_app": "unknown",
                "destination_version": "unknown",
                "destination_service": f"{vendor}.example.com",
                "destination_canonical_service": "unknown",
                "destination_canonical_revision": "latest",
                "destination_service_name": f"{vendor}.example.com",
                "destination_service_namespace": "unknown",
                "destination_cluster": "unknown",
                "request_protocol": "http",
                "response_code": code,
                "grpc_response_status": "",
                "response_flags": "-",
                "connection_security_policy": "unknown",
            }
            found.append(Series(_line("istio_requests_total", labels), 2 * pace))
            for name in ("request_duration_milliseconds", "request_bytes", "response_bytes"):
                found += _histogram(f"istio_{name}", labels, ISTIO_BUCKETS, 2 * pace)
    return found


def _cluster(name: str, vendor: str | None) -> Iterator[Series]:
    labels = {"cluster_name": name}
    each = {
        "upstream_cx_total": (0.4, "connections"),
        "upstream_cx_connect_fail": (0.02, ""),
        "upstream_cx_connect_timeout": (0.01, ""),
        "upstream_cx_active": (0.0, ""),
        "upstream_cx_tx_bytes_total": (2 * SENT_BYTES_A_REQUEST, "sent bytes"),
        "upstream_cx_rx_bytes_total": (2 * RECEIVED_BYTES_A_REQUEST, "received bytes"),
    }
    for metric, (pace, what) in each.items():
        ledger = (vendor, what) if vendor and what else None
        yield Series(_line(f"envoy_cluster_{metric}", labels), pace, ledger)


def _histogram(name: str, labels: Labels, bounds: Sequence[float], pace: float) -> Iterator[Series]:
    for number, bound in enumerate(bounds, 1):
        share = number / (len(bounds) + 1)
        yield Series(_line(f"{name}_bucket", labels | {"le": f"{bound:g}"}), pace * share)
    yield Series(_line(f"{name}_bucket", labels | {"le": "+Inf"}), pace)
    yield Series(_line(f"{name}_sum", labels), pace * 300)
    yield Series(_line(f"{name}_count", labels), pace)


def _line(name: str, labels: Labels) -> str:
    pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{pairs}}}"


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Sidecars of one kind, as many at any time as `sidecars`.

    Args:
        worked_seconds: a crawler works between the two, evenly.
        last_scrape_seconds: how long a sidecar answers once its crawler is done.
        labels: `ours`, or `istio` for its defaults.
        staggered: the first ones are of every age, as in a cluster that has run for long.
    """

    name: str
    sidecars: int
    worked_seconds: tuple[float, float]
    last_scrape_seconds: float
    vendors: tuple[str, ...]
    labels: str = "ours"
    staggered: bool = False

    def series(self) -> list[Series]:
        return (our_series if self.labels == "ours" else istio_series)(self.vendors, self.name)


def worked(seconds: float) -> float:
    """Return how much a crawler has done after so many seconds: in bursts, one a second on average.

    Never less than before.
    """
    return seconds + 0.9 * math.sin(seconds)


@dataclass(kw_only=True)
class Sidecar:
    """One life; times are seconds of the emulator's clock."""

    name: str
    crowd: Crowd
    zeal: float
    listed: float
    starts: float
    stops: float
    gone: float
    last_scrape: float | None = None

    def work(self, now: float) -> float:
        return self.zeal * worked(min(max(now - self.starts, 0.0), self.stops - self.starts))

    def page(self, series: Sequence[Series], now: float) -> str:
        """Return what a scrape gets; Envoy has no series of what never happened."""
        work = self.work(now)
        counted = [(one, int(one.pace * work)) for one in series]
        lines = [f"{one.line} {value}\n" for one, value in counted if value or not one.pace]
        # Envoy sets it with each flush of its statistics, every 5 s.
        uptime = int((now - self.listed) // 5 * 5)
        return f"envoy_server_uptime{{}} {uptime}\n{''.join(lines)}"

    def counted(self, series: Sequence[Series], now: float) -> Counter[tuple[str, str]]:
        """Return what it has counted of each vendor."""
        work = self.work(now)
        counts: Counter[tuple[str, str]] = Counter()
        for one in series:
            if one.ledger:
                counts[one.ledger] += int(one.pace * work)
        return counts


OTHERS = "".join(
    [f"# TYPE {name} gauge\n{name}{{}} 7\n" for name in OTHER_METRICS]
    + [f'{name}{{cluster_name="xds-grpc"}} 7\n' for name in XDS_METRICS]
)


@dataclass
class Books:
    """What those that are gone have counted, and how much of it no scrape has seen."""

    truth: Counter[tuple[str, str]] = field(default_factory=Counter)
    pods: Counter[int] = field(default_factory=Counter)
    requests: Counter[int] = field(default_factory=Counter)
    unseen: Counter[int] = field(default_factory=Counter)

    def add(self, sidecar: Sidecar, series: Sequence[Series]) -> None:
        """Close a life's account."""
        counts = sidecar.counted(series, sidecar.gone)
        seen = sidecar.last_scrape
        scraped = sidecar.counted(series, seen) if seen is not None else Counter()
        self.truth += counts
        group = bisect.bisect_right(LIFETIMES_SECONDS, sidecar.stops - sidecar.starts) - 1
        requests, known = _requests(counts), _requests(scraped)
        self.pods[group] += 1
        self.requests[group] += requests
        self.unseen[group] += requests - known

    def as_json(self) -> Json:
        truth: defaultdict[str, Json] = defaultdict(dict)
        for (vendor, what), count in sorted(self.truth.items()):
            truth[vendor][what] = count
        return {
            "truth": truth,
            "lifetimes": [
                {
                    "from_seconds": LIFETIMES_SECONDS[group],
                    "sidecars": self.pods[group],
                    "requests": self.requests[group],
                    "unseen": self.unseen[group],
                }
                for group in sorted(self.pods)
            ],
        }


def _requests(counts: Counter[tuple[str, str]]) -> int:
    return sum(count for (_, what), count in counts.items() if what == "requests")


class Population:
    """All crowds at a time; `advance` first, then look."""

    def __init__(self, crowds: Sequence[Crowd], *, seed: int, now: float) -> None:
        self._random = random.Random(seed)
        self._series = {crowd.name: crowd.series() for crowd in crowds}
        self._born = 0
        self._growing = True
        self.books = {crowd.name: Books() for crowd in crowds}
        self.living: dict[str, Sidecar] = {}
        for crowd in crowds:
            for _ in range(crowd.sidecars):
                longest = crowd.worked_seconds[1]
                if crowd.staggered:
                    self._bear(crowd, now, left=self._random.uniform(1.0, longest))
                else:
                    # Not all at once: else they would also end at once.
                    self._bear(crowd, now + self._random.uniform(0.0, longest))

    def advance(self, now: float) -> None:
        """Bury the dead; each has a successor until `stop`."""
        for sidecar in [one for one in self.living.values() if one.gone <= now]:
            del self.living[sidecar.name]
            crowd = sidecar.crowd
            self.books[crowd.name].add(sidecar, self._series[crowd.name])
            if self._growing:
                self._bear(crowd, sidecar.gone)

    def stop(self, now: float) -> None:
        """Let nobody be born any more."""
        self._growing = False
        self.living = {name: one for name, one in self.living.items() if one.listed <= now}

    def listed(self, now: float) -> list[Sidecar]:
        return [one for one in self.living.values() if one.listed <= now]

    def scraped(self, name: str, now: float) -> str | None:
        """Return a page, and remember that it was seen; None for those who are not there."""
        sidecar = self.living.get(name)
        if sidecar is None or not sidecar.listed <= now < sidecar.gone:
            return None
        sidecar.last_scrape = now
        return OTHERS + sidecar.page(self._series[sidecar.crowd.name], now)

    def _bear(self, crowd: Crowd, now: float, left: float | None = None) -> None:
        self._born += 1
        name = f"{crowd.name}-{self._born}"
        starts = now + 1.0  # a sidecar is ready before its crawler starts
        stops = starts + (left or self._random.uniform(*crowd.worked_seconds))
        self.living[name] = Sidecar(
            name=name,
            crowd=crowd,
            zeal=self._random.uniform(0.2, 1.8),
            listed=now,
            starts=starts,
            stops=stops,
            gone=stops + crowd.last_scrape_seconds,
        )


class Server(asyncio.Protocol):
    """Just enough HTTP/1.1 for Prometheus: GET, keep-alive."""

    def __init__(self, answer: Callable[[str], tuple[str, str] | None]) -> None:
        self._answer = answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            path = head.split(b" ", 2)[1].decode()
            found = self._answer(path)
            status, kind, text = ("200 OK", *found) if found else ("503 Gone", "text/plain", "")
            body = text.encode()
            self._transport.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )


def answers(population: Population, port: int) -> Callable[[str], tuple[str, str] | None]:
    """Return what to answer to a path: type and text."""

    def answer(path: str) -> tuple[str, str] | None:
        now = time.monotonic()
        population.advance(now)
        if path == "/targets":
            return "application/json", json.dumps(
                [target(one, port) for one in population.listed(now)]
            )
        if path == "/ledger":
            books = {name: books.as_json() for name, books in population.books.items()}
            living = len(population.living)
            return "application/json", json.dumps({"living": living, "crowds": books})
        if path == "/stop":
            population.stop(now)
            return "text/plain", ""
        page = population.scraped(path.removeprefix("/").split("/")[0], now)
        return None if page is None else ("text/plain; version=0.0.4; charset=utf-8", page)

    return answer


def target(sidecar: Sidecar, port: int) -> Json:
    """Return a sidecar as HTTP service discovery lists it."""
    return {
        "targets": [f"127.0.0.1:{port}"],
        "labels": {
            "__metrics_path__": f"/{sidecar.name}/stats/prometheus",
            "instance": f"{sidecar.name}:15090",
            "namespace": "crawlers",
            "pod": sidecar.name,
        },
    }


async def serve(population: Population, port: int) -> None:
    loop = asyncio.get_running_loop()
    answer = answers(population, port)
    server = await loop.create_server(lambda: Server(answer), "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    crowds = [
        Crowd(
            **crowd
            | {"vendors": tuple(crowd["vendors"]), "worked_seconds": (*crowd["worked_seconds"],)}
        )
        for crowd in json.loads(options.plan.read_text())
    ]
    population = Population(crowds, seed=options.seed, now=time.monotonic())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(population, options.port))


if __name__ == "__main__":
    main()
