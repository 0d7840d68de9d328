"""What is stored and what is read are the same names, in every job and both ways."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from books import reading
from components.attribution.stats import SCRAPED_METRICS
from components.prometheus.config import (
    ALERTMANAGER_METRICS,
    BACKUP_METRICS,
    CADVISOR_METRICS,
    GRAFANA_METRICS,
    ISTIOD_METRICS,
    KUBELET_METRICS,
    LEDGER_METRICS,
    MONEY_METRICS,
    PROMETHEUS_METRICS,
    prometheus_config,
)
from components.prometheus.native_histograms import native_histogram_rules
from dashboards.boards import boards, queries
from settings.loading import parse_settings
from tests.rules.promql import STACK, metric_names, rules

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"

KEPT = {
    "sidecars": SCRAPED_METRICS,
    "prometheus": PROMETHEUS_METRICS,
    "istiod": ISTIOD_METRICS,
    "alertmanager": ALERTMANAGER_METRICS,
    "grafana": GRAFANA_METRICS,
    "kubelet": KUBELET_METRICS,
    "cadvisor": CADVISOR_METRICS,
    "backup": BACKUP_METRICS,
    "ledger": LEDGER_METRICS,
    "money": MONEY_METRICS,
}
EMPTY = {"crawlers-unseen"}
"""Answers without a series: its targets themselves are what is read."""

GROUND_TRUTH = {"load-generator", "simulated-vendors"}
"""Kept whole: books of a pod or two, and what else they say explains a difference."""

OF_GROUND_TRUTH = ("crawler_", "vendor_", "process_start_time_seconds")
OF_EVERY_SCRAPE = {
    *("up", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling"),
    "ALERTS",  # Prometheus' own, of each alert that is pending or fires
}


def jobs() -> list[dict[str, Any]]:
    simulated = {"enabled": True, "vendors": {"vendor-a": {"endpoint": "10.1.0.10:3128"}}}
    config = prometheus_config(parse_settings({**STACK, "simulatedVendors": simulated}))
    found: list[dict[str, Any]] = config["scrape_configs"]
    return found


def names_read() -> set[str]:
    """Every metric that a rule, a board, the audit or a runbook asks for by name."""
    own = [rule for group in native_histogram_rules([50])["groups"] for rule in group["rules"]]
    expressions = [rule["expr"] for rule in (*rules(), *own)]
    expressions += [
        query
        for text in boards(parse_settings(STACK)).values()
        for _, query in queries(json.loads(text))
    ]
    expressions += reading.selectors()
    names = {name for query in expressions for name in metric_names(query) if ":" not in name}
    return {name for name in names | read_in_runbooks() if not name.startswith(OF_GROUND_TRUTH)}


def read_in_runbooks() -> set[str]:
    """Metrics in a runbook's commands, of which some are no PromQL: known by how they begin."""
    text = "".join(page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("*.md"))
    blocks = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
    # Labels begin with `proxy_` too: of a metric's name the second word is looked at.
    words = {re.match(r"(?:proxy_)?[^_]+", name)[0] for names in KEPT.values() for name in names}  # type: ignore[index]
    begin = "|".join(sorted(words))
    return set(re.findall(rf"(?<![\w:])(?:{begin})_\w+(?![\w:])", blocks))


def test_every_job_has_its_list() -> None:
    """A new job that keeps everything would store what nobody reads, unseen by the next tests."""
    assert {job["job_name"] for job in jobs()} - GROUND_TRUTH - EMPTY == set(KEPT)


@pytest.mark.parametrize("job", KEPT)
def test_nothing_is_scraped_that_nobody_reads(job: str) -> None:
    """Each name of a sidecar is stored a thousand times, and an istiod has two hundred names."""
    assert set(KEPT[job]) - names_read() == set()


def test_nothing_is_read_that_is_not_scraped() -> None:
    """A panel without data, an alert without a voice, a runbook whose first check is empty."""
    kept = {name for names in KEPT.values() for name in names}
    assert names_read() - kept - OF_EVERY_SCRAPE == set()


@pytest.mark.parametrize("name", sorted(KEPT.keys() - {"sidecars"}))
def test_a_list_is_what_the_job_keeps(name: str) -> None:
    """The sidecars' relabelling looks at labels too, and is tried in tests/components."""
    (job,) = (job for job in jobs() if job["job_name"] == name)
    kept = (rule for rule in job["metric_relabel_configs"] if rule.get("action") == "keep")
    assert next(kept) == {
        "action": "keep",
        "source_labels": ["__name__"],
        "regex": f"({'|'.join(sorted(KEPT[name]))})",
    }
