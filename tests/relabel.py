"""Prometheus' relabelling, as far as this program's configuration uses it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any


def relabel(rules: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> dict[str, str] | None:
    """Return the labels of a target or series after the rules; None if it is dropped."""
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
            labels = {key: value for key, value in labels.items() if not pattern.fullmatch(key)}
        elif action == "hashmod":
            number = int.from_bytes(hashlib.md5(text.encode()).digest()[8:])
            labels[rule["target_label"]] = str(number % rule["modulus"])
        elif (action == "keep" and not found) or (action == "drop" and found):
            return None
        else:
            assert action in ("replace", "keep", "drop"), action
        labels = {key: value for key, value in labels.items() if value}
    return labels
