"""`make discover`: who do the crawlers talk to, before anything is configured?

It reads each sidecar's own list of connections, and changes nothing. It names no user and no URL.
Exit codes: 0 something was read, 1 the stack file says something wrong, 2 could not run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from discover.kubectl import KubectlError
from discover.names import names_of, read_presets
from discover.report import MOST_IN_JSON, Row, ports_of, recognise, rows_of, table
from discover.sidecars import CannotReadError, Read, Reader, of_cluster, of_one_envoy
from discover.suggestion import left_out, stack_text
from settings.crawlers import Crawlers
from settings.cross_checks import CHECKS_OF_VENDORS
from settings.loading import MissingStackFileError, SettingsError, load_stack_file, stack_file
from settings.masking import quoted, quoted_address
from settings.stack import StackSettings
from settings.values.kubernetes import DNS_LABEL
from tools.reports import add_out, could_not_run, finish, print_result

ENVOY = "ENVOY_ADMIN"
DEMO = Path(__file__).resolve().parent.parent / ".demo" / "endpoints.json"
HOST = re.compile(  # with a letter, so it is no address
    r"(?=.{1,253}$)(?=.*[a-z])[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+"
)
LABELS = re.compile(r"[A-Za-z0-9._/-]+=[A-Za-z0-9._-]*(,[A-Za-z0-9._/-]+=[A-Za-z0-9._-]*)*")


@dataclass(frozen=True, kw_only=True)
class Where:
    """Whose pods are read."""

    settings: StackSettings | None
    stack: str
    namespaces: tuple[str, ...]
    selector: Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    out = options.out
    try:
        options.seconds = _number("SECONDS", options.seconds, 3, 3600)
        options.pods = _number("PODS", options.pods, 1, 500)
        where = _where(options)
        names = _names(options.names)
        reader = _reader(options, where, os.environ)
        return _run(options, where, names, reader.read(options.seconds))
    except MissingStackFileError as error:
        fix = "or name the crawlers' namespace with NAMESPACE="
        return could_not_run("discover", out, *(f"{one}, {fix}" for one in error.findings))
    except SettingsError as error:
        return finish("discover", out, {"status": 1, "findings": [*error.findings]})
    except (CannotReadError, KubectlError) as error:
        return could_not_run("discover", out, str(error))
    except KeyboardInterrupt:
        return could_not_run("discover", out, "stopped")


def _run(options: argparse.Namespace, where: Where, names: Sequence[str], read: Read) -> int:
    presets = read_presets()
    rows = rows_of((pod.workload, tally) for pod, tally in read.tallies.items())
    recognise(rows, names_of([*names, *presets.names]), presets, where.settings)
    suggested = stack_text(
        rows,
        presets,
        cluster=where.settings.cluster if where.settings else where.stack,
        namespaces=where.namespaces,
        selector=where.selector,
    )
    status = print_result(_text(rows, read, suggested))
    report = {
        "status": status,
        "findings": [*read.findings],
        "seconds": options.seconds,
        "pods": {"found": read.found, "read": len(read.tallies)},
        "bytes": read.has_log,
        "ports": dict(ports_of(rows).most_common(50)),
        "destinations": [row.as_json() for row in rows[:MOST_IN_JSON]],
        "stack": suggested,
    }
    return finish("discover", options.out, report)


def _text(rows: list[Row], read: Read, suggested: str | None) -> str:
    counted = f"read {len(read.tallies)} of {read.found} pods for {read.seconds} s"
    if not rows:
        return f"{counted}: no connection outside the mesh; run it while crawlers work, or longer"
    kinds = "bytes by their log" if read.has_log else "no bytes: telemetry.logOutside shows them"
    parts = [f"{counted}; {kinds}", "", table(rows, has_bytes=read.has_log), ""]
    if suggested:
        parts += ["A stack file to begin with:", "", suggested.rstrip(), ""]
    else:
        parts += ["No vendor in it that the stack lacks.", ""]
    return "\n".join([*parts, left_out(rows)]).rstrip()


def _where(options: argparse.Namespace) -> Where:
    settings = None
    try:
        settings = load_stack_file(stack_file(options.stack), CHECKS_OF_VENDORS)
    except MissingStackFileError:
        if not options.namespace and not os.environ.get(ENVOY):
            raise
    namespaces = settings.crawlers.namespaces if settings else ()
    selector: Mapping[str, str] = settings.crawlers.selector if settings else {}
    if options.namespace:
        namespaces, selector = tuple(options.namespace.split(",")), {}
    if options.selector:
        if not LABELS.fullmatch(options.selector):
            raise CannotReadError(
                "SELECTOR: is not a list of labels; write it like app=crawler,tier=a"
            )
        selector = dict(one.split("=", 1) for one in options.selector.split(","))
    for namespace in namespaces:
        try:
            DNS_LABEL.check(namespace)
        except ValueError as error:
            raise CannotReadError(f"NAMESPACE: {quoted(namespace)} {error}") from None
    named = re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", options.stack)
    stack = options.stack if named else "dev"
    return Where(settings=settings, stack=stack, namespaces=namespaces, selector=selector)


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if not HOST.fullmatch(name):
            raise CannotReadError(
                f"NAMES: {quoted_address(name)} is not the full name of a host; write it like "
                "gw.vendor.example, several with ',' between"
            )
    return names


def _reader(options: argparse.Namespace, where: Where, environment: Mapping[str, str]) -> Reader:
    admin = environment.get(ENVOY, "")
    if admin == "demo":
        try:
            admin = json.loads(DEMO.read_text(encoding="utf-8"))["envoy_admin"]
        except (OSError, ValueError, KeyError):
            raise CannotReadError(f"{ENVOY}: the demo does not run; start `make demo`") from None
    if admin:
        if not re.fullmatch(r"http://(127\.[0-9.]+|localhost|\[::1\]):[0-9]{1,5}/?", admin):
            raise CannotReadError(
                f"{ENVOY}: is not an Envoy of this machine; write it like http://127.0.0.1:15000"
            )
        return of_one_envoy(admin.rstrip("/"))
    logs = bool(where.settings and where.settings.telemetry.log_outside)
    crawlers = where.settings.crawlers if where.settings else Crawlers()
    return of_cluster(
        where.namespaces,
        where.selector,
        most=options.pods,
        workload_label=crawlers.workload_label,
        context=options.context,
        logs=logs,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make discover", description=__doc__)
    parser.add_argument("--stack", default="dev", help="Pulumi.<stack>.yaml, if there is one")
    parser.add_argument("--namespace", default="", help="in place of the stack's, a,b (NAMESPACE)")
    parser.add_argument("--selector", default="", help="labels of the pods (SELECTOR)")
    parser.add_argument("--context", default="", help="of kubeconfig (CONTEXT)")
    parser.add_argument("--names", default="", help="host names to look for, a,b (NAMES)")
    parser.add_argument("--seconds", default="30", help="how long (SECONDS)")
    parser.add_argument("--pods", default="20", help="most pods read (PODS)")
    add_out(parser, "discover.json")
    return parser.parse_args(arguments)


def _number(key: str, text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not least <= int(text) <= most:
        raise CannotReadError(
            f"{key}: {quoted(text)} is no whole number from {least} to {most}; write one"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
