"""`make mutate`: does a test notice when an alert is changed?

    python -m tests.rules.mutants [--only ALERT] [--out FOLDER]

Every number, threshold, comparison, window and label of every alert is changed in turn, and the
alert's own test is run on the result. A mutant that passes its test has survived: either the test
has a hole, or the change makes no difference (`EQUIVALENT` says why). Prints a row for each alert.
Exit codes: 0 good; 1 more than 2 % survived, or one of an alert that pages; 2 could not run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.rules.promql import alerts, group_of, metric_names, record_groups
from tools.find import NotFoundError, find
from tools.reports import add_out, write_report

HERE = Path(__file__).parent
TESTS = HERE / "alerts"
THRESHOLDS = HERE / "thresholds.yml"
KINDS = ("threshold", "comparison", "window", "label")
MOST_SURVIVORS = 0.02
SECONDS = 60.0  # of one promtool run; one takes a tenth

# (alert, change) that no series can tell from the original, and why.
EQUIVALENT: dict[tuple[str, str], str] = {
    ("StorageFilling", "3: 0 -> 1"): "a byte",
    ("StorageFilling", "3: < -> <="): "a byte",
    ("SidecarMemoryNearLimit", "3: 0 -> 1"): "a byte",
}

_STRING = r'"(?:\\.|[^"\\])*"'
_BRACES = r"\{[^}]*\}"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """An alert with one change; `change` is "before -> after" and where."""

    alert: str
    pages: bool
    kind: str
    change: str
    rule: dict[str, Any]


def mutants_of(rule: dict[str, Any]) -> Iterator[Mutant]:
    """Every change of an alert, one at a time."""
    for kind, change, changed in (*_of_expression(rule), *_of_rule(rule)):
        yield Mutant(
            alert=rule["alert"],
            pages=rule["labels"]["severity"] == "page",
            kind=kind,
            change=change,
            rule={**rule, **changed},
        )


Change = tuple[str, str, dict[str, Any]]


def _of_rule(rule: dict[str, Any]) -> Iterator[Change]:
    for wait in ("for", "keep_firing_for"):
        for changed in _other_durations(rule[wait]) if wait in rule else ():
            yield "window", f"{wait}: {rule[wait]} -> {changed}", {wait: changed}
    for severity in {"page", "ticket"} - {rule["labels"]["severity"]}:
        labels = {**rule["labels"], "severity": severity}
        yield "label", f"severity -> {severity}", {"labels": labels}


def _of_expression(rule: dict[str, Any]) -> Iterator[Change]:
    expr = rule["expr"]
    for kind, start, end, after in _edits(expr):
        number = expr[:start].count("\n") + 1
        change = f"{number}: {' '.join(expr[start:end].split())} -> {after or 'nothing'}"
        yield kind, change, {"expr": expr[:start] + after + expr[end:]}


def _edits(expr: str) -> Iterator[tuple[str, int, int, str]]:
    """Yield (kind, start, end, text instead) of every change to an expression."""
    # Without what only looks like an operator or a number; the same length.
    bare = re.sub(f"{_STRING}|{_BRACES}|\\[[^]]*]", lambda m: "_" * len(m[0]), expr)

    for found in re.finditer(r"(?<![\w.:])\d+(?:\.\d+)?(?![\w.:])", bare):
        value = float(found[0])
        for after in (f"{value * 1.25:g}", f"{value * 0.8:g}") if value else ("1",):
            yield "threshold", *found.span(), after
    for found in re.finditer(r"\b\w+:\w+:threshold\b", bare):
        for factor in ("1.25", "0.8"):
            yield "threshold", *found.span(), f"({factor} * {found[0]})"

    turned = {">": "<", "<": ">", "==": "!=", ">=": "<=", "<=": ">="}
    for found in re.finditer(r"==|>=|<=|>|<", bare):
        yield "comparison", *found.span(), turned[found[0]]
        # With or without the bound itself: seen where the bound is a count, else never met.
        if re.match(r"[<>]\s*[01]\b(?!\.)", bare[found.start() :]):
            yield "comparison", *found.span(), f"{found[0]}="
    for found in re.finditer(r"\b(and|or|unless)\b", bare):
        yield "comparison", *found.span(), {"and": "or", "or": "and", "unless": "and"}[found[0]]

    for found in re.finditer(r"\[(\w+)]|\boffset (\w+)", expr):
        duration = found[1] or found[2]
        for after in _other_durations(duration):
            yield "window", *found.span(), found[0].replace(duration, after)
    others = {"5m": ("30m",), "30m": ("5m", "1h"), "1h": ("30m", "6h"), "6h": ("1h",)}
    for found in re.finditer(r"(?<=rate)(?:5m|30m|1h|6h)\b", bare):
        name = re.search(r"[\w:]+$", bare[: found.end()])
        if name and re.search(r"burnrate\w+$|istio_requests:rate(30m|1h|6h)$", name[0]):
            for after in others[found[0]]:
                yield "window", *found.span(), after

    for braces in re.finditer(_BRACES, expr):
        for found in re.finditer(rf"(\w+)(=~|!~|!=|=)({_STRING}),?\s*", braces[0]):
            start = braces.start() + found.start()
            yield "label", start, start + len(found[0]), ""
            if found[2] == "=":
                at = start + len(found[1]) + 2
                yield "label", at, at + len(found[3]) - 2, "changed"
    for found in re.finditer(r"\b(?:by|on) \(([^)]+)\)", bare):
        labels = [label.strip() for label in found[1].split(",")]
        for label in labels:
            yield "label", *found.span(1), ", ".join(other for other in labels if other != label)


def _other_durations(text: str) -> tuple[str, str]:
    seconds = int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]
    return f"{seconds // 2}s", f"{seconds * 2}s"


def file_of(alert: str) -> Path:
    return TESTS / f"{alert}.test.yml"


def passes(promtool: Path, rule: dict[str, Any]) -> bool:
    """Whether the alert's test passes with this version of it."""
    return tried(promtool, rule).returncode == 0


def tried(promtool: Path, rule: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [f"{number}.yml" for number in range(2)]
        groups = [*_needed_by(rule), {"name": group_of(rule["alert"]), "rules": [rule]}]
        for file, some in zip(files, (groups[:-1], groups[-1:]), strict=True):
            (folder / file).write_text(json.dumps({"groups": some}), encoding="utf-8")
        text = file_of(rule["alert"]).read_text(encoding="utf-8")
        text = re.sub(r"^rule_files: .*$", f"rule_files: {files}", text, count=1, flags=re.M)
        (folder / "test.yml").write_text(text, encoding="utf-8")
        return subprocess.run(
            [str(promtool), "test", "rules", "--diff", "test.yml"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


def _needed_by(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the groups with the records alone that an alert rests on: a tenth of the time."""
    text = yaml.safe_dump(rule)
    if "thresholds.yml" not in file_of(rule["alert"]).read_text(encoding="utf-8"):
        known = record_groups()
    else:
        known = [
            *yaml.safe_load(THRESHOLDS.read_text(encoding="utf-8"))["groups"],
            *record_groups(),
        ]
    wanted = set(re.findall(r"\w+:\w+:\w+", text))
    for group in reversed(known):
        for record in reversed(group["rules"]):
            if record["record"] in wanted:
                wanted |= metric_names(record["expr"])
    return [
        {**group, "rules": [r for r in group["rules"] if r["record"] in wanted]} for group in known
    ]


def survivors(promtool: Path, mutants: Sequence[Mutant]) -> list[Mutant]:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        passed = list(pool.map(lambda mutant: passes(promtool, mutant.rule), mutants))
    return [mutant for mutant, survived in zip(mutants, passed, strict=True) if survived]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument("--only", help="one alert")
    add_out(parser, "mutate.json")
    options = parser.parse_args(arguments)
    chosen = [rule for rule in alerts() if options.only in (None, "", rule["alert"])]
    if not chosen:
        print(f"ONLY: {options.only!r} is no alert", file=sys.stderr)
        return 2
    try:
        promtool = find("promtool")
    except NotFoundError as error:
        print(error, file=sys.stderr)
        return 2

    mutants = [mutant for rule in chosen for mutant in mutants_of(rule)]
    survived = survivors(promtool, mutants)
    unexplained = [m for m in survived if (m.alert, m.change) not in EQUIVALENT]
    _print_table(mutants, survived)
    for mutant in survived:
        why = EQUIVALENT.get((mutant.alert, mutant.change), "its test has a hole")
        print(f"survived: {mutant.alert}, {mutant.kind} {mutant.change}: {why}")
    share = len(survived) / len(mutants)
    print(f"{len(mutants)} mutants, {len(survived)} survived ({share:.1%})")
    paging = [mutant for mutant in survived if mutant.pages]
    status = 1 if unexplained or paging or share > MOST_SURVIVORS else 0
    if options.out:
        rows = [
            {"alert": m.alert, "kind": m.kind, "change": m.change, "survived": m in survived}
            for m in mutants
        ]
        status = write_report(
            options.out / "mutate.json", {"target": "mutate", "status": status, "rows": rows}
        )
    return status


def _print_table(mutants: Sequence[Mutant], survived: Sequence[Mutant]) -> None:
    of_all = Counter((mutant.alert, mutant.kind) for mutant in mutants)
    lived = Counter((mutant.alert, mutant.kind) for mutant in survived)
    print(f"{'alert (* pages): caught of made':<34}" + "".join(f"{kind:>12}" for kind in KINDS))
    for alert, pages in dict.fromkeys((mutant.alert, mutant.pages) for mutant in mutants):
        cells = [(of_all[alert, kind], lived[alert, kind]) for kind in KINDS]
        shown = "".join(
            f"{f'{made - left} of {made}' if made else '-':>12}" for made, left in cells
        )
        print(f"{alert + ' *' * pages:<34}{shown}")


if __name__ == "__main__":
    sys.exit(main())
