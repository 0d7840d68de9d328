"""Whose address is it? `make which ADDRESS=10.2.9.1:3128 STACK=prod`.

Prints {stack, vendor, range, pool, chain, status, findings}; for an address in nested ranges also
`overlaps`, and a `note` where Envoy sees connections and bytes only, or parses in spite of
`inspect: passive`. Exit code 0; 1 for a stack file that says something wrong; 2 for an address that
is none, or no file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from components.attribution.groups import groups
from settings.catalogue import OUTSIDE, Catalogue, Route
from settings.cross_checks import CHECKS_OF_VENDORS
from settings.loading import MissingStackFileError, SettingsError, load_stack_file, stack_file
from settings.masking import is_harmless
from settings.messages import printed
from settings.stack import StackSettings
from settings.values.addresses import IPNetwork, split_endpoint
from settings.vendors import inspected_ports
from tools.reports import print_result

Answer = dict[str, object]


def answer(address: str, settings: StackSettings) -> Answer:
    """Who gets a connection to "address" or "address:port", and which filter chain takes it.

    Raises:
        ValueError: `address` is not one, or lacks a port that decides, as "reason; fix".
    """
    ip, port = split_endpoint(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip  # as Envoy and the Lua script take it
    catalogue = Catalogue.of(settings.vendors)
    covering = catalogue.covering(ip)
    if port is None and covering and covering[0].ports:
        names = ", ".join(rung.vendor for rung in catalogue.candidates(covering[0].network))
        raise ValueError(f"is one that vendors hold by port ({names}); add the port, like :3128")
    inner = catalogue.find(ip, port)
    chain = chain_at(covering[0].network, port, settings) if covering else None
    if inner is None:
        return {"vendor": OUTSIDE, "range": None, "pool": None, "chain": chain}
    found: Answer = {**described(inner), "chain": chain}
    vendor = next(one for one in settings.vendors if one.name == inner.vendor)
    if vendor.inspect == "connections":
        found["note"] = "inspect is connections: connections and bytes only"
    elif vendor.inspect == "http" and port is not None and not inspected(port, settings):
        found["note"] = f"port {port} is not in httpPorts: connections and bytes only"
    elif vendor.inspect == "passive" and port is not None and inspected(port, settings):
        found["note"] = (
            f"port {port} is in another vendor's httpPorts: Envoy reads a connection's first line, "
            "and resets some (docs/limits.md)"
        )
    # The rest covers the address as well and does not decide.
    if outer := [described(route) for route in covering if route != inner]:
        found["overlaps"] = outer
    return found


def described(route: Route) -> Answer:
    return {"vendor": route.vendor, "range": str(route.network), "pool": route.pool or None}


def chain_at(network: IPNetwork, port: int | None, settings: StackSettings) -> str:
    """The chain that takes HTTP to `port` of an address whose longest prefix is `network`."""
    group, chain = next(
        (group, chain)
        for group in groups(settings.vendors)
        for chain in group.chains
        if network in chain.networks
    )
    if group.is_passive:
        return f"{chain.name}_passive"
    parsed = group.parses_http and (port is None or inspected(port, settings))
    return f"{chain.name}_{'http' if parsed else 'opaque'}"


def inspected(port: int, settings: StackSettings) -> bool:
    """Whether Envoy looks for HTTP on a port: one vendor that names it is enough."""
    return any(port in ports for ports in inspected_ports(settings.vendors))


def run(address: str, stack: str) -> tuple[int, Answer, tuple[str, ...]]:
    """(status, answer, findings)."""
    try:
        split_endpoint(address)  # a wrong address is reported first
        # A credential that is not set yet, say, changes no answer.
        settings = load_stack_file(stack_file(stack), CHECKS_OF_VENDORS)
        return 0, answer(address, settings), ()
    except MissingStackFileError as error:
        return 2, {}, error.findings
    except SettingsError as error:
        return 1, {}, error.findings
    except ValueError as error:
        return 2, {}, (f"ADDRESS: {printed(address)} {error}",)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="which", description="Whose address is it?")
    parser.add_argument("address", help="10.2.9.1, 10.2.9.1:3128 or [2001:db8::1]:3128")
    parser.add_argument("--stack", required=True, help="reads Pulumi.<stack>.yaml")
    parser.add_argument("--out", type=Path, help="folder that also gets which.json")
    given = parser.parse_args(arguments)

    status, found, findings = run(given.address, given.stack)
    nothing: Answer = {"vendor": None, "range": None, "pool": None, "chain": None}
    stack = given.stack if is_harmless(given.stack) else None
    report = {"stack": stack, **nothing, **found, "status": status, "findings": findings}
    text = json.dumps(report, indent=2)
    if not findings:  # else standard error has them
        status = print_result(text)
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
