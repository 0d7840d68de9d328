"""`hosts` of a vendor or destination: gateways that crawlers reach by name.

The crawlers' DNS gives each name a virtual address, which no machine has. Envoy recognises the
connection by it, and connects to what the name resolves to (components/attribution/names.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr
from pydantic.functional_validators import PlainValidator

from settings.masking import kind_of_proxy
from settings.section import Problem, Section
from settings.values.addresses import IPAddress, PortRange, Ports, parse_address
from settings.values.checked_text import Text, titled
from settings.values.kubernetes import LABEL, DnsLabel

VIRTUAL_RANGE = IPv4Network("240.241.0.0/16")
"""Where names get their virtual addresses: reserved, so no network routes it."""

AUTOMATIC_RANGE = IPv4Network("240.240.0.0/16")
"""Where Istio takes addresses for others' ServiceEntries."""

# Each listed port is a listener of its own, with a filter chain or two, in every sidecar.
MOST_LISTED_PORTS = 20


def not_another_form(name: str) -> str:
    """Refuse what vendors and users write where a name is wanted; say what to write instead."""
    kind = kind_of_proxy(name)
    if kind == "login":
        raise ValueError(
            "is a proxy with its login; write the host's name alone, and change the password if "
            "others can read this file"
        )
    if "*" in name:
        raise ValueError(
            "is a wildcard, but a name needs one virtual address, and Istio would send every host "
            "below it to a single gateway; list the names that your crawlers use"
        )
    if is_address(name) or kind == "address and port":
        raise ValueError("is an address; write it under cidrs")
    if "://" in name or "/" in name:
        raise ValueError("is a URL; write the host's name alone, like gw.vendor.example")
    if re.fullmatch(r"[0-9.]+", name):
        raise ValueError("is neither a name nor an address; correct it, and write it under cidrs")
    if name.endswith((".svc", ".svc.cluster.local")):
        raise ValueError(
            "is a Service of the cluster, and what stays inside it is no vendor's; write the name "
            "of the gateway outside"
        )
    if ":" in name:
        raise ValueError("has a port; write {name: gw.vendor.example, ports: [7777]}")
    if name.endswith("."):
        raise ValueError("ends with a dot; leave it out")
    if name.lower() != name:
        raise ValueError("has upper-case letters; write it in lower case")
    return name


def is_address(text: str) -> bool:
    with suppress(ValueError):
        return bool(ip_network(text.strip("[]").partition("%")[0], strict=False))
    return False


GatewayName = Annotated[
    StrictStr,
    AfterValidator(not_another_form),
    Text(
        "host",
        # 253 is the most that DNS and Kubernetes take; "proxy-name-" and a vendor stand before it.
        rf"(?=.{{1,170}}$){LABEL}(\.{LABEL})+",
        "is not the full name of a gateway; write at most 170 letters, digits, '-' and '.', "
        "like gw.vendor.example",
    ),
]


def parse_virtual_address(value: object) -> IPAddress:
    """Read an address that is no machine's.

    Istio makes a listener of it: one on 0.0.0.0 would take the port's whole traffic.
    """
    address = parse_address(value)
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped
    if (
        mapped
        or address.is_unspecified
        or address.is_multicast
        or address.is_link_local
        or address.is_global
        or address in AUTOMATIC_RANGE
        or str(address) == "255.255.255.255"
    ):
        raise ValueError(
            "may be a machine's, or Istio's own; write one that no network routes, like 240.241.0.9"
        )
    return address


class Host(Section):
    """The long form of a name: {name: gw.vendor.example, ports: [7777], pool: residential}."""

    name: GatewayName = Field(examples=["gw.vendor.example"])
    """The host name, as crawlers write it."""
    ports: Annotated[tuple[Ports, ...], Field(max_length=50)] = ()
    """The ports that crawlers use there, at most 20 by number and 200 of all names: on these,
    connections work even while this program's filters are missing. Default: those of `httpPorts`;
    443 for a destination."""
    pool: DnsLabel | None = None
    """Label `proxy_pool` of every request to this name."""
    allow_unlisted_ports: StrictBool = False
    """Whether `ports` may hold ranges, like 10000-49999 of sticky sessions. Connections to them
    fail while this program's filters are missing."""
    virtual_address: (
        Annotated[IPAddress, PlainValidator(parse_virtual_address), titled("IP address")] | None
    ) = None
    """The address that the crawlers' DNS gives for the name; by default one of 240.241.0.0/16, from
    a hash of the name. Write one where two names get the same, or in a cluster with IPv6 alone."""
    retired: StrictBool = False
    """First step of a removal: the crawlers' DNS gives the real addresses again, and the filters
    stay for who still holds the virtual one. Remove the entry a day later."""

    def problems(self) -> Iterator[Problem]:
        listed = [ports for ports in self.ports if ports.first == ports.last]
        if len(listed) > MOST_LISTED_PORTS:
            yield Problem(
                ("ports",),
                f"has {len(listed)} ports, and each is a listener in every sidecar; write at most "
                f"{MOST_LISTED_PORTS}, or ranges with allowUnlistedPorts: true",
            )
        for index, ports in enumerate(self.ports):
            if ports.first != ports.last and not self.allow_unlisted_ports:
                yield Problem(
                    ("ports", index),
                    f"{ports} is a range, on which connections would fail without this program's "
                    "filters; list the ports that crawlers use, or write allowUnlistedPorts: true",
                )
            for earlier, other in enumerate(self.ports[:index]):
                if ports.meets(other):
                    text = f"{ports} is also in ports[{earlier}] ({other}); write each port once"
                    yield Problem(("ports", index), text)
                    break

    @property
    def address(self) -> IPAddress:
        """The virtual address."""
        return self.virtual_address or virtual_address(self.name)


def virtual_address(name: str) -> IPAddress:
    """Return the address of VIRTUAL_RANGE that a name gets."""
    number = int.from_bytes(blake2b(name.encode(), digest_size=4).digest())
    return VIRTUAL_RANGE[1 + number % (VIRTUAL_RANGE.num_addresses - 2)]


def long_form(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


HostEntry = Annotated[Host, BeforeValidator(long_form, json_schema_input_type=GatewayName | Host)]


def listed_ports(host: Host, default: Iterable[PortRange]) -> tuple[int, ...]:
    """Return the ports that have a listener of their own, sorted.

    Args:
        default: the ports of a host that names none.
    """
    return tuple(sorted(p.first for p in host.ports or default if p.first == p.last))


def unlisted_ports(host: Host) -> tuple[PortRange, ...]:
    """Return the ranges that only this program's filters serve."""
    return tuple(ports for ports in host.ports if ports.first != ports.last)
