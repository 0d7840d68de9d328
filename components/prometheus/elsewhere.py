"""What of the scrape jobs and rules goes to a Prometheus that is not ours.

It has jobs of its own, and rules about itself. So ours read what our jobs scraped and nothing
else: a second monitor of the sidecars, as Istio's own samples have one, would double every rate,
and `up` would be everybody's. And what watches Prometheus itself is left to those who run it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from components.attribution.stats import SCRAPED_METRICS
from components.prometheus.config import CADVISOR_METRICS, BasicAuth, prometheus_config
from components.texts import yaml_blocks
from settings.stack import StackSettings
from settings.values import format_duration

Json = dict[str, Any]

NOT_OURS = (
    # Itself: where it is, and what rules about it are called, its owner knows.
    "prometheus",
    # Volumes: ours were Prometheus' own. kube-prometheus-stack watches those of the whole cluster.
    "kubelet",
)

WITH_ALERTMANAGER = ("Watchdog",)
"""Alerts without a job that are about Alertmanager: its owner has a heartbeat of his own."""


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """What is ours of the configuration of a Prometheus that is not."""

    jobs: tuple[Json, ...]
    """As in prometheus.yml, each with its interval: whoever they come to has another."""
    alerting: Json
    """As in prometheus.yml; empty where no Alertmanager is ours."""
    rules: dict[str, str]
    """The text of each rule file by its name."""


def elsewhere_of(
    settings: StackSettings,
    rules: Mapping[str, str],
    *,
    monitoring_namespace: str,
    simulated_vendors_namespace: str | None,
    alertmanager_auth: BasicAuth,
) -> Elsewhere:
    """Return what another Prometheus gets of a stack; `rules` are the shipped ones' texts."""
    config = prometheus_config(
        cluster=settings.cluster,
        scrape_interval_seconds=settings.prometheus.scrape_interval,
        crawler_namespaces=settings.crawlers.namespaces,
        monitoring_namespace=monitoring_namespace,
        istio_namespace=settings.istio.root_namespace,
        simulated_vendors_namespace=simulated_vendors_namespace,
        alertmanager_auth=alertmanager_auth,
        node_metrics=settings.prometheus.node_metrics,
        native_histograms=settings.telemetry.native_histograms,
        histograms_from_one_in=settings.telemetry.histogram_sampling,
    )
    left_out = {*NOT_OURS, *(() if settings.runs_alertmanager else ("alertmanager",))}
    jobs = [job for job in config["scrape_configs"] if job["job_name"] not in left_out]
    pace = {key: config["global"][key] for key in ("scrape_interval", "scrape_timeout")}
    return Elsewhere(
        jobs=tuple({"job_name": job["job_name"], **pace, **job} for job in jobs),
        alerting=config["alerting"] if settings.runs_alertmanager else {},
        rules=rules_elsewhere(
            rules, [job["job_name"] for job in jobs], settings.prometheus.scrape_interval
        ),
    )


def rules_elsewhere(
    files: Mapping[str, str], jobs: Collection[str], interval_seconds: int
) -> dict[str, str]:
    """Return the rule files, by name, as they are for a Prometheus that is not ours.

    Left out is a rule that reads a job which is not one of `jobs`, or a record that is left out;
    what is left says in each selector whose series it means.
    """
    of_ours = f'job=~"{"|".join(sorted(jobs))}"'
    selectors = {**_SELECTORS, **dict.fromkeys(_OF_EVERY_JOB, of_ours)}

    def adapted(rule: Json) -> Json:
        expression = rule["expr"]
        if _name(rule) == _SAMPLES:
            # Ours would ask itself; of another's samples only those that we cause are limited.
            expression = f"sum(scrape_samples_post_metric_relabeling) / {interval_seconds}"
        return {**rule, "expr": _pinned(without_anchors(expression), selectors)}

    documents = {
        name: [
            {
                "name": group["name"],
                # Else at whatever pace is set there, and alerts come as late.
                "interval": format_duration(interval_seconds),
                **group,
                "rules": [adapted(rule) for rule in group["rules"]],
            }
            for group in yaml.safe_load(text)["groups"]
        ]
        for name, text in files.items()
    }
    gone = _left_out(
        [rule for groups in documents.values() for group in groups for rule in group["rules"]], jobs
    )
    stay = {
        name: [
            {**group, "rules": rules}
            for group in groups
            if (rules := [rule for rule in group["rules"] if _name(rule) not in gone])
        ]
        for name, groups in documents.items()
    }
    return {name: yaml_blocks({"groups": groups}) for name, groups in stay.items() if groups}


_SAMPLES = "cluster:prometheus_samples_appended:rate5m"
_OF_EVERY_JOB = ("up", "scrape_samples_post_metric_relabeling")

# Whose series a metric's are meant to be.
_SELECTORS: dict[str, str] = {
    **dict.fromkeys(SCRAPED_METRICS, 'job="sidecars"'),
    **dict.fromkeys(CADVISOR_METRICS, 'job="cadvisor"'),
    "pilot_total_xds_rejects": 'job="istiod"',
}


# `anchored` is Prometheus 3.16's; before, it needs a flag or is no word.
_ANCHORED = re.compile(r"or rate\((?P<counter>\w+\{[^}]*\})\[(?P<window>\w+)\] anchored\)")


def without_anchors(expression: str) -> str:
    """Say the same to any Prometheus, which costs twice the CPU.

    What a counter had before the window is subtracted; where that is not known, or it began again,
    rate() guesses.
    """

    def subtracted(found: re.Match[str]) -> str:
        counter, window = found["counter"], found["window"]
        before, seen = f"{counter} offset {window}", f"{counter}[{window}]"
        grown = f"last_over_time({seen}) - {before} and min_over_time({seen}) >= {before}"
        return f"or ({grown}) / {window}\n  or rate({seen})"

    return _ANCHORED.sub(subtracted, expression)


def _pinned(expression: str, selectors: Mapping[str, str]) -> str:
    """Add its selector to each of these metrics that names no job."""

    def pin(found: re.Match[str]) -> str:
        name, matchers = found[1], found[2] or ""
        if re.search(r"\bjob\s*[=!]", matchers):
            return found[0]
        return f"{name}{{{selectors[name]}{', ' if matchers.strip() else ''}{matchers}}}"

    names = "|".join(map(re.escape, selectors))
    return re.sub(rf"(?<![\w:])({names})(?![\w:])(?:\s*\{{([^}}]*)\}})?", pin, expression)


def _left_out(rules: Collection[Json], jobs: Collection[str]) -> set[str]:
    """Return the names of the rules that read what nobody scrapes or records there."""
    gone = {
        _name(rule)
        for rule in rules
        if not _jobs_of(rule["expr"]) <= set(jobs)
        or (_name(rule) in WITH_ALERTMANAGER and "alertmanager" not in jobs)
    }
    while True:
        follow = {_name(rule) for rule in rules if gone & set(re.findall(r"[\w:]+", rule["expr"]))}
        if follow <= gone:
            return gone
        gone |= follow


def _jobs_of(expression: str) -> set[str]:
    """Return the jobs that an expression asks for; what it excludes it can do without."""
    asked = re.findall(r'\bjob\s*=~?\s*"([^"]*)"', expression)
    return {job for jobs in asked for job in jobs.split("|")}


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])
