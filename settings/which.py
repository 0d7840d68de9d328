"""Whose is an address or a name? `make which ADDRESS=10.2.9.1:3128 STACK=prod`.

Prints {stack, vendor, range, pool, chain, host, product, visibility, preset, destination, status,
findings}; for an address in nested ranges also `overlaps`, and a `note` where something is not read
or not kept. `visibility` is what Envoy can say of a connection there: `http` (requests and
tunnels), `passive` or `opaque`. With PROXY_USER, `product` and `pool` are those of the proxy user,
which is printed nowhere. Exit code 0; 1 for a stack file that says something wrong; 2 for an
address that is none, a name that the stack lacks, or no file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.attribution.groups import DESTINATION_PREFIX, groups
from settings.catalogue import OUTSIDE, Catalogue, Route
from settings.cross_checks import CHECKS_OF_VENDORS
from settings.destinations import Destination
from settings.hosts import Host, unlisted_ports
from settings.loading import MissingStackFileError, SettingsError, load_stack_file, stack_file
from settings.masking import is_harmless, kind_of_proxy, quoted_address
from settings.presets import preset, preset_names
from settings.products import product_of
from settings.stack import StackSettings
from settings.values.addresses import IPAddress, IPNetwork, split_endpoint
from settings.vendors import Vendor, inspected_ports, is_http_port, ports_of
from tools.reports import FIX, print_result

Answer = dict[str, object]

KEYS = ("vendor", "range", "pool", "chain", "host", "product", "visibility", "preset")
NOTHING: Answer = dict.fromkeys((*KEYS, "destination"))
NAME = re.compile(  # its last label has a letter, so it is no address
    r"(?=.{1,253}$)([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z0-9-]*[a-z][a-z0-9-]*)\.?(?::([^:]*))?", re.I
)

FORMS = "write 10.1.0.10:3128, [2001:db8::1]:3128 or gw.vendor.example:7777"
REFUSALS = {
    "login": f"is a proxy with its login; {FORMS}, and the user name as PROXY_USER",
    "URL": f"is a URL; {FORMS}",
    "host name": f"is not written as DNS has names; {FORMS}",
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A connection: where to, and with which proxy user."""

    address: IPAddress
    port: int | None
    user: str


def asked(text: str, user: str, settings: StackSettings) -> Asked:
    """Read "10.2.9.1:3128" or "gw.vendor.example:7777".

    Raises:
        ValueError: `text` is neither, or a name that the stack lacks, as "reason; fix".
    """
    if not (match := NAME.fullmatch(text)):
        address, port = split_endpoint(text)
        # As Envoy and the Lua script take it.
        return Asked(address=getattr(address, "ipv4_mapped", None) or address, port=port, user=user)
    name, port_text = match[1].lower(), match[2]
    host = next((host for host, _ in named(settings) if host.name == name), None)
    if host is None:
        known = next((one for one in preset_names() if preset(one).knows(name)), None)
        fix = "write it under the hosts of its vendor"
        if known and known in {vendor.preset for vendor in settings.vendors}:
            fix = f"{fix}, beside the names of preset {known}"
        elif known:
            fix = f"give its vendor `preset: {known}`"
        raise ValueError(
            f"is no name of this stack; {fix}, or ask for one of the addresses that "
            "`getent ahosts` lists"
        )
    # The address is the stack's own: what is left to check is the port.
    bracketed = f"[{host.address}]" if host.address.version == 6 else host.address
    _, port = split_endpoint(f"{bracketed}:{port_text}" if port_text is not None else "::1")
    return Asked(address=host.address, port=port, user=user)


def named(settings: StackSettings) -> Iterator[tuple[Host, Vendor | Destination]]:
    owners: list[Vendor | Destination] = [*settings.vendors, *settings.destinations]
    yield from ((host, owner) for owner in owners for host in owner.hosts)


def answer(question: Asked, settings: StackSettings) -> Answer:
    """Who gets the connection, and which filter chain takes it.

    Raises:
        ValueError: the port decides and is missing, as "reason; fix".
    """
    settings = settings.model_copy(update={"vendors": settings.vendors_as_read})
    ip, port = question.address, question.port
    catalogue = Catalogue.of(settings.vendors)
    covering = catalogue.covering(ip)
    if known := destination_at(ip, settings, covering[0].network if covering else None):
        return known
    if port is None and covering and covering[0].ports:
        names = ", ".join(one.vendor for one in catalogue.candidates(covering[0].network))
        raise ValueError(f"is one that vendors hold by port ({names}); add the port, like :3128")
    inner = catalogue.find(ip, port)
    chain = chain_at(covering[0].network, port, settings) if covering else None
    if inner is None:
        return {**NOTHING, "vendor": OUTSIDE, "chain": chain}
    vendor = next(one for one in settings.vendors if one.name == inner.vendor)
    host = next((host for host in vendor.hosts if host.address == ip), None)
    found: Answer = {
        **NOTHING,
        **described(inner),
        "chain": chain,
        "host": host.name if host else None,
        "visibility": (chain or "").rpartition("_")[2],
        "preset": vendor.preset,
    }
    notes = [*of_reading(vendor, host, port, settings), *of_name(vendor, host, port)]
    if question.user:
        notes += add_product(found, vendor, question.user)
    if notes:
        found["note"] = "; ".join(notes)
    # The rest covers the address as well and does not decide.
    if outer := [described(route) for route in covering if route != inner]:
        found["overlaps"] = outer
    return found


def described(route: Route) -> Answer:
    return {"vendor": route.vendor, "range": str(route.network), "pool": route.pool or None}


def destination_at(
    ip: IPAddress, settings: StackSettings, of_vendors: IPNetwork | None
) -> Answer | None:
    """Return the answer where a known destination has the longest prefix."""
    own: list[tuple[int, str, str, str | None]] = []
    for one in settings.destinations:
        own += [(block.prefixlen, str(block), one.name, None) for block in one.cidrs if ip in block]
        own += [
            (ip.max_prefixlen, f"{ip}/{ip.max_prefixlen}", one.name, host.name)
            for host in one.hosts
            if host.address == ip
        ]
    if not own:
        return None
    length, block_text, name, host_name = max(own, key=lambda found: found[0])
    if of_vendors is not None and of_vendors.prefixlen > length:
        return None
    return {
        **NOTHING,
        "range": block_text,
        "chain": DESTINATION_PREFIX + (f"names_{name}_{host_name}" if host_name else name),
        "host": host_name,
        "visibility": "opaque",
        "destination": name,
    }


def of_reading(
    vendor: Vendor, host: Host | None, port: int | None, settings: StackSettings
) -> Iterator[str]:
    """Yield what of the connection is not read."""
    mode = settings.crawlers.mode
    if mode != "full":
        yield f"crawlers.mode is {mode}: connections and bytes only"
    elif vendor.inspect == "connections":
        yield "inspect is connections: connections and bytes only"
    elif port is None:
        return
    elif vendor.inspect == "http" and not parsed(vendor, host, port, settings):
        yield f"port {port} is not in httpPorts: connections and bytes only"
    elif vendor.inspect == "passive" and not host and inspected(port, settings):
        yield (
            f"port {port} is in another vendor's httpPorts: Envoy reads a connection's first line, "
            "and resets some (docs/limits.md)"
        )


def of_name(vendor: Vendor, host: Host | None, port: int | None) -> Iterator[str]:
    """Yield what does not hold for a name, or for a port of it."""
    if host and host.retired:
        yield "the name is retired: DNS gives its real addresses again"
    if host is None or port is None or port in ports_of(vendor, host):
        return
    if any(port in ports for ports in unlisted_ports(host)):
        yield f"port {port} is not listed by number: connections fail without our filters"
    else:
        yield f"port {port} is not in the name's ports: add it there, or connections may fail"


def add_product(found: Answer, vendor: Vendor, user: str) -> Iterator[str]:
    """Put the product of a proxy user into the answer, and yield why there is none."""
    if found["visibility"] == "opaque":
        yield "no request is read there, so no user and no product"
        return
    # The request's bytes, as the sidecar sees them.
    if product := product_of(vendor.products, user.encode().decode("latin-1")):
        found["product"] = found["pool"] = product
    elif vendor.products:
        yield "no pattern of products fits this user"
    else:
        yield f"{vendor.name} has no products"


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
    reads = port is None or parsed(group.vendors[0], chain.host, port, settings)
    return f"{chain.name}_{'http' if group.parses_http and reads else 'opaque'}"


def parsed(vendor: Vendor, host: Host | None, port: int, settings: StackSettings) -> bool:
    """Whether Envoy looks for HTTP on a port: a name's listed ports have their own listeners."""
    if host and port in ports_of(vendor, host):
        return is_http_port(vendor, port)
    return inspected(port, settings)


def inspected(port: int, settings: StackSettings) -> bool:
    """Whether virtualOutbound looks for HTTP on a port: one vendor that names it is enough."""
    return any(port in ports for ports in inspected_ports(settings.vendors))


def run(address: str, stack: str, user: str = "") -> tuple[int, Answer, tuple[str, ...]]:
    """(status, answer, findings)."""
    if ":" in user:
        return 2, {}, ("PROXY_USER: has a ':' in it; write the user name alone, no password",)
    try:
        if not address:
            raise ValueError(f"is empty; {FORMS}")
        kind = kind_of_proxy(address)
        if kind == "login" or not NAME.fullmatch(address):
            if kind in REFUSALS:
                raise ValueError(REFUSALS[kind])
            if not re.search(r"[.:]", address):
                raise ValueError(f"is neither an address nor a full name; {FORMS}")
            split_endpoint(address)  # a wrong address is reported first
        # A credential that is not set yet, say, changes no answer.
        settings = load_stack_file(stack_file(stack), CHECKS_OF_VENDORS)
        return 0, answer(asked(address, user, settings), settings), ()
    except MissingStackFileError as error:
        return 2, {}, error.findings
    except SettingsError as error:
        return 1, {}, error.findings
    except ValueError as error:
        return 2, {}, (f"ADDRESS: {quoted_address(address)} {error}",)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="which", description="Whose is an address or a name?")
    # By the environment for make: a pasted password would else be read by a shell.
    parser.add_argument("address", nargs="?", help="10.2.9.1:3128, [2001:db8::1] or gw.example:80")
    parser.add_argument("--stack", required=True, help="reads Pulumi.<stack>.yaml")
    parser.add_argument("--out", type=Path, help="folder that also gets which.json")
    given = parser.parse_args(arguments)

    address = os.environ.get("ADDRESS", "") if given.address is None else given.address
    status, found, findings = run(address, given.stack, os.environ.get("PROXY_USER", ""))
    stack = given.stack if is_harmless(given.stack) else None
    report = {"stack": stack, **NOTHING, **found, "status": status, "findings": findings}
    text = json.dumps(report, indent=2)
    if not findings:  # else standard error has them
        status = print_result(text)
    if given.out:
        try:
            given.out.mkdir(parents=True, exist_ok=True)
            (given.out / "which.json").write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            status, findings = 2, (*findings, f"OUT: cannot be written: {error}; {FIX}")
    for finding in findings:
        print(finding, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
