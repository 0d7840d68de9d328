"""The emulated sidecars expose what real ones do, and what they counted is known."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import money
from benchmarks.churn import integral
from benchmarks.emulated_sidecars import (
    BUCKETS,
    Fleet,
    Population,
    sidecar_series,
    target,
    work_done,
)
from benchmarks.monitored import VENDORS, files, number_from
from components.attribution.stats import SCRAPED_METRICS, TCP_BYTES, expected_series
from lab.processes import LabError
from settings.loading import parse_settings

FLEET = Fleet(
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


def test_the_series_are_those_that_the_scrape_keeps():
    """Else the benchmark would measure the cost of other series."""
    stack = {
        "cluster": "c",
        "vendors": [{"name": v, "cidrs": [f"10.{n}.0.0/16"]} for n, v in enumerate(VENDORS, 1)],
    }
    settings = parse_settings(stack)
    assert settings.telemetry.buckets == BUCKETS
    series = sidecar_series(VENDORS, "shop")
    scraped = {*SCRAPED_METRICS, *TCP_BYTES}
    kept = [one for one in series if one.line.partition("{")[0] in scraped]
    black_holed, uptime = 1, 1  # renamed by the scrape; a line that each page adds
    expected = expected_series(settings.vendors, BUCKETS).total
    assert len(kept) + black_holed + uptime == expected
    native = "istio_proxy_setup_milliseconds"
    assert names(kept) | {"envoy_server_uptime"} == scraped - {native}


def test_work_only_grows():
    """A counter that fell would read as a restart."""
    steps = [work_done(tenth / 10) for tenth in range(2000)]
    assert steps == sorted(steps)
    assert steps[0] == 0


def test_totals_equal_the_last_pages():
    """A scrape after a crawler's end finds every request that /totals has."""
    population = Population([FLEET], seed=1, now=0.0)
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
    totals = population.totals["crawl"].as_json()
    assert population.living == {}
    assert len(population_of_all) > 6
    assert totals["counted"]["vendor-a"]["requests"] == sum(last.values()) > 0
    assert sum(group["sidecars"] for group in totals["lifetimes"]) == len(population_of_all)
    assert all(group["unseen"] == 0 for group in totals["lifetimes"])


def test_requests_that_no_scrape_saw_are_counted():
    """All requests of a sidecar that was never scraped are unseen."""
    population = Population([FLEET], seed=1, now=0.0)
    population.advance(400.0)
    totals = population.totals["crawl"].as_json()
    groups = totals["lifetimes"]
    assert sum(group["unseen"] for group in groups) == sum(group["requests"] for group in groups)
    assert sum(group["requests"] for group in groups) > 0


def test_a_target_is_listed_while_its_sidecar_lives():
    """As with pods, one that has ended is neither listed nor answers."""
    population = Population([FLEET], seed=1, now=0.0)
    first = min(population.living.values(), key=lambda one: one.listed)
    assert population.scraped(first.name, first.listed - 0.1) is None
    assert population.scraped(first.name, first.listed) is not None
    assert first in population.listed(first.ends - 0.1)
    population.advance(first.ends)
    assert first.name not in {one.name for one in population.listed(first.ends)}
    assert population.scraped(first.name, first.ends) is None
    assert target(first, 1)["labels"]["instance"] != target(first, 1)["targets"][0]


def test_a_missed_evaluation_leaves_no_gap():
    """A rate holds until the next evaluation."""
    assert integral([(0.0, 2.0), (15.0, 4.0), (45.0, 1.0)]) == 2 * 15 + 4 * 30 + 1 * 15


def test_prometheus_scrapes_the_emulated_sidecars_as_shipped():
    """The benchmark's Prometheus has every rule, and the shipped relabelling alone."""
    found = files(VENDORS)
    assert len([name for name in found if name.startswith("rules/")]) > 3
    config = json.loads(found["prometheus.yml"])
    sidecars, _ = config["scrape_configs"]
    assert [job["job_name"] for job in config["scrape_configs"]] == ["sidecars", "prometheus"]
    assert set(sidecars) >= {"http_sd_configs", "metric_relabel_configs"}
    assert "envoy_lab_" not in str(sidecars["metric_relabel_configs"])


def test_a_wrong_duration_is_refused(monkeypatch):
    """DURATION is checked before minutes are spent."""
    monkeypatch.setenv("DURATION", "ten minutes")
    with pytest.raises(LabError, match="DURATION: 'ten minutes' is no whole number"):
        number_from("DURATION", 120)
    monkeypatch.setenv("DURATION", "600")
    assert number_from("DURATION", 120) == 600
    monkeypatch.delenv("DURATION")
    assert number_from("DURATION", 120) == 120


def test_the_prometheus_that_is_compared_with_has_nothing_of_money():
    """A group or a counter under a new name would be in both, and cost nothing."""
    shipped = money.with_prices(files(VENDORS))
    without = money.without_money(shipped)

    def groups(texts):
        rules = [json.loads(text) for name, text in texts.items() if name.startswith("rules/")]
        return {group["name"] for file in rules for group in file["groups"]}

    assert groups(shipped) - groups(without) == {*money.MONEY_GROUPS, "prices"}
    sidecars = json.loads(without["prometheus.yml"])["scrape_configs"][0]
    assert sidecars["metric_relabel_configs"][0]["action"] == "drop"
    dropped = re.compile(sidecars["metric_relabel_configs"][0]["regex"])
    names_dropped = {name for name in names(sidecar_series(VENDORS, "shop")) if dropped.match(name)}
    assert len(names_dropped) == 2


def test_a_slow_group_costs_what_it_takes_in_a_minute():
    page = "".join(
        f'prometheus_rule_group_{what}_seconds{{rule_group="/rules/sums.yml;{group}"}} {value}\n'
        for group, took, every in (("fast", 0.5, 15), ("slow", 0.5, 60))
        for what, value in (("interval", every), ("last_duration", took))
    )
    assert money.rule_seconds(page) == {"fast": 2.0, "slow": 0.5}
