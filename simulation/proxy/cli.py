"""The command line of `python -m simulation.proxy`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from simulation.plans import PlanError
from simulation.process import (
    EXIT_CANNOT_RUN,
    EXIT_NO_RESULT,
    raise_file_limit,
    read_json,
    require_folder,
    write_result,
)
from simulation.proxy.answers import DIALECTS, FAULTS
from simulation.proxy.reading import read_plan
from simulation.proxy.serving import serve

HELP = """\
keys of the plan (JSON; --help-plan explains them): listen vendors seed key
  control_host control_port slow_seconds timeout_after_seconds certificate
control: GET /books, /metrics, /healthz; GET, POST, DELETE /vendors/NAME
faults are asked for by host name, fault-<name>.anything, or drawn by chance
exit codes: 0 ended by a signal, 1 books not written, 2 could not start
"""


def _listed(entries: Iterable[str], indent: int = 15) -> str:
    space = " " * indent
    lines = textwrap.TextWrapper(
        78, initial_indent=space, subsequent_indent=space, break_on_hyphens=False
    )
    return "\n".join(map(lines.fill, entries))


PLAN_HELP = f"""\
plan (JSON; defaults in brackets):
  listen       [{{vendor, address, port, visible [requests]}}]; a vendor may
               come more than once; visible passive: SOCKS5 is booked by its
               reply, too; connections: they are booked, no requests; products
               [{{user: pattern with *, name}}] and pool, of the other users: by
               these are requests booked too
  vendors      {{name: behaviour}} [none: a proxy for anybody, as fast as it can]
  control_port, control_host [127.0.0.1; * is every address]: see below
  slow_seconds [30] delay of a slow answer
  timeout_after_seconds [10]: a client that leaves later met a time-out
  seed [1]     decides every chance
  certificate, key: PEM files for TLS [self-signed, with a public key]

behaviour of a vendor, each key as you like:
  credentials  {{user: variable with the password}}: HTTP Basic and SOCKS5; user
               names may go on: user-country-de-session-abc1
  exits        {{count, session_seconds [600]}}: told in X-Sim-Exit, by SOCKS5 as
               the bound address; a session keeps one, others get any
  limits       {{requests_per_second: 429 above; quota_bytes: then 402}}; a rate
               lets a second's worth through at once
  latency_seconds  0.2, or {{"p50": 0.2, "p95": 0.9}} (log-normal); refusals by
               credentials and limits come at once
  dialect      {{fault: wording}}:
{_listed(f"{key}: {', '.join(known)}" for key, known in DIALECTS.items())}
  answers      {{fault: [{{status, headers {{}}, connect [both]}}, in turn]}}: a
               fault in the vendor's own words, to CONNECT or to the others
  faults       {{fault: share of requests}}, beside those asked for

faults:
{_listed([" ".join(FAULTS)], 2)}

control endpoint: GET /books, /metrics, /healthz; /vendors/NAME takes POST (the
keys that change; null takes one away), DELETE (as planned) and GET. Good for
the next request; findings change nothing. Limits that are given start anew: so
a quota is topped up.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="vendor",
        description="Simulated proxy vendors with exact books.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--help-plan", action="version", version=PLAN_HELP, help="show the plan's keys and exit"
    )
    parser.add_argument("--plan", required=True, metavar="FILE", help="what to serve")
    parser.add_argument("--books", metavar="FILE", help="write the books here at the end; - prints")
    options = parser.parse_args(arguments)
    try:
        plan = read_plan(read_json(Path(options.plan)))
        if options.books not in (None, "-"):
            require_folder("--books", Path(options.books))
        raise_file_limit()
        books = asyncio.run(serve(plan))
    except PlanError as error:
        for finding in error.findings:
            print(f"vendor: {finding}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    if options.books == "-":
        print(json.dumps(books.as_json(), indent=1))
    elif options.books and (why := write_result("--books", Path(options.books), books.as_json())):
        print(f"vendor: {why}", file=sys.stderr)
        return EXIT_NO_RESULT
    return 0
