"""Addresses, ranges of addresses and ports.

Every parser raises `ValueError` with "reason; remedy".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Annotated

from pydantic import AfterValidator, StrictStr, WithJsonSchema
from pydantic.functional_validators import PlainValidator

from settings.masking import kind_of_proxy
from settings.values.checked_text import text, titled
from settings.values.handed_out import refusal_of

IPNetwork = IPv4Network | IPv6Network
IPAddress = IPv4Address | IPv6Address

NO_PROXIES = tuple(
    (ip_network(block), whose)
    for block, whose in (
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("0.0.0.0/8", "the unspecified addresses"),
        ("::/128", "the unspecified addresses"),
    )
)


def parse_network(value: object) -> IPNetwork:
    """Read "10.1.0.0/16", "2001:db8::/32", or a bare address as a block of one."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    address_text, slash, length_text = text(value, "10.1.0.0/16").partition("/")
    try:
        address = ip_address(address_text)
    except ValueError:
        raise ValueError(
            "is not a CIDR block; write an IPv4 or IPv6 address and a prefix length, "
            "like 10.1.0.0/16"
        ) from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError("is not a CIDR block; leave out the zone, from % on")
    most = address.max_prefixlen
    if not slash:
        return ip_network(address)
    # A netmask is refused too: one spelling a range, so a search finds it.
    if not re.fullmatch(r"[0-9]{1,3}", length_text):
        raise ValueError(
            f"is not a CIDR block; the prefix length is a whole number from 0 to {most}"
        )
    if int(length_text) > most:
        raise ValueError(f"is not a CIDR block; prefix length is at most {most}")
    # Not of text again: a stack may hold ten thousand ranges.
    kind = IPv4Network if address.version == 4 else IPv6Network
    network = kind((int(address), int(length_text)), strict=False)
    if network.network_address != address:
        raise ValueError(
            f"has host bits set; write {network}, or {address}/{most} for the one address"
        )
    return network


def parse_address(value: object) -> IPAddress:
    """Read "240.241.0.9", or "2001:db8::9"."""
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    try:
        address = ip_address(text(value, "240.241.0.9"))
    except ValueError:
        raise ValueError("is not an IP address; write one, like 240.241.0.9") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError("is not an IP address; leave out the zone, from % on")
    return address


def without_space(text: str) -> str:
    if text != text.strip():
        raise ValueError("begins or ends with a space; remove it")
    return text


NO_ENDPOINT = {
    "login": "is a proxy with its login; write address and port alone, like 10.1.0.10:3128, "
    "and put the login into a Secret (loadGenerator.endpoints.*.credentialsSecret)",
    "host name": "is a host name, but a connection carries only an address; write one of those "
    "that `getent ahosts` lists, like 10.1.0.10:3128",
}


def parse_vendor_network(value: object) -> IPNetwork:
    """A network that can be a vendor's: somewhere a crawler can connect to."""
    if isinstance(value, str) and (refusal := refusal_of(without_space(value))):
        raise ValueError(refusal)
    network = parse_network(value)
    if network.prefixlen == 0:
        raise ValueError("is the default route; list the ranges the vendor gave you")
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError("is IPv4 written as IPv6; connections carry the IPv4 form, write that")
    for taken, whose in NO_PROXIES:
        if overlap(network, taken):
            raise ValueError(
                f"overlaps {whose} {taken}, where no proxy can be; "
                "list the ranges the vendor gave you"
            )
    return network


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether two networks share an address; never so for IPv4 and IPv6."""
    if one.version != other.version:
        return False
    left_out = one.max_prefixlen - min(one.prefixlen, other.prefixlen)
    return int(one.network_address) >> left_out == int(other.network_address) >> left_out


@dataclass(frozen=True, order=True)
class PortRange:
    """TCP ports from `first` to `last`, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def within(self, other: PortRange) -> bool:
        return other.first <= self.first and self.last <= other.last

    def meets(self, other: PortRange) -> bool:
        return self.first <= other.last and other.first <= self.last


def parse_ports(value: object) -> PortRange:
    """Read 3128, or "10000-10999"."""
    if isinstance(value, PortRange):
        return value
    if type(value) is int:
        first = last = value
    elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}-[0-9]{1,5}", value):
        first, last = (int(number) for number in value.split("-"))
        if first >= last:
            raise ValueError("does not ascend; write the lower port first, like 10000-10999")
    elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value):
        raise ValueError(f"is text; write the number without quotes, like {int(value)}")
    else:
        raise ValueError("is not a port; write a number like 3128, or a range like 10000-10999")
    if not (first >= 1 and last <= 65535):
        raise ValueError("is no TCP port; ports are 1 to 65535")
    return PortRange(first, last)


def split_endpoint(text: str) -> tuple[IPAddress, int | None]:
    """Read an address with or without a port.

    "10.2.9.1", "10.2.9.1:3128", "2001:db8::1" and "[2001:db8::1]:3128".
    """
    match = re.fullmatch(r"\[([^\]]*:[^\]]*)\](?::(.*))?|([^:]*)(?::([^:]*))?", text, re.DOTALL)
    host, port = without_space(text), None
    if match:
        host, port = match[1] or match[3], match[4] if match[2] is None else match[2]
    try:
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.scope_id:
            raise ValueError
    except ValueError:
        no_address = "is not an address; write 10.1.0.10, 10.1.0.10:3128 or [2001:db8::1]:3128"
        raise ValueError(NO_ENDPOINT.get(kind_of_proxy(text), no_address)) from None
    if port is None:
        return address, None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError("has a port that is not a number from 1 to 65535; write it like :3128")
    return address, int(port)


def check_endpoint(text: str) -> str:
    _, port = split_endpoint(text)
    if port is None:
        raise ValueError("has no port; write it like 10.1.0.10:3128 or [2001:db8::1]:3128")
    return text


Network = Annotated[IPNetwork, PlainValidator(parse_network), titled("CIDR block")]
VendorNetwork = Annotated[IPNetwork, PlainValidator(parse_vendor_network), titled("CIDR block")]
Ports = Annotated[
    PortRange,
    PlainValidator(parse_ports),
    WithJsonSchema({"type": ["integer", "string"], "title": "port or range"}),
]
Endpoint = Annotated[StrictStr, AfterValidator(check_endpoint), titled("address:port")]
