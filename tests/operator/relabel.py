"""Prometheus' relabelling of a target, as far as the two configurations use it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def labels_of_target(job: Json, target: Mapping[str, str]) -> dict[str, str] | None:
    """Return the labels that a discovered target's series get; None if it is not scraped."""
    found = {
        "job": str(job["job_name"]),
        "__metrics_path__": str(job.get("metrics_path", "/metrics")),
        "__scheme__": str(job.get("scheme", "http")),
        **target,
    }
    relabelled = relabel(job.get("relabel_configs", ()), found)
    if relabelled is None:
        return None
    relabelled.setdefault("instance", relabelled["__address__"])
    where = {key: relabelled[key] for key in ("__address__", "__metrics_path__", "__scheme__")}
    return where | {key: text for key, text in relabelled.items() if not key.startswith("__")}


def relabel(rules: Sequence[Json], labels: Mapping[str, str]) -> dict[str, str] | None:
    labels = dict(labels)
    for rule in rules:
        text = rule.get("separator", ";").join(
            labels.get(label, "") for label in rule.get("source_labels", ())
        )
        pattern = re.compile(str(rule.get("regex", "(.*)")), re.DOTALL)
        found = pattern.fullmatch(text)
        action = rule.get("action", "replace").lower()
        if action == "replace" and found:
            value = found.expand(re.sub(r"\$\{?(\d+)\}?", r"\\\1", rule.get("replacement", "$1")))
            labels[rule["target_label"]] = value
        elif action == "labeldrop":
            labels = {key: text for key, text in labels.items() if not pattern.fullmatch(key)}
        elif action == "hashmod":
            assert rule["modulus"] == 1  # one shard: everything is its
            labels[rule["target_label"]] = "0"
        elif (action == "keep" and not found) or (action == "drop" and found):
            return None
        else:
            assert action in ("replace", "keep", "drop"), action
        labels = {key: text for key, text in labels.items() if text}
    return labels
