"""What `make demo-check` and `make audit` share: a lab that makes N counts, and ends."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from books.prometheus import PrometheusError
from books.reading import NothingToCompareError
from lab.broken_configuration import BrokenConfiguration, broken_configuration
from lab.inspection import check_inspection
from lab.istio_stats import lab_stand_ins
from lab.plan import MIXES, parse_count
from lab.ports import DEFAULT_BASE, Ports
from lab.processes import ENDED_EARLY, LabError, reasons_of, stop_on_signals
from lab.prometheus import WINDOW_STAND_IN
from lab.system import FOLDER, Lab, running
from settings.masking import quoted
from tools.reports import add_out, could_not_run

T = TypeVar("T")

PROGRESS_SECONDS = 5.0
STALLED_SECONDS = 60.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run was asked to do: N, MIX, INSPECT, BREAK and PORT_BASE, checked."""

    count: int
    mix: str
    inspect: str
    seed: int
    ports: Ports
    broken: BrokenConfiguration


def add_options(parser: argparse.ArgumentParser, *, count: int, mix: str, report: str) -> None:
    parser.add_argument("--count", default=str(count), help="counts to make (N)")
    parser.add_argument("--break", dest="break_", default="", help="range, outcome or drop")
    parser.add_argument("--mix", default=mix, help="what crawlers speak: crawl or even")
    parser.add_argument("--inspect", default="", help="http, passive or mixed")
    parser.add_argument("--port-base", default=str(DEFAULT_BASE))
    parser.add_argument("--seed", type=int, default=1)
    add_out(parser, report)


def checked(options: argparse.Namespace, *, customary: int) -> Run:
    """Return the run that the options ask for.

    Raises:
        ValueError: one of them is wrong; the text names key, value and remedy.
    """
    count = parse_count(options.count, customary=customary)
    if options.mix not in MIXES:
        raise ValueError(f"MIX: {quoted(options.mix)} is unknown; use {' or '.join(MIXES)}")
    check_inspection(options.inspect)
    return Run(
        count=count,
        mix=options.mix,
        inspect=options.inspect,
        seed=options.seed,
        broken=broken_configuration(options.break_),
        ports=Ports.from_text(options.port_base),
    )


def bounded_stand_ins() -> list[str]:
    return [*lab_stand_ins(), WINDOW_STAND_IN]


@contextlib.contextmanager
def lab_for(run: Run, name: str, scrape_milliseconds: int | None = None) -> Iterator[Lab]:
    """Run the lab for the length of the block, broken as asked."""
    with running(
        ports=run.ports,
        folder=FOLDER / f"{name}-{run.ports.base}",
        say=lambda line: print(line, flush=True),
        behind_the_generator=run.broken.change,
        scrape_milliseconds=scrape_milliseconds,
        inspect=run.inspect,
    ) as lab:
        for stand_in in bounded_stand_ins():
            print(f"stand-in    {stand_in}")
        if run.broken.description:
            print(f"broken      {run.broken.description}")
        yield lab


def attempt(target: str, out: Path | None, run: Callable[[], T], **more: Any) -> T:
    """Return what `run` returns. If it cannot run, say why and end with exit code 2."""
    try:
        with stop_on_signals():
            return run()
    except (*ENDED_EARLY, PrometheusError, NothingToCompareError) as error:
        reasons = reasons_of(error)
    raise SystemExit(could_not_run(target, out, *reasons, **more))


def watch(lab: Lab, count: int, made: Callable[[], int]) -> Iterator[int]:
    """Yield the number of counts made, without end; print it every few seconds.

    Raises:
        LabError: a part died, or no count was made for STALLED_SECONDS.
    """
    done, moved, printed = 0, time.monotonic(), 0.0
    while True:
        lab.family.check()
        # The crawler may not have begun, or be too busy to answer.
        with contextlib.suppress(LabError):
            found = made()
            if found > done:
                done, moved = found, time.monotonic()
        now = time.monotonic()
        if now - moved > STALLED_SECONDS:
            raise LabError(f"no count was made for {STALLED_SECONDS:.0f} s; see {lab.folder}")
        if now - printed > PROGRESS_SECONDS:
            printed = now
            print(f"generator   {done:>9,} of {count:,}", flush=True)
        yield done
        time.sleep(POLL_SECONDS)


def wait_for_scrapes(lab: Lab, since: float, jobs: Sequence[str]) -> None:
    """Return once the one target of each job has been scraped after `since`."""

    def are_scraped() -> bool:
        found = lab.query(f'timestamp(up{{job=~"{"|".join(jobs)}"}} == 1)')
        return sum(float(one["value"][1]) > since for one in found) == len(jobs)

    if not lab.family.wait(are_scraped, STALLED_SECONDS, POLL_SECONDS):
        raise LabError(f"waited {STALLED_SECONDS:.0f} s for scrapes of {jobs} in vain")
