"""Run `make check`: format, lint, types. Exit codes: 0 clean, 1 findings, 2 could not run."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from tools.reports import add_out, write_report

LINTERS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make check", description=__doc__)
    add_out(parser, "check.json")
    options = parser.parse_args(arguments)
    codes = {
        name: subprocess.run([sys.executable, "-m", *command], check=False).returncode
        for name, command in LINTERS.items()
    }
    status = max(min(code, 2) for code in codes.values())
    findings = [f"{name}: see above; exit code {code}" for name, code in codes.items() if code]
    for finding in findings:
        print(finding, file=sys.stderr)
    if options.out:
        report = {"target": "check", "status": status, "findings": findings}
        status = write_report(options.out / "check.json", report)
    return status


if __name__ == "__main__":
    sys.exit(main())
