"""`python -m render --stack prod`: write what Kubernetes would receive.

Exit codes: 0 written, 1 the stack's configuration is wrong, 2 could not run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from components.attribution.guard import envoy_here
from components.file_text import yaml_text
from deployment import files_outside
from render.gitops import HelmError, gitops_files
from render.manifests import manifests
from render.program import Run, run_program
from settings.loading import MissingStackFileError, SettingsError
from tools.reports import CANNOT_RUN, FIX, print_result

REPORT = "render.json"
OUTSIDE_FOLDER = "prometheus"
OTHERS_VALUES = {
    "optionalIstioValues": "optional/istiod.yaml",
    "requiredPrometheusValues": "required/kube-prometheus-stack.yaml",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="render", description=__doc__)
    parser.add_argument("--stack", required=True, help="reads Pulumi.<stack>.yaml, or STACK_FILE")
    parser.add_argument("--out", type=Path, help="folder to write to; default rendered/<stack>")
    parser.add_argument(
        "--format",
        choices=["review", "manifests"],
        default="review",
        help="manifests: for Argo CD or Flux to sync (docs/gitops.md)",
    )
    parser.add_argument(
        "--secrets",
        type=_text,
        metavar="FILE",
        help="with format manifests: a file with the cluster's Secrets, which pods then read "
        "(kubectl get secrets -A)",
    )
    options = parser.parse_args(arguments)
    if options.secrets is not None and options.format != "manifests":
        parser.error("SECRETS has no effect on what is for review; set FORMAT=manifests")
    out: Path = options.out or Path("rendered") / options.stack

    try:
        run = run_program(options.stack)
        if options.format == "manifests":
            files = gitops_files(run, shutil.which("helm"), options.secrets)
        else:
            files = manifests(run.resources)
        files |= _beside_manifests(run)
    except HelmError as error:
        print(error, file=sys.stderr)
        return write(out, {}, {"status": 2, "findings": [str(error)]})
    except SettingsError as error:
        for finding in error.findings:
            print(finding, file=sys.stderr)
        missing = isinstance(error, MissingStackFileError)
        report: dict[str, object] = {"status": 2 if missing else 1, "findings": [*error.findings]}
        # A misspelt stack should not leave a folder behind.
        return 2 if missing and not options.out else write(out, {}, report)
    except Exception as error:
        traceback.print_exc()
        finding = f"the program failed: {type(error).__name__}: {error}"
        return write(out, {}, {"status": 2, "findings": [finding]})
    report = {
        "status": 0,
        "stack": options.stack,
        "validatedByEnvoy": envoy_here() is not None,
        "expected": run.outputs.get("expected", {}),
        **{key: run.outputs[key] for key in OTHERS_VALUES if key in run.outputs},
        "files": sorted(files),
    }
    status = write(out, files, report)
    if status == 0:
        status = print_result(f"{len(files)} files in {out}")
    return status


def _text(path: str) -> str:
    """Return what a file of an option holds."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"cannot be read: {error}; name a text file") from None


def _beside_manifests(run: Run) -> dict[str, str]:
    """Return files for other teams: a Prometheus outside the cluster, and values for charts."""
    outside = files_outside(run.settings)
    return {f"{OUTSIDE_FOLDER}/{path}": text for path, text in outside.items()} | {
        path: yaml_text(run.outputs[key], sort_keys=True)
        for key, path in OTHERS_VALUES.items()
        if key in run.outputs
    }


def write(out: Path, files: dict[str, str], report: dict[str, object]) -> int:
    """Write files and the report, and remove what an earlier run wrote and this one does not.

    Returns:
        The report's status, or 2 where the disk refuses.
    """
    stale = earlier_files(out) - files.keys()
    if report["status"] == CANNOT_RUN:
        # Nothing was rendered: what is there stays, and is known to the next run.
        report, stale = {**report, "files": sorted(stale)}, set()
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    try:
        for name in sorted(stale):
            _remove(out, out / name)
        for name, content in {**files, REPORT: text}.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    except OSError as error:
        print(f"OUT: cannot be written: {error}; {FIX}", file=sys.stderr)
        return 2
    return int(str(report["status"]))


def _remove(out: Path, stale: Path) -> None:
    """Remove a file, and the folders below `out` that it leaves empty."""
    stale.unlink(missing_ok=True)
    for folder in stale.parents:
        if folder == out or not folder.is_dir() or any(folder.iterdir()):
            break
        folder.rmdir()


def earlier_files(out: Path) -> set[str]:
    """Return the files of the report in the folder, but only paths that a run can have written."""
    try:
        listed = json.loads((out / REPORT).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {
        name
        for name in listed
        if isinstance(name, str)
        and name.endswith((".yaml", ".yml"))
        and len(PurePosixPath(name).parts) in (2, 3)
        and ".." not in PurePosixPath(name).parts
        and not PurePosixPath(name).is_absolute()
    }


if __name__ == "__main__":
    sys.exit(main())
