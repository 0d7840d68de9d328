"""The laptop's Prometheus: the shipped scrape configuration and rules, with static targets."""

from __future__ import annotations

import json
import re
from pathlib import Path

from components.attribution.standalone import STAT_SCOPE
from components.metrics.config import StaticTargets, prometheus_config
from components.metrics.stack_rules import stack_rules
from lab.ports import Ports
from settings.checks import SIMULATED_NAMESPACE
from settings.model import StackSettings

RULES = Path(__file__).parents[1] / "rules"
RATE_WINDOW_SECONDS = 15
"""What the rules' five minutes are in the lab: nobody watches a demo for five minutes."""

WINDOW_STAND_IN = f"rates over 5m -> over {RATE_WINDOW_SECONDS}s, under the same names"


def lab_prometheus_files(
    settings: StackSettings, ports: Ports, scrape_milliseconds: int | None = None
) -> dict[str, str]:
    """Return Prometheus' files by name, its configuration first.

    JSON is YAML: the rules stay text, so that what is read is what is shipped.
    `scrape_milliseconds` go above the stack's `scrapeInterval`, which knows whole seconds.
    """
    config = prometheus_config(
        cluster=settings.cluster,
        scrape_interval_seconds=settings.prometheus.scrape_interval,
        crawler_namespaces=settings.crawlers.namespaces,
        monitoring_namespace="monitoring",
        istio_namespace=settings.istio.root_namespace,
        simulated_vendors_namespace=SIMULATED_NAMESPACE,
        targets=StaticTargets(
            sidecars=(f"127.0.0.1:{ports.envoy_admin}",),
            prometheus=(f"127.0.0.1:{ports.prometheus}",),
            load_generator=(f"127.0.0.1:{ports.crawler_metrics}",),
            simulated_vendors=(f"127.0.0.1:{ports.vendor_control}",),
        ),
        rule_files=("rules/*.yml",),
        native_histograms=settings.telemetry.native_histograms,
        histograms_from_one_in=settings.telemetry.histograms_from_one_in,
    )
    sidecars = next(job for job in config["scrape_configs"] if job["job_name"] == "sidecars")
    # Before all shipped relabelling: the stand-in for istio.stats has a prefix of its own.
    sidecars["metric_relabel_configs"].insert(
        0,
        {
            "source_labels": ["__name__"],
            "regex": f"envoy_{STAT_SCOPE}_(.+)",
            "target_label": "__name__",
            "replacement": "$1",
        },
    )
    if scrape_milliseconds is not None:
        config["global"] |= dict.fromkeys(
            ("scrape_interval", "scrape_timeout"), f"{scrape_milliseconds}ms"
        )
    rules = {
        f"rules/{file.name}": _shorten(file.read_text()) for file in sorted(RULES.glob("*.yml"))
    }
    own = {
        f"rules/{name}": _shorten(json.dumps(one)) for name, one in stack_rules(settings).items()
    }
    return {
        "prometheus.yml": json.dumps(config, indent=1),
        **rules,
        **own,
    }


def _shorten(rules: str) -> str:
    """Shorten the window everywhere in an expression; names (`rate5m`) and `for` stay."""
    return re.sub(r"(\[|/ |< |offset )5m\b", rf"\g<1>{RATE_WINDOW_SECONDS}s", rules)
