"""What bytes, hours and prices cost Prometheus: with them ÷ without them.

Two Prometheuses scrape the same emulated sidecars. The other one drops the counters of bytes as it
scrapes, and has no rule of bytes, hours and money.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.cpu import cpu_seconds, resident_mb
from benchmarks.emulated_sidecars import Fleet
from benchmarks.measure import Measure
from benchmarks.monitored import (
    PORTS,
    PROMETHEUS_URL,
    VENDORS,
    files,
    monitored,
    number_from,
    start_prometheus,
)
from benchmarks.prometheus_scale import WARM_UP_SECONDS, WORKED_SECONDS
from components.attribution.stats import BYTES
from lab import loopback
from money.results import DELIVERED, FAILED, REFUSED
from tools.find import find

Json = dict[str, Any]

SIDECARS = 200
MOST_SERIES = 1.2
"""The series of a sidecar with the counters of bytes ÷ without them may be this many."""
OTHER_PORT = PORTS.other_prometheus
OTHER_URL = f"http://127.0.0.1:{OTHER_PORT}"

MONEY_FILES = ("rules/ledger_records.yml", "rules/money_records.yml", "rules/money_alerts.yml")
MONEY_GROUPS = ("sidecar_bytes", "hours", "money", "money_alerts")


def against_none() -> list[Measure]:
    """Compare both, for DURATION seconds after the rules' windows are full."""
    seconds = number_from("DURATION", 120)
    fleet = Fleet(
        name="crawl",
        sidecars=number_from("SIDECARS", SIDECARS),
        worked_seconds=WORKED_SECONDS,
        last_scrape_seconds=20.0,
        vendors=VENDORS,
        staggered=True,
    )
    shipped = with_prices(files(VENDORS))
    with tempfile.TemporaryDirectory() as name, monitored([fleet], shipped) as running:
        other = start_prometheus(
            running.family, find("prometheus"), Path(name), without_money(shipped), OTHER_PORT
        )
        servers = ((running.prometheus_pid, PROMETHEUS_URL), (other, OTHER_URL))
        running.wait(WARM_UP_SECONDS)
        before, started = [cpu_seconds(pid) for pid, _ in servers], time.monotonic()
        rules: list[list[dict[str, float]]] = [[], []]
        while time.monotonic() < started + seconds:
            running.wait(5.0)
            for found, (_, url) in zip(rules, servers, strict=True):
                found.append(rule_seconds(loopback.get_text(f"{url}/metrics")))
        cores = [
            (cpu_seconds(pid) - spent) / (time.monotonic() - started)
            for (pid, _), spent in zip(servers, before, strict=True)
        ]
        memory = [resident_mb(pid) for pid, _ in servers]
        series = [stored(url) for _, url in servers]
    whole = [statistics.fmean(sum(each.values()) for each in found) for found in rules]
    groups = {
        group: statistics.fmean(each.get(group, 0.0) for each in rules[0]) for group in MONEY_GROUPS
    }
    parts = ", ".join(f"{group} {cost * 1000:.0f}" for group, cost in groups.items())

    def row(name: str, both: list[float], form: str, note: str = "") -> Measure:
        figures = " / ".join(form.format(each) for each in both)
        goal = MOST_SERIES if name == "series of a sidecar" else None
        return Measure(
            name=f"with bytes and money ÷ without: {name}",
            value=both[0] / both[1],
            goal=goal,
            note=f"{figures}{note}",
        )

    return [
        row("series of a sidecar", series, "{:.0f}"),
        row("all rules", whole, "{:.2f} s a minute", f", of it in ms: {parts}"),
        row("Prometheus' CPU", cores, "{:.3f} cores", f", {fleet.sidecars} sidecars"),
        row("Prometheus' memory", memory, "{:.0f} MB"),
    ]


def with_prices(shipped: Mapping[str, str]) -> dict[str, str]:
    """Return files with one more rule file, in the place of the exporter: each vendor's price."""
    prices = [
        {
            "record": "proxy_unit_price",
            "expr": "vector(8e-9)",
            "labels": {
                **{"job": "money", "cluster": "bench", "unit": "byte", "currency": "USD"},
                **{"proxy_vendor": vendor, "proxy_result": result},
            },
        }
        for vendor in VENDORS
        for result in (DELIVERED, REFUSED, FAILED)
    ]
    group = {"name": "prices", "rules": prices}
    return {**shipped, "rules/prices.yml": json.dumps({"groups": [group]})}


def without_money(shipped: Mapping[str, str]) -> dict[str, str]:
    """Return files as they were before bytes were counted."""
    texts = {
        name: text
        for name, text in shipped.items()
        if name not in (*MONEY_FILES, "rules/prices.yml")
    }
    sums = json.loads(texts["rules/sums.yml"])
    sums["groups"] = [group for group in sums["groups"] if group["name"] not in MONEY_GROUPS]
    texts["rules/sums.yml"] = json.dumps(sums)
    config = json.loads(texts["prometheus.yml"])
    # Those of opaque connections, which have Istio's names here, were scraped before.
    counters = "|".join(f"istio_{name}" for name in BYTES)
    sidecars, own = config["scrape_configs"]
    sidecars["metric_relabel_configs"].insert(
        0, {"action": "drop", "source_labels": ["__name__"], "regex": counters}
    )
    own["static_configs"][0]["targets"] = [f"127.0.0.1:{OTHER_PORT}"]
    return {**texts, "prometheus.yml": json.dumps(config)}


def rule_seconds(page: str) -> dict[str, float]:
    """Return how long each group of rules takes in a minute, from a page of Prometheus' metrics."""
    took = _by_group(page, "prometheus_rule_group_last_duration_seconds")
    every = _by_group(page, "prometheus_rule_group_interval_seconds")
    return {group: seconds * 60 / every[group] for group, seconds in took.items()}


def _by_group(page: str, name: str) -> dict[str, float]:
    lines = (line for line in page.splitlines() if line.startswith(f"{name}{{"))
    # rule_group="<file>;<group>"
    return {
        line.rpartition('"')[0].rpartition(";")[2]: float(line.rpartition(" ")[2]) for line in lines
    }


def stored(url: str) -> float:
    # The sidecar with the most series is taken, since a young one has not met rare outcomes.
    kept = 'max(scrape_samples_post_metric_relabeling{job="sidecars"})'
    return float(loopback.query(url, kept)[0]["value"][1])
