"""`python -m money.exporter`: export what the traffic costs, from the ledger and the contracts.

Exit codes: 2 could not start, with one line that says why. Else it runs until it is stopped.
"""

from __future__ import annotations

import argparse
import http
import signal
import ssl
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from books.prometheus import PASSWORD, USER, Prometheus, PrometheusError
from money.as_json import read as read_contracts
from money.contract import Budget, Contract
from money.exporter.billed import BilledDays
from money.exporter.reader import Read, Reader
from money.exporter.server import Answer, PageServer
from money.ledger import read_book
from money.quantities import Book
from money.usage.scheduled import Ask, asks_of

EVERY_SECONDS = 300.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        contracts, budgets = contracts_in(options.contracts)
        read = ledger_reader(options.ledger, options.login, options.ca, options.cluster)
        asks = asks_in(options.accounts, options.credentials) if options.accounts else {}
        billed = BilledDays(asks, say)
        reader = Reader(read, contracts, budgets, say=say, more=billed.families)
        server = PageServer(options.port, lambda path: answer(reader, path))
    except (OSError, ValueError, PrometheusError) as error:
        print(f"money.exporter: {error}", file=sys.stderr, flush=True)
        return 2
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"serves port {server.server_address[1]}, reads {options.ledger}")
    pause = threading.Event()
    while True:
        reader.refresh()
        pause.wait(options.every)


def contracts_in(path: Path) -> tuple[Sequence[Contract], Sequence[Budget]]:
    try:
        return read_contracts(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def asks_in(path: Path, credentials: Path | None) -> Mapping[str, Ask]:
    if not credentials:
        raise ValueError("--credentials: is missing; name the folder with the accounts' Secrets")
    try:
        return asks_of(path.read_text(encoding="utf-8"), credentials)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def ledger_reader(url: str, login: Path | None, ca: Path | None, cluster: str | None) -> Read:
    """Return how the ledger is read; the login's files are read anew each time.

    Raises:
        OSError, PrometheusError: the URL or a file makes no sense.
    """

    def opened() -> Prometheus:
        names = {USER: "username", PASSWORD: "password"} if login else {}
        environment = {
            variable: (login / name).read_text(encoding="utf-8").strip()
            for variable, name in names.items()
            if login
        }
        trust = ssl.create_default_context(cafile=str(ca)) if ca else None
        return Prometheus(url, environment, trust)

    def read(begin: datetime, end: datetime) -> Book:
        return read_book(opened(), begin, end, cluster=cluster)

    opened()
    return read


def answer(reader: Reader, path: str) -> Answer:
    if path == "/metrics":
        return Answer(http.HTTPStatus.OK, reader.page())
    if path == "/healthz":
        if reader.is_stuck():
            return Answer(http.HTTPStatus.SERVICE_UNAVAILABLE, "a read of the ledger never ends\n")
        return Answer(http.HTTPStatus.OK, "ok\n")
    return Answer(http.HTTPStatus.NOT_FOUND, "there are /metrics and /healthz\n")


def say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="money.exporter", description=__doc__)
    parser.add_argument("--ledger", required=True, help="URL of a Prometheus with the ledger")
    parser.add_argument("--login", type=Path, help="folder with the files username and password")
    parser.add_argument("--ca", type=Path, help="of the ledger's certificate")
    parser.add_argument("--cluster", help="whose hours, where the ledger has several clusters'")
    parser.add_argument("--contracts", type=Path, required=True, help="JSON of money/as_json.py")
    parser.add_argument("--accounts", type=Path, help="JSON of vendors whose usage is asked for")
    parser.add_argument("--credentials", type=Path, help="folder with one for each of these")
    parser.add_argument("--port", type=int, required=True, help="where Prometheus scrapes")
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, help="seconds between reads")
    return parser


if __name__ == "__main__":
    # The kernel gives a container's first process no default: without it, each roll-out would wait
    # for the end of the grace period.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(main())
