"""The command line of `python -m simulation.crawler`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from simulation.crawler.books import Books
from simulation.crawler.reading import PROFILES, read_plan, with_profile
from simulation.crawler.serving import crawl
from simulation.crawler.table import table
from simulation.plans import PlanError, without_secrets
from simulation.process import (
    EXIT_CANNOT_RUN,
    EXIT_NO_RESULT,
    raise_file_limit,
    read_json,
    require_folder,
    write_result,
)

USAGE = """crawler --plan FILE [options]
       crawler --vendor NAME=ADDRESS:PORT [--profile NAME] [options]"""
HELP = """\
options override the plan, and the plan overrides its profile
exit codes: 0 done, or stopped (Ctrl-C gives the result so far);
1 the result could not be written; 2 could not start, or reached no vendor
"""
HELP_PLAN = """\
plan (JSON; defaults in brackets, null = none):
  profile   name, or path of a JSON file: the plan's keys go above its keys
  description   of a profile
  vendors   [{name (may repeat), address, port, opaque_port [port],
            dead_address, weight [1], socks5_auth [false], simulated [true],
            visible [requests], passive or connections, faults {name: share},
            and, else the plan's: mix, session, password_env;
            host and dead_host: names in place of the addresses;
            users [{password_env, pool, weight [1]}], one drawn for each
            request, {n} in its name a session's number;
            pool: the label of requests whose user has none}]
  name_server   address:port, asked for each host again after its TTL [null:
            the machine's]
  password_env   the variable with user:password
  session   [rotating], or sticky: user-session-<id> for ten minutes, or until
            a ban page
  mix       {http [0.44], tunnel [0.42], socks5 [0.14], tls [0]}
  hosts     {count, zipf_exponent [1]} [null: a hundred, by page size]
  target    {host_suffix ["sim.test"], sizes_bytes [[quantile, bytes], ...]}
  outside   [{address, port, share, name [outside]}]: SOCKS5, to no vendor
  seed [1], count [null], duration_seconds [null]: both null = until a signal
  arrival   closed, constant or poisson [by whether there is a rate]
  concurrency [16] of arrival closed; per_host_concurrency [null]
  requests_per_second, in_flight_cap [concurrency] of the others
  shape     [[second, factor], ...] of the rate, straight in between, anew
            after shape_period_seconds [null = never]
  connection_reuse [20]
  retries   [null] {codes [500 502 503 504 522 524 408 429], maximum [2]}; bans
            and requests without an answer are sent again too
  timeout_after_seconds [10] of the sidecar, timeout_seconds [0.5 more] of the
            crawler
  metrics_port [null], metrics_host [127.0.0.1; * = any]: /metrics, /books
  drain_seconds [2.4] for counts in flight after a signal, linger_seconds [0]
            of /metrics after the run; a second signal ends at once
  max_gb_per_day [null], required if a vendor is not simulated: bytes sent and
            received in a UTC day, of 10^9; then no count starts until the next
  budget_file [null]   keeps the day's bytes over a restart
faults: target-error vendor-error vendor-error-403 -502 -504 -522 -525
  rate-limited blocked blocked-999 auth-failed auth-challenge quota
  quota-dialect reset close garbage stall slow dead reset-inside close-inside
  ban-page captcha-page refused-open policy policy-402 unreachable rejected
"""


def help_plan() -> str:
    """Return a text about every key of a plan, and the profiles beside this program."""
    lines = [HELP_PLAN + "profiles"]
    for path in sorted(PROFILES.glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            lines.append(f"  {path.stem:<9} {json.loads(path.read_text())['description']}")
    return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """Prints an error in one line, as an error of a plan."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_CANNOT_RUN, f"crawler: {message}: see --help\n")


def parser() -> Parser:
    found = Parser(
        prog="crawler",
        usage=USAGE,
        description="Proxied traffic of an exact plan, with exact books.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = found.add_argument
    add("--plan", metavar="FILE", help="what to do")
    add("--vendor", action="append", metavar="NAME=ADDRESS:PORT", help="instead; may repeat")
    add("--profile", metavar="NAME", help="how: burst, diurnal, ramp, scrapy, steady, or a path")
    add("--count", type=int, metavar="N", help="requests in all")
    add("--seconds", type=float, metavar="S", help="how long")
    add("--rate", type=float, metavar="R", help="requests a second, whether answered or not")
    add("--password-env", metavar="VAR", help="variable that holds user:password")
    add("--books", type=Path, metavar="FILE", help="write the books here at the end")
    add("--json", action="store_true", help="print the books instead of a table")
    add("--help-plan", action="store_true", help="the plan's keys and the profiles; then end")
    return found


def vendor_of(option: str) -> dict[str, object]:
    """Read `NAME=ADDRESS:PORT`, with IPv6 in brackets, as an entry of a plan."""
    match = re.fullmatch(r"([^=]+)=\[?([^=\[\]]+)\]?:(\d{1,5})", option)
    if not match:
        fix = "give NAME=ADDRESS:PORT, as vendor-a=10.1.0.10:3128"
        raise PlanError([f"--vendor: {json.dumps(without_secrets(option))} is no vendor: {fix}"])
    return {"name": match[1], "address": match[2], "port": int(match[3])}


def raw_plan(options: argparse.Namespace) -> tuple[object, Path]:
    """Return the plan with the options over its keys, and the folder where its paths start."""
    if not options.plan and not options.vendor:
        raise PlanError(["--plan: is missing: give it, or --vendor NAME=ADDRESS:PORT"])
    raw: object = {}
    folder = Path()
    if options.plan:
        raw = read_json(Path(options.plan))
        folder = Path(options.plan).parent
    if not isinstance(raw, dict):
        return raw, folder
    if options.profile is not None:
        is_path = "/" in options.profile or options.profile.endswith(".json")
        raw["profile"] = str(Path(options.profile).absolute()) if is_path else options.profile
    raw = with_profile(raw, folder)
    assert isinstance(raw, dict)
    raw.pop("profile", None)  # its keys are in
    given = {
        "count": options.count,
        "duration_seconds": options.seconds,
        "requests_per_second": options.rate,
        "password_env": options.password_env,
        "vendors": [vendor_of(each) for each in options.vendor] if options.vendor else None,
    }
    raw |= {key: value for key, value in given.items() if value is not None}
    if options.rate is not None and raw.get("arrival") == "closed":
        # The option overrides a profile that has no rate.
        raw["arrival"] = "constant"
    return raw, folder


def show_books(options: argparse.Namespace, failures: list[str], books: Books) -> None:
    """Write and print the books; note each failure, and go on with the other."""
    if options.books and (why := write_result("--books", options.books, books.as_json())):
        failures.append(why)
    try:
        print(json.dumps(books.as_json()) if options.json else table(books), flush=True)
    except OSError as error:  # a full disk, or a reader that left
        failures.append(f"standard output: cannot be written: {error.strerror}")
        # Without it the interpreter would try again at its end, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.help_plan:
        print(help_plan())
        return 0
    failures: list[str] = []
    try:
        raw, folder = raw_plan(options)
        plan = read_plan(raw, os.environ, folder)
        if options.books:
            require_folder("--books", options.books)
        raise_file_limit(plan.most_in_flight())
        books = asyncio.run(crawl(plan, functools.partial(show_books, options, failures)))
    except PlanError as error:
        for finding in error.findings:
            print(f"crawler: {finding}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    for failure in failures:
        print(f"crawler: {failure}", file=sys.stderr)
    if books.unreachable:
        return EXIT_CANNOT_RUN
    return EXIT_NO_RESULT if failures else 0
