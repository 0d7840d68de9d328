"""The emulated sidecars: what they expose is what ours do, and what they counted is known."""

from __future__ import annotations

import re

import pytest

from benchmarks import prometheus_scale
from benchmarks.churn import integral
from benchmarks.emulated_sidecars import (
    BUCKETS,
    Crowd,
    Population,
    istio_series,
    our_series,
    target,
    worked,
)
from benchmarks.monitored import VENDORS
from components.attribution.stats import SCRAPED_METRICS, expected_series
from lab.processes import LabError
from settings.loading import parse_settings

CROWD = Crowd(
    name="crawl",
    sidecars=3,
    worked_seconds=(20.0, 90.0),
    last_scrape_seconds=20.0,
    vendors=("vendor-a", "vendor-b"),
)
VALUE = re.compile(r'istio_requests_total\{.*proxy_vendor="vendor-a".*\} (\d+)')


def names(series):
    return {one.line.partition("{")[0] for one in series}


def requests_on(page):
    return sum(int(value) for value in VALUE.findall(page))


def test_ours_are_what_the_scrape_keeps():
    """Else the cost of another set of series would be measured."""
    stack = {
        "cluster": "c",
        "vendors": [{"name": v, "cidrs": [f"10.{n}.0.0/16"]} for n, v in enumerate(VENDORS, 1)],
    }
    settings = parse_settings(stack)
    assert settings.telemetry.buckets == BUCKETS
    series = our_series(VENDORS, "shop")
    kept = [one for one in series if one.line.partition("{")[0] in SCRAPED_METRICS]
    uptime = 1  # which each page has beside them
    assert len(kept) + uptime == expected_series(settings.vendors, BUCKETS).total
    native = "istio_proxy_setup_milliseconds"
    assert names(kept) | {"envoy_server_uptime"} == set(SCRAPED_METRICS) - {native}


def test_istios_are_as_many_as_its_defaults_come_to():
    """Five vendors, six statuses, a counter and three histograms of twenty buckets."""
    assert len(istio_series(VENDORS, "shop")) == 5 * 6 * (1 + 3 * 22)


def test_work_only_grows():
    """A counter that fell would read as a restart."""
    steps = [worked(tenth / 10) for tenth in range(2000)]
    assert steps == sorted(steps)
    assert steps[0] == 0


def test_the_ledger_is_what_the_last_page_said():
    """The truth is what a scrape after the crawler's end finds, to the request."""
    population = Population([CROWD], seed=1, now=0.0)
    last: dict[str, int] = {}
    population_of_all: set[str] = set()
    for now in range(0, 400):
        population.advance(float(now))
        if now == 200:
            population.stop(float(now))
        for sidecar in population.listed(float(now)):
            population_of_all.add(sidecar.name)
            if now % 15 == 0:
                page = population.scraped(sidecar.name, float(now))
                assert page is not None
                assert requests_on(page) >= last.get(sidecar.name, 0)
                last[sidecar.name] = requests_on(page)
    books = population.books["crawl"].as_json()
    assert population.living == {}
    assert len(population_of_all) > 6
    assert books["truth"]["vendor-a"]["requests"] == sum(last.values()) > 0
    assert sum(group["sidecars"] for group in books["lifetimes"]) == len(population_of_all)
    assert all(group["unseen"] == 0 for group in books["lifetimes"])


def test_what_no_scrape_saw_is_told():
    """A sidecar that was never scraped is lost as a whole."""
    population = Population([CROWD], seed=1, now=0.0)
    population.advance(400.0)
    books = population.books["crawl"].as_json()
    groups = books["lifetimes"]
    assert sum(group["unseen"] for group in groups) == sum(group["requests"] for group in groups)
    assert sum(group["requests"] for group in groups) > 0


def test_a_target_is_listed_while_its_sidecar_lives():
    """As Kubernetes lists pods: a page of one that is gone is refused, and not asked for again."""
    population = Population([CROWD], seed=1, now=0.0)
    first = min(population.living.values(), key=lambda one: one.listed)
    assert population.scraped(first.name, first.listed - 0.1) is None
    assert population.scraped(first.name, first.listed) is not None
    assert first in population.listed(first.gone - 0.1)
    population.advance(first.gone)
    assert first.name not in {one.name for one in population.listed(first.gone)}
    assert population.scraped(first.name, first.gone) is None
    assert target(first, 1)["labels"]["instance"] != target(first, 1)["targets"][0]


def test_a_missed_evaluation_is_no_hole():
    """A rate stands until the next one was evaluated."""
    assert integral([(0.0, 2.0), (15.0, 4.0), (45.0, 1.0)]) == 2 * 15 + 4 * 30 + 1 * 15


def test_a_wrong_number_of_sidecars_is_refused(monkeypatch):
    """SIDECARS is told before minutes are spent."""
    monkeypatch.setenv("SIDECARS", "many")
    with pytest.raises(LabError, match="SIDECARS: 'many' is no number"):
        prometheus_scale.wanted_sizes((200,))
    monkeypatch.setenv("SIDECARS", "1000")
    assert prometheus_scale.wanted_sizes((200,)) == (1000,)
