"""`make audit PROMETHEUS_URL=...`: three sets of books of a running system, compared.

Exit codes: 0 nothing unexplained, 1 a finding, 2 could not run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audit.books import NothingToAuditError, parties, quiet_scrapes, selectors
from audit.ledger import audit
from audit.prometheus import Prometheus, PrometheusError
from audit.report import Report
from settings.values import parse_duration
from tools.reports import add_out, write_report

Json = dict[str, Any]

URL = "PROMETHEUS_URL"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--window", default="1h", help="how far back (WINDOW)")
    parser.add_argument("--lab-only", default="", help="keys given that are the lab's")
    add_out(parser, "audit.json")
    options = parser.parse_args(arguments)
    try:
        if options.lab_only:
            raise ValueError(
                f"{options.lab_only.replace(' ', ', ')}: no effect on a running system; leave it "
                f"out, or {URL} for the lab's own audit"
            )
        report = _run(options.window, os.environ)
    except (PrometheusError, NothingToAuditError, ValueError) as error:
        return could_not_run(options.out, str(error))
    except KeyboardInterrupt:
        return could_not_run(options.out, "stopped")
    return finish(options.out, report, mode="prometheus")


def _run(window: str, environment: Mapping[str, str]) -> Report:
    started = time.monotonic()
    try:
        seconds = parse_duration(window)
    except ValueError as error:
        raise ValueError(f"WINDOW: {window!r} {error}") from None
    prometheus = Prometheus(environment.get(URL, ""), environment)
    until = prometheus.now()
    return audited(prometheus, until - seconds, until, since=started)


def audited(
    prometheus: Prometheus, begin: float, until: float, *, since: float, **known: Any
) -> Report:
    """Read what Prometheus holds of a window, and compare.

    Args:
        prometheus: where the books are.
        begin: the window's start, in Prometheus' time.
        until: its end.
        since: of the monotonic clock, when the run began.
        known: `all_from_zero` of `audit.books.parties`, and further parts of the report.

    Raises:
        PrometheusError: it does not answer.
        NothingToAuditError: it holds no books.
    """
    found = parties(
        (series for selector in selectors() for series in prometheus.raw(selector, begin, until)),
        begun=begin,
        all_from_zero=known.pop("all_from_zero", False),
    )
    result = audit(found)
    everybody = [
        *(one for pair in found.pairs for one in (pair.sidecar, pair.generator)),
        *found.vendors,
    ]
    report = Report(
        audit=result,
        gaps=quiet_scrapes(everybody),
        seconds=time.monotonic() - since,
        **known,
    )
    if not result.counts and not report.findings:
        raise NothingToAuditError("no count was made in this window; choose a longer WINDOW")
    return report


def finish(out: Path | None, report: Report, *, mode: str) -> int:
    """Print, write the JSON and return the exit code."""
    print("\n" + "\n".join(report.lines()), flush=True)
    for finding in report.findings:
        print(finding, file=sys.stderr, flush=True)
    content = {"target": "audit", "mode": mode, **report.as_json()}
    return int(content["status"]) if out is None else write_report(out / "audit.json", content)


def could_not_run(out: Path | None, *findings: str) -> int:
    """Say why, and return the exit code for that."""
    for finding in findings:
        print(finding, file=sys.stderr, flush=True)
    if out is not None:
        write_report(
            out / "audit.json", {"target": "audit", "status": 2, "findings": list(findings)}
        )
    return 2


if __name__ == "__main__":
    sys.exit(main())
