"""The files that a Prometheus of the stack's own reads: scrape jobs, and what goes around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.file_text import yaml_text

Json = dict[str, Any]

SCRAPE_FILE = "scrape_configs.yml"
RULES_FOLDER = "rules"

LOGIN_FOLDER = "/etc/prometheus/secrets/alertmanager-login"
"""Where Alertmanager's password is looked for: the operator's and its chart's place for Secrets."""


def configuration_files(
    cluster: str, jobs: Sequence[Json], alerting: Json | None
) -> dict[str, str]:
    """Return the files by name: the jobs, and a whole configuration that reads them and the rules.

    The jobs are for `scrape_config_files`, which Prometheus has since 2.43.
    """
    example: Json = {
        # Boards and messages name the cluster by it. Of two replicas each needs a label
        # prometheus_replica beside it, which the relabelling below takes off alerts again.
        "global": {"external_labels": {"cluster": cluster}},
        "scrape_config_files": [SCRAPE_FILE],
        "rule_files": [f"{RULES_FOLDER}/*.yml"],
    }
    if alerting:
        example["alerting"] = alerting
    return {
        "prometheus.yml": yaml_text(example),
        SCRAPE_FILE: yaml_text({"scrape_configs": [*jobs]}),
    }


def all_files(configuration: Mapping[str, str], rules: Mapping[str, str]) -> dict[str, str]:
    """Return them by the paths at which they find each other."""
    return {**configuration, **{f"{RULES_FOLDER}/{name}": text for name, text in rules.items()}}
