"""Answer Prometheus' scrapes as many sidecars would, from one process.

    python -m benchmarks.emulated_sidecars --port 21601 --plan fleets.json

Each sidecar has its own path and its own life: Prometheus discovers it at /targets, its crawler
works and stops, and the sidecar ends. Every counter is a function of the time that the crawler
has worked, so /totals tells exactly what the ended sidecars have counted. After /stop, no sidecar
that ends is replaced.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from components.attribution.groups import CLUSTER_PREFIX
from components.attribution.stats import BLACK_HOLE, BLACK_HOLED, SETUP_METRIC

Json = dict[str, Any]
Labels = dict[str, str]
Counts = Counter[tuple[str, str]]
"""(vendor, what is counted) -> count."""

VISIBILITIES = ("http", "tunnel")
# Outcome, status, requests a second of an average crawler. The rare outcomes first happen when a
# sidecar has been scraped for a while.
OUTCOMES = (
    ("success", "200", 0.8),
    ("target_error", "404", 0.1),
    ("rate_limited", "429", 0.05),
    ("blocked", "403", 0.03),
    ("timeout", "504", 0.01),
    ("connect_failed", "503", 0.01),
)
# Visibility and result of bytes, and how many requests a second they are of.
RESULTS = (
    ("http", "delivered", 0.9),
    ("http", "refused", 0.16),
    ("http", "failed", 0.04),
    ("tunnel", "delivered", 0.9),
)
SENT_BYTES_A_REQUEST = 600
RECEIVED_BYTES_A_REQUEST = 42_000
BUCKETS = (50, 100, 250, 500, 1000, 2500, 5000, 10000)
LIFETIMES_SECONDS = (0, 30, 45, 60, 75, 90)
"""Lower bounds of the groups by which /totals tells how many requests no scrape saw."""

# A sidecar also exposes some 60 series of its own server, as Istio includes by default. The
# scrape drops them, but parsing them costs Prometheus CPU.
SERVER_SERIES = "".join(
    f"# TYPE envoy_server_{n} gauge\nenvoy_server_{n}{{}} 7\n" for n in range(60)
)


@dataclass(frozen=True)
class Series:
    """A line of a page, and by how much it grows while an average crawler works a second."""

    line: str
    growth: float
    total: tuple[str, str] | None = None
    """The entry of /totals to which it adds, if any."""


def sidecar_series(vendors: Sequence[str], workload: str) -> list[Series]:
    """Return the series that the scrape keeps of a sidecar that uses every vendor."""
    found: list[Series] = []
    source = {"source_workload": workload, "source_workload_namespace": "crawlers"}
    for vendor in vendors:
        for visibility in VISIBILITIES:
            labels = {"proxy_vendor": vendor, "proxy_visibility": visibility}
            for outcome, code, growth in OUTCOMES:
                answer = {"response_code": code, "proxy_outcome": outcome, "proxy_pool": ""}
                line = _line("istio_requests_total", source | labels | answer)
                found.append(Series(line, growth, (vendor, "requests")))
            found += _histogram(f"istio_{SETUP_METRIC}", labels)
        labels = source | {"proxy_vendor": vendor, "proxy_visibility": "opaque"}
        for name, growth in (
            ("tcp_connections_opened", 0.2),
            ("tcp_sent_bytes", 0.2 * RECEIVED_BYTES_A_REQUEST),
            ("tcp_received_bytes", 0.2 * SENT_BYTES_A_REQUEST),
        ):
            found.append(Series(_line(f"istio_{name}_total", labels), growth))
        for visibility, result, growth in RESULTS:
            labels = source | {"proxy_vendor": vendor, "proxy_visibility": visibility}
            labels |= {"proxy_result": result, "proxy_pool": ""}
            for way, size in (
                ("request", SENT_BYTES_A_REQUEST),
                ("response", RECEIVED_BYTES_A_REQUEST),
            ):
                line = _line(f"istio_proxy_{way}_bytes_total", labels)
                found.append(Series(line, growth * size))
        found += _cluster(f"{CLUSTER_PREFIX}{vendor}", vendor)
    found += _cluster("PassthroughCluster", None)
    black_hole = {"cluster_name": BLACK_HOLE}
    found.append(Series(_line(f"envoy_cluster_{BLACK_HOLED}", black_hole), 0.0))
    lua = _line("envoy_http_lua_errors", {"http_conn_manager_prefix": "proxyobs"})
    return [*found, Series(lua, 0.0)]


def _cluster(name: str, vendor: str | None) -> Iterator[Series]:
    for metric, growth, total in (
        ("total", 0.4, "connections"),
        ("connect_fail", 0.02, ""),
        ("connect_timeout", 0.01, ""),
        ("active", 0.0, ""),
        ("tx_bytes_total", 2 * SENT_BYTES_A_REQUEST, "sent bytes"),
        ("rx_bytes_total", 2 * RECEIVED_BYTES_A_REQUEST, "received bytes"),
    ):
        line = _line(f"envoy_cluster_upstream_cx_{metric}", {"cluster_name": name})
        yield Series(line, growth, (vendor, total) if vendor and total else None)


def _histogram(name: str, labels: Labels) -> Iterator[Series]:
    growth = 0.98  # a second, as many as connections are set up
    for number, bound in enumerate(BUCKETS, 1):
        share = number / (len(BUCKETS) + 1)
        yield Series(_line(f"{name}_bucket", labels | {"le": f"{bound:g}"}), growth * share)
    yield Series(_line(f"{name}_bucket", labels | {"le": "+Inf"}), growth)
    yield Series(_line(f"{name}_sum", labels), growth * 300)
    yield Series(_line(f"{name}_count", labels), growth)


def _line(name: str, labels: Labels) -> str:
    pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{pairs}}}"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Sidecars of one kind; each that ends is replaced.

    Args:
        sidecars: how many there are at any time.
        worked_seconds: a crawler works for a time between these two.
        last_scrape_seconds: how long a sidecar still answers after its crawler has stopped.
        staggered: start with sidecars of every age, as in a cluster that has run for long.
    """

    name: str
    sidecars: int
    worked_seconds: tuple[float, float]
    last_scrape_seconds: float
    vendors: tuple[str, ...]
    staggered: bool = False


@dataclass(kw_only=True)
class Sidecar:
    """One sidecar's life, in seconds of the process's clock."""

    name: str
    fleet: Fleet
    speed: float
    """How fast its crawler works, compared with an average one."""
    listed: float
    starts: float
    stops: float
    ends: float
    last_scrape: float | None = None

    def work(self, now: float) -> float:
        return self.speed * work_done(min(max(now - self.starts, 0.0), self.stops - self.starts))

    def page(self, series: Sequence[Series], now: float) -> str:
        """Return what a scrape gets; Envoy has no series of what never happened."""
        work = self.work(now)
        counted = [(one, int(one.growth * work)) for one in series]
        lines = [f"{one.line} {value}\n" for one, value in counted if value or not one.growth]
        # Envoy sets its uptime when it flushes its statistics, every 5 s.
        uptime = int((now - self.listed) // 5 * 5)
        return f"envoy_server_uptime{{}} {uptime}\n{''.join(lines)}"

    def counted(self, series: Sequence[Series], now: float) -> Counts:
        work = self.work(now)
        counts: Counts = Counter()
        for one in series:
            if one.total:
                counts[one.total] += int(one.growth * work)
        return counts


def work_done(seconds: float) -> float:
    """Return how much a crawler has done after some seconds: one a second on average, in bursts."""
    return seconds + 0.9 * math.sin(seconds)  # never falls


@dataclass
class Totals:
    """What the ended sidecars of a fleet have counted, and how much of it no scrape saw."""

    counted: Counts = field(default_factory=Counter)
    lifetimes: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By the lower bound of the time that a crawler worked."""

    def add(self, sidecar: Sidecar, series: Sequence[Series]) -> None:
        counts = sidecar.counted(series, sidecar.ends)
        requests, seen = _requests(counts), 0
        if sidecar.last_scrape is not None:
            seen = _requests(sidecar.counted(series, sidecar.last_scrape))
        self.counted += counts
        worked = sidecar.stops - sidecar.starts
        group = max(bound for bound in LIFETIMES_SECONDS if bound <= worked)
        self.lifetimes[group].update(sidecars=1, requests=requests, unseen=requests - seen)

    def as_json(self) -> Json:
        counted: defaultdict[str, Json] = defaultdict(dict)
        for (vendor, what), count in sorted(self.counted.items()):
            counted[vendor][what] = count
        lifetimes = [{"from_seconds": g, **counts} for g, counts in sorted(self.lifetimes.items())]
        return {"counted": counted, "lifetimes": lifetimes}


def _requests(counts: Counts) -> int:
    return sum(count for (_, what), count in counts.items() if what == "requests")


class Population:
    """The sidecars of all fleets; call `advance` before anything else."""

    def __init__(self, fleets: Sequence[Fleet], *, seed: int, now: float) -> None:
        self._random = random.Random(seed)
        self._series = {fleet.name: sidecar_series(fleet.vendors, fleet.name) for fleet in fleets}
        self._started = 0
        self._replacing = True
        self.totals = {fleet.name: Totals() for fleet in fleets}
        self.living: dict[str, Sidecar] = {}
        for fleet in fleets:
            for _ in range(fleet.sidecars):
                longest = fleet.worked_seconds[1]
                if fleet.staggered:
                    self._start(fleet, now, worked=self._random.uniform(1.0, longest))
                else:
                    # If all started at once, all would end at once, too.
                    self._start(fleet, now + self._random.uniform(0.0, longest))

    def advance(self, now: float) -> None:
        """End the sidecars whose time is over, and start their successors until `stop`."""
        for sidecar in [each for each in self.living.values() if each.ends <= now]:
            del self.living[sidecar.name]
            self.totals[sidecar.fleet.name].add(sidecar, self._series[sidecar.fleet.name])
            if self._replacing:
                self._start(sidecar.fleet, sidecar.ends)

    def stop(self, now: float) -> None:
        """Start no more sidecars."""
        self._replacing = False
        self.living = {name: each for name, each in self.living.items() if each.listed <= now}

    def listed(self, now: float) -> list[Sidecar]:
        return [each for each in self.living.values() if each.listed <= now]

    def scraped(self, name: str, now: float) -> str | None:
        """Return a sidecar's page and remember that it was seen; None if there is no such."""
        sidecar = self.living.get(name)
        if sidecar is None or not sidecar.listed <= now < sidecar.ends:
            return None
        sidecar.last_scrape = now
        return SERVER_SERIES + sidecar.page(self._series[sidecar.fleet.name], now)

    def _start(self, fleet: Fleet, now: float, worked: float | None = None) -> None:
        self._started += 1
        name = f"{fleet.name}-{self._started}"
        starts = now + 1.0  # a sidecar is ready before its crawler starts
        stops = starts + (worked or self._random.uniform(*fleet.worked_seconds))
        self.living[name] = Sidecar(
            name=name,
            fleet=fleet,
            speed=self._random.uniform(0.2, 1.8),
            listed=now,
            starts=starts,
            stops=stops,
            ends=stops + fleet.last_scrape_seconds,
        )


def application(population: Population, port: int) -> web.Application:
    """Return the HTTP server for Prometheus and for the benchmark."""

    async def answer(request: web.Request) -> web.Response:
        now = time.monotonic()
        population.advance(now)
        if request.path == "/targets":
            return web.json_response([target(each, port) for each in population.listed(now)])
        if request.path == "/totals":
            totals = {name: totals.as_json() for name, totals in population.totals.items()}
            return web.json_response({"living": len(population.living), "fleets": totals})
        if request.path == "/stop":
            population.stop(now)
            return web.Response()
        page = population.scraped(request.path.split("/")[1], now)
        if page is None:
            return web.Response(status=503)
        # Prometheus refuses a page without its format's version.
        return web.Response(text=page, headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


def target(sidecar: Sidecar, port: int) -> Json:
    """Return a sidecar as Prometheus' HTTP service discovery lists it."""
    return {
        "targets": [f"127.0.0.1:{port}"],
        "labels": {
            "__metrics_path__": f"/{sidecar.name}/stats/prometheus",
            "instance": f"{sidecar.name}:15090",
            "namespace": "crawlers",
            "pod": sidecar.name,
            "source_workload": sidecar.fleet.name,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plan", type=Path, required=True)
    options = parser.parse_args()
    fleets = [
        Fleet(**plan | {key: tuple(plan[key]) for key in ("vendors", "worked_seconds")})
        for plan in json.loads(options.plan.read_text())
    ]
    app = application(Population(fleets, seed=1, now=time.monotonic()), options.port)
    web.run_app(
        app,
        host="127.0.0.1",
        port=options.port,
        print=None,
        access_log=None,
        shutdown_timeout=0,  # else it waits a minute for Prometheus to close its connections
        backlog=4096,
    )


if __name__ == "__main__":
    main()
