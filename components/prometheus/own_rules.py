"""Rule files of the stack's own, read and checked before anything is deployed.

Prometheus would refuse its whole configuration for one of them, go on with the old one, and not
come up after its next restart.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from components.prometheus.native_histograms import HISTOGRAMS, SIDECARS_PER_HISTOGRAM
from components.prometheus.rule_files import FEDERATED
from settings.loading import SettingsError
from tools.find import cached

SEVERITIES = ("page", "ticket", "none")
PROMTOOL_SECONDS = 30.0


def promtool_here() -> str | None:
    """Return promtool's path; without it a rule's PromQL is not looked at."""
    return shutil.which("promtool") or (str(path) if (path := cached("promtool")) else None)


def own_rule_files(files: Sequence[str], root: Path) -> dict[str, str]:
    """Return the text of each file by the name it gets beside the shipped ones.

    Args:
        files: paths below `root`, as the setting takes them.

    Raises:
        SettingsError: a file cannot be read or parsed, has a name of ours, or an unknown severity.
    """
    findings: list[str] = []
    texts: dict[str, str] = {}
    taken = _shipped_names(root)
    for index, file in enumerate(files):
        at = f"alerts.ruleFiles[{index}]"
        text = _read(root, file, at, findings)
        if text is None:
            continue
        found = [f"{at}: {file}: {fault}" for fault in _faults(text, taken)]
        findings += found or [f"{at}: {file}: {fault}" for fault in _told_by_promtool(text)]
        # A name of its own, whatever folder it came from and whatever ours are called.
        texts[f"own-{index}-{PurePosixPath(file).name}"] = text
    if findings:
        raise SettingsError(findings)
    return texts


def _read(root: Path, file: str, at: str, findings: list[str]) -> str | None:
    path = Path(os.path.realpath(root / file))
    if not path.is_relative_to(os.path.realpath(root)):
        findings.append(f"{at}: {file}: is a link out of the project; put the file itself there")
    elif not path.is_file():
        findings.append(f"{at}: {file}: is no file; write the path from the project's root")
    else:
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            findings.append(f"{at}: {file}: is not UTF-8 text; save it as UTF-8")
    return None


def _shipped_names(root: Path) -> dict[str, str]:
    """Return the names of rules and groups that are ours, and what each is."""
    taken = {
        "thresholds": "group",
        "Watchdog": "alert",
        "native_histograms": "group",
        HISTOGRAMS: "record",
        SIDECARS_PER_HISTOGRAM: "record",
    }
    for path in sorted((root / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            taken[group["name"]] = "group"
            for rule in group["rules"]:
                kind = "alert" if "alert" in rule else "record"
                taken[rule[kind]] = kind
    return taken


def _faults(text: str, taken: dict[str, str]) -> Iterator[str]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = str(getattr(error, "problem", None) or error).replace("\n", " ")
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        yield f"is not YAML{line} ({reason}); correct it"
        return
    groups = document.get("groups") if isinstance(document, dict) else None
    if not isinstance(groups, list):
        yield "has no groups; write them as Prometheus' documentation shows"
        return
    for group in groups:
        if not isinstance(group, dict) or not isinstance(group.get("rules"), list):
            yield "has a group without rules; write name and rules of each"
            continue
        if group.get("name") in taken:
            yield f"group {group['name']!r} is one of ours; give it another name"
        for rule in group["rules"]:
            yield from _faults_of_rule(rule, taken)


def _faults_of_rule(rule: Any, taken: dict[str, str]) -> Iterator[str]:
    name = rule.get("alert") or rule.get("record") if isinstance(rule, dict) else None
    if name is None:
        yield "has a rule that is neither record nor alert; name it"
        return
    # Two records of one name would be one series with two values, and neither right.
    ours = str(name).startswith(FEDERATED) or str(name).endswith((":threshold", ":slo:ratio"))
    if taken.get(name) or ours:
        yield f"{name!r} is a name of ours; give it another one"
    if "alert" in rule:
        severity = (rule.get("labels") or {}).get("severity")
        if severity not in SEVERITIES:
            yield (
                f"alert {name!r} has severity {severity!r}, which no route knows; "
                f"write one of {', '.join(SEVERITIES)}"
            )


def _told_by_promtool(text: str) -> Iterator[str]:
    """Yield what promtool says, where there is one: nothing else here reads PromQL."""
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
        said = (done.stderr + done.stdout).replace(str(file), "")
        lines = [line.strip(" :\t") for line in said.splitlines()]
        reason = next((line for line in lines if ":" in line or "error" in line), lines[0])
        yield f"is refused by promtool ({reason}); correct it"
