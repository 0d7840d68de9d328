"""`make bench`: what attribution and the generator cost, measured in one run.

Machines are noisy and differ: a ratio of two figures taken in turn on one machine holds, a time
by itself does not. Exit codes: 0 measured, 1 a goal was missed, 2 could not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from benchmarks import (
    churn,
    generator_cpu,
    generator_memory,
    generator_pace,
    idle_sockets,
    prometheus_scale,
    ranges,
    sidecar_cpu,
    squid,
    tunnels,
)
from benchmarks.measure import Measure, table
from lab.processes import LabError, StopRequested, stop_on_signals
from tools.reports import add_out, write_report

BENCHMARKS: Mapping[str, Callable[[], list[Measure]]] = {
    "http-chain": sidecar_cpu.http_chain,
    "squid": squid.against_squid,
    "ranges": ranges.many_ranges,
    "render": ranges.render,
    "tunnel-throughput": tunnels.throughput,
    "tunnel-memory": tunnels.memory,
    "idle-sockets": idle_sockets.left_behind,
    "generator-cpu": generator_cpu.against_aiohttp,
    "generator-pace": generator_pace.start_lag,
    "generator-memory": generator_memory.over_time,
    "generator-tunnels": generator_memory.open_tunnels,
    "churn": churn.recorded_per_truth,
    "prometheus-scale": prometheus_scale.of_ours,
    "prometheus-istio": prometheus_scale.of_istio,
}
BY_NAME_ALONE = ("churn", "prometheus-scale", "prometheus-istio")
"""Rules see five minutes: each of these takes longer than all others together."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", help=f"one of {', '.join(BENCHMARKS)}")
    add_out(parser, "bench.json")
    options = parser.parse_args(arguments)
    if options.only and options.only not in BENCHMARKS:
        print(f"ONLY: {options.only!r} is unknown; use {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2

    usual = [name for name in BENCHMARKS if name not in BY_NAME_ALONE]
    measures: list[Measure] = []
    try:
        with stop_on_signals():
            for name in [options.only] if options.only else usual:
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
