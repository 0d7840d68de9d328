"""`make bench`: what attribution costs, as ratios measured in one run.

Machines are noisy and differ; a ratio of two figures taken in turn on one machine holds.
Exit codes: 0 measured, 1 a goal was missed, 2 could not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Measure
from benchmarks.sidecar_cpu import http_chain_against_bare_manager
from lab.processes import LabError, StopRequested, stop_on_signals
from tools.reports import write_report

BENCHMARKS: Mapping[str, Callable[[], Measure]] = {
    "http-chain": http_chain_against_bare_manager,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--out", type=Path, help="folder for bench.json")
    options = parser.parse_args(arguments)
    if options.only and options.only not in BENCHMARKS:
        print(f"ONLY: {options.only!r} is unknown; use {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2

    measures = []
    try:
        with stop_on_signals():
            for name in [options.only] if options.only else list(BENCHMARKS):
                print(f"measuring {name}", file=sys.stderr, flush=True)
                measures.append(BENCHMARKS[name]())
    except (LabError, StopRequested) as error:
        print(error, file=sys.stderr)
        return 2

    print(f"{'measure':<52}{'ratio':>8}{'goal':>8}{'met':>6}")
    for measure in measures:
        goal = "-" if measure.goal is None else f"{measure.goal:.2f}"
        met = {None: "-", True: "yes", False: "no"}[measure.met]
        print(f"{measure.name:<52}{measure.ratio:>8.2f}{goal:>8}{met:>6}  {measure.note}")
    status = 1 if any(measure.met is False for measure in measures) else 0
    if options.out:
        report = {"target": "bench", "status": status, "rows": [m.as_json() for m in measures]}
        write_report(options.out / "bench.json", report)
    return status


if __name__ == "__main__":
    sys.exit(main())
