"""`vendors` and `targets`: whose addresses these are, and which sites are crawled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictInt
from pydantic.functional_validators import PlainValidator

from settings.alerts import VendorAlerts
from settings.billing import BillingEntry, begun_twice, entries
from settings.hosts import Host, HostEntry, listed_ports, unlisted_ports
from settings.masking import quoted
from settings.products import Product, priced_twice, unused
from settings.section import Problem, Section, path_text
from settings.tls import VendorTls
from settings.usage import VendorUsage
from settings.values.addresses import (
    IPNetwork,
    PortRange,
    Ports,
    VendorNetwork,
    parse_vendor_network,
)
from settings.values.kubernetes import DnsLabel
from settings.values.outcomes import VendorOutcome
from settings.values.quantities import Duration
from settings.values.texts import HeaderName, HostPattern, PathInRoot, PrintableText

# Values of the label `proxy_vendor`, or of its neighbours, that already mean something.
RESERVED_NAMES = ("outside", "unknown", "other", "none")


def not_reserved(name: str) -> str:
    if name in RESERVED_NAMES:
        raise ValueError("has a meaning of its own in the metrics; choose another name")
    return name


VendorName = Annotated[DnsLabel, AfterValidator(not_reserved)]
TargetName = VendorName

# Customary ports of HTTP proxies.
USUAL_HTTP_PORTS = tuple(PortRange(port, port) for port in (80, 3128, 8000, 8080, 8888))


class RangeInPool(Section):
    """The long form of a range: {range: 10.1.8.0/24, pool: residential}."""

    range: VendorNetwork = Field(examples=["10.1.8.0/24"])
    """The CIDR block, or one address."""
    pool: DnsLabel = Field(examples=["residential"])
    """Label `proxy_pool` of every request to this range."""


@dataclass(frozen=True)
class AddressRange:
    """One range of a vendor; `pool` is empty when the stack names none."""

    network: IPNetwork
    pool: str = ""
    where: str = field(default="", compare=False)
    """The line of a file it was read from, "ranges/vendor-a.txt:7"; empty for the stack's own."""
    host: str = ""
    """The name whose virtual address it is; empty for the vendor's own addresses."""

    @classmethod
    def parse(cls, value: object) -> AddressRange:
        """Read "10.1.0.0/16", a bare address, or {range, pool}."""
        if isinstance(value, AddressRange):
            return value
        if isinstance(value, Mapping):
            long_form = RangeInPool.model_validate(value, by_alias=True, by_name=False)
            return cls(long_form.range, long_form.pool)
        return cls(parse_vendor_network(value))


Range = Annotated[
    AddressRange,
    PlainValidator(AddressRange.parse, json_schema_input_type=VendorNetwork | RangeInPool),
]


class OutcomeRule(Section):
    """One line of a vendor's dialect: an answer that means something else than its status."""

    status: Annotated[StrictInt, Field(ge=200, le=999)] = Field(examples=[407])
    """HTTP status of the vendor's answer, 200 to 999."""
    header: HeaderName | None = None
    """Header that the answer must have too, in any case."""
    contains: PrintableText | None = None
    """Text that the header's value must contain, in this case."""
    connect: StrictBool | None = None
    """`true`: only for the answer to a CONNECT, which no site gives. `false`: only for any other
    request's. Without it, for both."""
    outcome: VendorOutcome = Field(examples=["quota_exhausted"])
    """What such an answer counts as (label `proxy_outcome`)."""

    def problems(self) -> Iterator[Problem]:
        if self.contains is not None and self.header is None:
            yield Problem(
                ("contains",),
                f"{quoted(self.contains)} is looked for in no header; "
                "add header, or remove contains",
            )

    @property
    def kind(self) -> Literal["any", "plain", "tunnel"]:
        """To which requests the answer is; `tunnel` is a CONNECT."""
        if self.connect is None:
            return "any"
        return "tunnel" if self.connect else "plain"

    def matches_all_of(self, other: OutcomeRule) -> bool:
        """Whether this rule matches every answer that the other one matches."""
        if self.status != other.status or self.connect not in (None, other.connect):
            return False
        if self.header is None:
            return True
        if other.header is None or self.header.lower() != other.header.lower():
            return False
        return self.contains is None or self.contains in (other.contains or "")


class Vendor(Section):
    """A proxy vendor: its addresses, what is read of its traffic, how it words its refusals."""

    name: VendorName = Field(examples=["vendor-a"])
    """The vendor in every metric, board and alert (label `proxy_vendor`); not `outside`, `unknown`,
    `other` or `none`. A new name begins new series."""
    preset: DnsLabel | None = Field(default=None, examples=["bright-data"])
    """A well-known vendor (docs/vendors): its names, ports and refusals, as if written here. A key
    that is written here replaces the preset's whole. `cidrs` stand beside its names; `hosts: []`
    is for a vendor by address alone."""
    cidrs: tuple[Range, ...] = ()
    """Addresses of the vendor's proxies. Required, or `cidrsFile` or `hosts`. The longest prefix
    wins, so a range may lie inside another vendor's. What a change cuts: docs/rollout.md."""
    # `settings.loading` has added the file's ranges to `cidrs` already: models read no file.
    cidrs_file: PathInRoot | None = None
    """File with more ranges for `cidrs`, one a line (see above)."""
    hosts: Annotated[tuple[HostEntry, ...], Field(max_length=50)] = ()
    """Gateways that crawlers reach by name, whatever addresses DNS gives. No two vendors
    have the same name. Pods that started before the stack's first name count as `outside` until
    they restart."""
    ports: Annotated[tuple[Ports, ...], Field(max_length=20)] = ()
    """The vendor's ports at these addresses, where several vendors share addresses and differ by
    port. Without it, all ports. Connections to a port that no vendor has there count as `outside`.
    """
    http_ports: Annotated[tuple[Ports, ...], Field(min_length=1, max_length=50)] = USUAL_HTTP_PORTS
    """Ports on which Envoy inspects this vendor's connections for HTTP. On others they are
    `opaque`: bytes and connections only. With `ports`, the default is those of the list that are in
    `ports`, or all `ports` if none is; of a name with `ports`, all of these. Envoy inspects
    a port for all vendors if one names it. A change of all vendors' union drains every outbound
    connection of the crawlers (45 s)."""
    inspect: Literal["http", "passive", "connections"] = "http"
    """How a vendor's connections are read (docs/inspection.md says which for whom). `http`: Envoy
    parses what passes on `httpPorts`, and refuses or rewrites odd requests. `passive`: a Wasm
    filter reads every port and changes nothing; its own `httpPorts` and `idleTimeout` are ignored.
    `connections`: connections and bytes only. What a change cuts: docs/rollout.md."""
    idle_timeout: Duration = 30
    """How long Envoy keeps a connection to the vendor when nothing is sent. Longer leaves idle
    sockets at the vendor; shorter may give a slow crawler another exit IP."""
    tls: VendorTls = VendorTls()
    """TLS to the vendor, spoken by the sidecar."""
    products: Annotated[tuple[Product, ...], Field(max_length=50)] = ()
    """What the vendor sells behind one address and port, told by the proxy user name of a request.
    The first pattern that fits sets the label `proxy_pool`; without one the range's or name's
    `pool` does. A change cuts no connection."""
    outcomes: tuple[OutcomeRule, ...] = ()
    """Rules for answers with a meaning of their own, tried in this order before the table in
    docs/architecture.md. With `passive`, at most 128 headers with their texts. A change cuts no
    connection."""
    billing: BillingEntry | None = None
    """What the vendor counts, and at which price: one mapping, or a list by `validFrom`
    (docs/money.md). A preset completes it with what its vendor documents. Without it the traffic
    has no price. A pool by address or name has the vendor's. A change cuts no connection."""
    usage: VendorUsage | None = None
    """Where the vendor says what it delivered, for `make reconcile`. Credentials are never here."""
    alerts: VendorAlerts = VendorAlerts()
    """Limits for this vendor, where they differ from the stack's: any key of `alerts` from
    `objective` to `setupMilliseconds`."""

    def problems(self) -> Iterator[Problem]:
        if not self.cidrs and not self.hosts and self.cidrs_file is None:
            yield Problem(
                ("cidrs",),
                "is missing; write cidrs: [10.1.0.0/16], or hosts: [gw.vendor.example]",
            )
        if self.ports and self.hosts:
            yield Problem(
                ("ports",),
                "is for addresses that vendors share, and a name is one vendor's; remove it (a "
                "name's ports stand in hosts), or write two vendors",
            )
        if self.tls.originate and not self.tls.sni and (self.cidrs or self.cidrs_file):
            yield Problem(
                ("tls", "sni"),
                "is missing, and an address has no name to check a certificate for; write the name "
                "in the vendor's certificate, like sni: gw.vendor.example",
            )
        yield from overlapping("ports", self.ports)
        yield from overlapping("httpPorts", self.http_ports)
        if self.ports and self.sets("http_ports"):
            for index, ports in enumerate(self.http_ports):
                if not any(ports.within(own) for own in self.ports):
                    yield Problem(
                        ("httpPorts", index),
                        f"{ports} is not among the vendor's ports "
                        f"({', '.join(map(str, self.ports))}); remove it, or add it to ports",
                    )
        yield from unused(self.products)
        yield from priced_twice(self.products)
        yield from begun_twice(self.billing)
        yield from committed_elsewhere(self)
        yield from unreachable(self.outcomes)

    @property
    def ranges(self) -> tuple[AddressRange, ...]:
        """Every range by which a connection is the vendor's: `cidrs`, and a name's address."""
        virtual = (
            AddressRange(ip_network(host.address), host.pool or "", host=host.name)
            for host in self.hosts
        )
        return (*self.cidrs, *virtual)


def committed_elsewhere(vendor: Vendor) -> Iterator[Problem]:
    """A vendor's sum cannot be set off against traffic that another contract bills."""
    if not any(one.commit for one in entries(vendor.billing)):
        return
    for index, product in enumerate(vendor.products):
        if product.billing is not None:
            yield Problem(
                ("products", index, "billing"),
                "bills traffic that the vendor's billing.commit cannot cover; write the commit in "
                "this billing, or remove one",
            )


def overlapping(key: str, listed: tuple[PortRange, ...]) -> Iterator[Problem]:
    for index, ports in enumerate(listed):
        for earlier, other in enumerate(listed[:index]):
            if ports == other:
                yield Problem((key, index), f"{ports} is also {key}[{earlier}]; remove one")
                break
            if ports.meets(other):
                text = f"{ports} overlaps {key}[{earlier}] ({other}); write both as one range"
                yield Problem((key, index), text)
                break


def unreachable(rules: tuple[OutcomeRule, ...]) -> Iterator[Problem]:
    """The first match wins, so a rule behind a wider one never applies."""
    for index, rule in enumerate(rules):
        for earlier in range(index):
            if rules[earlier].matches_all_of(rule):
                yield Problem(
                    ("outcomes", index),
                    f"never applies, {path_text(('outcomes', earlier))} matches every such answer; "
                    "remove one, or put the narrower one first",
                )
                break


class Target(Section):
    """A group of crawled sites, to see which of them a vendor fails on."""

    name: TargetName = Field(examples=["shops"])
    """The group (label `proxy_target`); sites in no group are `other`."""
    hosts: Annotated[tuple[HostPattern, ...], Field(min_length=1, max_length=1000)] = Field(
        examples=[["shop.example", "*.shop.example"]]
    )
    """The sites: a host, or `*.shop.example` for every host below it. The longest match decides.
    Envoy sees the host of plain requests and of CONNECT."""


def ports_of(vendor: Vendor, host: Host) -> tuple[int, ...]:
    """Return the ports of a name that have a listener of their own."""
    return listed_ports(host, vendor.http_ports)


def is_http_port(vendor: Vendor, port: int) -> bool:
    """Whether Envoy parses HTTP on a listed port of the vendor's names."""
    if vendor.inspect != "http":
        return False
    return not vendor.sets("http_ports") or any(port in ports for ports in vendor.http_ports)


def http_ports_of(vendor: Vendor) -> tuple[PortRange, ...]:
    """Return the ports on which virtualOutbound inspects this vendor's connections for HTTP.

    A name's listed ports have listeners of their own, each with its own inspector.
    """
    if vendor.inspect != "http":
        return ()
    ranges = (ports for host in vendor.hosts for ports in unlisted_ports(host))
    return (*(_http_ports_of_addresses(vendor) if vendor.cidrs else ()), *ranges)


def _http_ports_of_addresses(vendor: Vendor) -> tuple[PortRange, ...]:
    if vendor.sets("http_ports") or not vendor.ports:
        return vendor.http_ports
    usual = tuple(p for p in vendor.http_ports if any(p.within(own) for own in vendor.ports))
    return usual or vendor.ports


def only_connections(vendors: Iterable[Vendor]) -> tuple[Vendor, ...]:
    """Return the vendors with `inspect: connections`, whatever they say themselves."""
    return tuple(vendor.model_copy(update={"inspect": "connections"}) for vendor in vendors)


def inspected_ports(vendors: Iterable[Vendor]) -> list[PortRange]:
    """Return the ports that Envoy inspects for HTTP, sorted, none twice.

    One listener serves all vendors: a port that one of them names is inspected for each.
    """
    merged: list[PortRange] = []
    for ports in sorted(ports for vendor in vendors for ports in http_ports_of(vendor)):
        if merged and ports.first <= merged[-1].last + 1:
            merged[-1] = PortRange(merged[-1].first, max(merged[-1].last, ports.last))
        else:
            merged.append(ports)
    return merged
