"""`make mutate`: does a test notice when an alert is changed?

    python -m tests.rules.mutants [--only ALERT] [--out FOLDER]

Every number, threshold, comparison, window and label of every alert is changed in turn, and the
alert's own test is run on the result. A mutant that passes its test has survived: either the test
has a hole, or the change makes no difference (`EQUIVALENT` has the reason). Prints a row for each
alert. Exit codes: 0 good; 1 a mutant survived without a reason, or one of a critical alert; 2 could
not run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings.masking import quoted
from tests.rules.promql import alerts, needed_by, read_test, run_tests
from tools.find import NotFoundError, find
from tools.reports import add_out, write_report

HERE = Path(__file__).parent
TESTS = HERE / "alerts"
KINDS = ("threshold", "comparison", "window", "label")

_MATCHED = "the series it is matched with have that label"
# (alert, change) that no series can tell from the original, and why.
EQUIVALENT: dict[tuple[str, str], str] = {
    ("StorageFilling", "3: 0 -> 1"): "a byte",
    ("StorageFilling", "3: < -> <="): "a byte",
    ("SidecarMemoryNearLimit", "3: 0 -> 1"): "a byte",
    ("Watchdog", "1: 1 -> 1.25"): "nothing reads its value",
    ("Watchdog", "1: 1 -> 0.8"): "nothing reads its value",
    **{("IstiodConfigRejected", f'{n}: job="istiod" -> nothing'): _MATCHED for n in (2, 4, 5)},
    **{("StorageFilling", f'{n}: job="kubelet" -> nothing'): _MATCHED for n in (1, 2, 3)},
    **{("PrometheusRulesSlow", f'{n}: job="prometheus" -> nothing'): _MATCHED for n in (1, 2)},
    **{
        ("SidecarCpuNearLimit", f"{n}: {label} -> nothing"): _MATCHED
        for n in (4, 5)
        for label in ('job="cadvisor",', 'container="istio-proxy"')
    },
}

_STRING = r'"(?:\\.|[^"\\])*"'
_BRACES = r"\{[^}]*\}"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """An alert with one change; `change` is "before -> after" and where."""

    alert: str
    critical: bool
    kind: str
    change: str
    rule: dict[str, Any]


def mutants_of(rule: dict[str, Any]) -> Iterator[Mutant]:
    """Every change of an alert, one at a time."""
    for kind, change, changed in (*_of_expression(rule), *_of_rule(rule)):
        yield Mutant(
            alert=rule["alert"],
            critical=rule["labels"]["severity"] == "critical",
            kind=kind,
            change=change,
            rule={**rule, **changed},
        )


Change = tuple[str, str, dict[str, Any]]


def _of_rule(rule: dict[str, Any]) -> Iterator[Change]:
    for wait in ("for", "keep_firing_for"):
        for changed in _other_durations(rule[wait]) if wait in rule else ():
            yield "window", f"{wait}: {rule[wait]} -> {changed}", {wait: changed}
    for severity in {"critical", "warning"} - {rule["labels"]["severity"]}:
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
    for found in re.finditer(r"(?<=burnrate)(?:5m|30m|1h|6h)\b", bare):
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
    document = read_test(file_of(rule["alert"]))
    files = needed_by(rule, document["rule_files"])
    alone = {"groups": [{"name": "alert", "rules": [rule]}]}
    return run_tests(promtool, document, {**files, "alert.yml": alone}, status=None)


def failures_unchanged(promtool: Path, rules: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with the tests of unchanged alerts: they would catch every mutant."""
    for rule in rules:
        try:
            done = tried(promtool, rule)
        except ValueError as error:
            yield f"{rule['alert']}: {error}"
            continue
        if done.returncode != 0:
            yield f"{rule['alert']}: its test fails as it is\n{done.stdout}{done.stderr}"


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
        print(f"ONLY: {quoted(options.only)} is no alert", file=sys.stderr)
        return 2
    try:
        promtool = find("promtool")
    except NotFoundError as error:
        print(error, file=sys.stderr)
        return 2

    if failures := [*failures_unchanged(promtool, chosen)]:
        print(*failures, sep="\n", file=sys.stderr)
        return 2
    mutants = [mutant for rule in chosen for mutant in mutants_of(rule)]
    survived = survivors(promtool, mutants)
    unexplained = [m for m in survived if (m.alert, m.change) not in EQUIVALENT]
    _print_table(mutants, survived)
    for mutant in survived:
        why = EQUIVALENT.get((mutant.alert, mutant.change), "its test has a hole")
        print(f"survived: {mutant.alert}, {mutant.kind} {mutant.change}: {why}")
    print(f"{len(mutants)} mutants, {len(survived)} survived, {len(unexplained)} without a reason")
    status = 1 if unexplained or any(mutant.critical for mutant in survived) else 0
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
    print(f"{'alert (* critical): caught of made':<34}" + "".join(f"{kind:>12}" for kind in KINDS))
    for alert, critical in dict.fromkeys((mutant.alert, mutant.critical) for mutant in mutants):
        cells = [(of_all[alert, kind], lived[alert, kind]) for kind in KINDS]
        row = "".join(f"{f'{made - left} of {made}' if made else '-':>12}" for made, left in cells)
        print(f"{alert + ' *' * critical:<34}{row}")


if __name__ == "__main__":
    sys.exit(main())
