"""`make dashboards`: write a stack's boards as JSON, to be imported into any Grafana.

Exit codes: 0 written, 1 the stack's configuration is wrong, 2 could not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.grafana.own_boards import all_boards
from settings.loading import ROOT, MissingStackFileError, SettingsError, load_stack_file, stack_file
from tools.reports import add_out, could_not_run, finish, print_result

TARGET = "dashboards"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=f"make {TARGET}", description=__doc__)
    parser.add_argument("--stack", required=True, help="reads Pulumi.<stack>.yaml, or STACK_FILE")
    add_out(parser, f"{TARGET}.json")
    options = parser.parse_args(arguments)
    # The boards have a folder of their own, since the JSON report in OUT is no board.
    out: Path = options.out or Path("rendered") / options.stack
    try:
        folders = all_boards(load_stack_file(stack_file(options.stack)), ROOT)
    except MissingStackFileError as error:
        return could_not_run(TARGET, options.out, *error.findings)
    except SettingsError as error:
        return finish(TARGET, options.out, {"status": 1, "findings": [*error.findings]})
    files = {
        f"{TARGET}/{folder}/{file}": text
        for folder, boards in folders.items()
        for file, text in boards.items()
    }
    try:
        for name, text in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        return could_not_run(TARGET, None, f"OUT: cannot be written: {error}")
    report = {"status": 0, "stack": options.stack, "findings": [], "files": sorted(files)}
    status = finish(TARGET, options.out, report)
    return status or print_result(f"{len(files)} boards in {out / TARGET}")


if __name__ == "__main__":
    sys.exit(main())
