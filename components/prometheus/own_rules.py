"""The files of `alerts.ruleFiles`, read and checked before anything is deployed.

Prometheus would refuse its whole configuration for one of them, keep the old one, and not start
after its next restart.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from components.prometheus.rules import SHARD_PREFIX, Files, rules_of, shipped_rules, with_product
from settings.loading import SettingsError
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
    taken = _shipped_names(settings)
    for index, name in enumerate(settings.alerts.rule_files):
        try:
            text = _text(root, name)
            document = _document(text)
            problems = [*_problems(document, taken)] or [*_problems_by_promtool(text)]
        except ValueError as error:
            problems = [str(error)]
        findings += (f"alerts.ruleFiles[{index}]: {name}: {problem}" for problem in problems)
        if not problems:
            # A name of its own, whatever its folder and the shipped files' names are.
            own_name = f"own-{index}-{PurePosixPath(name).name}"
            files[own_name] = with_product(_without_empty_values(document))
    if findings:
        raise SettingsError(findings)
    return files


def _text(root: Path, name: str) -> str:
    path = Path(os.path.realpath(root / name))
    if not path.is_relative_to(os.path.realpath(root)):
        raise ValueError("is a link out of the project; put the file itself there")
    if not path.is_file():
        raise ValueError("is no file; write the path from the project's root")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text; save it as UTF-8") from None


def _document(text: str) -> Any:
    try:
        return yaml.load(text, StringLoader)
    except yaml.YAMLError as error:
        reason = str(getattr(error, "problem", None) or error).replace("\n", " ")
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"is not YAML{line} ({reason}); correct it") from None


def _shipped_names(settings: StackSettings) -> dict[str, str]:
    """Return the shipped groups and rules by name, and which of the two each is."""
    files = shipped_rules(settings).values()
    groups = [group["name"] for file in files for group in file["groups"]]
    rules = [rule.get("alert") or rule["record"] for file in files for rule in rules_of(file)]
    return {**dict.fromkeys(rules, "rule"), **dict.fromkeys(groups, "group")}


def _problems(document: Any, taken: Mapping[str, str]) -> Iterator[str]:
    groups = document.get("groups") if isinstance(document, dict) else None
    if not isinstance(groups, list):
        yield "has no groups; write them as Prometheus' documentation shows"
        return
    for group in groups:
        if not isinstance(group, dict) or not isinstance(group.get("rules"), list):
            yield "has a group without rules; write name and rules of each"
            continue
        if taken.get(group.get("name", "")) == "group":
            yield f"group {group['name']!r} is shipped; give it another name"
        for rule in group["rules"]:
            yield from _problems_of_rule(rule, taken)


def _problems_of_rule(rule: Any, taken: Mapping[str, str]) -> Iterator[str]:
    name = rule.get("alert") or rule.get("record") if isinstance(rule, dict) else None
    if name is None:
        yield "has a rule that is neither record nor alert; name it"
        return
    # Two records of one name would be one series with two values, and neither right.
    if taken.get(name) == "rule" or name.startswith(SHARD_PREFIX):
        yield f"{name!r} is the name of a shipped rule; give it another one"
    if "alert" in rule:
        severity = (rule.get("labels") or {}).get("severity")
        if severity not in SEVERITIES:
            yield (
                f"alert {name!r} has severity {severity!r}, which no route knows; "
                f"write one of {', '.join(SEVERITIES)}"
            )


def _without_empty_values(document: Any) -> Any:
    """Leave out keys with an empty value, which the operator would refuse."""

    def filled(values: Any) -> Any:
        return {key: value for key, value in values.items() if value is not None}

    groups = [
        {
            **filled(group),
            **({"limit": int(group["limit"])} if group.get("limit") else {}),
            "rules": [filled(rule) for rule in group["rules"]],
        }
        for group in document["groups"]
    ]
    return {**document, "groups": groups}


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
        reason = next((line for line in lines if ":" in line or "error" in line), lines[0])
        yield f"is refused by promtool ({reason}); correct it"
