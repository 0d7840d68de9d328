"""`make demo-check`: a bounded run of the lab; generator, vendors and mesh must agree at its end.

Exit codes: 0 all equal, 1 a difference, 2 could not run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from books.comparison import Comparison, compare
from books.counters import WIRE_BYTES
from books.final import final_books
from books.pools import PoolRow, destination_findings, pool_findings, pool_rows, pool_table
from books.reading import JOBS
from books.report import Report, table
from lab.bounded_run import (
    Run,
    add_options,
    attempt,
    bounded_stand_ins,
    checked,
    lab_for,
    wait_for_scrapes,
    watch,
)
from lab.loopback import get_json
from lab.module_bytes import ModuleBytes, module_bytes
from lab.processes import LabError
from lab.rates import RateMeter
from lab.system import Lab
from tools.reports import finish

Json = dict[str, Any]

CUSTOMARY = 100_000
# Rates are compared in steady traffic: a run of so many counts is paced to last a minute.
LEAST_COUNTS_FOR_RATES = 50_000
PACED_SECONDS = 62
MOST_PER_SECOND = 1_600  # what two cores make and serve in a long run without falling behind
STEADY_FROM, STEADY_UNTIL = 0.1, 0.95  # shares of the counts: without the start and the stragglers
LINGER_SECONDS = 3600


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo-check", description=__doc__)
    add_options(parser, count=CUSTOMARY, mix="crawl", report="demo-check.json")
    options = parser.parse_args(arguments)
    asked = {"break": options.break_ or None, "inspect": options.inspect or None}
    report = attempt(
        "demo-check",
        options.out,
        lambda: _run(checked(options, customary=CUSTOMARY)),
        **asked,
    )
    compared = report.comparison
    print(f"attribution: {compared.exact} of {compared.counts} exact", flush=True)
    return finish("demo-check", options.out, {**report.as_json(), **asked})


def _run(run: Run) -> Report:
    started = time.monotonic()
    # A broken lab must fail for what is broken: its rates are wrong on purpose.
    is_paced = run.count >= LEAST_COUNTS_FOR_RATES and not run.broken.description
    per_second = min(run.count // PACED_SECONDS, MOST_PER_SECOND)
    with lab_for(run, "check") as lab:
        lab.start_crawler(
            count=run.count,
            requests_per_second=per_second if is_paced else None,
            seed=run.seed,
            mix=run.mix,
            round_envoy_share=run.broken.round_envoy_share,
            # Until the end of the lab, so that Prometheus scrapes the final counts.
            change=lambda plan: plan | {"linger_seconds": LINGER_SECONDS},
        )
        meter = RateMeter(lab) if is_paced else None
        books = _wait_for_end(lab, run.count, meter)
        made = books["attempts"] - books["outside"]["connections"]
        if made != run.count:
            raise LabError(f"the crawler ended after {made} of {run.count} counts: nothing is sure")
        lab.settle()
        wait_for_scrapes(lab, time.time(), JOBS)
        comparison = compare(final_books(lab.query, time.time()), lag_seconds=0.0)
        pools, elsewhere = pool_rows(lab.query), destination_findings(lab.query)
        seen = module_bytes(lab)
    protocols = _sums((entry["protocol"], entry["count"]) for entry in books["protocols"])
    _print(comparison, pools, protocols, seen, meter)
    differing = _sums((row.key.vendor, row.unexplained) for row in comparison.vendor_rows)
    seconds = time.monotonic() - started
    print(f"time        {seconds:.1f} s from start to comparison")
    return Report(
        comparison=comparison,
        seconds=seconds,
        more={
            "exact": comparison.exact,
            "pools": [row.as_json() for row in pools],
            "protocols": dict(protocols),
            "rates_are_judged": bool(meter and meter.is_steady),
            "rates": meter.rates() if meter else [],
            "module_bytes": [one.as_json() for one in seen],
            "stand_ins": bounded_stand_ins(),
        },
        more_findings=[
            *pool_findings(pools, differing),
            *elsewhere,
            *(meter.findings if meter else ()),
            *(one.finding for one in seen if one.finding),
        ],
    )


def _wait_for_end(lab: Lab, count: int, meter: RateMeter | None) -> Json:
    """Return the crawler's books at its end; measure rates in the steady part of the run."""
    books: Json = {"ended_seconds": None}

    def made() -> int:
        books.update(get_json(f"{lab.crawler_url}/books"))
        return int(books["requests"])

    sampled = 0.0
    for done in watch(lab, count, made):
        if books["ended_seconds"] is not None:
            break
        now = time.monotonic()
        if meter and STEADY_FROM * count < done < STEADY_UNTIL * count and now - sampled >= 1:
            sampled = now
            meter.sample()
    return books


def _print(
    compared: Comparison,
    pools: Sequence[PoolRow],
    protocols: Counter[str],
    seen: Sequence[ModuleBytes],
    meter: RateMeter | None,
) -> None:
    print("\n" + "\n".join((*table(compared), "", *pool_table(pools))) + "\n")
    rows = [(row.key, row.generator or 0) for row in compared.vendor_rows]
    for what, sums in (
        ("vendors", _sums((key.vendor, count) for key, count in rows)),
        ("visible", _sums((key.visibility, count) for key, count in rows)),
        ("outcomes", _sums((key.outcome, count) for key, count in rows)),
        ("protocols", protocols),
    ):
        whole = sums.total() or 1
        shares = "  ".join(f"{name} {count / whole:.1%}" for name, count in sorted(sums.items()))
        print(f"{what:<12}{shares}")
    wire = [row for row in compared.byte_rows if row.key.measure == WIRE_BYTES and row.largest]
    most = max((abs(row.difference) / row.largest for row in wire), default=0.0)
    print(f"wire bytes  at most {most:.4%} from the vendors' own socket counts")
    if seen:
        apart = max(one.apart for one in seen)
        print(f"wire bytes  the passive module's at most {apart:.4%} from the clusters'")
    _print_rates(meter)


def _print_rates(meter: RateMeter | None) -> None:
    if meter is None:
        print(
            "rate        not compared: too short for rates; "
            f"N={LEAST_COUNTS_FOR_RATES} or more, without BREAK, compares them"
        )
        return
    for rate in meter.rates():
        error = "" if rate["error"] is None else f"{rate['error']:+.2%}"
        print(
            f"rate        {rate['vendor']:<10}board {rate['board_per_second']:8.1f}/s"
            f"  generator {rate['generator_per_second']:8.1f}/s  {error}"
        )
    if not meter.is_steady:
        print(f"rate        not judged: the traffic was not steady ({meter.variation:.0%})")


def _sums(counts: Iterable[tuple[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, count in counts:
        found[name] += count
    return found


if __name__ == "__main__":
    sys.exit(main())
