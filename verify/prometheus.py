"""Does a Prometheus have what the stack says: targets, rules, and an answer for every board?"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from books.prometheus import Prometheus, PrometheusError
from components.alertmanager.config import ALERTMANAGER_USER
from components.prometheus.config import LOAD_GENERATOR_APP, BasicAuth, operator_jobs
from components.prometheus.unseen import JOB as UNSEEN
from dashboards.boards import queries
from deployment import StackPlan
from settings.stack import StackSettings
from verify.check import Check

Json = dict[str, Any]

SIDECARS = "sidecars"
SOME_DOWN = 0.01
"""Share of a job's targets that may be down: in a large fleet some pod always starts or ends."""

MOST_WORDS_OF_PROMETHEUS = 160

READ_BY_NONE = "run `make preflight` (docs/own-prometheus.md), or ask again in a minute"


@dataclass(frozen=True, kw_only=True)
class Server:
    """What one Prometheus of a stack must have.

    Attributes:
        service: its Service, for `mode: server`.
        jobs: names of the jobs that must have targets.
        rules: how many rules there are of each (group, name).
    """

    service: str
    jobs: tuple[str, ...]
    rules: Mapping[tuple[str, str], int]

    @property
    def has_sidecars(self) -> bool:
        return SIDECARS in self.jobs

    @property
    def is_operated(self) -> bool:
        """Whether another team's operator writes its configuration."""
        return not self.service


def servers_of(settings: StackSettings, plan: StackPlan) -> tuple[Server, ...]:
    """Return the stack's servers, the one that people query first."""
    if plan.servers:
        return tuple(
            Server(
                service=server.name,
                jobs=_jobs(yaml.safe_load(server.config)["scrape_configs"], settings),
                rules=_rules(yaml.safe_load(text)["groups"] for text in server.rules.values()),
            )
            for server in plan.servers
        )
    login = BasicAuth(username=ALERTMANAGER_USER, password_file="")
    groups = (one.spec["groups"] for one in plan.operator_objects if one.kind == "PrometheusRule")
    jobs = _jobs(operator_jobs(settings, login), settings)
    return (Server(service="", jobs=jobs, rules=_rules(groups)),)


def _jobs(jobs: Iterable[Json], settings: StackSettings) -> tuple[str, ...]:
    # The pods of `backup` live some seconds a day.
    no_targets = {
        UNSEEN,
        "backup",
        *(() if settings.load_generator.enabled else (LOAD_GENERATOR_APP,)),
    }
    return tuple(job["job_name"] for job in jobs if job["job_name"] not in no_targets)


def _rules(files: Iterable[Iterable[Json]]) -> Counter[tuple[str, str]]:
    return Counter(
        (group["name"], rule.get("alert") or rule["record"])
        for groups in files
        for group in groups
        for rule in group["rules"]
    )


def targets_check(prometheus: Prometheus, server: Server) -> Check:
    """Ask for the targets of each job.

    Raises:
        PrometheusError: it does not answer.
    """
    by_job: dict[str, list[Json]] = defaultdict(list)
    for target in prometheus.get("targets", state="active")["activeTargets"]:
        # The operator's Prometheus names a job after the monitor, and gives it our label.
        for name in {target["scrapePool"], target["labels"].get("job", "")}:
            by_job[name].append(target)
    jobs = [job for job in server.jobs if job not in _jobs_without_targets(prometheus)]
    counts = {job: len(by_job[job]) for job in jobs}
    findings = [line for job in jobs for line in _of_job(job, by_job[job])]
    if server.is_operated and not any(counts.values()):
        findings = [
            "targets: no job of the stack has any, as this Prometheus does not select its monitors "
            f"or may not list their pods yet; {READ_BY_NONE}"
        ]
    return Check(
        name="targets",
        said=f"{sum(counts.values())} of {len(jobs)} jobs answer",
        findings=findings,
    )


def _of_job(job: str, targets: list[Json]) -> Iterator[str]:
    if not targets:
        yield (
            f"targets: job {job} has none; see whether its pods run, and whether Prometheus may "
            "list them (docs/runbooks/TargetsMissing.md)"
        )
        return
    if not any(target["health"] != "unknown" for target in targets):
        yield f"targets: none of job {job} has been scraped yet; ask again in a minute"
    # One that was found a moment ago is "unknown".
    down = [target for target in targets if target["health"] == "down"]
    if len(down) > SOME_DOWN * len(targets):
        labels, error = down[0]["labels"], down[0].get("lastError", "")
        where = labels.get("pod") or labels.get("node") or labels.get("instance", "")
        yield (
            f"targets: {len(down)} of {len(targets)} of job {job} do not answer, {where} first "
            f"({error[:MOST_WORDS_OF_PROMETHEUS]}); see docs/runbooks/TargetsMissing.md"
        )


def _jobs_without_targets(prometheus: Prometheus) -> set[str]:
    """Return the jobs of the server's own file that can find none: the lab has no istiod."""
    config = yaml.safe_load(prometheus.get("status/config")["yaml"]) or {}
    return {
        job["job_name"]
        for job in config.get("scrape_configs", ())
        if not any(key.endswith("_sd_configs") or key == "static_configs" for key in job)
    }


def rules_check(prometheus: Prometheus, server: Server) -> Check:
    """Ask for the rules that it evaluates, and how it fares.

    Raises:
        PrometheusError: it does not answer.
    """
    loaded: Counter[tuple[str, str]] = Counter()
    failing: list[str] = []
    for group in prometheus.get("rules")["groups"]:
        for rule in group["rules"]:
            key = (group["name"], rule["name"])
            loaded[key] += 1
            if key in server.rules and rule["health"] != "ok":
                error = rule.get("lastError") or "not evaluated yet; ask again in a minute"
                failing.append(
                    f"rules: {rule['name']} of group {group['name']}: "
                    f"{error[:MOST_WORDS_OF_PROMETHEUS]}"
                )
    missing = [
        f"rules: {name} of group {group} is not loaded ({loaded[group, name]} of {wanted}); run "
        "`pulumi up --refresh`, and see docs/runbooks/ConfigurationReloadFailed.md"
        for (group, name), wanted in sorted(server.rules.items())
        if loaded[group, name] < wanted
    ]
    if server.is_operated and not server.rules.keys() & loaded.keys():
        missing = [
            "rules: none of the stack's is loaded, as this Prometheus does not select them; "
            f"{READ_BY_NONE}"
        ]
    wanted = sum(server.rules.values())
    return Check(name="rules", said=f"{wanted} of the stack", findings=[*missing, *failing])


def boards_check(prometheus: Prometheus, dashboards: Mapping[str, str]) -> Check:
    """Ask what every panel asks."""
    asked, findings = 0, []
    for file, text in dashboards.items():
        for title, expression in queries(json.loads(text)):
            asked += 1
            try:
                prometheus.query(expression)
            except PrometheusError as error:
                said = str(error)[:MOST_WORDS_OF_PROMETHEUS]
                findings.append(f"boards: {file}, panel {title!r} gets no answer ({said})")
    return Check(name="boards", said=f"{asked} queries answered", findings=findings)
