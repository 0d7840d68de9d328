"""Files for a Prometheus outside the cluster: scrape jobs, rules, and a configuration around them.

`make render` writes them; the program deploys none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.file_text import yaml_text

Json = dict[str, Any]

SCRAPE_FILE = "scrape_configs.yml"
RULES_FOLDER = "rules"

LOGIN_FOLDER = "/etc/prometheus/secrets/alertmanager-login"
"""Where prometheus.yml looks for Alertmanager's password: the chart's folder for Secrets."""


def outside_files(
    cluster: str, jobs: Sequence[Json], alerting: Json | None, rules: Mapping[str, str]
) -> dict[str, str]:
    """Return the files by the paths at which they find each other.

    The scrape jobs are for `scrape_config_files`, which Prometheus has since 2.43.
    """
    prometheus: Json = {
        # Boards and messages name the cluster by this label. With two replicas, give each a label
        # prometheus_replica as well: the relabelling below takes it off alerts.
        "global": {"external_labels": {"cluster": cluster}},
        "scrape_config_files": [SCRAPE_FILE],
        "rule_files": [f"{RULES_FOLDER}/*.yml"],
        **({"alerting": alerting} if alerting else {}),
    }
    return {
        "prometheus.yml": yaml_text(prometheus),
        SCRAPE_FILE: yaml_text({"scrape_configs": [*jobs]}),
        **{f"{RULES_FOLDER}/{name}": text for name, text in rules.items()},
    }
