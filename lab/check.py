"""`make demo-check`: a bounded run of the lab, and three sets of books compared.

Exit codes: 0 all equal, 1 a difference, 2 could not run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import breaks
from lab.comparison import (
    Books,
    Row,
    compare,
    crawler_books,
    exact_counts,
    mesh_books,
    vendor_books,
)
from lab.envoy import STAND_INS
from lab.loopback import get_json
from lab.plan import MIXES, parse_count
from lab.ports import DEFAULT_BASE, Ports
from lab.processes import LabError, StopRequested, stop_on_signals
from lab.prometheus import RATE_WINDOW_SECONDS, WINDOW_STAND_IN
from lab.steady import RateComparison, RateMeter
from lab.system import FOLDER, Lab, running
from settings.loading import SettingsError
from tools.reports import add_out, write_report

Json = dict[str, Any]

# Rates are compared in steady traffic: a run of this many counts is paced to last a minute.
LEAST_COUNTS_FOR_RATES = 50_000
PACED_SECONDS = 62
MOST_PER_SECOND = 1_600  # of a long run: what two cores make and serve without falling behind
RATE_TOLERANCE = 0.01
STEADY_FROM, STEADY_UNTIL = 0.1, 0.95  # shares of the counts: not the start, not the stragglers
STEADY_VARIATION = 0.3  # of the generator's own rate; a busy machine moves it by 0.2
PROGRESS_SECONDS = 5.0
STALLED_SECONDS = 30.0
WIRE_TOLERANCE = 0.001  # bytes under way when a connection was reset are seen by one side alone


@dataclass(frozen=True, kw_only=True)
class Wire:
    """Bytes between Envoy and a vendor, in one direction."""

    vendor: str
    direction: str
    mesh: int
    vendor_books: int

    @property
    def error(self) -> float:
        return abs(self.mesh / self.vendor_books - 1) if self.vendor_books else float(self.mesh)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run showed. Bytes are of opaque connections, generator's minus the other's."""

    rows: list[Row]
    protocols: Mapping[str, int]
    byte_differences: list[str]
    wire: list[Wire]
    outside: Json
    rates: list[RateComparison]
    variation: float
    seconds: float

    @property
    def rates_are_judged(self) -> bool:
        """Whether the traffic was steady: else the two clocks alone make a difference."""
        return self.variation <= STEADY_VARIATION

    @property
    def findings(self) -> list[str]:
        lines = []
        for row in self.rows:
            name = f"{row.vendor} {row.visibility} {row.outcome}"
            if row.difference:
                lines.append(
                    f"{name}: mesh {row.mesh} - generator {row.generator} = "
                    f"{row.difference:+d} ({row.cause})"
                )
            if row.vendor_difference:
                lines.append(
                    f"{name}: vendor's own books {row.vendor_books} - generator "
                    f"{row.generator} = {row.vendor_difference:+d}"
                )
        lines += self.byte_differences
        lines += [
            f"{wire.vendor} wire bytes {wire.direction}: mesh {wire.mesh}, vendor's own books "
            f"{wire.vendor_books}: {wire.error:.2%} apart"
            for wire in self.wire
            if wire.error > WIRE_TOLERANCE
        ]
        if self.outside["difference"]:
            lines.append(
                f"unknown: mesh {self.outside['mesh']} - generator {self.outside['generator']} = "
                f"{self.outside['difference']:+d} connections outside every range"
            )
        lines += [
            f"{rate.vendor}: the board shows {rate.board:.1f}/s, the generator made "
            f"{rate.generator:.1f}/s: {rate.error:+.2%}"
            for rate in self.rates
            if self.rates_are_judged and abs(rate.error) > RATE_TOLERANCE
        ]
        return lines


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    report: Json = {"target": "demo-check", "break": options.break_ or None}
    try:
        with stop_on_signals():
            result = _run(options)
    except StopRequested as stop:
        return _could_not_run(options.out, report, f"stopped by {stop}")
    except SettingsError as error:
        return _could_not_run(options.out, report, *error.findings)
    except (LabError, ValueError, OSError) as error:
        return _could_not_run(options.out, report, str(error))

    _print(result)
    exact, total = exact_counts(result.rows)
    for finding in result.findings:
        print(finding, file=sys.stderr, flush=True)
    print(f"attribution: {exact} of {total} exact", flush=True)
    status = 1 if result.findings else 0
    return _ended(
        options.out,
        report
        | {
            "status": status,
            "counts": total,
            "exact": exact,
            "rows": [row.as_json() for row in result.rows],
            "protocols": dict(result.protocols),
            "wire": [vars(wire) for wire in result.wire],
            "outside": result.outside,
            "rates_are_judged": result.rates_are_judged,
            "rates": [rate.as_json() for rate in result.rates],
            "stand_ins": [*STAND_INS, WINDOW_STAND_IN],
            "seconds": round(result.seconds, 1),
            "findings": result.findings,
        },
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo-check", description=__doc__)
    parser.add_argument("--count", default="100000", help="counts to make (N)")
    parser.add_argument("--break", dest="break_", default="", help="range, outcome or drop")
    parser.add_argument("--mix", default="crawl", help="what crawlers speak: crawl or even")
    add_out(parser, "demo-check.json")
    parser.add_argument("--port-base", default=str(DEFAULT_BASE))
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> Result:
    count = parse_count(options.count, customary=100_000)
    if options.mix not in MIXES:
        raise ValueError(f"MIX: {options.mix!r} is unknown; use {' or '.join(MIXES)}")
    broken = breaks.named(options.break_)
    started = time.monotonic()
    with running(
        ports=Ports.from_text(options.port_base),
        folder=FOLDER / f"check-{options.port_base}",
        say=lambda line: print(line, flush=True),
        behind_the_generator=broken.change,
    ) as lab:
        for stand_in in (*STAND_INS, WINDOW_STAND_IN):
            print(f"stand-in    {stand_in}")
        if broken.says:
            print(f"broken      {broken.says}")
        # A broken lab must fail for its break: its rates are off by design.
        measure = count >= LEAST_COUNTS_FOR_RATES and not options.break_
        lab.start_crawler(
            count=count,
            requests_per_second=min(count // PACED_SECONDS, MOST_PER_SECOND) if measure else None,
            seed=options.seed,
            mix=options.mix,
            round_envoy_share=broken.round_envoy_share,
        )
        meter = _watch(lab, count, measure_rates=measure)
        lab.settle()
        generator = crawler_books(json.loads(lab.crawler_books.read_text(encoding="utf-8")))
        made = sum(generator.counts.values())
        if made != count:
            raise LabError(f"the crawler ended after {made} of {count} counts: nothing is proven")
        vendors = vendor_books(get_json(f"{lab.vendor_url}/books"))
        mesh = _mesh(lab)
    return Result(
        rows=compare(generator, vendors, mesh),
        protocols=generator.protocols,
        byte_differences=_byte_differences(generator, vendors, mesh),
        wire=[
            Wire(
                vendor=vendor,
                direction=direction,
                mesh=mesh.wire_bytes.get((vendor, direction), 0),
                vendor_books=own,
            )
            # Of what went round Envoy the mesh has no bytes either: the counts tell that.
            for (vendor, direction), own in sorted(vendors.wire_bytes.items())
        ],
        outside={
            "generator": generator.outside_connections,
            "vendor_books": vendors.outside_connections,
            "mesh": mesh.outside_connections,
            "difference": mesh.outside_connections - generator.outside_connections,
        },
        rates=meter.comparisons(),
        variation=meter.variation,
        seconds=time.monotonic() - started,
    )


def _watch(lab: Lab, count: int, *, measure_rates: bool) -> RateMeter:
    """Wait for the crawler's end; show progress; measure rates in the steady part of the run."""
    meter = RateMeter(lab, RATE_WINDOW_SECONDS)
    sampled = shown = 0.0
    done, moved = 0, time.monotonic()
    for _ in lab.family.wait_for_end("crawler"):
        now = time.monotonic()
        if now - sampled < 1:
            continue
        try:
            books = crawler_books(get_json(f"{lab.crawler_url}/books"))
        except LabError:  # it has just ended, or not begun; the loop will notice
            if now - moved > STALLED_SECONDS:
                raise
            continue
        if sum(books.counts.values()) > done:
            moved = now
        elif now - moved > STALLED_SECONDS:
            raise LabError(f"no count was made for {STALLED_SECONDS:.0f} s; see {lab.folder}")
        sampled, done = now, sum(books.counts.values())
        if now - shown >= PROGRESS_SECONDS:
            shown = now
            print(f"generator   {done:>9,} of {count:,}", flush=True)
        if measure_rates and STEADY_FROM * count < done < STEADY_UNTIL * count:
            meter.sample(books)
    return meter


def _mesh(lab: Lab) -> Books:
    by_vendor = "sum by (proxy_vendor)"
    return mesh_books(
        requests=lab.query(
            "sum by (proxy_vendor, proxy_visibility, proxy_outcome) (istio_requests_total)"
        ),
        connections=lab.query(f"{by_vendor} (istio_tcp_connections_opened_total)"),
        sent=lab.query(f"{by_vendor} (istio_tcp_sent_bytes_total)"),
        received=lab.query(f"{by_vendor} (istio_tcp_received_bytes_total)"),
        passthrough=lab.query('envoy_cluster_upstream_cx_total{cluster_name="PassthroughCluster"}'),
        wire_sent=lab.query(f"{by_vendor} (envoy_cluster_upstream_cx_tx_bytes_total)"),
        wire_received=lab.query(f"{by_vendor} (envoy_cluster_upstream_cx_rx_bytes_total)"),
    )


def _byte_differences(generator: Books, vendors: Books, mesh: Books) -> list[str]:
    lines = []
    for (vendor, direction), own in sorted(generator.opaque_bytes.items()):
        for witness, books in (("mesh", mesh), ("vendor's own books", vendors)):
            other = books.opaque_bytes.get((vendor, direction), 0)
            if other != own:
                lines.append(
                    f"{vendor} opaque bytes {direction}: {witness} {other} - generator {own} = "
                    f"{other - own:+d}"
                )
    return lines


def _print(result: Result) -> None:
    print(
        f"\n{'vendor':<10}{'visibility':<12}{'outcome':<18}"
        f"{'generator':>10}{'vendors':>10}{'mesh':>10}{'diff':>7}"
    )
    for row in result.rows:
        witness = "-" if row.vendor_books is None else str(row.vendor_books)
        print(
            f"{row.vendor:<10}{row.visibility:<12}{row.outcome:<18}"
            f"{row.generator:>10}{witness:>10}{row.mesh:>10}{row.difference:>7}"
            + (f"  {row.cause}" if row.cause else "")
        )
    print("  vendors '-': the vendor cannot know of what never reached it")
    for what, sums in (
        ("vendors", _sums(result.rows, lambda row: row.vendor)),
        ("visible", _sums(result.rows, lambda row: row.visibility)),
        ("protocols", result.protocols),
    ):
        total = sum(sums.values()) or 1
        shares = "  ".join(f"{name} {count / total:.1%}" for name, count in sorted(sums.items()))
        print(f"{what:<12}{shares}")
    outcomes = _sums(result.rows, lambda row: row.outcome)
    print("outcomes    " + "  ".join(f"{n} {c:,}" for n, c in sorted(outcomes.items())))
    apart = max((wire.error for wire in result.wire), default=0.0)
    print(f"wire bytes  at most {apart:.4%} from the vendors' own socket counts")
    outside = result.outside
    print(
        f"outside     {outside['generator']} more connections outside every range, "
        f"{outside['mesh']} seen as unknown, none in a vendor"
        if not outside["difference"]
        else f"outside     {outside['generator']} connections, {outside['mesh']} seen as unknown"
    )
    for rate in result.rates:
        print(
            f"rate        {rate.vendor:<10}board {rate.board:8.1f}/s"
            f"  generator {rate.generator:8.1f}/s  {rate.error:+.2%}"
        )
    if not result.rates_are_judged:
        print(f"rate        not judged: the traffic was not steady ({result.variation:.0%})")
    print(f"time        {result.seconds:.1f} s from start to comparison")


def _sums(rows: list[Row], name: Callable[[Row], str]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for row in rows:
        sums[name(row)] += row.generator
    return sums


def _could_not_run(out: Path | None, report: Json, *findings: str) -> int:
    for finding in findings:
        print(finding, file=sys.stderr)
    return _ended(out, report | {"status": 2, "findings": list(findings)})


def _ended(out: Path | None, report: Json) -> int:
    """Write the JSON and return the exit code."""
    return int(report["status"]) if out is None else write_report(out / "demo-check.json", report)


if __name__ == "__main__":
    sys.exit(main())
