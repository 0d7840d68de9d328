"""The kinds of value a stack file holds, each read from the text an operator writes.

Every parser raises `ValueError` with "reason; fix": `settings.loading` puts the key and
the value in front of it. Sizes: GB is 10^9 bytes, Gi (or GiB) is 2^30.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, StrictStr
from pydantic.alias_generators import to_camel
from pydantic.functional_validators import PlainValidator
from pydantic_core import CoreSchema, core_schema

from settings.masking import kind_of_proxy

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

# Kubernetes' suffixes, and the same with a B as disk vendors write them.
BYTES = {
    "B": 1,
    **{
        spelling: factor
        for power, prefix in enumerate("kMGT", start=1)
        for spelling, factor in (
            (prefix, 1000**power),
            (f"{prefix.upper()}B", 1000**power),
            (f"{prefix.upper()}i", 1024**power),
            (f"{prefix.upper()}iB", 1024**power),
        )
    },
}
# A bare number, or `m` (thousandths), is a legal quantity of memory and always a mistake.
MEMORY_SUFFIXES = ("k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti")

NO_PROXIES = tuple(
    (ip_network(block), whose)
    for block, whose in (
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("0.0.0.0/8", "the unspecified addresses"),
        ("::/128", "the unspecified addresses"),
    )
)

LONGEST_DURATION = 10 * 365 * 86400  # ten years: beyond it is a slip of the keyboard


class Section(BaseModel):
    """A part of the stack file: immutable, and a misspelt key is an error.

    Python code constructs it by field name; a stack file spells the same key in camelCase.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


def text_of(value: object, example: str) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"is not text; write it like {example}")


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """Read "10.1.0.0/16", "2001:db8::/32", or a bare address as a block of one."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    text = text_of(value, "10.1.0.0/16")
    address_text, slash, length_text = text.partition("/")
    try:
        address = ip_address(address_text)
    except ValueError:
        raise ValueError(
            "is not a CIDR block; write an IPv4 or IPv6 address and a prefix length, "
            "like 10.1.0.0/16"
        ) from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError(f"is not a CIDR block; leave out the zone %{address.scope_id}")
    most = address.max_prefixlen
    if not slash:
        return ip_network(address)
    # 10.1.0.0/255.255.0.0 is refused too: one spelling a range, so a search finds it.
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


def refuse_a_proxy(text: str) -> None:
    """Refuse what a vendor sells where a range is wanted; each mistake has its own remedy."""
    match kind_of_proxy(text):
        case "login":
            raise ValueError(
                "is a proxy with its login; write the address alone, for a range file run "
                "`cut -d: -f1`, and change the password if others can read this file"
            )
        case "host name":
            raise ValueError(
                "is a host name, but a connection carries only an address; write the ranges that "
                "the vendor names for it, or the addresses that `getent ahosts` lists"
            )
        case "address and port":
            raise ValueError(
                "is an address with a port; write the address alone, the port is for httpPorts"
            )


def parse_vendor_network(value: object) -> IPv4Network | IPv6Network:
    """A network that can be a vendor's: somewhere a crawler can connect to."""
    if isinstance(value, str):
        refuse_a_proxy(value)
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


def overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
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
    else:
        raise ValueError("is not a port; write a number like 3128, or a range like 10000-10999")
    if not (first >= 1 and last <= 65535):
        raise ValueError("is no TCP port; ports are 1 to 65535")
    return PortRange(first, last)


def parse_duration(value: object) -> int:
    """Read "30s", "10m", "1h30m" or "7d" as whole seconds, at least 1."""
    text = text_of(value, "30s, 10m, 1h30m or 7d")
    if not re.fullmatch(r"([0-9]{1,9}[smhdw])+", text):
        raise ValueError("is not a duration; write whole numbers with units, like 30s, 10m or 7d")
    seconds = sum(int(n) * SECONDS[unit] for n, unit in re.findall(r"([0-9]+)([smhdw])", text))
    if seconds < 1:
        raise ValueError("is no time at all; write 1s or more")
    if seconds > LONGEST_DURATION:
        raise ValueError("is longer than ten years; write 3650d or less")
    return seconds


def format_duration(seconds: int) -> str:
    """Write seconds in as few units as are exact: 604800 is "7d", 5400 is "1h30m".

    Weeks are left out: Prometheus and Envoy read d, h, m and s alike.
    """
    if seconds == 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, SECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text


def parse_bytes(value: object) -> int:
    """Read "50Gi", "40GB", "512M" as bytes, at least 1."""
    text = text_of(value, "50Gi or 40GB")
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)([A-Za-z]{1,3})", text)
    if not match or match[2] not in BYTES:
        raise ValueError("is not a size; write a number and its unit, like 50Gi or 40GB")
    size = Fraction(match[1]) * BYTES[match[2]]
    if size.denominator != 1 or size < 1:
        raise ValueError("is not a whole number of bytes; write it in a smaller unit")
    return int(size)


def format_bytes(size: int) -> str:
    """Write bytes in the largest unit that is exact: 53687091200 is "50Gi"."""
    for suffix in ("Ti", "T", "Gi", "G", "Mi", "M", "Ki", "k"):
        if size and size % BYTES[suffix] == 0:
            return f"{size // BYTES[suffix]}{suffix}"
    return f"{size}B"


def parse_share(value: object) -> float:
    """Read "95%" or "99.5%" as a part of one, above 0 and below 1."""
    text = text_of(value, '"95%" or "99.5%"')
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?%", text):
        raise ValueError("is not a share; write a percentage, like 95% or 99.5%")
    share = Fraction(text[:-1]) / 100
    if not 0 < share < 1:
        raise ValueError("is all or nothing; write more than 0% and less than 100%")
    return float(share)


def format_share(share: float) -> str:
    """Write a part of one as a percentage: 0.995 is "99.5%"."""
    return f"{share * 100:.3f}".rstrip("0").rstrip(".") + "%"


def parse_cpu(value: object) -> str:
    """A quantity of CPU as Kubernetes reads it; text, for YAML would read 0.10 as 0.1."""
    text = text_of(value, '"2" or "100m"')
    if not re.fullmatch(r"[0-9]{1,6}m|[0-9]{1,4}(\.[0-9]{1,3})?", text):
        raise ValueError('is not an amount of CPU; write cores or thousandths, like "2" or "100m"')
    if cpu_millis(text) < 1:
        raise ValueError('is no CPU at all; write 1m or more, like "100m"')
    return text


def cpu_millis(quantity: str) -> int:
    """Thousandths of a core: "100m" is 100, "2" is 2000."""
    if quantity.endswith("m"):
        return int(quantity[:-1])
    return int(Fraction(quantity) * 1000)


def parse_memory(value: object) -> str:
    """A quantity of memory as Kubernetes reads it, never without a unit."""
    text = text_of(value, "256M or 4Gi")
    match = re.fullmatch(r"([0-9]{1,12})([A-Za-z]{1,2})", text)
    if not match or match[2] not in MEMORY_SUFFIXES:
        raise ValueError(
            "is not an amount of memory; write a whole number and one of "
            f"{', '.join(MEMORY_SUFFIXES)}, like 256M"
        )
    if int(match[1]) < 1:
        raise ValueError("is no memory at all; write 1M or more, like 256M")
    return text


def memory_bytes(quantity: str) -> int:
    """Bytes of a memory quantity: "256M" is 256,000,000."""
    return parse_bytes(quantity)


def check_dns_label(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise ValueError(
            "is not a DNS label; use 1 to 63 of a-z, 0-9 and '-', first and last no '-'"
        )
    return text


def check_label_key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    dns = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
    if not re.fullmatch(LABEL_NAME, name) or (slash and not re.fullmatch(dns, prefix)):
        raise ValueError(
            "is not the key of a Kubernetes label; write a name like app, "
            "or a domain and a name like example.com/app"
        )
    return text


def check_label_value(text: str) -> str:
    if text and not re.fullmatch(LABEL_NAME, text):
        raise ValueError(
            "is not the value of a Kubernetes label; use at most 63 of letters, digits, "
            "'-', '_' and '.', first and last a letter or digit"
        )
    return text


LABEL_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"


def check_image(text: str) -> str:
    if not re.fullmatch(
        r"[a-z0-9][A-Za-z0-9._/:-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})",
        text,
    ):
        raise ValueError(
            "does not name one image; write registry/name:tag, or registry/name@sha256:digest"
        )
    if text.endswith(":latest"):
        raise ValueError("moves under its tag; name a version, so that every pod runs the same")
    return text


def check_not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; write the value, or remove the key for its default")
    if text != text.strip():
        raise ValueError("begins or ends with a space; remove it")
    return text


def check_header_name(text: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text):  # RFC 9110's token
        raise ValueError(
            "is not the name of a header; use letters, digits and !#$%&'*+-.^_`|~ only, "
            "like x-example-error"
        )
    return text


def check_printable(text: str) -> str:
    if not re.fullmatch(r"[ -~]+", text):
        raise ValueError(
            "becomes text of a Lua script, which holds printable ASCII alone; "
            "write a part of the value without other characters"
        )
    return text


def check_chart_source(text: str) -> str:
    if not re.fullmatch(r"(https?|oci)://[^\s/]\S*|\.{0,2}/.*", text):
        raise ValueError(
            "is neither a repository nor a folder of charts; write https://…, http://… or "
            "oci://…, or a path that begins with /, ./ or ../"
        )
    if "://" in text and "@" in text.split("/")[2]:
        raise ValueError(
            "holds credentials, which manifests would show in clear; use a repository that needs "
            "none, or a local folder of charts"
        )
    return text


def check_server_url(text: str) -> str:
    match = re.fullmatch(r"https?://[0-9A-Za-z.-]+(?::([0-9]{1,5}))?(/[^\s?#@]*)?", text)
    if match is None or not 1 <= int(match[1] or 1) <= 65535:
        raise ValueError(
            "is not the address of a server; write it without login and query, like "
            "http://prometheus.monitoring.svc:9090"
        )
    return text.rstrip("/")


def check_version(text: str) -> str:
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?", text):
        raise ValueError("is not a release; write all three numbers, like 1.31.4")
    return text


def split_endpoint(text: str) -> tuple[IPv4Address | IPv6Address, int | None]:
    """Read an address with or without a port.

    "10.2.9.1", "10.2.9.1:3128", "2001:db8::1" and "[2001:db8::1]:3128".
    """
    match = re.fullmatch(r"\[([^\]]*)\](?::(.*))?|([^:]*)(?::([^:]*))?|(.*)", text, re.DOTALL)
    assert match  # the last alternative takes everything
    host = next(group for group in (match[1], match[3], match[5]) if group is not None)
    port = match[2] if match[1] is not None else match[4]
    bracketed = match[1] is not None
    try:
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.scope_id:
            raise ValueError
        if bracketed and not isinstance(address, IPv6Address):
            raise ValueError
    except ValueError:
        raise ValueError(why_not_an_endpoint(text)) from None
    if port is None:
        return address, None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError("has a port that is not a number from 1 to 65535; write it like :3128")
    return address, int(port)


def why_not_an_endpoint(text: str) -> str:
    match kind_of_proxy(text):
        case "login":
            return (
                "is a proxy with its login; write address and port alone, like 10.1.0.10:3128, "
                "and put the login into a Secret (loadGenerator.endpoints.*.credentialsSecret)"
            )
        case "host name":
            return (
                "is a host name, but a connection carries only an address; write one of those that "
                "`getent ahosts` lists, like 10.1.0.10:3128"
            )
    return "is not an address; write 10.1.0.10, 10.1.0.10:3128 or [2001:db8::1]:3128"


def check_endpoint(text: str) -> str:
    _, port = split_endpoint(text)
    if port is None:
        raise ValueError("has no port; write it like 10.1.0.10:3128 or [2001:db8::1]:3128")
    return text


def check_host_pattern(text: str) -> str:
    """A host of the crawled sites: "shop.example", or "*.shop.example" for those below it."""
    label = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
    if not re.fullmatch(rf"(?=.{{1,253}}$)(\*\.)?{label}(\.{label})*", text):
        raise ValueError(
            "does not name a site; write a host in lower case without port, like shop.example, "
            "or *.shop.example for every host below it"
        )
    return text


def check_host_name(text: str) -> str:
    if text.startswith("*") or not re.fullmatch(r"[a-z0-9.-]+", check_host_pattern(text)):
        raise ValueError("is not a domain; write letters, digits, '-' and '.', like shop.example")
    return text


def check_path_in_root(text: str) -> str:
    """The path of a file below the project's root: "ranges/vendor-a.txt"."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(
            "leads out of the project; write the path from its root, like ranges/vendor-a.txt"
        )
    if not re.fullmatch(r"[\w.-]([\w./ -]*[\w.-])?", text):
        raise ValueError(
            "is not the path of a file; use letters, digits, '-', '_', '.', '/' and spaces inside, "
            "like ranges/vendor-a.txt"
        )
    return text


def check_mail_address(text: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+/=?^_`{|}~0-9A-Za-z.-]+@[0-9A-Za-z.-]+", text):
        raise ValueError("is not a mail address; write one, like team@example.com")
    return text


def check_mail_server(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9A-Za-z.-]+", host) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError("is not a mail server; write host and port, like smtp.example.com:587")
    return text


def check_slack_channel(text: str) -> str:
    if not re.fullmatch(r"[#@]?[\w.-]{1,80}", text):
        raise ValueError("is not a channel of Slack; write its name, like #proxies")
    return text


def check_egress_host(text: str) -> str:
    """Services as the hosts of an Istio Sidecar's egress name them: "data/*"."""
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    name = rf"(?=.{{1,253}}$){label}(\.{label})*"
    if not re.fullmatch(rf"(\*|\.|{label})/(\*|(\*\.)?{name})", text):
        raise ValueError(
            "does not name services of the mesh; write namespace/* or namespace/host, "
            "like data/* or */redis.example.com"
        )
    return text


def check_object_name(text: str) -> str:
    if not re.fullmatch(r"(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?", text):
        raise ValueError(
            "is not the name of an object; use a-z, 0-9, '-' and '.', first and last a letter or "
            "digit"
        )
    return text


def check_secret_key(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", text):
        raise ValueError("is not a key of a Secret; use letters, digits, '-', '_' and '.'")
    return text


def parse_amount(value: object) -> float:
    """A number from 0 to 10^6; `true` is none, though Python counts with it."""
    if type(value) not in (int, float) or not 0 <= float(value) <= 10**6:  # type: ignore[arg-type]
        raise ValueError("is not a number from 0 to 1000000; write digits, like 2 or 0.5")
    return float(value)  # type: ignore[arg-type]


def above_zero(amount: float) -> float:
    if amount <= 0:
        raise ValueError("is nothing at all; write a number above 0")
    return amount


def parse_mix(value: object) -> dict[str, float]:
    """Shares of protocols that make up all traffic: {http: 0.3, tunnel: 0.7}."""
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping; write shares, like {http: 0.3, tunnel: 0.7}")
    for protocol, share in value.items():
        if protocol not in PROTOCOLS:
            raise ValueError(f"names {protocol!r}; the protocols are {', '.join(PROTOCOLS)}")
        if type(share) not in (int, float) or not 0 <= share <= 1:
            raise ValueError(f"gives {protocol} no share; write a number from 0 to 1")
    if abs(sum(value.values()) - 1) > 1e-6:
        raise ValueError("does not sum to 1; the shares make up all requests")
    return {str(protocol): float(share) for protocol, share in value.items()}


def parse_behaviour(value: object) -> dict[str, Any]:
    """What a simulated vendor does, in its program's words; `settings.checks` reads them."""
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping; write 'key: value' lines under it")
    if "credentials" in value:
        raise ValueError("has credentials, which the program makes itself; write login instead")
    return dict(value)


# What a crawler can speak to its proxy; `tunnel` is CONNECT, `tls` is TLS to the proxy itself.
PROTOCOLS = ("http", "tunnel", "tls", "socks5", "h2c")

Network = Annotated[IPv4Network | IPv6Network, PlainValidator(parse_network)]
VendorNetwork = Annotated[IPv4Network | IPv6Network, PlainValidator(parse_vendor_network)]
Duration = Annotated[int, PlainValidator(parse_duration)]
Ports = Annotated[PortRange, PlainValidator(parse_ports)]
Bytes = Annotated[int, PlainValidator(parse_bytes)]
Share = Annotated[float, PlainValidator(parse_share)]
CpuQuantity = Annotated[str, PlainValidator(parse_cpu)]
MemoryQuantity = Annotated[str, PlainValidator(parse_memory)]
DnsLabel = Annotated[StrictStr, AfterValidator(check_dns_label)]
LabelKey = Annotated[StrictStr, AfterValidator(check_label_key)]
LabelValue = Annotated[StrictStr, AfterValidator(check_label_value)]
Image = Annotated[StrictStr, AfterValidator(check_image)]
NotBlank = Annotated[StrictStr, AfterValidator(check_not_blank)]
HeaderName = Annotated[NotBlank, AfterValidator(check_header_name)]
PrintableText = Annotated[NotBlank, AfterValidator(check_printable)]
ChartSource = Annotated[NotBlank, AfterValidator(check_chart_source)]
ServerUrl = Annotated[StrictStr, AfterValidator(check_server_url)]
Version = Annotated[StrictStr, AfterValidator(check_version)]
Endpoint = Annotated[StrictStr, AfterValidator(check_endpoint)]
HostPattern = Annotated[StrictStr, AfterValidator(check_host_pattern)]
HostName = Annotated[StrictStr, AfterValidator(check_host_name)]
PathInRoot = Annotated[StrictStr, AfterValidator(check_path_in_root)]
MailAddress = Annotated[StrictStr, AfterValidator(check_mail_address)]
MailServer = Annotated[StrictStr, AfterValidator(check_mail_server)]
SlackChannel = Annotated[StrictStr, AfterValidator(check_slack_channel)]
EgressHost = Annotated[StrictStr, AfterValidator(check_egress_host)]

ObjectName = Annotated[StrictStr, AfterValidator(check_object_name)]
SecretKey = Annotated[StrictStr, AfterValidator(check_secret_key)]
Amount = Annotated[float, PlainValidator(parse_amount)]
Gigabytes = Annotated[float, PlainValidator(parse_amount), AfterValidator(above_zero)]
Mix = Annotated[dict[str, float], PlainValidator(parse_mix)]
Behaviour = Annotated[dict[str, Any], PlainValidator(parse_behaviour)]


@dataclass(frozen=True)
class SecretText:
    """A credential of the stack; no repr, and so no message, shows it.

    In the stack's file it is encrypted, and `text` is None; the engine hands it over in clear.
    """

    text: str | None = field(repr=False)

    @classmethod
    def parse(cls, value: object) -> SecretText:
        if isinstance(value, SecretText):
            return value
        if isinstance(value, Mapping) and list(value) == ["secure"]:
            return cls(None)
        if isinstance(value, str) and value.strip() and value == value.strip():
            return cls(value)
        raise ValueError(
            "is not a credential; set it with "
            "`pulumi config set --secret --path proxy-observability:KEY`"
        )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)


class RangeInPool(Section):
    """The long form of a range: {range: 10.1.8.0/24, pool: residential}."""

    range: Annotated[
        VendorNetwork,
        Field(
            description="The CIDR block, or one address.",
            examples=["10.1.8.0/24"],
        ),
    ]
    pool: Annotated[
        DnsLabel,
        Field(
            description=(
                "Name of the vendor's product behind this range; becomes the label `proxy_pool` "
                "of every request to it."
            ),
            examples=["residential"],
        ),
    ]


@dataclass(frozen=True)
class AddressRange:
    """One range of a vendor; `pool` is empty when the stack names none."""

    network: IPv4Network | IPv6Network
    pool: str = ""
    where: str = field(default="", compare=False)
    """The line of a file it was read from, "ranges/vendor-a.txt:7"; empty for the stack's own."""

    @classmethod
    def parse(cls, value: object) -> AddressRange:
        """Read "10.1.0.0/16", a bare address, or {range, pool}."""
        if isinstance(value, AddressRange):
            return value
        if isinstance(value, Mapping):
            long_form = RangeInPool.model_validate(value, by_alias=True, by_name=False)
            return cls(long_form.range, long_form.pool)
        return cls(parse_vendor_network(value))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)


class SecretReference(Section):
    """One value of a Secret that is in the cluster already."""

    name: ObjectName = Field(
        description="Name of the Secret, in the first of `crawlers.namespaces`.",
        examples=["vendor-a-login"],
    )
    key: SecretKey = Field(
        description="Key of the Secret whose value is `user:password`.", examples=["login"]
    )


class ProxyInDetail(Section):
    """The long form of a proxy: {address: 10.1.0.10:3128, weight: 2}."""

    address: Endpoint = Field(
        description="Address and port of the proxy.", examples=["10.1.0.10:3128"]
    )
    weight: Amount = Field(
        default=1,
        description="The vendor's part of the requests, in proportion to the others' weights.",
    )
    session: Literal["rotating", "sticky"] | None = Field(
        default=None,
        description=(
            "`sticky` keeps the exit address for ten minutes by a session id in the user name, "
            "`rotating` does not. Without it the profile decides."
        ),
    )
    credentials_secret: SecretReference | None = Field(
        default=None,
        description=(
            "The Secret that holds `user:password` for this proxy. It reaches the pod as an "
            "environment variable and nothing else of this program, its state included."
        ),
    )


def parse_proxy(value: object) -> ProxyInDetail:
    """Read "10.1.0.10:3128", or {address, weight, session, credentialsSecret}."""
    if isinstance(value, ProxyInDetail):
        return value
    if isinstance(value, Mapping):
        return ProxyInDetail.model_validate(value, by_alias=True, by_name=False)
    return ProxyInDetail(address=check_endpoint(text_of(value, "10.1.0.10:3128")))


Proxy = Annotated[ProxyInDetail, PlainValidator(parse_proxy)]
