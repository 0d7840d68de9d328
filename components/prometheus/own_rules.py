"""The files of `alerts.ruleFiles`, read and checked before anything is deployed.

Prometheus would refuse its whole configuration for one of them, keep the old one, and not start
after its next restart.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from components.prometheus.rules import SHARD_PREFIX, Files, rules_of, shipped_rules, with_product
from components.repository_files import own_text
from settings.loading import SettingsError
from settings.messages import printed, yaml_mistake
from settings.stack import StackSettings
from tools.find import cached

SEVERITIES = ("critical", "warning", "info")
PROMTOOL_SECONDS = 30.0


class StringLoader(yaml.SafeLoader):
    """Reads every value as a string, as Prometheus does: a label's `on` or `1.0` too."""

    # What is left resolves an empty value and `<<`.
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own attribute)
        first: [resolver for resolver in resolvers if resolver[0].endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def promtool_here() -> str | None:
    """Return promtool's path; without it a rule's PromQL is not checked."""
    return shutil.which("promtool") or (str(path) if (path := cached("promtool")) else None)


def own_rule_files(settings: StackSettings, root: Path) -> Files:
    """Return each file of `alerts.ruleFiles` by the name it gets beside the shipped ones.

    Args:
        root: the folder that the paths start from.

    Raises:
        SettingsError: a file cannot be read or parsed, takes a shipped name, or has a severity
            that Alertmanager does not route.
    """
    findings: list[str] = []
    files: Files = {}
    for index, name in enumerate(settings.alerts.rule_files):
        try:
            text = own_text(root, name)
            document = _document(text)
            problems = [*_problems_by_promtool(text)] or [*_problems(document, settings)]
        except ValueError as error:
            problems = [str(error)]
        findings += (f"alerts.ruleFiles[{index}]: {name}: {problem}" for problem in problems)
        if not problems:
            # Prometheus loads *.yml, and a ConfigMap's key has no spaces and no umlauts.
            stem = re.sub(r"[^\w.-]+", "-", PurePosixPath(name).stem, flags=re.ASCII)[:100]
            files[f"own-{index}-{stem}.yml"] = with_product(_without_empty_values(document))
    if findings:
        raise SettingsError(findings)
    return files


def _document(text: str) -> Any:
    try:
        document = yaml.load(text, StringLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line, reason = yaml_mistake(error)
        where = f" in line {line}" if line else ""
        raise ValueError(f"is not YAML{where} ({reason}); correct it") from None
    if isinstance(document, dict) and document.get("kind") == "PrometheusRule":
        raise ValueError("is an object of the Prometheus operator; write what is under its spec")
    return document


def _problems(document: Any, settings: StackSettings) -> Iterator[str]:
    """Yield clashes with shipped names, and alerts that no route delivers."""
    shipped = shipped_rules(settings).values()
    groups = {group["name"] for file in shipped for group in file["groups"]}
    rules = {rule.get("alert") or rule["record"] for file in shipped for rule in rules_of(file)}
    try:
        for group in document["groups"]:
            if not re.fullmatch(r"0|[1-9][0-9]{0,8}", group.get("limit") or "0"):
                yield f"group {group['name']!r} has a limit that is not digits; write it like 100"
            if group["name"] in groups:
                yield f"group {group['name']!r} is shipped; give it another name"
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                labels = {**(group.get("labels") or {}), **(rule.get("labels") or {})}
                annotations = rule.get("annotations") or {}
                texts = [group["name"], name, rule["expr"], *labels.values(), *annotations.values()]
                if not rule["expr"] or not all(isinstance(text, str | None) for text in texts):
                    raise TypeError
                # Two records of one name would be one series with two values, and neither right.
                if name in rules or name.startswith(SHARD_PREFIX):
                    yield f"{name!r} is the name of a shipped rule; give it another one"
                severity = labels.get("severity")
                if "alert" in rule and severity not in SEVERITIES:
                    yield (
                        f"alert {name!r} has severity {printed(severity)}, which no route knows; "
                        f"write one of {', '.join(SEVERITIES)}"
                    )
    except (AttributeError, KeyError, TypeError):
        yield (
            "has no groups of rules, each with a name and each rule an alert or a record with an "
            "expr; write them as Prometheus' documentation shows"
        )


def _without_empty_values(document: Any) -> Any:
    """Leave out keys with an empty value, which the operator would refuse."""
    groups = _filled(document["groups"])
    numbers = [{"limit": int(group["limit"])} if "limit" in group else {} for group in groups]
    return {"groups": [{**group, **limit} for group, limit in zip(groups, numbers, strict=True)]}


def _filled(value: Any) -> Any:
    if isinstance(value, list):
        return [_filled(item) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items() if item not in (None, "")}
    return value


def _problems_by_promtool(text: str) -> Iterator[str]:
    """Yield what promtool reports, where it is installed: nothing else here reads PromQL."""
    promtool = promtool_here()
    if promtool is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rules.yml"
        file.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [promtool, "check", "rules", str(file)],
            capture_output=True,
            text=True,
            timeout=PROMTOOL_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        report = (done.stderr + done.stdout).replace(str(file), "")
        lines = [line.strip(" :\t") for line in report.splitlines()]
        # promtool's headings come before the line that says what is wrong where.
        headings = ("", "Checking", "FAILED", "yaml: unmarshal errors")
        reason = next((line for line in lines if line not in headings), "it gives no reason")
        yield f"is refused by promtool ({reason}); correct it"
