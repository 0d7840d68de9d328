"""Whose address is it? `make which ADDRESS=10.2.9.1:3128 STACK=prod`.

Prints {vendor, range, pool, chain, status, findings} and, for an address in nested ranges,
`overlaps`. Exit code 0; 1 for a stack file that says something wrong; 2 for an address that
is none, or no file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from settings.catalogue import UNKNOWN, Catalogue, Route
from settings.loading import MissingStackFileError, SettingsError, load_stack_file, stack_file
from settings.model import StackSettings, Vendor, inspected_ports
from settings.sentences import shown
from settings.values import split_endpoint

Answer = dict[str, object]


def answer(address: str, settings: StackSettings) -> Answer:
    """Who gets a connection to "address" or "address:port", and which filter chain takes it.

    Raises:
        ValueError: `address` is not one, as "reason; fix".
    """
    ip, port = split_endpoint(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip  # as Envoy and the Lua script take it
    inner, *outer = Catalogue.of(settings.vendors).covering(ip) or (None,)
    if inner is None:
        return {"vendor": UNKNOWN, "range": None, "pool": None, "chain": None}
    vendor = next(vendor for vendor in settings.vendors if vendor.name == inner.vendor)
    looked_into = port is None or port in inspected_ports(settings.vendors)
    found: Answer = {**described(inner), "chain": chain_of(vendor, looked_into)}
    if outer:
        found["overlaps"] = [described(route) for route in outer if route]
    return found


def described(route: Route) -> Answer:
    return {"vendor": route.vendor, "range": str(route.network), "pool": route.pool or None}


def chain_of(vendor: Vendor, looked_into: bool) -> str:
    """The chain that takes HTTP, on a port that is looked into or on another."""
    is_http = looked_into and vendor.inspect == "http"
    return f"proxy-vendor_{vendor.name}_{'http' if is_http else 'opaque'}"


def run(address: str, stack: str) -> tuple[int, Answer, tuple[str, ...]]:
    """(status, answer, findings)."""
    try:
        split_endpoint(address)
    except ValueError as error:
        return 2, {}, (f"ADDRESS: {shown(address)} {error}",)
    try:
        return 0, answer(address, load_stack_file(stack_file(stack))), ()
    except MissingStackFileError as error:
        return 2, {}, error.findings
    except SettingsError as error:
        return 1, {}, error.findings


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="which", description="Whose address is it?")
    parser.add_argument("address", help="10.2.9.1, 10.2.9.1:3128 or [2001:db8::1]:3128")
    parser.add_argument("--stack", required=True, help="reads Pulumi.<stack>.yaml")
    parser.add_argument("--out", type=Path, help="folder that also gets which.json")
    given = parser.parse_args(arguments)

    status, found, findings = run(given.address, given.stack)
    nothing: Answer = {"vendor": None, "range": None, "pool": None, "chain": None}
    text = json.dumps({**nothing, **found, "status": status, "findings": findings}, indent=2)
    print(text)
    if given.out:
        try:
            given.out.mkdir(parents=True, exist_ok=True)
            (given.out / "which.json").write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            status, findings = 2, (*findings, f"OUT: cannot be written: {error}")
    for finding in findings:
        print(finding, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
