"""The rules of a stack as they are deployed, and promtool's tests of them."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from components.prometheus.rules import PRODUCT, rules_of, shipped_rules
from settings.loading import parse_settings
from tests.programs import run_to_end

Json = dict[str, Any]

STACK = {
    "cluster": "dev",
    "vendors": [
        {"name": f"vendor-{letter}", "cidrs": [f"10.{number}.0.0/16"]}
        for number, letter in enumerate("abc", 1)
    ]
    + [
        {"name": "vendor-p", "cidrs": ["10.9.0.0/16"], "inspect": "passive"},
        {"name": "vendor-i", "cidrs": ["10.8.0.0/16"], "inspect": "connections"},
    ],
    "destinations": [{"name": "s3", "cidrs": ["10.20.0.0/16"]}],
    "prometheus": {"backup": {}},
    "ledger": {"enabled": True},
    "istio": {"otherRevision": {"revision": "1-30", "version": "1.30.2"}},
}
FILES = shipped_rules(parse_settings(STACK))
"""Without limits of its own, and without native histograms."""

OPERATORS = "operator_records.yml"
RUNBOOKS = "https://github.com/proxy-observability/proxy-observability/blob/main/docs/runbooks/"

# In this order: an aggregation's labels stand between its name and its parenthesis.
_NOT_METRICS = (
    r'"(?:\\.|[^"\\])*"',  # strings
    r"\{[^}]*\}",  # matchers
    r"\[[^\]]*\]",  # ranges
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)",
    r"\b[a-z_0-9]+\s*(?=\()",  # functions and aggregations
    r"\b(?:and|or|unless|offset|bool|Inf|NaN)\b",
    r"\b[0-9][0-9.eE]*[a-z]*",  # numbers and durations
)


def metric_names(expression: str) -> set[str]:
    """Return the metrics that a PromQL expression selects by name."""
    for pattern in _NOT_METRICS:
        expression = re.sub(pattern, " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", expression))


def rules() -> list[Json]:
    """Return every rule but the limits, in the order of the files."""
    return [
        rule for name, file in FILES.items() if name != "thresholds.yml" for rule in rules_of(file)
    ]


def records() -> list[Json]:
    return [rule for rule in rules() if "record" in rule]


def alerts() -> list[Json]:
    return [rule for rule in rules() if "alert" in rule]


def limits() -> set[str]:
    return {rule["record"] for rule in rules_of(FILES["thresholds.yml"])}


def needed_by(rule: Json, names: Iterable[str]) -> dict[str, Json]:
    """Return the named files with the records alone that an alert rests on: a tenth of the time."""
    files = {name: FILES[name] for name in names}
    wanted = set(re.findall(r"\w+:\w+:\w+", json.dumps(rule)))
    found: set[str] = set()
    while found != wanted:
        found = set(wanted)
        for file in files.values():
            for one in rules_of(file):
                if one.get("record") in wanted:
                    wanted |= metric_names(one["expr"])
    return {
        name: {
            "groups": [
                {**group, "rules": [one for one in group["rules"] if one.get("record") in wanted]}
                for group in file["groups"]
            ]
        }
        for name, file in files.items()
    }


def run_tests(
    promtool: Path,
    document: Mapping[str, Any],
    files: Mapping[str, Json],
    status: int | None = 0,
) -> subprocess.CompletedProcess[str]:
    """Run promtool's tests on rule files, whose groups are evaluated in this order.

    What every alert has by its being one, the label `product` and the runbook's address, is
    expected of each without being written in the document.

    Raises:
        ValueError: values of a series are not text.
    """
    for test in document["tests"]:
        for series in test["input_series"]:
            # Unquoted, YAML reads promtool's "0x20" as the number 32.
            if not isinstance(values := series["values"], str):
                meant = f"'{values:#x}'" if isinstance(values, int) else "them"
                raise ValueError(
                    f"the values of {series['series']} are read as {values}; "
                    f"write {meant} in quotes"
                )
        for expected in test.get("alert_rule_test", ()):
            for alert in expected.get("exp_alerts", ()):
                alert["exp_labels"] |= PRODUCT
                alert["exp_annotations"]["runbook_url"] = f"{RUNBOOKS}{expected['alertname']}.md"
    with tempfile.TemporaryDirectory() as folder:
        for name, file in files.items():
            (Path(folder) / name).write_text(json.dumps(file), encoding="utf-8")
        whole = {
            "evaluation_interval": "1m",
            **document,
            "rule_files": [*files],
            "group_eval_order": [
                group["name"] for file in files.values() for group in file["groups"]
            ],
        }
        (Path(folder) / "test.yml").write_text(json.dumps(whole), encoding="utf-8")
        command = (promtool, "test", "rules", "--diff", "test.yml")
        return run_to_end(*command, status=status, cwd=folder)


def read_test(file: Path) -> Any:
    return yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
