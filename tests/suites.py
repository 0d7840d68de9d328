"""Run `make test`: one suite after another, then one line of sums.

Most tests wait rather than compute, so a suite of many files runs on more workers than there are
cores. A file stays whole on one worker.

Exit codes: 0 all passed, 1 a test failed, 2 could not run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from settings.masking import quoted
from tests import binaries
from tests.binaries.debian import this_machine
from tests.mesh import networks, versions
from tools.find import NotFoundError
from tools.reports import add_out, write_report
from wasm import build

TESTS = Path(__file__).parent
FOLDERS = ("lua", "wasm", "program", "rules", "lab", "mesh", "api", "engine")
"""Folders that are a suite of their own; every other folder of tests is in `unit`."""

ON_DEMAND = ("mesh", "api", "engine")
"""Suites that take minutes, or builds that do: with FULL=1 or CI=true, or when SUITE names them."""

KUBECTL = {"kubectl": "kubernetes-client"}
"""Program -> the Debian package that has it."""

WORKERS = {"unit": 3, "program": 2, "lab": 3, "mesh": 2}
"""Worker processes of a suite: with more, measured seconds would be less exact."""

STOP_SECONDS = 20.0
"""How long pytest may take to end what its tests started, after Ctrl-C."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The sums of one suite; a suite that collected no test has failed."""

    passed: int
    failed: int
    skipped: int
    seconds: float


def suites() -> dict[str, list[Path]]:
    """Return each suite's folders, in the order they run."""
    others = [f for f in sorted(TESTS.iterdir()) if f.is_dir() and list(f.glob("test_*.py"))]
    unit = [folder for folder in others if folder.name not in FOLDERS]
    return {"unit": unit} | {name: [TESTS / name] for name in FOLDERS}


def default_suites(environment: Mapping[str, str]) -> list[str]:
    """Return the suites that run when SUITE names none."""
    full = environment.get("FULL") == "1" or environment.get("CI") == "true"
    return [name for name in suites() if full or name not in ON_DEMAND]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make test", description=__doc__)
    parser.add_argument("--suite", help=f"one of {', '.join(suites())}")
    add_out(parser, "test.json")
    options = parser.parse_args(arguments)
    if options.suite and options.suite not in suites():
        print(
            f"SUITE: {quoted(options.suite)} is unknown; use {', '.join(suites())}", file=sys.stderr
        )
        return 2
    if options.suite != "engine":
        # Its tests install into that cluster: only who names the suite means it.
        os.environ.pop("KUBECONFIG", None)
    chosen = [options.suite] if options.suite else default_suites(os.environ)
    not_run = [name for name in suites() if name not in chosen]
    for name in [name for name in chosen if name in PREPARE]:
        try:
            reason = PREPARE[name]()
        except NotFoundError as error:
            print(error, file=sys.stderr)
            return 2
        if reason and options.suite:
            print(f"{name}: cannot run: {reason}", file=sys.stderr)
            return 2
        if reason:
            chosen.remove(name)
            not_run.append(f"{name} ({reason})")

    outcomes: dict[str, Outcome] = {}
    for name in chosen:
        print(f"== {name}", flush=True)
        try:
            outcomes[name] = run(suites()[name], WORKERS.get(name, 1))
        except KeyboardInterrupt:
            print(f"stopped in {name}: no result", file=sys.stderr)
            return 2
    print("\n" + "\n".join(f"{n:<9}{o.seconds:6.1f} s" for n, o in outcomes.items()))
    if not_run:
        print(f"not run: {', '.join(not_run)}")
    return _report(outcomes, not_run, options.out)


def prepare_mesh() -> str | None:
    """Install or build what the mesh tests need; return why this machine cannot run them.

    Raises:
        NotFoundError: a program cannot be built here.
    """
    this_machine().install(networks.PACKAGES, "mesh", "its tests do not run")
    this_machine().install(KUBECTL, "mesh", "the tests of make verify are skipped")
    reason = networks.why_not()
    if reason is None:
        versions.obtain()
    return reason


def prepare_api() -> str | None:
    """Install or build what the API server's tests need.

    Raises:
        NotFoundError: a program cannot be built here.
    """
    packages = {**networks.PACKAGES, **KUBECTL, "jq": "jq"}
    this_machine().install(packages, "api", "its tests do not run")
    reason = networks.why_not()
    if reason is None:
        for name in ("etcd", "kube-apiserver", "operatorlab", "helm", "fluxlab"):
            binaries.find(name)
        versions.PAIRS[0].program("meshlab")
    return reason


def prepare_wasm() -> str | None:
    """Install Debian's compiler; return why this machine cannot build the module."""
    this_machine().install(build.PACKAGES, "wasm", "its tests do not run")
    return build.why_not()


def prepare_lab() -> None:
    """Install Debian's rclone, which copies backups."""
    this_machine().install({"rclone": "rclone"}, "lab", "the restore drill is skipped")


def prepare_engine() -> str | None:
    """Build an API server and Helm; return which of Pulumi's and Kubernetes' commands is not there.

    Raises:
        NotFoundError: one of them cannot be built here.
    """
    for program in ("pulumi", "kubectl"):
        if shutil.which(program) is None:
            return f"no {program} on PATH"
    for name in ("etcd", "kube-apiserver", "helm"):
        binaries.find(name)
    return None


PREPARE = {
    "lab": prepare_lab,
    "mesh": prepare_mesh,
    "api": prepare_api,
    "engine": prepare_engine,
    "wasm": prepare_wasm,
}
"""What a suite needs before it runs; each returns why it cannot."""


def _report(outcomes: Mapping[str, Outcome], not_run: Sequence[str], out: Path | None) -> int:
    """Print the sums, write test.json if there is a folder for it, and return the exit code."""
    passed, failed, skipped = (
        sum(getattr(outcome, count) for outcome in outcomes.values())
        for count in ("passed", "failed", "skipped")
    )
    status = 1 if failed else 0
    if out:
        report = {
            "target": "test",
            "status": status,
            "suites": {name: vars(outcome) for name, outcome in outcomes.items()},
            "not_run": not_run,
        }
        status = write_report(out / "test.json", report)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return status


def run(folders: Sequence[Path], workers: int = 1) -> Outcome:
    """Run the tests of these folders with pytest, whose output is left as it is.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; pytest and its workers have ended.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", "--durations=3"]
        if workers > 1:
            # Files start in the order of collection, `long` ones first. A worker that dies is not
            # replaced: the next one would run the same test and die too.
            command += ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"]
            command += ["--max-worker-restart", "0"]
        code = _code_of([*command, *map(str, folders)])
        tree = ElementTree.parse(report).getroot() if report.exists() else None
    cases = [] if tree is None else list(tree.iter("testcase"))
    failed = sum(1 for c in cases if c.find("failure") is not None or c.find("error") is not None)
    skipped = sum(1 for c in cases if c.find("skipped") is not None)
    if code != 0 and not failed:
        failed = 1  # pytest itself broke, or found no test
    # In CI every program can be installed, so a skipped test is a failure.
    if os.environ.get("CI") == "true":
        failed, skipped = failed + skipped, 0
    return Outcome(
        passed=len(cases) - failed - skipped if cases else 0,
        failed=failed,
        skipped=skipped,
        seconds=time.monotonic() - started,
    )


def _code_of(command: Sequence[str]) -> int:
    """Return a command's exit code. Ctrl-C reaches the command too: wait until it has ended."""
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
