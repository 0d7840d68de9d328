"""Run `make bench`: what attribution and monitoring cost.

Machines differ and are noisy. Compare figures of one run, and prefer the rows that are ratios.
Exit codes: 0 measured, 1 a goal was missed, 2 could not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from benchmarks import (
    boards,
    churn,
    hostile,
    inspection,
    ledger,
    memory,
    money,
    names,
    open_sockets,
    program,
    prometheus_scale,
    ranges,
    sidecar_cpu,
    soak,
)
from benchmarks.measure import Measure, table
from lab.processes import LabError, StopRequested, stop_on_signals
from settings.masking import quoted
from tools.reports import add_out, write_report

BENCHMARKS: Mapping[str, Callable[[], list[Measure]]] = {
    "http-chain": sidecar_cpu.http_chain,
    "kill-switch": sidecar_cpu.kill_switch,
    "products": sidecar_cpu.products,
    "bytes": sidecar_cpu.counters_of_bytes,
    "requests": inspection.requests,
    "tunnels": inspection.through_tunnels,
    "names": names.against_addresses,
    "hostile": hostile.worst_megabyte,
    "vendor-memory": memory.by_vendors,
    "connection-memory": memory.after_many_connections,
    "ranges": ranges.many_ranges,
    "tunnel-memory": open_sockets.tunnel_memory,
    "idle-sockets": open_sockets.idle_sockets,
    "program": program.against_imports,
    "soak": soak.half_an_hour,
    "churn": churn.recorded_against_counted,
    "prometheus-scale": prometheus_scale.by_sidecars,
    "ledger": ledger.months,
    "money": money.against_none,
    "boards": boards.against_raw,
}
ONLY_BY_NAME = ("soak", "churn", "prometheus-scale", "ledger", "money", "boards")
"""Each takes up to half an hour: VMs and pods must come and go, rules look back five minutes, and
400 days, or seven of every scrape, must be written."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", help=f"one of {', '.join(BENCHMARKS)}")
    add_out(parser, "bench.json")
    options = parser.parse_args(arguments)
    if options.only and options.only not in BENCHMARKS:
        print(
            f"ONLY: {quoted(options.only)} is unknown; use {', '.join(BENCHMARKS)}", file=sys.stderr
        )
        return 2

    short = [name for name in BENCHMARKS if name not in ONLY_BY_NAME]
    measures: list[Measure] = []
    try:
        with stop_on_signals():
            for name in [options.only] if options.only else short:
                print(f"measuring {name}", file=sys.stderr, flush=True)
                measures += BENCHMARKS[name]()
    except (LabError, StopRequested) as error:
        print(error, file=sys.stderr)
        return 2

    print(table(measures))
    status = 1 if any(measure.met is False for measure in measures) else 0
    if options.out:
        report = {"target": "bench", "status": status, "rows": [m.as_json() for m in measures]}
        status = write_report(options.out / "bench.json", report)
    return status


if __name__ == "__main__":
    sys.exit(main())
