"""`make test`: the levels of tests, one after another, and one line of sums at the end.

Most tests wait rather than compute, so a level of many files runs on more workers than there
are cores; a file stays whole on one of them.

Exit codes: 0 all passed, 1 a test failed, 2 could not run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.binaries.debian import this_machine
from tests.mesh import networks, versions
from tools.find import NotFoundError
from tools.reports import add_out, write_report

TESTS = Path(__file__).parent
LEVELS = ("lua", "program", "rules", "lab", "mesh")
"""Folders that are a level of their own; every other folder of tests is `unit`."""

ON_DEMAND = ("mesh",)
"""Levels that take minutes: they run with FULL=1 or CI=true, or when they are named."""

WORKERS = {"unit": 3, "program": 2, "lab": 3, "mesh": 2}
"""Processes of a level: more would only make what is measured in seconds less exact."""

STOP_SECONDS = 20.0
"""How long pytest may take to end what its tests started, once Ctrl-C was pressed."""

NOT_WRITTEN = ("api", "engine")
"""Levels that need a control plane; named in every run, since nothing covers them yet."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The sums of one level; a level that collected nothing has failed."""

    passed: int
    failed: int
    skipped: int
    seconds: float


def suites() -> dict[str, list[Path]]:
    """Return each level's folders, in the order they run."""
    others = [f for f in sorted(TESTS.iterdir()) if f.is_dir() and list(f.glob("test_*.py"))]
    unit = [folder for folder in others if folder.name not in LEVELS]
    return {"unit": unit} | {level: [TESTS / level] for level in LEVELS}


def by_default(environment: Mapping[str, str]) -> list[str]:
    """Return the levels that run when none is named."""
    full = environment.get("FULL") == "1" or environment.get("CI") == "true"
    return [name for name in suites() if full or name not in ON_DEMAND]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make test", description=__doc__)
    parser.add_argument("--suite", help=f"one of {', '.join(suites())}")
    add_out(parser, "test.json")
    options = parser.parse_args(arguments)
    if options.suite and options.suite not in suites():
        print(f"SUITE: {options.suite!r} is unknown; use {', '.join(suites())}", file=sys.stderr)
        return 2

    chosen = [options.suite] if options.suite else by_default(os.environ)
    cannot: dict[str, str] = {}
    if "mesh" in chosen:
        this_machine().install(networks.PACKAGES, "mesh", "its tests do not run")
        try:
            if reason := networks.why_not():
                cannot["mesh"] = reason
            else:
                versions.obtain()
        except NotFoundError as error:
            print(error, file=sys.stderr)
            return 2
    if options.suite in cannot:
        print(f"{options.suite}: cannot run: {cannot[options.suite]}", file=sys.stderr)
        return 2
    chosen = [name for name in chosen if name not in cannot]
    outcomes: dict[str, Outcome] = {}
    for name in chosen:
        print(f"== {name}", flush=True)
        try:
            outcomes[name] = run(suites()[name], WORKERS.get(name, 1))
        except KeyboardInterrupt:
            print(f"stopped in {name}: nothing is proven", file=sys.stderr)
            return 2
    left_out = [
        f"{name} ({cannot[name]})" if name in cannot else name
        for name in suites()
        if name not in chosen
    ]
    left_out += [f"{name} (no such tests yet)" for name in NOT_WRITTEN]
    print("\n" + "\n".join(f"{n:<9}{o.seconds:6.1f} s" for n, o in outcomes.items()))
    print(f"not run: {', '.join(left_out)}")

    passed, failed, skipped = (
        sum(getattr(outcome, what) for outcome in outcomes.values())
        for what in ("passed", "failed", "skipped")
    )
    status = 1 if failed else 0
    if options.out:
        report = {
            "target": "test",
            "status": status,
            "suites": {name: vars(outcome) for name, outcome in outcomes.items()},
            "not_run": left_out,
        }
        status = write_report(options.out / "test.json", report)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return status


def run(folders: Sequence[Path], workers: int = 1) -> Outcome:
    """Run the tests of the folders; their output is pytest's own.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; pytest and its workers have ended.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", "--durations=3"]
        if workers > 1:
            # In the order of collection: `long` files first. A new worker for one that died
            # would run the same test again, and die.
            command += ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"]
            command += ["--max-worker-restart", "0"]
        code = _code_of([*command, *map(str, folders)])
        tree = ElementTree.parse(report).getroot() if report.exists() else None
    cases = [] if tree is None else list(tree.iter("testcase"))
    failed = sum(1 for c in cases if c.find("failure") is not None or c.find("error") is not None)
    skipped = sum(1 for c in cases if c.find("skipped") is not None)
    if code != 0 and not failed:
        failed = 1  # pytest itself broke, or found no test
    # A tool that is missing excuses nobody where it can be had.
    if os.environ.get("CI") == "true":
        failed, skipped = failed + skipped, 0
    return Outcome(
        passed=len(cases) - failed - skipped if cases else 0,
        failed=failed,
        skipped=skipped,
        seconds=time.monotonic() - started,
    )


def _code_of(command: Sequence[str]) -> int:
    """Return the exit code; at Ctrl-C, which reaches the command too, wait for its own end."""
    with subprocess.Popen(command, cwd=TESTS.parent) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


if __name__ == "__main__":
    sys.exit(main())
