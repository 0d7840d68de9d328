"""`make audit PROMETHEUS_URL=...`: compare what a running system counted.

Exit codes: 0 nothing unexplained, 1 a finding, 2 could not run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence

from books.prometheus import Prometheus, PrometheusError
from books.reading import NothingToCompareError
from books.report import Report, audit_report
from settings.masking import quoted
from settings.values.quantities import parse_duration
from tools.reports import add_out, could_not_run, finish

URL = "PROMETHEUS_URL"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--window", default="1h", help="how far back (WINDOW)")
    parser.add_argument("--lab-only", default="", help="keys that only the lab has")
    add_out(parser, "audit.json")
    options = parser.parse_args(arguments)
    try:
        if options.lab_only:
            raise ValueError(
                f"{options.lab_only.replace(' ', ', ')}: no effect on a running system; leave it "
                f"out, or leave out {URL} to audit the lab"
            )
        report = _run(options.window, os.environ)
    except (PrometheusError, NothingToCompareError, ValueError) as error:
        return could_not_run("audit", options.out, str(error))
    except KeyboardInterrupt:
        return could_not_run("audit", options.out, "stopped")
    print("\n" + "\n".join(report.lines()), flush=True)
    return finish("audit", options.out, {"mode": "prometheus", **report.as_json()})


def _run(window: str, environment: Mapping[str, str]) -> Report:
    started = time.monotonic()
    try:
        seconds = parse_duration(window)
    except ValueError as error:
        raise ValueError(f"WINDOW: {quoted(window)} {error}") from None
    prometheus = Prometheus(environment.get(URL, ""), environment)
    until = prometheus.now()
    return audit_report(prometheus, until - seconds, until, since=started)


if __name__ == "__main__":
    sys.exit(main())
