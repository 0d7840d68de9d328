"""Made-up histories of a generator, a sidecar and a vendor: what each counted, when each died.

A history knows the truth, so a comparison of its scrapes can be judged.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from dataclasses import dataclass, field

from books.comparison import compare
from books.reading import books_from_series

SECONDS = 60.0
QUIET_SECONDS = 8.0  # at the end nothing happens, and all are scraped
OFFSETS = {"sidecar": 0.1, "generator": 0.4, "vendor": 0.7}  # of each scrape, within a second
JOBS = {"sidecar": "sidecars", "generator": "load-generator", "vendor": "simulated-vendors"}
VENDORS = ("vendor-a", "vendor-b")
OUTCOMES = ("success", "success", "success", "rate_limited", "reset", "connect_failed")
START = 1_700_000_000.0
CONNECTIONS = {
    "sidecar": ("istio_tcp_connections_opened_total", "proxy_vendor"),
    "generator": ("crawler_connections_total", "vendor"),
    "vendor": ("vendor_opaque_connections_total", "vendor"),
}


@dataclass
class Booking:
    """Something that a process counts, if it lives then."""

    process: str
    at: float
    metric: str
    labels: tuple[tuple[str, str], ...]
    amount: int = 1


@dataclass
class History:
    """`downs` are (process, from, until) in seconds from the start; "prometheus" is one too."""

    downs: list[tuple[str, float, float]] = field(default_factory=list)
    bookings: list[Booking] = field(default_factory=list)
    in_flight: list[tuple[float, float]] = field(default_factory=list)

    def book(self, process, at, series):
        self.bookings.append(Booking(process, at, *series))

    def alive(self, process, at):
        return not any(p == process and a <= at < b for p, a, b in self.downs)

    def death(self, process, after, before):
        """When a process that lives at `after` dies until `before`, or None."""
        found = [a for p, a, _ in self.downs if p == process and after < a <= before]
        return min(found, default=None)

    def is_visible(self):
        """Whether each death of the sidecar shows: a counter fell, or a scrape failed."""
        found = books_from_series(self.answers(exporters=()), begun=START, all_from_zero=True)
        (pod,) = found.pods
        visible = {*pod.sidecar.restarts, *pod.sidecar.outages}
        moments = [round(scrape.began - START, 3) for scrape in pod.sidecar.scrapes]
        deaths = [a for p, a, _ in self.downs if p == "sidecar"]
        return all(bisect_right(moments, a) in visible for a in deaths)

    def answers(self, *, exporters):
        """What Prometheus holds; `exporters` are the processes that export their start time."""
        for process, offset in OFFSETS.items():
            base = {"job": JOBS[process], "namespace": "lab", "pod": process, "instance": process}
            stamps = [offset + n for n in range(int(SECONDS))]
            stamps = [at for at in stamps if self.alive("prometheus", at)]
            good = [at for at in stamps if self.alive(process, at)]
            yield base | {"__name__": "up"}, {ms(at): float(at in good) for at in stamps}
            if process in exporters:
                begins = {ms(at): START + self.life(process, at) for at in good}
                yield base | {"__name__": "process_start_time_seconds"}, begins
            if process == "generator":
                flying = {ms(at): sum(a <= at < b for a, b in self.in_flight) for at in good}
                yield base | {"__name__": "crawler_in_flight"}, flying
            yield from self.counters(process, base, good)

    def life(self, process, at):
        """When the life of the process at that moment began."""
        return max((b for p, _, b in self.downs if p == process and b <= at), default=0.0)

    def counters(self, process, base, good):
        own: dict[tuple, list[Booking]] = {}
        for one in sorted(self.bookings, key=lambda b: b.at):
            if one.process == process and self.alive(process, one.at):
                own.setdefault((one.metric, one.labels), []).append(one)
        lives = {at: self.life(process, at) for at in good}
        for (metric, labels), several in own.items():
            moments = [one.at for one in several]
            sums = [0, *itertools.accumulate(one.amount for one in several)]
            samples = {
                ms(at): float(sums[bisect_right(moments, at)] - sums[bisect_right(moments, life)])
                for at, life in lives.items()
            }
            samples = {stamp: value for stamp, value in samples.items() if value}
            if samples:
                yield base | dict(labels) | {"__name__": metric}, samples

    def answers_as(self, number):
        """The same as pods of a cluster: a generator and its sidecar share theirs."""
        pods = {"generator": f"generator-{number}", "sidecar": f"generator-{number}"}
        for labels, samples in self.answers(exporters=("generator", "vendor")):
            pod = pods.get(labels["pod"], f"vendor-pod-{number}")
            yield labels | {"pod": pod, "instance": pod}, samples

    def compared(self, *, exporters=("generator", "vendor"), all_from_zero=True):
        answers = self.answers(exporters=exporters)
        return compare(books_from_series(answers, begun=START, all_from_zero=all_from_zero))


def ms(at):
    return round((START + at) * 1000)


def row(process, vendor, visibility, outcome):
    """The series in which a process counts a request, as metric and labels."""
    prefix = "proxy_" if process == "sidecar" else ""
    metric = {"sidecar": "istio", "generator": "crawler", "vendor": "vendor"}[process]
    labels = {"vendor": vendor, "visibility": visibility, "outcome": outcome}
    return f"{metric}_requests_total", tuple((prefix + k, v) for k, v in labels.items())


def connection(process, vendor):
    metric, label = CONNECTIONS[process]
    return metric, ((label, vendor),)


def play(history, chance, *, per_second, quiet=()):
    """Fill a history with traffic, outside of the quiet spans (from, until)."""
    at = 0.2
    while (at := at + chance.expovariate(per_second)) < SECONDS - QUIET_SECONDS:
        if not any(a <= at < b for a, b in quiet):
            one_count(history, chance, at)
    return history


def one_count(history, chance, start):
    """Book one count with every process that sees it, whatever dies meanwhile."""
    if not history.alive("generator", start):
        return
    vendor = chance.choice(VENDORS)
    end = start + chance.choice((0.005, 0.05, 0.4, 1.4))
    deaths = {p: history.death(p, start, end) for p in OFFSETS}
    cut = min((at for at in deaths.values() if at), default=None)
    history.in_flight.append((start, cut or end))
    if chance.random() >= 0.25:
        request(history, chance, vendor, start, end, deaths)
        return
    history.book("generator", start, connection("generator", vendor))
    if history.alive("sidecar", start):
        history.book("sidecar", (cut or end) + 0.01, connection("sidecar", vendor))
        if history.alive("vendor", start):
            history.book("vendor", (cut or end) + 0.02, connection("vendor", vendor))


def request(history, chance, vendor, start, end, deaths):
    visibility, outcome = chance.choice(("http", "tunnel")), chance.choice(OUTCOMES)

    def count(process, at, what):
        history.book(process, at, row(process, vendor, visibility, what))

    if not history.alive("sidecar", start):
        count("generator", start + 0.001, "connect_failed")
        return
    if outcome == "connect_failed":
        count("sidecar", start + 0.001, outcome)
        count("generator", start + 0.002, outcome)
        return
    if not history.alive("vendor", start):
        # Where a reset was meant, the generator takes the sidecar's 503 for it.
        count("sidecar", start + 0.001, "connect_failed")
        count("generator", start + 0.002, outcome if outcome == "reset" else "unexpected")
        return
    heard = (start + end) / 2
    at, died = min((at, process) for process, at in [*deaths.items(), ("", end)] if at)
    if heard < at:
        count("vendor", heard, outcome)
    seen = "reset" if heard < at or outcome == "reset" else "unexpected"
    if not died:
        # The sidecar may be first, or the crawler.
        count("sidecar", end + chance.choice((-0.004, 0.2)), outcome)
        count("generator", end, outcome)
    elif died == "vendor":
        count("sidecar", at + 0.001, "reset")
        count("generator", at + 0.002, seen)
    else:
        if died == "sidecar":
            count("generator", at + 0.001, seen)
        else:
            count("sidecar", at + 0.001, outcome if heard < at else "client_cancelled")
        if heard >= at:
            count("vendor", at + 0.001, "client_cancelled")


def history(seed, *, downs=3, per_second=20):
    """A history in which processes die at random, maybe together, but not at the very end."""
    chance, found = random.Random(seed), []
    for _ in range(downs):
        process = chance.choice((*OFFSETS, "prometheus"))
        begin = chance.uniform(3, SECONDS - 2 * QUIET_SECONDS - 5)
        end = begin + chance.choice((0.05, 0.6, 3.0))
        if not any(p == process and a - 0.1 <= end and begin <= b + 0.1 for p, a, b in found):
            found.append((process, begin, end))
    return play(History(downs=found), chance, per_second=per_second)
