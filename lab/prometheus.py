"""The laptop's Prometheus and Alertmanager: the shipped configuration and rules, static targets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import yaml

from components.alertmanager.config import CREDENTIALS, alertmanager_config
from components.attribution.standalone import STAT_SCOPE
from components.prometheus.config import StaticTargets, prometheus_config
from components.prometheus.rules import server_rules
from lab import receiver
from lab.ports import Ports
from lab.shortening import DEMO_FACTOR, shortened_alertmanager, shortened_rules, stand_in
from settings.alertmanager import Alertmanager, WebhookReceiver
from settings.stack import StackSettings

RATE_WINDOW_SECONDS = 300 // DEMO_FACTOR
"""The rules' five minutes in the demo and the checks."""

WINDOW_STAND_IN = stand_in(DEMO_FACTOR)

THRESHOLDS = "rules/thresholds.yml"


def lab_prometheus_files(
    settings: StackSettings,
    ports: Ports,
    scrape_milliseconds: int | None = None,
    *,
    factor: int = DEMO_FACTOR,
    watched: bool = False,
    stand_ins: bool = False,
) -> dict[str, str]:
    """Return Prometheus' files by name, its configuration first.

    The files are JSON, which is YAML too.

    Args:
        scrape_milliseconds: takes precedence over `scrapeInterval`, which knows whole seconds.
        factor: divides every time of the rules.
        watched: with a second replica, Alertmanager, and the pages of `lab/pages.py`.
        stand_ins: with pages in the place of istiod, Grafana and Alertmanager.
    """
    config = prometheus_config(
        settings,
        targets=replace(
            _targets(ports, watched=watched, stand_ins=stand_ins),
            money=_here(ports.money_exporter) if settings.records_hours else (),
        ),
        rule_files=("rules/*.yml",),
    )
    sidecars = next(job for job in config["scrape_configs"] if job["job_name"] == "sidecars")
    # Before all shipped relabelling: the lab's istio.stats has a prefix of its own.
    sidecars["metric_relabel_configs"][:0] = [
        {
            "source_labels": ["__name__"],
            "regex": f"envoy_{STAT_SCOPE}_(.+)",
            "target_label": "__name__",
            "replacement": "$1",
        },
    ]
    if scrape_milliseconds is not None:
        config["global"] |= dict.fromkeys(
            ("scrape_interval", "scrape_timeout"), f"{scrape_milliseconds}ms"
        )
    rules = {
        f"rules/{name}": json.dumps(shortened_rules(yaml.safe_load(text), factor))
        for name, text in server_rules(settings).items()
    }
    return {"prometheus.yml": json.dumps(config, indent=1), **rules}


def lab_alertmanager_files(ports: Ports, folder: Path, factor: int) -> dict[str, str]:
    """Return Alertmanager's files by name, its configuration first; they will be in `folder`.

    The shipped routes, to webhooks of the lab: /critical, /warning and /heartbeat.
    """
    webhooks = tuple(WebhookReceiver(name=name, kind="webhook") for name in receiver.RECEIVERS)
    settings = Alertmanager(
        receivers=webhooks,
        critical=("critical",),
        warning=("warning",),
        heartbeat=("heartbeat",),
    )
    config = json.dumps(shortened_alertmanager(alertmanager_config(settings), factor), indent=1)
    return {
        "alertmanager.yml": config.replace(CREDENTIALS, str(folder)),
        **{name: f"http://127.0.0.1:{ports.receiver}/{name}" for name in receiver.RECEIVERS},
    }


def _here(*listening: int) -> tuple[str, ...]:
    return tuple(f"127.0.0.1:{port}" for port in listening)


def _targets(ports: Ports, *, watched: bool, stand_ins: bool) -> StaticTargets:
    always = StaticTargets(
        sidecars=_here(ports.envoy_admin),
        prometheus=_here(ports.prometheus),
        load_generator=_here(ports.crawler_metrics),
        simulated_vendors=_here(ports.vendor_control),
    )
    if not (watched or stand_ins):
        return always
    monitored = replace(
        always,
        alertmanager=_here(ports.alertmanager),
        istiod=_here(ports.istiod),
        grafana=_here(ports.grafana),
    )
    if not watched:
        return monitored
    return replace(
        monitored,
        sidecars=_here(ports.envoy_admin, ports.second_sidecar),
        prometheus=_here(ports.prometheus, ports.other_prometheus),
    )
