"""Where the lab's crawlers connect, where Envoy listens for them, and where the vendors are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from components.attribution.clusters import cluster_name
from lab.names import ANSWERS, is_down
from lab.ports import Ports
from settings.catalogue import Catalogue
from settings.destinations import listed_names
from settings.hosts import Host, unlisted_ports
from settings.products import Product
from settings.stack import StackSettings
from settings.values.addresses import PortRange
from settings.vendors import AddressRange, Vendor, ports_of

OUTSIDE_ADDRESS = "127.9.0.10"
"""An address in no vendor's range: its traffic must be counted as `outside`, and nowhere else."""

DESTINATION, DESTINATION_ADDRESS = "storage", "127.8.0.10"
"""The stack's known destination. Its connections are none of a vendor's, and no leak."""

VISIBLE = {"http": "requests", "passive": "passive", "connections": "connections"}
"""What a sidecar sees, by a vendor's `inspect`; the crawler's and the vendors' plans name it so."""

DIALECT_HEADER = "x-sim-error"
"""By the header of its rule, whether a vendor speaks the simulation's own dialect."""

_ELSEWHERE = (OUTSIDE_ADDRESS, DESTINATION_ADDRESS)

Socket = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One proxy of a vendor, where crawlers connect; nothing listens at `dead_address`.

    By name, `host` leads crawlers to the virtual `address`, and Envoy to one of `real_addresses`.
    """

    vendor: str
    address: str
    port: int
    dead_address: str | None
    has_dialect: bool
    visible: str
    """What Envoy sees of this vendor's connections: a value of VISIBLE."""
    pool: str = ""
    products: tuple[Product, ...] = ()
    preset: str | None = None
    host: str = ""
    dead_host: str = ""
    real_addresses: tuple[str, ...] = ()


def endpoints(vendors: Sequence[Vendor], ports: Ports) -> tuple[Endpoint, ...]:
    """Return an endpoint for each range and for each port of a name, in the stack's order.

    A range's own nested ranges keep their addresses: one that the catalogue gives to another
    vendor is left out.
    """
    return tuple(
        one
        for vendor in vendors
        for one in (*_by_address(vendor, vendors, ports), *_by_name(vendor))
    )


def _by_address(vendor: Vendor, vendors: Sequence[Vendor], ports: Ports) -> Iterator[Endpoint]:
    catalogue = Catalogue.of(vendors)
    port = port_of(vendor, ports)
    for entry in vendor.cidrs:
        address, dead = _host(entry, 10), _host(entry, 99)
        route = catalogue.find(address, port)
        if route is not None and route.vendor == vendor.name:
            yield Endpoint(
                address=address,
                port=port,
                dead_address=dead if dead != address else None,
                pool=entry.pool,
                **_of(vendor),
            )


def _by_name(vendor: Vendor) -> Iterator[Endpoint]:
    down = next((host for host in vendor.hosts if is_down(host.name)), None)
    for host in vendor.hosts:
        if host == down or host.name not in ANSWERS:  # a benchmark answers for its own name
            continue
        real = tuple(sorted({address for answer in ANSWERS[host.name] for address in answer}))
        for port in (*ports_of(vendor, host), *_unlisted(host)):
            yield Endpoint(
                address=str(host.address),
                port=port,
                dead_address=str(down.address) if down else None,
                pool=host.pool or "",
                host=host.name,
                dead_host=down.name if down else "",
                real_addresses=real,
                **_of(vendor),
            )


def _of(vendor: Vendor) -> dict[str, Any]:
    return {
        "vendor": vendor.name,
        "has_dialect": any(rule.header == DIALECT_HEADER for rule in vendor.outcomes),
        "visible": VISIBLE[vendor.inspect],
        "products": vendor.products,
        "preset": vendor.preset,
    }


def _unlisted(host: Host) -> tuple[int, ...]:
    """Return a port of each range, on which virtualOutbound serves the name."""
    return tuple(ports.first for ports in unlisted_ports(host))


def upstreams(endpoint: Endpoint, ports: Ports) -> tuple[Socket, ...]:
    """Return where the vendor itself listens for what crawlers send to this endpoint."""
    if endpoint.host:
        return tuple((address, endpoint.port) for address in endpoint.real_addresses)
    return ((endpoint.address, ports.upstream_of(endpoint.port)),)


def authority(endpoint: Endpoint) -> str:
    """Return "127.1.0.10:3128", or "[::1]:3128": where a program without the lab's DNS connects."""
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{host}:{endpoint.port}"


def port_of(vendor: Vendor, ports: Ports) -> int:
    """Return where crawlers connect to a vendor."""
    return vendor.ports[0].first if vendor.ports else ports.vendor


def lab_settings(settings: StackSettings, ports: Ports) -> StackSettings:
    """Return the settings with every vendor's ports moved to the lab's, and its generator."""

    def moved(listed: Sequence[PortRange]) -> tuple[PortRange, ...]:
        return tuple(PortRange(ports.moved(one.first), ports.moved(one.last)) for one in listed)

    def moved_vendor(vendor: Vendor) -> Vendor:
        # What is not set stays so: a name's ports are HTTP then.
        changed: dict[str, Any] = {}
        if vendor.sets("http_ports"):
            changed["http_ports"] = moved(vendor.http_ports)
        if vendor.ports:
            changed["ports"] = moved(vendor.ports)
        if vendor.hosts:
            changed["hosts"] = tuple(
                host.model_copy(update={"ports": moved(host.ports)}) for host in vendor.hosts
            )
        return vendor.model_copy(update=changed)

    generator = settings.load_generator.model_copy(update={"enabled": True})
    vendors = tuple(map(moved_vendor, settings.vendors))
    return settings.model_copy(update={"vendors": vendors, "load_generator": generator})


def listening_addresses(where: Sequence[Endpoint]) -> tuple[str, ...]:
    """Return the addresses of vendors given by address, the dead ones and the outside one."""
    by_address = [one for one in where if not one.host]
    addresses = (one.address for one in by_address)
    return tuple(dict.fromkeys((*addresses, *dead_addresses(by_address), *_ELSEWHERE)))


def dead_addresses(where: Sequence[Endpoint]) -> tuple[str, ...]:
    """Return the vendors' addresses where nobody is."""
    return tuple(one.dead_address for one in where if one.dead_address)


def envoy_sockets(
    vendors: Sequence[Vendor], addresses: Sequence[str], ports: Ports
) -> list[Socket]:
    """Return where `virtualOutbound` listens: at these addresses, and for names' unlisted ports.

    At an address that vendors share, it listens on a port of each and on one that no vendor has.
    """
    catalogue = Catalogue.of(vendors)
    ported = {vendor.name: port_of(vendor, ports) for vendor in vendors if vendor.ports}
    sockets = []
    for address in addresses:
        own = [ported[r.vendor] for r in catalogue.covering(address) if r.vendor in ported]
        sockets += [(address, port) for port in ([*own, ports.nobodys] if own else [ports.vendor])]
    hosts = (host for vendor in vendors for host in vendor.hosts)
    return sockets + [(str(host.address), port) for host in hosts for port in _unlisted(host)]


def named_sockets(vendors: Sequence[Vendor]) -> list[Socket]:
    """Return where Envoy's listeners for names listen, one a listed port."""
    return [(str(host.address), port) for host, ports in listed_names(vendors) for port in ports]


def upstream_ports(vendors: Sequence[Vendor], ports: Ports) -> dict[str, int]:
    """Return where each vendor's simulation listens, by the name of its cluster."""
    return {cluster_name(one): ports.upstream_of(port_of(one, ports)) for one in vendors}


def outside_sockets(where: Sequence[Endpoint], ports: Ports) -> list[Socket]:
    """Return what belongs to no vendor: two addresses, and one port of each shared address."""
    seen = [one.address for one in where if not one.host]
    shared = sorted({address for address in seen if seen.count(address) > 1})
    return [*((one, ports.vendor) for one in _ELSEWHERE), *((one, ports.nobodys) for one in shared)]


def _host(entry: AddressRange, number: int) -> str:
    """Return the range's address of that number, or its only one."""
    network = entry.network
    return str(network[number] if network.num_addresses > number else network[0])
